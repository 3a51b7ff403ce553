"""Directed rounding without rounding modes: every helper here errs to the side in its name.

IEEE 754 addition, subtraction, multiplication, division and square root round to nearest, so the exact result lies
between the neighbours of the computed one. One step outwards (`nextafter`) is therefore a proof, for results in the
subnormal range too. `gamma(k)` is the usual factor k u / (1 - k u) for sums and inner products of k terms in any order.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import ArithmeticModeError
from netgain.core.norms import Norm

UNIT_ROUNDOFF = 2.0**-53
SMALLEST_NORMAL = 2.0**-1022
# An absolute allowance larger than every underflow of a sum of fewer than 2^60 products, flushed to zero or not.
UNDERFLOW = 2.0**-960
# torch gives each thread at least so many entries of an entrywise operation.
_GRAIN = 2**15


def up(x: float) -> float:
    """The next float64 above x."""
    return math.nextafter(x, math.inf)


def down(x: float) -> float:
    """The next float64 below x."""
    return math.nextafter(x, -math.inf)


def add_up(*terms: float) -> float:
    """A float64 not below the exact sum."""
    total = terms[0]
    for term in terms[1:]:
        total = up(total + term)
    return total


def sub_down(a: float, b: float) -> float:
    """A float64 not above a - b."""
    return down(a - b)


def mul_up(*factors: float) -> float:
    """A float64 not below the exact product of non-negative factors; 0 times infinity is 0: a dead branch is dead."""
    if any(factor == 0 for factor in factors):
        return 0.0
    product = factors[0]
    for factor in factors[1:]:
        product = up(product * factor)
    return product


def mul_down(*factors: float) -> float:
    """A float64 not above the exact product of non-negative factors, and at least 0."""
    product = factors[0]
    for factor in factors[1:]:
        product = max(0.0, down(product * factor))
    return product


def div_up(a: float, b: float) -> float:
    """A float64 not below a / b for a >= 0, b > 0."""
    return up(a / b)


def div_down(a: float, b: float) -> float:
    """A float64 not above a / b for a >= 0, b > 0, and at least 0."""
    return max(0.0, down(a / b))


def sqrt_up(x: float) -> float:
    """A float64 not below the square root of x >= 0."""
    return up(math.sqrt(x))


def sqrt_down(x: float) -> float:
    """A float64 not above the square root of x >= 0, and at least 0."""
    return max(0.0, down(math.sqrt(x)))


def gamma(terms: int) -> float:
    """The factor gamma_k = k u / (1 - k u), rounded up.

    For any order of summation, fused or not, |fl(sum of k products) - exact| <= gamma_k sum |products|
    (Higham, Accuracy and Stability, section 3.1), underflow apart.
    """
    ku = up(terms * UNIT_ROUNDOFF)
    if ku >= 0.5:
        return math.inf
    return up(ku / down(1.0 - ku))


def tensor_up(x: Tensor) -> Tensor:
    """Entrywise next float64 above."""
    return torch.nextafter(x, x.new_tensor(math.inf))


def tensor_down(x: Tensor) -> Tensor:
    """Entrywise next float64 below."""
    return torch.nextafter(x, x.new_tensor(-math.inf))


def norm_upper(x: Float[Tensor, "batch *shape"], norm: Norm) -> Float[Tensor, " batch"]:
    """A number not below the norm of each row (exact norm of the float64 entries).

    The rows are scaled by a power of two first, so nothing overflows or is lost to underflow.
    """
    return tensor_up(_scaled_norm(x, norm, 1.0))


def norm_lower(x: Float[Tensor, "batch *shape"], norm: Norm) -> Float[Tensor, " batch"]:
    """A number not above the norm of each row, and at least 0."""
    return tensor_down(_scaled_norm(x, norm, -1.0)).clamp_min(0.0)


def _scaled_norm(x: Tensor, norm: Norm, sign: float) -> Tensor:
    """The norm of each row times 1 + sign * (error bound)."""
    flat = x.reshape(x.shape[0], x.shape[1:].numel()).double()
    if norm is Norm.LINF or flat.shape[1] == 0:
        return norm.of(flat)
    largest = torch.linalg.vector_norm(flat, math.inf, dim=1)
    exponent = torch.frexp(largest).exponent.clamp(-1000, 1000)
    if bool((exponent.abs() <= 300).all()):
        # Squares neither overflow nor lose more to underflow than n 2^-1074, against a largest square >= 2^-602.
        exponent, scaled = torch.zeros_like(exponent), norm.of(flat)
    else:
        scaled = norm.of(torch.ldexp(flat, -exponent.unsqueeze(1)))
    # gamma_{n+2} covers sum and root; 8 u the rest, the sum's own underflow included.
    factor = 1.0 + sign * (gamma(flat.shape[1] + 8) + 8 * UNIT_ROUNDOFF)
    result = torch.ldexp(scaled * factor, exponent)
    return torch.where(torch.isfinite(largest), result, largest)


def check_arithmetic() -> None:
    """Refuse to compute bounds in an arithmetic that this module's proofs do not cover.

    Raises:
        ArithmeticModeError: if rounding is not to nearest, or subnormal numbers are flushed to zero.
    """
    one, tiny = torch.ones(1, dtype=torch.float64), 1e-30
    if not bool((one + tiny == one) & (one - tiny == one)):
        raise ArithmeticModeError("rounding is not to nearest")
    if float(torch.full((1,), SMALLEST_NORMAL, dtype=torch.float64) / 4) == 0.0:
        raise ArithmeticModeError("subnormal numbers are flushed to zero (torch.set_flush_denormal is on)")
    # Each worker thread has a mode of its own, inherited when it started; enough numbers reach all of them.
    threads = torch.get_num_threads()
    if threads > 1 and not bool((torch.full((_GRAIN * threads,), SMALLEST_NORMAL, dtype=torch.float64) / 4).all()):
        raise ArithmeticModeError(
            "subnormal numbers are flushed to zero in worker threads that started while torch.set_flush_denormal was on"
        )
