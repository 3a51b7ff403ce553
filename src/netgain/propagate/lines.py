"""Lines below and above an activation on an interval: the step of a linear relaxation."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.activations.base import Activation
from netgain.core.interval import Interval
from netgain.core.rounding import tensor_down, tensor_up
from netgain.propagate.envelope import Envelope, envelopes

Slopes = tuple[Tensor, Tensor]

# A smooth activation is treated in parts of at most so many entries.
_CHUNK = 1 << 18
# Steps of the search for the best slope; each is exact on the points, so few are needed.
_STEPS = 8


@dataclasses.dataclass(frozen=True)
class Lines:
    """lower_slope x + lower_offset <= phi(x) <= upper_slope x + upper_offset for all x of an interval, entry by entry.

    Slopes are exact float64 numbers, any finite ones; offsets are rounded outwards, infinite where nothing is known.

    Attributes:
        lower_slope: of the line below.
        lower_offset: of the line below.
        upper_slope: of the line above.
        upper_offset: of the line above.
    """

    lower_slope: Float[Tensor, "*shape"]
    lower_offset: Float[Tensor, "*shape"]
    upper_slope: Float[Tensor, "*shape"]
    upper_offset: Float[Tensor, "*shape"]


def lines(activation: Activation, x: Interval, slopes: Slopes | None = None) -> Lines:
    """Lines below and above an activation.

    Guarantee:
        As in `Lines`, rounding included, whatever the slopes.

    Args:
        activation: phi.
        x: the interval of each entry, of shape (batch, *shape); ends may be infinite.
        slopes: slopes of the line below and of the line above, of shape (batch, *shape), or (batch, k, *shape) for k
            lines an entry, 1 allowed for each axis; None to choose them, so that each line is as near to the function
            as it can be at the middle of its interval.

    Returns:
        The lines, of shape (batch, *shape) or (batch, k, *shape).

    Cost:
        For a broken line with n knots 2 (n + 2) products an entry; for others about 15 evaluations of value and slope.
    """
    if activation.knots is not None or x.lo.numel() <= _CHUNK:
        return _lines(activation, x, slopes)
    rows = max(1, _CHUNK * len(x.lo) // x.lo.numel())
    parts: list[Lines] = []
    for start in range(0, len(x.lo), rows):
        part = slice(start, start + rows)
        some = None if slopes is None else tuple(one if len(one) == 1 else one[part] for one in slopes)
        box = Interval(x.lo[part], x.hi[part])
        parts.append(_lines(activation, box, None if some is None else (some[0], some[1])))
    names = [field.name for field in dataclasses.fields(Lines)]
    return Lines(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _lines(activation: Activation, x: Interval, slopes: Slopes | None) -> Lines:
    """The lines of some entries."""
    if slopes is None:
        below, above = envelopes(activation, x)
        chosen = _chosen(activation, x, below, above)
        lower, upper = (_better(envelope, slope) for envelope, slope in ((below, -chosen[0]), (above, chosen[1])))
        return Lines(-lower[0], -lower[1], *upper)
    else:
        extra = slopes[0].dim() - x.lo.dim()
        box = Interval(x.lo.unsqueeze(1), x.hi.unsqueeze(1)) if extra else x
        below, above = envelopes(activation, box)
        shape = torch.broadcast_shapes(slopes[0].shape, slopes[1].shape, box.lo.shape)
        chosen = (slopes[0].expand(shape), slopes[1].expand(shape))
    return Lines(chosen[0], -below.offset(-chosen[0]), chosen[1], above.offset(chosen[1]))


def _chosen(activation: Activation, x: Interval, below: Envelope, above: Envelope) -> Slopes:
    """Slopes of the lines that are best at the middle of each box."""
    low, high = below.points[0], below.points[-1]
    middle = low / 2 + high / 2
    if activation.knots is not None and len(activation.knots) == 1:
        closed = _one_knot(activation, activation.knots[0], below, middle)
        if closed is not None:
            return closed
    at_middle = activation.value(middle)
    steep = [end.expand_as(low) for end in activation.slope_range(middle, middle)]
    # Of the slopes at a kink the flattest.
    tangent = steep[0].clamp_min(0.0) + steep[1].clamp_max(0.0)
    least, greatest = (end.expand_as(low) for end in activation.slope_range(x.lo, x.hi))
    lower = -_supporting(below, middle, -at_middle, -tangent)
    upper = _supporting(above, middle, at_middle, tangent)
    known: list[Tensor] = []
    for slope, tails, sign in ((lower, below.tails, -1.0), (upper, above.tails, 1.0)):
        one = torch.minimum(torch.maximum(slope, least), greatest).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        for tail in tails:
            one = sign * tail.bend(sign * one)
        known.append(one)
    return known[0], known[1]


def _one_knot(activation: Activation, knot: Tensor, below: Envelope, middle: Tensor) -> Slopes | None:
    """The same for a broken line with one knot: its chord and its piece at the middle; None where neither is finite."""
    if below.tails or not bool(knot.isfinite().all()):
        return None
    far = torch.full_like(knot, torch.inf)
    left, right = activation.slope_range(-far, tensor_down(knot))[0], activation.slope_range(tensor_up(knot), far)[0]
    low, high = below.points[0], below.points[-1]
    chord = (below.values[0] - below.values[-1]) / (high - low)
    chord = torch.where(high <= knot, left, torch.where(low >= knot, right, chord))
    kink = torch.minimum(torch.maximum(left, torch.zeros_like(left)), right)
    tangent = torch.where(middle < knot, left, torch.where(middle > knot, right, kink))
    convex = right >= left
    return torch.where(convex, tangent, chord), torch.where(convex, chord, tangent)


def _better(envelope: Envelope, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and offset of a line, or of the constant one where that is lower at the middle of the box."""
    offset = envelope.offset(slope)
    if envelope.top is None:
        return slope, offset
    flat = envelope.offset(torch.zeros_like(slope))
    middle = envelope.points[0] / 2 + envelope.points[-1] / 2
    worse = ~(offset + slope * middle <= flat)
    return torch.where(worse, 0.0, slope), torch.where(worse, flat, offset)


def _supporting(envelope: Envelope, middle: Tensor, at_middle: Tensor, tangent: Tensor) -> Tensor:
    """The slope of the line above the points that is lowest at the middle, in ordinary arithmetic.

    It is the tangent where the middle lies on the concave hull of the points, else the slope of the hull's edge there.
    The edge is found by replacing one end by the point farthest above its line until there is none.
    """
    points = torch.stack([*torch.broadcast_tensors(*envelope.points)])
    values = torch.stack([*torch.broadcast_tensors(*envelope.values)])
    chords = (values - at_middle) / (points - middle)
    right = torch.where(points > middle, chords, -torch.inf).amax(0)
    left = torch.where(points < middle, chords, torch.inf).amin(0)
    touches = right <= left
    touching = torch.minimum(torch.maximum(tangent, right), left)
    first, last = [points[0], values[0]], [points[-1], values[-1]]
    slope = (last[1] - first[1]) / (last[0] - first[0])
    for _ in range(0 if len(points) == 2 else _STEPS):
        far = (values - slope * points).argmax(0, keepdim=True)
        point, value = points.gather(0, far)[0], values.gather(0, far)[0]
        before = point < middle
        first = [torch.where(before, point, first[0]), torch.where(before, value, first[1])]
        last = [torch.where(before, last[0], point), torch.where(before, last[1], value)]
        better = (last[1] - first[1]) / (last[0] - first[0])
        if bool(((better == slope) | touches | better.isnan()).all()):
            break
        slope = better
    return torch.where(touches, touching, slope)
