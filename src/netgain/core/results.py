"""Results that say what they prove: Bound, Estimate, Enclosure."""

import dataclasses
import decimal
import enum
import math

from netgain.core.norms import Norm

_DIGITS = 6


class Side(enum.StrEnum):
    """Which side of the true value a bound lies on."""

    LOWER = "lower"
    UPPER = "upper"

    def shown(self, value: float) -> str:
        """A bound of this side in six digits, rounded away from the truth: what is printed is proved as well."""
        if not math.isfinite(value):
            return str(value)
        rounding = decimal.ROUND_CEILING if self is Side.UPPER else decimal.ROUND_FLOOR
        context = decimal.Context(prec=_DIGITS, rounding=rounding)
        return f"{context.create_decimal(decimal.Decimal(value)).normalize(context):g}"


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Bound:
    """A proved inequality: the true value of `quantity` lies on the stated side of `value`, rounding included.

    Attributes:
        value: the float64 bound, non-negative; infinity is a valid (useless) upper bound.
        side: `Side.UPPER`: true value <= value. `Side.LOWER`: true value >= value.
        quantity: what is bounded, e.g. "Lipschitz constant", "operator norm".
        norm: the norm of inputs and outputs.
        region: "global", or the ball or box in words.
        method: how it was proved.
        assumes: assumptions beyond IEEE 754 arithmetic, in words.
    """

    value: float
    side: Side
    quantity: str
    norm: Norm
    method: str
    region: str = "global"
    assumes: tuple[str, ...] = ()

    def __post_init__(self):
        """Refuse a bound that proves nothing.

        Raises:
            ValueError: if `value` is NaN or negative.
        """
        if math.isnan(self.value) or self.value < 0:
            raise ValueError(f"a bound is a non-negative number, got {self.value}")

    def __repr__(self) -> str:
        sign = "<=" if self.side is Side.UPPER else ">="
        shown = f"{self.quantity} {sign} {self.side.shown(self.value)}"
        return f"<Bound {shown} ({self.norm}, {self.region}, proved by {self.method})>"


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Estimate:
    """A number without a proof. Nothing turns it into a Bound.

    Attributes:
        value: the number.
        quantity: what is estimated.
        method: how.
        uncertainty: a standard error or half-width where one exists.
    """

    value: float
    quantity: str
    method: str
    uncertainty: float | None = None

    def __repr__(self) -> str:
        spread = "" if self.uncertainty is None else f" +- {self.uncertainty:.2g}"
        return f"<Estimate {self.quantity} about {self.value:.6g}{spread} (not proved, by {self.method})>"


@dataclasses.dataclass(frozen=True, repr=False)
class Enclosure:
    """A proved lower and a proved upper bound of one quantity.

    Attributes:
        lower: the lower bound.
        upper: the upper bound.
    """

    lower: Bound
    upper: Bound

    def __post_init__(self):
        """Refuse sides that contradict each other.

        Raises:
            ValueError: if a side is on the wrong side, quantity or norm differ, or lower > upper.
        """
        if self.lower.side is not Side.LOWER or self.upper.side is not Side.UPPER:
            raise ValueError("an enclosure takes a lower and an upper bound, in this order")
        if (self.lower.quantity, self.lower.norm) != (self.upper.quantity, self.upper.norm):
            raise ValueError(f"bounds of different things: {self.lower} and {self.upper}")
        if self.lower.value > self.upper.value:
            raise ValueError(f"the proofs contradict each other: {self.lower} > {self.upper}")

    def __repr__(self) -> str:
        low, high = Side.LOWER.shown(self.lower.value), Side.UPPER.shown(self.upper.value)
        return f"<Enclosure {low} <= {self.upper.quantity} <= {high} ({self.upper.norm}, {self.upper.region}, proved)>"

    @property
    def ratio(self) -> float:
        """Upper over lower: 1 is exact, infinity says that one side is trivial."""
        if self.upper.value == self.lower.value:
            return 1.0
        return math.inf if self.lower.value == 0 else self.upper.value / self.lower.value


def tightest(*bounds: Bound) -> Bound:
    """The strongest of several bounds of one quantity on one side: least upper or greatest lower.

    Args:
        bounds: at least one, all of the same side, quantity and norm.

    Returns:
        The strongest of them, unchanged.

    Raises:
        ValueError: if they do not bound the same thing from the same side.
    """
    if not bounds or len({(b.side, b.quantity, b.norm) for b in bounds}) != 1:
        raise ValueError("tightest takes bounds of one quantity, norm and side")
    best = min if bounds[0].side is Side.UPPER else max
    return best(bounds, key=lambda bound: bound.value)
