"""The one mechanism behind all activations: the range of a function from its monotone pieces."""

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from netgain.activations.base import Activation, Range
from netgain.core.errors import UsageError
from netgain.core.interval import Interval

Number = float | str | Tensor | Interval
Function = Callable[[Interval], Interval]


@dataclasses.dataclass(frozen=True)
class Turn:
    """A place where a curve may stop being monotone: a critical point, a kink, a jump, a pole, or infinity.

    Attributes:
        left: the place is at least this.
        right: and at most this; a whole interval is allowed (the negative numbers for a logarithm).
        low: the curve's values there, one-sided limits included, are at least this.
        high: and at most this.
    """

    left: Tensor
    right: Tensor
    low: Tensor
    high: Tensor

    def touches(self, lo: Tensor, hi: Tensor) -> Tensor:
        """Whether [lo, hi] meets [left, right]; comparisons with an infinite side are left out."""
        if bool((self.left == -math.inf).all()):
            return self.right >= lo
        if bool((self.right == math.inf).all()):
            return self.left <= hi
        return (self.left <= hi) & (self.right >= lo)


def turn(at: Number, *values: Number) -> Turn:
    """The turn at `at` with the hull of `values`.

    Args:
        at: where: an exact number or tensor, or a decimal string that is rounded outwards.
        values: the values and one-sided limits there, likewise.
    """
    place, *known = (_enclose(number) for number in (at, *values))
    low, high = known[0].lo, known[0].hi
    for value in known[1:]:
        low, high = torch.minimum(low, value.lo), torch.maximum(high, value.hi)
    return Turn(place.lo, place.hi, low, high)


def outside(left: float, right: float) -> Turn:
    """Where the function is undefined, so that nothing is known."""
    ends = (left, right, -math.inf, math.inf)
    return Turn(*(torch.tensor(end, dtype=torch.float64) for end in ends))


def level(left: Number, right: Number, value: Number) -> Turn:
    """A whole interval on which the curve is constant."""
    start, end, height = _enclose(left), _enclose(right), _enclose(value)
    return Turn(start.lo, end.hi, height.lo, height.hi)


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A curve that is monotone between neighbouring turns, so that its range over [lo, hi] is a finite hull.

    The range is spanned by the curve at both ends and by the turns inside. Every turn counts as inside that touches
    [lo, hi], kinks at an end included: for a slope this is the hull of the generalized (Clarke) derivative. The result
    is cut to the hull of all turns, which is the range over the whole line: that needs turns at -inf and inf.

    Attributes:
        at: the curve at finite points between turns, outward rounded; None where the turns cover the line.
        turns: all turns, those at -inf and inf with the limits there.
    """

    at: Function | None
    turns: tuple[Turn, ...]

    def __call__(self, lo: Tensor, hi: Tensor) -> Range:
        """The range over [lo, hi], outward rounded; everything where an end is NaN.

        Raises:
            UsageError: if lo > hi somewhere.
        """
        lo, hi = check_ends(lo, hi)
        finite = bool(torch.isfinite(lo).all()) and bool(torch.isfinite(hi).all())
        turns = [Turn(*(end.to(lo.device) for end in (t.left, t.right, t.low, t.high))) for t in self.turns]
        low, high = self._ends(lo, hi, finite)
        least, most = turns[0].low, turns[0].high
        for place in turns:
            least, most = torch.minimum(least, place.low), torch.maximum(most, place.high)
            if finite and bool((place.left.abs() == math.inf).all() & (place.left == place.right).all()):
                continue  # a limit that no finite interval touches
            inside = place.touches(lo, hi)
            low = torch.minimum(low, torch.where(inside, place.low, math.inf))
            high = torch.maximum(high, torch.where(inside, place.high, -math.inf))
        if self.at is not None:
            # Where the evaluation at an end overflowed to NaN, the range over the whole line is still right.
            low = torch.where(low.isnan(), least, torch.maximum(low, least))
            high = torch.where(high.isnan(), most, torch.minimum(high, most))
        return (low, high) if finite else without_nan(lo, hi, low, high)

    def _ends(self, lo: Tensor, hi: Tensor, finite: bool) -> Range:
        """The hull of the curve at both ends; nothing from infinite ends, where the turns have the limit."""
        if self.at is None:
            return lo.new_tensor(math.inf), lo.new_tensor(-math.inf)
        if finite:
            first, last = self.at(Interval(lo, lo)), self.at(Interval(hi, hi))
            return torch.minimum(first.lo, last.lo), torch.maximum(first.hi, last.hi)
        low, high = lo.new_tensor(math.inf), lo.new_tensor(-math.inf)
        for end in (lo, hi):
            known = torch.isfinite(end)
            point = torch.where(known, end, 0.0)
            value = self.at(Interval(point, point))
            low = torch.minimum(low, torch.where(known, value.lo, math.inf))
            high = torch.maximum(high, torch.where(known, value.hi, -math.inf))
        return low, high


@dataclasses.dataclass(frozen=True)
class Wave:
    """sin(x + quarters pi/2), whose turns are endlessly many.

    Attributes:
        at: the curve at points.
        quarters: 0 for sin, 1 for cos, 2 for -sin, 3 for -cos.
    """

    at: Function
    quarters: int

    def __call__(self, lo: Tensor, hi: Tensor) -> Range:
        """The range over [lo, hi], outward rounded; [-1, 1] where an end is infinite.

        Raises:
            UsageError: if lo > hi somewhere.
        """
        lo, hi = check_ends(lo, hi)
        first, last = self.at(Interval(lo, lo)), self.at(Interval(hi, hi))
        low, high = torch.minimum(first.lo, last.lo), torch.maximum(first.hi, last.hi)
        top = _holds_multiple(lo, hi, 1 - self.quarters)
        bottom = _holds_multiple(lo, hi, 3 - self.quarters)
        endless = ~(torch.isfinite(lo) & torch.isfinite(hi))
        low, high = torch.where(bottom | endless, -1.0, low), torch.where(top | endless, 1.0, high)
        return without_nan(lo, hi, low, high)


def _holds_multiple(lo: Tensor, hi: Tensor, quarters: int) -> Bool[Tensor, "..."]:
    """Whether [lo, hi] may contain (quarters + 4 k) pi/2 for an integer k; true in doubt."""
    turn_lo, turn_hi = (end / (2 * math.pi) - quarters / 4 for end in (lo, hi))
    slack = (lo.abs() + hi.abs()) * 2.0**-50 + 2.0**-49
    return torch.ceil(turn_lo - slack) <= turn_hi + slack


def without_nan(lo: Tensor, hi: Tensor, low: Tensor, high: Tensor) -> Range:
    """The range [low, high] over [lo, hi], but every number where an end is NaN."""
    unknown = lo.isnan() | hi.isnan()
    return torch.where(unknown, -math.inf, low), torch.where(unknown, math.inf, high)


def check_ends(lo: Tensor, hi: Tensor) -> Range:
    """Both ends in float64 and of one shape.

    Raises:
        UsageError: if lo > hi somewhere.
    """
    lo, hi = torch.broadcast_tensors(lo.double(), hi.double())
    if bool((lo > hi).any()):
        raise UsageError("an interval's lower end is above its upper end")
    return lo, hi


def assemble(
    name: str,
    value: Callable[[Tensor], Tensor],
    function: Function,
    *,
    slope: Callable[[Tensor, Tensor], Range],
    turns: tuple[Turn, ...] | Wave,
    source: str = "calculus",
) -> Activation:
    """A continuous activation whose evaluation error is measured against an enclosure of the real function.

    Args:
        name: with the parameters that matter.
        value: the function in ordinary arithmetic, as torch computes it.
        function: the same as a mapping of points to enclosures.
        slope: range of its slope.
        turns: turns of the function itself, limits at infinity included; or its range, if it is a wave.
        source: where the facts come from.
    """

    def value_error(x: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        point = x.double()
        error = function(Interval(point, point)).distance(value(point))
        return torch.where(point.isnan(), math.inf, error)

    return Activation(
        name=name,
        value=value,
        value_error=value_error,
        slope_range=slope,
        value_range=turns if isinstance(turns, Wave) else Pieces(function, turns),
        source=source,
    )


def unrounded(activation: Activation) -> Activation:
    """The activation, for a `value` that only selects or compares: no evaluation error, but unknown at NaN."""

    def value_error(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return torch.zeros_like(x, dtype=torch.float64).masked_fill(x.isnan(), math.inf)

    return dataclasses.replace(activation, value_error=value_error)


def _enclose(number: Number) -> Interval:
    """An interval that holds the number."""
    if isinstance(number, Interval):
        return number
    return Interval.decimal(number) if isinstance(number, str) else Interval.exactly(number)
