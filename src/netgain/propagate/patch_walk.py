"""Backward linear relaxation of single entries of a node, on the windows that they read."""

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from netgain.core.interval import Interval
from netgain.core.rounding import check_arithmetic, tensor_down, tensor_up
from netgain.linear.convolution import Conv
from netgain.network.graph import Affine, Concat, Elementwise, Network, Node, Sum
from netgain.propagate.apriori import Ends, Stage, Vectors, certain
from netgain.propagate.lines import lines
from netgain.propagate.magnitude import inflate
from netgain.propagate.patch_maps import adjoint
from netgain.propagate.patches import Entries, Patches
from netgain.propagate.ranges import Ranges
from netgain.propagate.region import Region

# Coefficients of one piece of work: few enough to stay in a cache.
_PIECE = 1 << 20


@torch.no_grad()
def entry_bounds(
    ranges: Ranges, node: str, chosen: Bool[Tensor, "batch *shape"], *, parallel: bool = False
) -> Interval:
    """Boxes of some entries of a node by backward linear relaxation, each entry on the window that it reads.

    Guarantee:
        At each input of the region where all values lie in the boxes of `ranges`, the entries lie in the result.

    Args:
        ranges: the region, and boxes for all nodes.
        node: name of the node.
        chosen: which entries; the others keep their box.
        parallel: replace each activation by two parallel lines, so that one walk gives both bounds; else by the lines
            that `lines` chooses, in two walks.

    Returns:
        The boxes, never wider than those given.

    Cost:
        For each chosen entry as much as one transposed evaluation of the network on the window that the entry reads,
        and twice as much if not parallel. Memory is bounded.
    """
    check_arithmetic()
    box = ranges.boxes[node]
    low, high = box.lo.clone(), box.hi.clone()
    axes = grid_axes(ranges.network, node)
    entries = Entries.where(chosen, axes)
    if not len(entries):
        return box
    walk = _Known(ranges, parallel)
    widest = max(size for _, size in walk.sizes(node, axes))
    for piece in entries.chunks(widest * (1 if parallel else 2), _PIECE):
        found = walk(piece.patches(), node)
        piece.scatter(found.lo, low)
        piece.scatter(found.hi, high)
    # What overflowed is unknown; comparisons with NaN keep what was known.
    low = torch.where((low > box.lo) & (low < torch.inf), low, box.lo)
    high = torch.where((high < box.hi) & (high > -torch.inf), high, box.hi)
    return Interval(low, high)


def entry_work(ranges: Ranges, node: str) -> float:
    """Products that `entry_bounds` needs for one entry, about.

    Args:
        ranges: of the network.
        node: name of the node.
    """
    network = ranges.network
    total = 0.0
    for name, size in _Known(ranges, True).sizes(node, grid_axes(network, node)):
        kind = None if name == network.input else network.node(name).kind
        total += size * (kind.map.terms if isinstance(kind, Affine) else 8.0)
    return total


def grid_axes(network: Network, name: str) -> int:
    """How many trailing axes of a node are the grid of the convolution that it stems from; 0 for none.

    Args:
        network: the network.
        name: of a node, or the input.
    """
    nodes = {node.name: node for node in network.nodes}
    queue, seen = [name], {name}
    while queue:
        node = nodes.get(queue.pop(0))
        if node is None:
            continue
        if isinstance(node.kind, Affine):
            parts = getattr(node.kind.map, "maps", (node.kind.map,))
            for part in parts:
                if isinstance(part, Conv):
                    axes = len(part.kernel)
                    shape = nodes[name].shape
                    return axes if len(shape) > axes else 0
        queue += [one for one in node.inputs if one not in seen]
        seen.update(node.inputs)
    return 0


@dataclasses.dataclass
class _Known:
    """What walks from one node share: lines of the activations before it.

    Attributes:
        ranges: the region and boxes.
        parallel: whether both lines of an activation have one slope.
    """

    ranges: Ranges
    parallel: bool
    steps: dict[str, tuple[Tensor, Tensor, Ends]] = dataclasses.field(init=False, default_factory=dict)

    def __call__(self, rows: Patches, node: str) -> Interval:
        """Bounds of rows . value(node)."""
        if self.parallel:
            walk = _Walk(self)
            walk(rows, node)
            return Interval(walk.low, walk.high)
        both = dataclasses.replace(rows, values=torch.cat([rows.values, -rows.values], 1))
        walk = _Walk(self)
        walk(both, node)
        low, high = walk.low.chunk(2, 1)
        return Interval(low, -high)

    def sizes(self, node: str, axes: int) -> list[tuple[str, int]]:
        """How many numbers one row takes at each node on its way, seen from the middle of the grid."""
        shape = self.ranges.boxes[node].lo.shape[1:]
        grid = shape[len(shape) - axes :]
        corner = torch.tensor([[size // 2 for size in grid]], dtype=torch.int64).reshape(1, axes)
        values = torch.zeros(1, 0, shape[: len(shape) - axes].numel(), *[1] * axes, dtype=torch.float64)
        walk = _Walk(self)
        walk(Patches(values, corner, torch.zeros(1, dtype=torch.int64), tuple(shape)), node)
        return walk.passed

    def step(self, node: Node, kind: Elementwise) -> tuple[Tensor, Tensor, Ends]:
        """Slopes of the line below and above, and the offsets."""
        if node.name not in self.steps:
            apriori = self.ranges.apriori
            if self.parallel:
                box = self.ranges.boxes[node.inputs[0]]
                slope = chord(kind, box)
                made = lines(kind.activation, box, (slope, slope))
                ends = apriori.ends(node.name, made.lower_offset, made.upper_offset)
                self.steps[node.name] = (made.lower_slope, made.upper_slope, ends)
            else:
                step = apriori.step(node, kind)
                self.steps[node.name] = (step.lower, step.upper, step.ends)
        return self.steps[node.name]


def chord(kind: Elementwise, box: Interval) -> Float[Tensor, "batch *shape"]:
    """The slope of the chord of an activation over each interval, 0 where there is none.

    Args:
        kind: the activation.
        box: the intervals.
    """
    low, high = kind.activation.value(box.lo), kind.activation.value(box.hi)
    slope = (high - low) / (box.hi - box.lo)
    return slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).expand_as(box.lo)


@dataclasses.dataclass
class _Walk:
    """One walk backwards: the coefficients of the values not yet passed, and the constants of both bounds.

    Attributes:
        known: what walks share.
        low: constant of the lower bound.
        high: constant of the upper bound, for parallel lines.
        open: coefficients by node name.
        passed: the nodes passed and the numbers that a row took there.
    """

    known: _Known
    low: Tensor = dataclasses.field(init=False)
    high: Tensor = dataclasses.field(init=False)
    open: dict[str, Patches] = dataclasses.field(init=False, default_factory=dict)
    passed: list[tuple[str, int]] = dataclasses.field(init=False, default_factory=list)

    def __call__(self, rows: Patches, node: str) -> None:
        """Carry rows of the node's value to the input."""
        network = self.known.ranges.network
        self.low = rows.values.new_zeros(rows.values.shape[:2])
        self.high = self.low
        self.open[node] = rows
        for one in reversed(network.nodes):
            if (a := self.open.pop(one.name, None)) is not None:
                self.passed.append((one.name, a.size))
                self._pass(one, a)
        if (a := self.open.pop(network.input, None)) is not None:
            self.passed.append((network.input, a.size))
            self._end(a)

    def _pass(self, node: Node, a: Patches) -> None:
        """Coefficients of a node's value become coefficients of its inputs."""
        apriori = self.known.ranges.apriori
        match node.kind:
            case Affine():
                if node.kind.bias is None and node.kind.bias_error is None:
                    self._rounded(node.name, a)
                else:
                    a = a.clean()
                    self._ends(apriori.constant(node, node.kind), a)
                for stage in apriori.stages(node, node.kind):
                    self._error(a, stage)
                    a = adjoint(stage.map, a)
                self._add(node.inputs[0], a)
            case Elementwise():
                lower, upper, ends = self.known.step(node, node.kind)
                self._add(node.inputs[0], self._relaxed(a, lower, upper, ends))
            case Sum(scales=scales):
                self._rounded(node.name, a)
                for scale, name in zip(scales, node.inputs, strict=True):
                    self._add(name, a if scale == 1.0 else dataclasses.replace(a, values=a.values * scale))
            case Concat(axis=axis):
                self._split(node, axis, a)
            case _:
                self._ends(apriori.box(node.name), a.clean())

    def _relaxed(self, a: Patches, lower: Tensor, upper: Tensor, ends: Ends) -> Patches:
        """Positive coefficients take the line below, negative ones the line above, for the upper bound conversely."""
        self._ends(ends, a)
        flat = a.values.flatten(2)
        if self.known.parallel:
            flat = flat * a.gathered(lower).unsqueeze(1)
        else:
            below, above = a.gathered(lower).unsqueeze(1), a.gathered(upper).unsqueeze(1)
            flat = flat * torch.where(flat > 0, below, above)
        return dataclasses.replace(a, values=flat.reshape(a.values.shape), inside=True)

    def _split(self, node: Node, axis: int, a: Patches) -> None:
        """Coefficients of joined values."""
        shapes = [tuple(self.known.ranges.boxes[name].lo.shape[1:]) for name in node.inputs]
        if axis or not a.axes:
            a = a.flat()
            whole = a.values.reshape(*a.values.shape[:2], *a.shape)
        else:
            whole = a.values.unflatten(2, a.shape[: len(a.shape) - a.axes])
        for name, shape, part in zip(
            node.inputs, shapes, whole.split([s[axis] for s in shapes], axis + 2), strict=True
        ):
            lead = len(shape) - a.axes
            self._add(name, dataclasses.replace(a, values=part.flatten(2, 1 + lead), shape=shape))

    def _end(self, a: Patches) -> None:
        """The extreme values over the region: at its centre, and the support function of what lies in the window."""
        ranges, a = self.known.ranges, a.clean()
        region = ranges.region
        self._ends(ranges.apriori.ends(ranges.network.input, region.centre, region.centre), a)
        centre = a.gathered(region.centre)
        if region.boxed:
            low, high = a.gathered(region.low), a.gathered(region.high)
        else:
            low, high = torch.full_like(centre, -torch.inf), torch.full_like(centre, torch.inf)
        part = Region(centre, region.norm, region.radius[a.image], low, high)
        flat = a.values.flatten(2)
        self._less(part.greatest(-flat), part.greatest(flat) if self.known.parallel else None)

    def _ends(self, ends: Ends, a: Patches) -> None:
        """Each coefficient meets the better end, for both bounds. Entries outside the grid meet zeros."""
        flat = a.values.flatten(2)
        low, high = a.gathered(ends.low.finite), a.gathered(ends.high.finite)
        if self.known.parallel:
            # a+ low + a- high = a . middle - |a| . radius.
            middle = low / 2 + high / 2
            radius = torch.maximum(tensor_up(high - middle), tensor_up(middle - low))
            met = torch.bmm(flat, middle.unsqueeze(2)).squeeze(2)
            size = torch.bmm(flat.abs(), radius.unsqueeze(2)).squeeze(2)
            least, greatest = met - size, met + size
        else:
            least = torch.bmm(flat.clamp_min(0.0), low.unsqueeze(2)).squeeze(2)
            least = least + torch.bmm(flat.clamp_max(0.0), high.unsqueeze(2)).squeeze(2)
            greatest = least
        floor = self._of_images(ends.floor, a)
        least, greatest = certain(least - floor), -certain(-(greatest + floor))
        for one in (ends.low, ends.high):
            if one.infinite is not None:
                unknown = ~(torch.bmm((flat != 0).double(), a.gathered(one.infinite).unsqueeze(2)).squeeze(2) == 0)
                least, greatest = torch.where(unknown, -torch.inf, least), torch.where(unknown, torch.inf, greatest)
        self.low = tensor_down(self.low + least)
        if self.known.parallel:
            self.high = tensor_up(self.high + greatest)

    def _error(self, a: Patches, stage: Stage) -> None:
        """The rounding of one transposed product is subtracted."""
        if stage.weight is not None:
            self._lost(a, stage.weight, stage.floor)

    def _rounded(self, name: str, a: Patches) -> None:
        """The rounding that made coefficients is subtracted."""
        apriori = self.known.ranges.apriori
        self._lost(a, Vectors.of(apriori.made(name)), apriori.floor(name))

    def _lost(self, a: Patches, weight: Vectors, floor: Tensor) -> None:
        """||a||_1 max(weight) + floor is subtracted."""
        a = a.clean()
        if weight.infinite is None:
            most = self._of_images(weight.finite.flatten(1).amax(1), a)
        else:
            most = a.gathered(torch.where(weight.infinite > 0, torch.inf, weight.finite)).amax(1, keepdim=True)
        size = inflate(torch.linalg.vector_norm(a.values.flatten(2), 1, dim=2), a.size)
        size = torch.where(size == 0, 0.0, tensor_up(size * most))
        lost = tensor_up(size + self._of_images(floor, a))
        self._less(lost, lost)

    def _of_images(self, x: Tensor, a: Patches) -> Tensor:
        """One number an image, for each group."""
        return (x.expand(len(a.image)) if len(x) == 1 else x[a.image]).unsqueeze(1)

    def _less(self, low: Tensor, high: Tensor | None) -> None:
        """Both bounds move outwards."""
        self.low = tensor_down(self.low - low)
        if self.known.parallel and high is not None:
            self.high = tensor_up(self.high + high)

    def _add(self, name: str, a: Patches) -> None:
        """Coefficients are added to those of a value."""
        if (before := self.open.get(name)) is None:
            self.open[name] = a
            return
        self._rounded(name, before)
        self._rounded(name, a)
        self.open[name] = before + a
