"""Backward linear relaxation: proved lower bounds of linear functions of one value over a region.

A linear function a . v of the value of the last node is replaced, node by node towards the input, by linear functions
of earlier values that are nowhere above it on the region; at the input its minimum over the region is known. The
coefficients are computed in float64 and taken as they are; what the rounding can do is subtracted from the constant.
"""

import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import DataMismatchError, UsageError
from netgain.core.interval import Interval
from netgain.core.rounding import check_arithmetic, tensor_down, tensor_up
from netgain.network.graph import Affine, Concat, Elementwise, Node, Sum
from netgain.propagate.apriori import Stage, Vectors, certain
from netgain.propagate.lines import Slopes
from netgain.propagate.magnitude import inflate
from netgain.propagate.ranges import Ranges

# Coefficients of one piece of work, at most so many numbers (apart from one function a row of the region).
_PIECE = 1 << 22


@torch.no_grad()
def lower_bounds(
    ranges: Ranges,
    rows: Float[Tensor, "any k *shape"],
    node: str,
    *,
    offsets: Float[Tensor, "batch k"] | None = None,
    slopes: Mapping[str, Slopes] | None = None,
    multipliers: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "batch k"]:
    """Lower bounds of rows . value(node) + offsets over each region.

    Guarantee:
        At each input of the region where all values lie in the boxes of `ranges`, the function of the real-number
        network is at least the bound, rounding and the uncertainty of weights included. No bound is NaN.

    Args:
        ranges: the region, and boxes for all nodes.
        rows: exact float64 coefficients; one leading row if they are the same for all regions.
        node: name of the node (or the input) whose value they multiply.
        offsets: exact constants; None for zero.
        slopes: by the name of an elementwise node: slopes of the line below and of the line above, of shape
            (batch, k or 1, *shape). Nodes that are not named use the slopes that `lines` chooses.
        multipliers: by node name: m of shape (batch, k or 1, *shape) with m z >= 0 for each z in the node's box; m . z
            is subtracted from the function, which only lowers it.

    Returns:
        The bounds, -inf where nothing is known.

    Raises:
        UsageError: if a multiplier does not have the sign of its box.
        DataMismatchError: if shapes do not fit.

    Cost:
        One transposed evaluation of the network for each function, in pieces of bounded memory.
    """
    check_arithmetic()
    _check(ranges, rows, node, multipliers or {})
    count = rows.shape[1]
    widest = max(ranges.boxes[name].lo[0].numel() for name in ranges.boxes)
    step = max(1, _PIECE // (max(1, len(ranges)) * widest))
    parts: list[Tensor] = []
    for start in range(0, count, step):
        piece = slice(start, min(start + step, count))
        lines = {name: (_piece(low, piece), _piece(up, piece)) for name, (low, up) in (slopes or {}).items()}
        less = {name: _piece(m, piece) for name, m in (multipliers or {}).items()}
        total = _Walk(ranges, lines, less)(rows[:, piece], node)
        if offsets is not None:
            total = tensor_down(total + offsets[:, piece])
        # An overflow may leave +inf or NaN: nothing is known then.
        parts.append(torch.where(total < torch.inf, total, -torch.inf))
    return torch.cat(parts, 1) if parts else rows.new_zeros(len(ranges), 0)


def bounds(
    ranges: Ranges, rows: Float[Tensor, "any k *shape"], node: str, *, slopes: Mapping[str, Slopes] | None = None
) -> Interval:
    """Lower and upper bounds of rows . value(node) over each region.

    Guarantee: as `lower_bounds`, on both sides.

    Args:
        ranges: as there.
        rows: as there.
        node: as there.
        slopes: as there, for 2 k functions: the rows, then their negatives; or one for all.
    """
    both = lower_bounds(ranges, torch.cat([rows, -rows], 1), node, slopes=slopes)
    low, high = both.chunk(2, 1)
    return Interval(low, -high)


def _check(ranges: Ranges, rows: Tensor, node: str, multipliers: Mapping[str, Tensor]) -> None:
    """Refuse what does not fit, and multipliers of the wrong sign."""
    if node not in ranges.boxes:
        raise UsageError(f"no node of the network is called {node}")
    box = ranges.boxes[node].lo
    if rows.dim() != box.dim() + 1 or rows.shape[2:] != box.shape[1:] or rows.shape[0] not in {1, len(box)}:
        wanted = f"({len(box)}, functions, {', '.join(map(str, box.shape[1:]))})"
        raise DataMismatchError(f"coefficients of shape {tuple(rows.shape)} given, {node} takes {wanted}")
    for name, m in multipliers.items():
        low, high = ranges.boxes[name].lo.unsqueeze(1), ranges.boxes[name].hi.unsqueeze(1)
        fits = (m == 0) | ((m > 0) & (low >= 0)) | ((m < 0) & (high <= 0))
        if not bool(fits.all()):
            raise UsageError(f"a multiplier of {name} is negative somewhere in the box of its value")


def _piece(x: Tensor, piece: slice) -> Tensor:
    """The part of slopes or multipliers that belongs to some functions."""
    return x if x.shape[1] == 1 else x[:, piece]


@dataclasses.dataclass
class _Walk:
    """One walk backwards: the coefficients of the values not yet passed, and the constant."""

    ranges: Ranges
    slopes: Mapping[str, Slopes]
    multipliers: Mapping[str, Tensor]
    total: Tensor = dataclasses.field(init=False)
    open: dict[str, Tensor] = dataclasses.field(init=False, default_factory=dict)

    def __call__(self, rows: Tensor, node: str) -> Tensor:
        """The bounds."""
        network = self.ranges.network
        self.total = rows.new_zeros(len(self.ranges), rows.shape[1])
        self.open[node] = rows
        for one in reversed(network.nodes):
            if (a := self._taken(one.name)) is not None:
                self._pass(one, a)
        if (a := self._taken(network.input)) is not None:
            self._end(a)
        return self.total

    def _taken(self, name: str) -> Tensor | None:
        """The coefficients of a value, complete once all its readers have been passed, less its multiplier."""
        if (m := self.multipliers.get(name)) is not None:
            self._add(name, -m)
        return self.open.pop(name, None)

    def _pass(self, node: Node, a: Tensor) -> None:
        """Coefficients of a node's value become coefficients of its inputs."""
        known = self.ranges.apriori
        match node.kind:
            case Affine():
                self._less(known.constant(node, node.kind).least(*_parts(a)))
                for stage in known.stages(node, node.kind):
                    a = self._through(stage, a)
                self._add(node.inputs[0], a)
            case Elementwise():
                self._relaxed(node, node.kind, a)
            case Sum(scales=scales):
                self._rounded(node.name, a)
                for scale, name in zip(scales, node.inputs, strict=True):
                    self._add(name, a if scale == 1.0 else a * scale)
            case Concat(axis=axis):
                sizes = [self.ranges.boxes[name].lo.shape[axis + 1] for name in node.inputs]
                for name, part in zip(node.inputs, a.split(sizes, axis + 2), strict=True):
                    self._add(name, part)
            case _:
                self._less(known.box(node.name).least(*_parts(a)))

    def _through(self, stage: Stage, a: Tensor) -> Tensor:
        """A^T a, its rounding subtracted."""
        if stage.weight is not None:
            self._error(a.abs(), stage.weight, stage.floor)
        return stage.map.adjoint(a.flatten(0, 1)).unflatten(0, a.shape[:2])

    def _relaxed(self, node: Node, kind: Elementwise, a: Tensor) -> None:
        """Positive coefficients take the line below, negative ones the line above."""
        known = self.ranges.apriori
        positive, negative = _parts(a)
        if (chosen := self.slopes.get(node.name)) is None:
            step = known.step(node, kind)
            lower, upper = step.lower.unsqueeze(1), step.upper.unsqueeze(1)
            self._less(step.ends.least(positive, negative))
        else:
            (lower, upper), (low, high) = known.chosen(node, kind, chosen)
            met = torch.where(positive > 0, positive * low, 0.0) + torch.where(negative < 0, negative * high, 0.0)
            met = torch.where(a.isnan(), torch.nan, met).flatten(2).sum(2)
            lost = met - known.floor(node.name).unsqueeze(1)
            self._less(certain(lost))
        # One of the two products is zero: a single rounding an entry.
        self._add(node.inputs[0], positive * lower + negative * upper)

    def _end(self, a: Tensor) -> None:
        """The least value over the region: at its centre, less the support function."""
        region, name = self.ranges.region, self.ranges.network.input
        known = self.ranges.apriori
        self._less(known.ends(name, region.centre, region.centre).least(*_parts(a)))
        self._less(-region.greatest(-a))

    def _rounded(self, name: str, a: Tensor) -> None:
        """The rounding that made coefficients is subtracted."""
        known = self.ranges.apriori
        self._error(a.abs(), Vectors.of(known.made(name)), known.floor(name))

    def _error(self, size: Tensor, weight: Vectors, floor: Tensor) -> None:
        """|a| . weight + floor is subtracted."""
        lost = tensor_up(inflate(weight.dot(size), size[0, 0].numel()) + floor.unsqueeze(1))
        unknown = weight.unknown(size)
        self._less(-(lost if unknown is None else torch.where(unknown, torch.inf, lost)))

    def _less(self, change: Tensor) -> None:
        """The constant after a change, rounded down."""
        self.total = tensor_down(self.total + change)

    def _add(self, name: str, a: Tensor) -> None:
        """Coefficients are added to those of a value."""
        if (before := self.open.get(name)) is None:
            self.open[name] = a
            return
        self._rounded(name, before)
        self._rounded(name, a)
        self.open[name] = before + a


def _parts(a: Tensor) -> tuple[Tensor, Tensor]:
    """Positive and negative part; NaN stays NaN."""
    return a.clamp_min(0.0), a.clamp_max(0.0)
