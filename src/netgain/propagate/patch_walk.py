"""Backward linear relaxation of single entries of a node, on the windows that they read."""

import dataclasses

import torch
from jaxtyping import Bool
from torch import Tensor

from netgain.core.interval import Interval
from netgain.core.rounding import check_arithmetic, tensor_down, tensor_up
from netgain.linear.convolution import Conv
from netgain.network.graph import Affine, Concat, Elementwise, Network, Node, Sum
from netgain.propagate.apriori import Ends, Stage, Step, Vectors, certain
from netgain.propagate.magnitude import inflate
from netgain.propagate.patch_maps import adjoint
from netgain.propagate.patches import Entries, Patches
from netgain.propagate.ranges import Ranges
from netgain.propagate.region import Region

# Coefficients of one piece of work: few enough to stay in a cache.
_PIECE = 1 << 20


@torch.no_grad()
def entry_bounds(ranges: Ranges, node: str, chosen: Bool[Tensor, "batch *shape"]) -> Interval:
    """Boxes of some entries of a node by backward linear relaxation, each entry on the window that it reads.

    Guarantee:
        At each input of the region where all values lie in the boxes of `ranges`, the entries lie in the result.

    Args:
        ranges: the region, and boxes for all nodes.
        node: name of the node.
        chosen: which entries; the others keep their box.

    Returns:
        The boxes, never wider than those given.

    Cost:
        For each chosen entry as much as two transposed evaluations of the network on the window that the entry reads.
        Memory is bounded.
    """
    check_arithmetic()
    box = ranges.boxes[node]
    low, high = box.lo.clone(), box.hi.clone()
    axes = grid_axes(ranges.network, node)
    entries = Entries.where(chosen, axes)
    if not len(entries):
        return box
    widest = max(size for _, size in _sizes(ranges, node, axes))
    for piece in entries.chunks(2 * widest, _PIECE):
        found = _both(ranges, piece.patches(), node)
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
    for name, size in _sizes(ranges, node, grid_axes(network, node)):
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


def _both(ranges: Ranges, rows: Patches, node: str) -> Interval:
    """Bounds of rows . value(node) on both sides."""
    walk = _Walk(ranges)
    walk(dataclasses.replace(rows, values=torch.cat([rows.values, -rows.values], 1)), node)
    low, high = walk.total.chunk(2, 1)
    return Interval(low, -high)


def _sizes(ranges: Ranges, node: str, axes: int) -> list[tuple[str, int]]:
    """How many numbers one row takes at each node on its way, seen from the middle of the grid."""
    shape = ranges.boxes[node].lo.shape[1:]
    grid = shape[len(shape) - axes :]
    corner = torch.tensor([[size // 2 for size in grid]], dtype=torch.int64).reshape(1, axes)
    values = torch.zeros(1, 0, shape[: len(shape) - axes].numel(), *[1] * axes, dtype=torch.float64)
    walk = _Walk(ranges)
    walk(Patches(values, corner, torch.zeros(1, dtype=torch.int64), tuple(shape)), node)
    return walk.passed


@dataclasses.dataclass
class _Walk:
    """One walk backwards: the coefficients of the values not yet passed, and the constant, as in `backward`.

    Attributes:
        ranges: the region and boxes.
        total: the constant.
        open: coefficients by node name.
        passed: the nodes passed and the numbers that a row took there.
    """

    ranges: Ranges
    total: Tensor = dataclasses.field(init=False)
    open: dict[str, Patches] = dataclasses.field(init=False, default_factory=dict)
    passed: list[tuple[str, int]] = dataclasses.field(init=False, default_factory=list)

    def __call__(self, rows: Patches, node: str) -> None:
        """Carry rows of the node's value to the input."""
        network = self.ranges.network
        self.total = rows.values.new_zeros(rows.values.shape[:2])
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
        apriori = self.ranges.apriori
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
                self._add(node.inputs[0], self._relaxed(a, apriori.step(node, node.kind)))
            case Sum(scales=scales):
                self._rounded(node.name, a)
                for scale, name in zip(scales, node.inputs, strict=True):
                    self._add(name, a if scale == 1.0 else dataclasses.replace(a, values=a.values * scale))
            case Concat(axis=axis):
                self._split(node, axis, a)
            case _:
                self._ends(apriori.box(node.name), a.clean())

    def _relaxed(self, a: Patches, step: Step) -> Patches:
        """Positive coefficients take the line below, negative ones the line above."""
        self._ends(step.ends, a)
        flat = a.values.flatten(2)
        below, above = a.gathered(step.lower).unsqueeze(1), a.gathered(step.upper).unsqueeze(1)
        flat = flat * torch.where(flat > 0, below, above)
        return dataclasses.replace(a, values=flat.reshape(a.values.shape), inside=True)

    def _split(self, node: Node, axis: int, a: Patches) -> None:
        """Coefficients of joined values."""
        shapes = [tuple(self.ranges.boxes[name].lo.shape[1:]) for name in node.inputs]
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
        """The least value over the region: at its centre, less the support function of what lies in the window."""
        a, region = a.clean(), self.ranges.region
        self._ends(self.ranges.apriori.ends(self.ranges.network.input, region.centre, region.centre), a)
        centre = a.gathered(region.centre)
        if region.boxed:
            low, high = a.gathered(region.low), a.gathered(region.high)
        else:
            low, high = torch.full_like(centre, -torch.inf), torch.full_like(centre, torch.inf)
        part = Region(centre, region.norm, region.radius[a.image], low, high)
        flat = a.values.flatten(2)
        self._less(-part.greatest(-flat))

    def _ends(self, ends: Ends, a: Patches) -> None:
        """Each coefficient meets the better end. Entries outside the grid meet zeros."""
        flat = a.values.flatten(2)
        low, high = a.gathered(ends.low.finite), a.gathered(ends.high.finite)
        least = torch.bmm(flat.clamp_min(0.0), low.unsqueeze(2)).squeeze(2)
        least = least + torch.bmm(flat.clamp_max(0.0), high.unsqueeze(2)).squeeze(2)
        least = certain(least - self._of_images(ends.floor, a))
        for one in (ends.low, ends.high):
            if one.infinite is not None:
                unknown = ~(torch.bmm((flat != 0).double(), a.gathered(one.infinite).unsqueeze(2)).squeeze(2) == 0)
                least = torch.where(unknown, -torch.inf, least)
        self._less(least)

    def _error(self, a: Patches, stage: Stage) -> None:
        """The rounding of one transposed product is subtracted."""
        if stage.weight is not None:
            self._lost(a, stage.weight, stage.floor)

    def _rounded(self, name: str, a: Patches) -> None:
        """The rounding that made coefficients is subtracted."""
        apriori = self.ranges.apriori
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
        self._less(-tensor_up(size + self._of_images(floor, a)))

    def _of_images(self, x: Tensor, a: Patches) -> Tensor:
        """One number an image, for each group."""
        return (x.expand(len(a.image)) if len(x) == 1 else x[a.image]).unsqueeze(1)

    def _less(self, change: Tensor) -> None:
        """The constant after a change, rounded down."""
        self.total = tensor_down(self.total + change)

    def _add(self, name: str, a: Patches) -> None:
        """Coefficients are added to those of a value."""
        if (before := self.open.get(name)) is None:
            self.open[name] = a
            return
        self._rounded(name, before)
        self._rounded(name, a)
        self.open[name] = before + a
