"""Where the values of a convolutional piece live on a circulant grid, and which of them need a mask.

Increments of all values of a piece are continued to a circulant grid of N points an axis (N/s behind strides of product
s). Three conditions make the continuation true on the points that exist, see `Geometry`.
"""

import dataclasses
import math
from typing import assert_never

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.grid.kernel import Kernel, kernels
from netgain.gain.metric.region import Region
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Node, Opaque, Sum, Vector
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.extrema import GroupSort
from netgain.vectors.pool import AdaptiveMaxPool, MaxPool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where the value of a node lives.

    Attributes:
        channels: number of channels.
        sizes: points an axis that exist.
        stride: steps of the piece's start between neighbouring points, one number an axis.
        zero: whether the continuation is zero where no point exists.
    """

    channels: int
    sizes: tuple[int, ...]
    stride: tuple[int, ...]
    zero: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
    """The places of a piece's values and what they ask of the grid.

    Attributes:
        region: the piece.
        places: of the start and of each node.
        chains: the kernels of each affine node, first applied first.
        masks: nodes (or the start) whose value is masked for kernels that read outside the points that exist.
        step: N must be a multiple of it, one number an axis.
        least: and not below that.
    """

    region: Region
    places: dict[str, Place]
    chains: dict[str, tuple[Kernel, ...]]
    masks: frozenset[str]
    step: tuple[int, ...]
    least: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The smallest grid."""
        return tuple(step * math.ceil(least / step) for step, least in zip(self.step, self.least, strict=True))

    @property
    def stride(self) -> tuple[int, ...]:
        """The greatest stride of a value that a form holds: its square (in two axes) frequencies are coupled."""
        return self.step


def geometry(region: Region) -> Geometry:
    """The geometry of a piece.

    Args:
        region: the piece.

    Raises:
        NoSoundRuleError: if a node of it does not act on a grid.
    """
    return _Survey(region).result()


class _Survey:
    """Walks through a piece and collects its geometry."""

    def __init__(self, region: Region):
        shape = region.network.shapes()[region.start]
        if len(shape) < 2:
            raise NoSoundRuleError(f"{region.start} of shape {shape} has no grid")
        ones = (1,) * (len(shape) - 1)
        self.region = region
        self.places = {region.start: Place(channels=shape[0], sizes=shape[1:], stride=ones, zero=True)}
        self.chains: dict[str, tuple[Kernel, ...]] = {}
        self.masks: set[str] = set()
        self.step, self.least = ones, shape[1:]

    def result(self) -> Geometry:
        """Add all nodes."""
        for node in self.region.nodes:
            self.places[node.name] = self._place(node)
        masks = frozenset(self.masks)
        return Geometry(self.region, self.places, self.chains, masks, self.step, self.least)

    def _place(self, node: Node) -> Place:
        """The place of one node's value."""
        match node.kind:
            case Affine():
                return self._affine(node)
            case Elementwise():
                return dataclasses.replace(self.places[node.inputs[0]], zero=True)
            case Vector(function=function):
                return self._vector(node, function)
            case Sum():
                return self._joined(node)
            case Concat(axis=axis):
                if axis != 0:
                    raise NoSoundRuleError(f"{node.source} joins along the grid")
                channels = sum(self.places[name].channels for name in node.inputs)
                return dataclasses.replace(self._joined(node), channels=channels)
            case Bilinear() | Opaque():
                raise NoSoundRuleError(f"{node.source} has no factor")
            case _:
                assert_never(node.kind)

    def _joined(self, node: Node) -> Place:
        """The common place of a node's inputs."""
        places = [self.places[name] for name in node.inputs]
        first = places[0]
        if any((place.sizes, place.stride) != (first.sizes, first.stride) for place in places):
            raise NoSoundRuleError(f"{node.source} joins values of different grids")
        return dataclasses.replace(first, zero=all(place.zero for place in places))

    def _affine(self, node: Node) -> Place:
        """The place behind the kernels of an affine node."""
        parts = kernels(node.kind.map) if isinstance(node.kind, Affine) else None
        if parts is None:
            raise NoSoundRuleError(f"{node.source} does not act on a grid by kernels")
        self.chains[node.name] = parts
        place = self.places[node.inputs[0]]
        for position, kernel in enumerate(parts):
            if not (place.zero or kernel.inside):
                if position > 0:
                    raise NoSoundRuleError(f"{node.source} reads behind the border of a value within it")
                self.masks.add(node.inputs[0])
            self._room(place, kernel.room, kernel.stride)
            place = Place(
                channels=kernel.weight.shape[0],
                sizes=kernel.out_sizes,
                stride=tuple(a * b for a, b in zip(place.stride, kernel.stride, strict=True)),
                zero=place.zero and kernel.local,
            )
        return place

    def _vector(self, node: Node, function: AbstractVectorFunction) -> Place:
        """The place behind a function of which only its gain is used, or behind sorted groups of channels."""
        place = self.places[node.inputs[0]]
        if not math.isfinite(function.gain(Norm.L2)):
            raise NoSoundRuleError(f"{node.source}: {function.name} has no global Lipschitz constant")
        axes = len(place.sizes)
        match function:
            case MaxPool() if len(function.kernel) == axes:
                stride = function.stride
            case AdaptiveMaxPool() if len(function.output_size) == axes:
                stride = tuple(n // m for n, m in zip(place.sizes, function.output_size, strict=True))
                if any(n % m for n, m in zip(place.sizes, function.output_size, strict=True)):
                    raise NoSoundRuleError(f"{node.source}: windows of {function.name} differ in size")
            case _ if function.in_shape[1:] == function.out_shape[1:] and not channelwise(function):
                stride = (1,) * axes
            case _:
                raise NoSoundRuleError(f"{node.source}: {function.name} does not act on a grid")
        sizes = function.out_shape[1:]
        room = tuple(max(n, s * m) for n, s, m in zip(place.sizes, stride, sizes, strict=True))
        self._room(place, room, stride)
        stride = tuple(a * b for a, b in zip(place.stride, stride, strict=True))
        return Place(channels=function.out_shape[0], sizes=sizes, stride=stride, zero=True)

    def _room(self, place: Place, room: tuple[int, ...], stride: tuple[int, ...]) -> None:
        """Ask for a grid of so many points at a place's resolution, divisible by the stride."""
        self.least = tuple(max(n, r * s) for n, r, s in zip(self.least, room, place.stride, strict=True))
        self.step = tuple(math.lcm(n, s * more) for n, s, more in zip(self.step, place.stride, stride, strict=True))


def channelwise(function: AbstractVectorFunction) -> bool:
    """Whether a function treats each channel of a grid on its own, so that its multiplier may differ by channel.

    Args:
        function: a function that `geometry` accepts.
    """
    return isinstance(function, MaxPool | AdaptiveMaxPool)


def sorts_channels(function: AbstractVectorFunction) -> bool:
    """Whether a function sorts channels in groups, point by point.

    Args:
        function: a function that `geometry` accepts.
    """
    return isinstance(function, GroupSort) and function.axis == 0
