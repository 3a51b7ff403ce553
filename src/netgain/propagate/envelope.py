"""How far a line of a given slope must be moved to lie above or below an activation on an interval.

The box [l, u] of an entry is cut at finite points p_0 <= ... <= p_n. On a piece [p, q] where the slopes of phi lie in
[a, b], the function g(x) = phi(x) - s x stays below the two lines through its ends,

    g(x) <= g(p) + max(b - s, 0) (x - p)  and  g(x) <= g(q) + max(s - a, 0) (q - x),

so below the greater of the first at t and the second at t, for any t between p and q; t is chosen where they meet. For
a smooth phi this exceeds the maximum of g by O((b - a) (q - p)) = O(1/n^2). Where slopes are infinite (a jump, a root
at 0) the greatest value on the piece is used instead. A broken line is affine between its knots: the ends are enough.
"""

import dataclasses
import sys

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.activations.base import Activation
from netgain.core.interval import Interval
from netgain.core.rounding import tensor_down, tensor_up

# Where smooth activations are cut: parts of the box, and places around 0 where most of them bend.
_PARTS = (2.0**-6, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1 - 2.0**-6)
_BENDS = (-3.0, -1.0, 0.0, 1.0, 3.0)
# An infinite end is replaced by a finite one beyond the other end, the knots, and this.
_FAR = 16.0
_LARGEST = sys.float_info.max
_SMALL = 2.0**-1000


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """What is known of phi between two points.

    Attributes:
        left: the place of the left point.
        right: the place of the right point.
        start: an upper bound of phi at the left point.
        stop: an upper bound of phi at the right point.
        least: least slope of phi in between.
        greatest: greatest slope.
        top: an upper bound of phi in between; None where every slope is finite.
    """

    left: Tensor
    right: Tensor
    start: Tensor
    stop: Tensor
    least: Tensor
    greatest: Tensor
    top: Tensor | None


@dataclasses.dataclass(frozen=True, eq=False)
class Tail:
    """What is known of phi between an infinite end of a box and the outermost point.

    Attributes:
        at: the outermost point.
        value: an upper bound of phi there.
        steep: the slope that a line needs for phi to fall away from it: at most this at -inf, at least this at inf.
        top: an upper bound of phi on the tail.
        sign: -1 at -inf, 1 at inf.
        where: the entries whose end is infinite.
    """

    at: Tensor
    value: Tensor
    steep: Tensor
    top: Tensor
    sign: float
    where: Tensor

    def least(self, slope: Tensor) -> Tensor:
        """An upper bound of phi(x) - slope x on the tail; -inf where there is none."""
        away = self.sign * (slope - self.steep) >= 0
        falling = self.sign * slope >= 0
        known = torch.where(falling, difference_up(self.top, slope, self.at), torch.inf)
        bound = torch.where(away, difference_up(self.value, slope, self.at), known)
        return torch.where(self.where, bound, -torch.inf)

    def bend(self, slope: Tensor) -> Tensor:
        """The slope, moved just so far that the line stays above phi on the tail, if any does."""
        far = self.sign * self.steep
        # Where phi is bounded, slope 0 is enough.
        enough = torch.where(self.top < torch.inf, far.clamp_max(0.0), far).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        return torch.where(self.where, self.sign * torch.maximum(self.sign * slope, enough), slope)


@dataclasses.dataclass(frozen=True, eq=False)
class Envelope:
    """What is known of phi on boxes, seen from above, so that the offset of a line of any slope can be proved.

    For lines below, this is the envelope of -phi.

    Attributes:
        points: finite points of each box in increasing order, its finite ends among them.
        values: upper bounds of phi there.
        pieces: between the points, where phi is not affine; none for a broken line.
        tails: at infinite ends; none where all are finite.
        top: an upper bound of phi on the box; None for a broken line.
    """

    points: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    pieces: tuple[Piece, ...]
    tails: tuple[Tail, ...]
    top: Tensor | None

    def offset(self, slope: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The least number known to be at least phi(x) - slope x on the box, rounded up; infinite where unknown.

        Args:
            slope: exact float64 numbers that broadcast against the boxes.
        """
        total = _greatest(self.points, self.values, slope)
        for piece in self.pieces:
            total = torch.maximum(total, _crest(piece, slope))
        if self.top is not None:
            total = torch.fmin(total, _at_most(self.top, slope, self.points[0], self.points[-1]))
        for tail in self.tails:
            total = torch.maximum(total, tail.least(slope))
        return total.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)

    def roughly(self, slope: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The greatest of phi(x) - slope x over the points, in ordinary arithmetic, differentiable in the slope.

        No guarantee: it may be below `offset` by rounding and by what a smooth phi does between the points.
        """
        total = self.values[0] - slope * self.points[0]
        for point, value in zip(self.points[1:], self.values[1:], strict=True):
            total = torch.maximum(total, value - slope * point)
        return total


def _greatest(points: tuple[Tensor, ...], values: tuple[Tensor, ...], slope: Tensor) -> Tensor:
    """The greatest of value - slope * point over some points, rounded up, as `difference_up` but in few operations."""
    simple = (slope == 0) | (slope.abs() == 1)
    total: Tensor | None = None
    for point, value in zip(points, values, strict=True):
        product = slope * point
        one = value - torch.where(simple, product, tensor_down(product))
        total = one if total is None else torch.maximum(total, one)
    if total is None:
        return torch.full_like(slope, -torch.inf)
    total = torch.where((total == 0) | (slope == 0), total, tensor_up(total))
    # Subnormal numbers are slow.
    return torch.where(total > 0, total.clamp_min(_SMALL), total)


def difference_up(value: Tensor, slope: Tensor, point: Tensor) -> Tensor:
    """value - slope * point, rounded up, and exact where no rounding happens for simple reasons."""
    product = slope * point
    simple = (slope == 0) | (slope.abs() == 1) | (point == 0)
    product = torch.where(simple, product, tensor_down(product))
    result = value - product
    # A difference that comes out as 0 is 0: float64 has subnormal numbers.
    return torch.where((product == 0) | (value == 0) | (result == 0), result, tensor_up(result))


def _crest(piece: Piece, slope: Tensor) -> Tensor:
    """An upper bound of phi(x) - slope x on a piece."""
    start = difference_up(piece.start, slope, piece.left)
    stop = difference_up(piece.stop, slope, piece.right)
    rise = torch.where(piece.greatest <= slope, 0.0, tensor_up(piece.greatest - slope))
    fall = torch.where(piece.least >= slope, 0.0, tensor_up(slope - piece.least))
    width = piece.right - piece.left
    meet = piece.left + (stop - start + fall * width) / (rise + fall)
    meet = torch.minimum(torch.maximum(meet.nan_to_num(nan=0.0), piece.left), piece.right)
    meet = torch.where(fall == torch.inf, piece.right, meet)
    meet = torch.where(rise == torch.inf, piece.left, meet)
    crest = torch.maximum(_climb(start, rise, piece.left, meet), _climb(stop, fall, meet, piece.right))
    if piece.top is None:
        return crest
    return torch.fmin(crest, _at_most(piece.top, slope, piece.left, piece.right))


def _at_most(top: Tensor, slope: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """An upper bound of phi(x) - slope x where phi is at most `top`."""
    return torch.maximum(difference_up(top, slope, left), difference_up(top, slope, right))


def _climb(height: Tensor, steep: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """height + steep (right - left) for a steepness >= 0, rounded up."""
    flat = (steep == 0) | (left == right)
    return torch.where(flat, height, tensor_up(height + tensor_up(steep * tensor_up(right - left))))


def envelopes(activation: Activation, x: Interval) -> tuple[Envelope, Envelope]:
    """The envelopes of -phi and of phi: for lines below and above.

    Args:
        activation: phi.
        x: boxes; ends may be infinite.
    """
    low, high = _finite_ends(activation, x)
    points = _points(activation, low, high)
    bounds = [_values(activation, point) for point in points]
    pieces: list[tuple[Piece, Piece]] = []
    if activation.knots is None:
        for k in range(len(points) - 1):
            if not bool((points[k] == points[k + 1]).all()):
                pieces.append(_piece(activation, points[k : k + 2], bounds[k : k + 2]))
    tails: list[tuple[Tail, Tail]] = []
    for end, near, sign in ((x.lo, low, -1.0), (x.hi, high, 1.0)):
        if not bool(end.isfinite().all()):
            tails.append(_tail(activation, end, near, sign))
    tops: list[Tensor | None] = [None, None]
    if activation.knots is None:
        least, most = activation.value_range(low, high)
        tops = [-least, most]
    values = (tuple(-one.lo for one in bounds), tuple(one.hi for one in bounds))
    below, above = (
        Envelope(points, values[k], tuple(p[k] for p in pieces), tuple(t[k] for t in tails), tops[k]) for k in (0, 1)
    )
    return below, above


def _finite_ends(activation: Activation, x: Interval) -> tuple[Tensor, Tensor]:
    """Both ends, infinite ones replaced by finite ones with all knots inside."""
    if bool(x.lo.isfinite().all() & x.hi.isfinite().all()):
        return x.lo, x.hi
    reach = _FAR
    for knot in activation.knots or ():
        reach = max([reach, *(2 * knot[knot.isfinite()].abs()).tolist()])
    # A box at infinity is widened to hold the largest number.
    low, high = x.lo.clamp_max(_LARGEST), x.hi.clamp_min(-_LARGEST)
    high = torch.where(high == torch.inf, (2 * low).clamp(reach, _LARGEST), high)
    return torch.where(low == -torch.inf, (2 * high).clamp(-_LARGEST, -reach), low), high


def _points(activation: Activation, low: Tensor, high: Tensor) -> tuple[Tensor, ...]:
    """The ends, and between them the knots, or for a smooth activation the cuts, in increasing order."""

    def inside(point: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(point, low), high)

    if activation.knots is not None:
        return (low, *(inside(knot.to(low.device)) for knot in activation.knots), high)
    cuts = [inside(low * (1 - part) + high * part) for part in _PARTS]
    cuts += [inside(low.new_tensor(bend)) for bend in _BENDS]
    return (low, *torch.stack(cuts).sort(0).values.unbind(0), high)


def _values(activation: Activation, point: Tensor) -> Interval:
    """An enclosure of phi at points."""
    value = activation.value(point)
    error = activation.value_error(point).expand_as(value)
    exact = error == 0
    low = torch.where(exact, value, tensor_down(value - error))
    high = torch.where(exact, value, tensor_up(value + error))
    known = Interval(
        low.nan_to_num(nan=-torch.inf, neginf=-torch.inf), high.nan_to_num(nan=torch.inf, posinf=torch.inf)
    )
    if bool((error < torch.inf).all()):
        return known
    least, most = activation.value_range(point, point)
    return Interval(torch.maximum(known.lo, least), torch.minimum(known.hi, most))


def _piece(activation: Activation, ends: tuple[Tensor, ...], bounds: list[Interval]) -> tuple[Piece, Piece]:
    """One piece, of -phi and of phi."""
    (left, right), (start, stop) = ends, bounds
    least, greatest = activation.slope_range(left, right)
    top: tuple[Tensor | None, Tensor | None] = (None, None)
    if not bool(least.isfinite().all() & greatest.isfinite().all()):
        low, high = activation.value_range(left, right)
        top = (-low, high)
    below = Piece(left, right, -start.lo, -stop.lo, -greatest, -least, top[0])
    return below, Piece(left, right, start.hi, stop.hi, least, greatest, top[1])


def _tail(activation: Activation, end: Tensor, near: Tensor, sign: float) -> tuple[Tail, Tail]:
    """One tail, of -phi and of phi; entries with a finite end have none."""
    infinite = end == sign * torch.inf
    ends = (near, torch.where(infinite, end, near)) if sign > 0 else (torch.where(infinite, end, near), near)
    least, greatest = activation.slope_range(*ends)
    low, high = activation.value_range(*ends)
    value = _values(activation, near)
    below = Tail(near, -value.lo, -(least if sign > 0 else greatest), -low, sign, infinite)
    above = Tail(near, value.hi, greatest if sign > 0 else least, high, sign, infinite)
    return below, above
