"""Scaling by powers of two, so that squares neither overflow nor vanish."""

import math

from jaxtyping import Float
from torch import Tensor

from netgain.core.rounding import UNDERFLOW, add_up, down, sub_down, up


def scaled(values: Float[Tensor, "*shape"], largest: float) -> tuple[Float[Tensor, "*shape"], int]:
    """The values times 2^-exponent, with the largest magnitude in [1/2, 1).

    Exact, but for entries that become subnormal, which lose at most 2^-1074 each: `unscaled` allows for that.

    Args:
        values: float64 entries.
        largest: their largest magnitude, positive and finite.

    Returns:
        The scaled values and the exponent.
    """
    exponent = math.frexp(largest)[1]
    half = -exponent // 2
    # In two factors, because 2^1073 is not a float64.
    return values * 2.0**half * 2.0 ** (-exponent - half), exponent


def unscaled(lower: float, upper: float, exponent: int) -> tuple[float, float]:
    """The sides of a norm of scaled values as sides of the norm of the values themselves.

    Args:
        lower: lower bound of the norm of the scaled values.
        upper: upper bound of it.
        exponent: what `scaled` returned.

    Returns:
        Lower and upper bound, rounded outwards; infinity where the upper one overflows.
    """
    lower, upper = max(0.0, sub_down(lower, UNDERFLOW)), add_up(upper, UNDERFLOW)
    return max(0.0, down(_ldexp(lower, exponent))), up(_ldexp(upper, exponent))


def _ldexp(x: float, exponent: int) -> float:
    """2^exponent x, infinite on overflow; the float below infinity is the largest finite one."""
    try:
        return math.ldexp(x, exponent)
    except OverflowError:
        return math.inf
