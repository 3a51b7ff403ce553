"""One convolutional piece as Hermitian forms, one a frequency of its grid, with a multiplier a channel."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import assert_never

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.nn import functional

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.grid.geometry import Geometry, Place, channelwise, sorts_channels
from netgain.gain.grid.kernel import Kernel
from netgain.gain.metric.program import Block
from netgain.gain.metric.region import sector
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Node, Opaque, Sum, Vector
from netgain.vectors.extrema import GroupSort
from netgain.witness.certificate import Grid

SLACK = 1e-9
"""How far, relative, a multiplier that only has to exceed the metric behind it is set above it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """A piece on its grid.

    The last node, where it is elementwise or a pooling, needs no variable: behind it the metric is a weight a channel,
    so in front of it the best form is that weight times `absorbed`, with a multiplier known in closed form.

    Attributes:
        geometry: of the piece.
        grid: its circulant grid.
        rows: for the start, each nonlinear node and each mask: its key and the first and last + 1 of its rows.
        stride: the greatest stride in the form, one number an axis.
        absorbed: squared gain a channel of the last node, or None where it is in the form.
    """

    geometry: Geometry
    grid: Grid
    rows: dict[str, tuple[int, int]]
    stride: tuple[int, ...]
    absorbed: Float[Tensor, " channels"] | None

    @property
    def start(self) -> str:
        """The cut in front."""
        return self.geometry.region.start

    @property
    def stop(self) -> str:
        """The cut at the end."""
        return self.geometry.region.stop

    @property
    def size(self) -> int:
        """Rows of the form."""
        return max(last for _, last in self.rows.values())

    @property
    def free(self) -> tuple[tuple[str, int, int], ...]:
        """The multipliers that are variables: name, how many numbers, and how many of them, the first, are positive."""
        kinds = {node.name: node.kind for node in self.geometry.region.nodes}
        found: list[tuple[str, int, int]] = []
        for key in self.rows:
            if key == self.start:
                continue
            place = self.geometry.places[key.removeprefix("mask:")]
            kind = kinds.get(key)
            if isinstance(kind, Vector):
                found.append((key, *_multipliers(kind, place)))
            else:
                found.append((key, place.channels, place.channels))
        return tuple(found)

    @property
    def last(self) -> str:
        """The value whose form is bounded: the last node's, or its input's where the last node is absorbed."""
        node = self.geometry.region.nodes[-1]
        return node.name if self.absorbed is None else node.inputs[0]


def stage(geometry: Geometry, grid: Grid) -> Stage:
    """A piece on a grid.

    Args:
        geometry: of the piece.
        grid: a grid that has the room.

    Raises:
        NoSoundRuleError: if the slopes of an activation are not finite.
    """
    region, places = geometry.region, geometry.places
    absorbed = _absorbed(region.nodes[-1], places)
    held = [node for node in region.nodes if isinstance(node.kind, Elementwise | Vector)]
    if absorbed is not None:
        held = held[:-1]
    inner = [region.start, *(node.name for node in region.nodes if absorbed is None or node is not region.nodes[-1])]
    stride = tuple(max(steps) for steps in zip(*(places[name].stride for name in inner), strict=True))
    keys: list[tuple[str, Place]] = []
    wanted = {node.name for node in held} | {region.start}
    for name in inner:
        if name in wanted:
            keys.append((name, places[name]))
        if name in geometry.masks:
            keys.append((f"mask:{name}", places[name]))
    rows: dict[str, tuple[int, int]] = {}
    first = 0
    for key, place in keys:
        last = first + place.channels * math.prod(_aliases(place, stride))
        rows[key] = (first, last)
        first = last
    for node in held:
        if isinstance(node.kind, Elementwise):
            slopes(node)
    return Stage(geometry, grid, rows, stride, absorbed)


def slopes(node: Node) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """Least and greatest slope a channel of an elementwise node on a grid: the hull with 0, which holds outside.

    Args:
        node: a node of kind Elementwise.

    Raises:
        NoSoundRuleError: if a slope is unbounded.
    """
    centre, radius = (part.reshape(node.shape[0], -1) for part in sector(node))
    low, high = (centre - radius).amin(1).clamp_max(0.0), (centre + radius).amax(1).clamp_min(0.0)
    if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
        raise NoSoundRuleError(f"{node.source}: the slope is unbounded")
    return low, high


def closing(node: Node, metric: Float[Tensor, " channels"]) -> Tensor:
    """The best multiplier of an absorbed last node for the metric behind it.

    With slopes c +- r the form in front is c^2 d + c^2 d^2 / (t - d) + r^2 t, least at t = d (1 + |c| / r), where it
    is (|c| + r)^2 d.

    Args:
        node: the last node.
        metric: the weights behind it.
    """
    if not isinstance(node.kind, Elementwise):
        return metric * (1 + SLACK)
    low, high = slopes(node)
    ratio = torch.where(high > low, (high + low).abs() / (high - low), 0.0)
    return metric * (1 + ratio.clamp_min(SLACK))


def _absorbed(node: Node, places: Mapping[str, Place]) -> Float[Tensor, " channels"] | None:
    """The squared gain a channel of a last node that needs no variable."""
    if isinstance(node.kind, Elementwise):
        low, high = slopes(node)
        return torch.maximum(low.abs(), high.abs()).square()
    if isinstance(node.kind, Vector) and channelwise(node.kind.function):
        gain = node.kind.function.gain(Norm.L2)
        return torch.full((places[node.name].channels,), gain**2, dtype=torch.float64)
    return None


def _multipliers(kind: Vector, place: Place) -> tuple[int, int]:
    """How many numbers the multiplier of a vector function has, and how many of them are positive."""
    if isinstance(kind.function, GroupSort) and sorts_channels(kind.function):
        groups = place.channels // kind.function.group_size
        return 2 * groups, groups
    count = place.channels if channelwise(kind.function) else 1
    return count, count


def _aliases(place: Place, stride: tuple[int, ...]) -> tuple[int, ...]:
    """How many coupled frequencies a value has an axis."""
    return tuple(most // own for most, own in zip(stride, place.stride, strict=True))


def frequencies(found: Stage) -> tuple[Int[Tensor, "points axes"], Float[Tensor, " points"]]:
    """The frequencies of the coarsest grid in the form, one of each conjugate pair, and how often each counts.

    Args:
        found: the stage.
    """
    coarse = tuple(n // s for n, s in zip(found.grid.sizes, found.stride, strict=True))
    points = torch.cartesian_prod(*(torch.arange(n) for n in coarse)).reshape(-1, len(coarse))
    weights = torch.ones(points.shape[0], dtype=torch.float64)
    if any(shift not in (0.0, 0.5) for shift in found.grid.shifts):
        return points, weights
    moved = torch.tensor([int(2 * shift) for shift in found.grid.shifts])
    mirror = (-points - moved) % torch.tensor(coarse)
    place = torch.tensor([math.prod(coarse[axis + 1 :]) for axis in range(len(coarse))])
    own, other = (points * place).sum(1), (mirror * place).sum(1)
    weights[own < other] = 2.0
    kept = own <= other
    return points[kept], weights[kept]


def block(
    found: Stage,
    points: Int[Tensor, "points axes"],
    weights: Float[Tensor, " points"],
    ties: Mapping[str, Int[Tensor, " numbers"]],
    ends: tuple[str, str | None],
) -> Block:
    """The forms of a stage at some frequencies.

    Args:
        found: the stage.
        points: frequencies of the coarsest grid, see `frequencies`.
        weights: how often each counts.
        ties: the variables of each key, in order; one for weights that are the same for all channels.
        ends: keys of the weights at the start ("rho" or a metric) and at the stop: a metric, or "inverse:NODE" for its
            inverse, which adds rows behind the others, or None for weight 1.
    """
    return _Builder(found, points, ties).block(weights, ends)


class _Builder:
    """Runs the increments of all values through a piece, as matrices over the rows of the form."""

    def __init__(self, found: Stage, points: Tensor, ties: Mapping[str, Tensor]):
        self.found, self.points, self.ties = found, points, ties
        self.size = found.size
        self.values: dict[str, Complex[Tensor, "points rows size"]] = {}
        self.left: list[Tensor] = []
        self.right: list[Tensor] = []
        self.tied: list[Tensor] = []

    def block(self, weights: Tensor, ends: tuple[str, str | None]) -> Block:
        """The block."""
        found = self.found
        start, place = self._unit(found.start), found.geometry.places[found.start]
        self._add(start.mH, start.mH, self._tied(place, ends[0]))
        self.values[found.start] = start
        self._mask(found.start)
        nodes = found.geometry.region.nodes
        for node in nodes if found.absorbed is None else nodes[:-1]:
            self._node(node)
        out, place = self.values[found.last], found.geometry.places[found.last]
        if found.absorbed is not None:
            out = out * self._spread(found.absorbed.sqrt(), place)[:, None]
        constant = torch.zeros(self.points.shape[0], self.size, self.size, dtype=torch.complex128)
        if ends[1] is None:
            constant = -out.mH @ out
        elif ends[1].startswith("inverse:"):
            constant = functional.pad(constant, (0, out.shape[1], 0, out.shape[1]))
            constant[:, self.size :, : self.size] = out
            constant[:, : self.size, self.size :] = out.mH
            unit = torch.eye(constant.shape[1], dtype=torch.complex128)[:, self.size :]
            unit = unit.expand(self.points.shape[0], -1, -1)
            self._pad(out.shape[1])
            self._add(unit, unit, self._tied(place, ends[1]))
        else:
            self._add(out.mH, -out.mH, self._tied(place, ends[1]))
        left, right = torch.cat(self.left, 2), torch.cat(self.right, 2)
        return Block(constant=constant, left=left, right=right, ties=torch.cat(self.tied), weights=weights)

    def _node(self, node: Node) -> None:
        """Add one node."""
        match node.kind:
            case Affine():
                place, value = self.found.geometry.places[node.inputs[0]], self._read(node)
                for kernel in self.found.geometry.chains[node.name]:
                    value = self._transfer(kernel, place) @ value
                    stride = tuple(a * b for a, b in zip(place.stride, kernel.stride, strict=True))
                    place = dataclasses.replace(place, channels=kernel.weight.shape[0], stride=stride)
                self.values[node.name] = value
            case Elementwise():
                self._sector(node.name, self.values[node.inputs[0]], slopes(node))
            case Vector():
                self._vector(node, node.kind)
            case Sum(scales=scales):
                parts = (scale * self.values[name] for scale, name in zip(scales, node.inputs, strict=True))
                self.values[node.name] = torch.stack(list(parts)).sum(0)
            case Concat():
                self.values[node.name] = torch.cat([self.values[name] for name in node.inputs], 1)
            case Bilinear() | Opaque():
                raise NoSoundRuleError(f"{node.source} has no factor")
            case _:
                assert_never(node.kind)
        self._mask(node.name)

    def _read(self, node: Node) -> Tensor:
        """What an affine node reads: the masked value where there is a mask and a kernel with neighbours."""
        name = node.inputs[0]
        first = self.found.geometry.chains[node.name][0]
        masked = name in self.found.geometry.masks and not (first.local and first.inside)
        return self.values[f"mask:{name}"] if masked else self.values[name]

    def _mask(self, name: str) -> None:
        """Add the mask of a value, if it has one."""
        if name in self.found.geometry.masks:
            channels = self.found.geometry.places[name].channels
            self._sector(f"mask:{name}", self.values[name], (torch.zeros(channels), torch.ones(channels)))

    def _sector(self, key: str, before: Tensor, ends: tuple[Tensor, Tensor]) -> None:
        """Add the entries behind an elementwise node or mask."""
        place = self.found.geometry.places[key.removeprefix("mask:")]
        unit = self._unit(key)
        low, high = (self._spread(end.double(), place)[:, None] for end in ends)
        self._add((unit - low * before).mH, (unit - high * before).mH, self._tied(place, key))
        self.values[key] = unit

    def _vector(self, node: Node, kind: Vector) -> None:
        """Add the entries behind a function with a gain, or behind sorted groups."""
        before, after = self.values[node.inputs[0]], self._unit(node.name)
        self.values[node.name] = after
        places = [self.found.geometry.places[name] for name in (node.inputs[0], node.name)]
        if isinstance(kind.function, GroupSort) and sorts_channels(kind.function):
            size = kind.function.group_size
            groups = places[0].channels // size
            count = before.shape[1] // groups
            tied = torch.arange(groups).repeat_interleave(count)
            first, second = self.ties[node.name].unflatten(0, (2, groups))
            sums = [part.unflatten(1, (groups, size, -1)).sum(2).flatten(1, 2) for part in (before, after)]
            parts = ((before, after, first[tied]), (*sums, second[tied[::size]]))
        else:
            gain = kind.function.gain(Norm.L2)
            for sign, scale, value, place in ((-1, gain, before, places[0]), (1, 1.0, after, places[1])):
                self._add(scale * value.mH, sign * scale * value.mH, self._tied(place, node.name))
            return
        for old, new, tied in parts:
            self._add(old.mH, -old.mH, tied)
            self._add(new.mH, new.mH, tied)

    def _unit(self, key: str) -> Tensor:
        """The rows of a key as a matrix over all rows."""
        first, last = self.found.rows[key]
        eye = torch.eye(self.size, dtype=torch.complex128)[first:last]
        return eye.expand(self.points.shape[0], -1, -1)

    def _spread(self, values: Tensor, place: Place) -> Tensor:
        """One number a row from one a channel."""
        return values.repeat_interleave(math.prod(_aliases(place, self.found.stride)))

    def _tied(self, place: Place, key: str) -> Tensor:
        """The variable of each row of a value with one number a channel, or one in all."""
        return self._spread(self.ties[key].expand(place.channels), place)

    def _pad(self, rows: int) -> None:
        """Lengthen the terms so far by rows of zeros."""
        self.left = [functional.pad(part, (0, 0, 0, rows)) for part in self.left]
        self.right = [functional.pad(part, (0, 0, 0, rows)) for part in self.right]

    def _add(self, left: Tensor, right: Tensor, tied: Tensor) -> None:
        """Add terms."""
        self.left.append(left)
        self.right.append(right)
        self.tied.append(tied)

    def _transfer(self, kernel: Kernel, place: Place) -> Complex[Tensor, "points out in"]:
        """A kernel between the coupled frequencies of its input and those of its output, in the unitary transform."""
        stride, grid = self.found.stride, self.found.grid
        counts = _aliases(place, stride)
        fewer = tuple(a // s for a, s in zip(counts, kernel.stride, strict=True))
        shifts = list(itertools.product(*(range(count) for count in counts)))
        coarse = torch.tensor([n // s for n, s in zip(grid.sizes, stride, strict=True)])
        own = torch.tensor([n // s for n, s in zip(grid.sizes, place.stride, strict=True)], dtype=torch.float64)
        index = self.points[:, None] + torch.tensor(shifts) * coarse
        turns = (index + torch.tensor(grid.shifts, dtype=torch.float64)) / own
        symbol = kernel.symbol(turns.flatten(0, 1)).unflatten(0, index.shape[:2]) / math.sqrt(math.prod(kernel.stride))
        out, width = kernel.weight.shape[:2]
        full = symbol.new_zeros(index.shape[0], out, math.prod(fewer), width, len(shifts))
        for column, shift in enumerate(shifts):
            row = 0
            for at, count in zip(shift, fewer, strict=True):
                row = row * count + at % count
            full[:, :, row, :, column] = symbol[:, column]
        return full.flatten(3, 4).flatten(1, 2)
