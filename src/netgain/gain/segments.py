"""Chains of a network along which diagonal scales can be moved from one affine map to the next."""

import dataclasses

import torch
from torch import Tensor

from netgain.gain.recursion import ancestors
from netgain.gain.scaling import Partition, by_axes, input_partition, join, kept_axes, output_partition, scalable
from netgain.network.graph import Affine, Elementwise, Network, Node, Vector
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.pool import AdaptiveMaxPool, MaxPool


@dataclasses.dataclass(frozen=True)
class Gap:
    """What lies between two neighbouring scalable maps of a chain.

    Attributes:
        between: the nodes there, all of which a scale constant on `partition` passes.
        partition: the finest scales on the first map's outputs that both maps and all nodes between admit.
    """

    between: tuple[Node, ...]
    partition: Partition

    def behind(self, scale: Tensor) -> Tensor:
        """The scale in front of the second map that goes with one behind the first.

        Args:
            scale: positive, constant on the partition, of the first map's output shape.
        """
        for node in self.between:
            scale = _moved(node, scale)
        return scale


@dataclasses.dataclass(frozen=True)
class Segment:
    """Scalable affine nodes A_1, ..., A_m in a chain without other readers, with the gaps between them.

    Attributes:
        maps: the affine nodes, at least two.
        gaps: one fewer.
    """

    maps: tuple[Node, ...]
    gaps: tuple[Gap, ...]


def segments(network: Network) -> tuple[Segment, ...]:
    """The longest segments of a network; those of a single map are left out.

    Args:
        network: the network.
    """
    nodes = ancestors(network)
    followers = _single_followers(network, nodes)
    used: set[str] = set()
    found: list[Segment] = []
    for node in nodes:
        if node.name in used or not _is_scalable(node):
            continue
        maps, gaps = [node], list[Gap]()
        while (step := _next(maps[-1], followers)) is not None:
            gap, following = step
            maps.append(following)
            gaps.append(gap)
        used.update(one.name for one in maps)
        if gaps:
            found.append(Segment(tuple(maps), tuple(gaps)))
    return tuple(found)


def _single_followers(network: Network, nodes: tuple[Node, ...]) -> dict[str, Node]:
    """For each node read by one node, once, and not the output: that reader."""
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return {name: used[0] for name, used in readers.items() if len(used) == 1 and name != network.output}


def _next(node: Node, followers: dict[str, Node]) -> tuple[Gap, Node] | None:
    """The next scalable map of a chain and the gap before it, if scales can pass."""
    between: list[Node] = []
    current = followers.get(node.name)
    while current is not None and not _is_scalable(current):
        if not _passes(current):
            return None
        between.append(current)
        current = followers.get(current.name)
    if current is None or not isinstance(current.kind, Affine) or not isinstance(node.kind, Affine):
        return None
    partition = input_partition(current.kind.map)
    for one in reversed(between):
        partition = _pulled(one, partition)
    return Gap(tuple(between), join(partition, output_partition(node.kind.map))), current


def _is_scalable(node: Node) -> bool:
    """Whether the node is an affine map with a rescaling rule."""
    return isinstance(node.kind, Affine) and scalable(node.kind.map)


def _channelwise(function: AbstractVectorFunction) -> tuple[int, ...] | None:
    """The leading axes along which a pooling acts separately, None for other functions."""
    if isinstance(function, MaxPool):
        spatial = len(function.kernel)
    elif isinstance(function, AdaptiveMaxPool):
        spatial = len(function.output_size)
    else:
        return None
    return tuple(range(len(function.in_shape) - spatial))


def _acts_along(node: Node) -> tuple[int, ...] | None:
    """The axes along which a node between two maps acts entry by entry; scales constant along the others pass it."""
    match node.kind:
        case Elementwise():
            return tuple(range(len(node.shape)))
        case Vector(function=function):
            return _channelwise(function)
        case Affine(map=linear_map):
            return kept_axes(linear_map)
        case _:
            return None


def _passes(node: Node) -> bool:
    """Whether some scales pass the node."""
    return _acts_along(node) is not None


def _in_shape(node: Node) -> tuple[int, ...]:
    """Shape of the input of a node that scales pass."""
    match node.kind:
        case Vector(function=function):
            return function.in_shape
        case Affine(map=linear_map):
            return linear_map.in_shape
        case _:
            return node.shape


def _pulled(node: Node, partition: Partition) -> Partition:
    """The finest partition in front of a node whose scales become scales constant on `partition` behind it."""
    axes, shape = _acts_along(node) or (), _in_shape(node)
    if len(axes) == len(shape):
        return partition
    coarse = join(partition, by_axes(node.shape, axes))
    return _corner(coarse, axes).expand(shape).clone()


def _moved(node: Node, scale: Tensor) -> Tensor:
    """The scale behind a node that goes with one in front of it."""
    axes = _acts_along(node) or ()
    return scale if len(axes) == len(node.shape) else _corner(scale, axes).expand(node.shape).clone()


def _corner(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The entries at position 0 along all axes but `axes`; those hold everything where x is constant along the rest."""
    for axis in range(x.dim()):
        if axis not in axes:
            x = torch.narrow(x, axis, 0, 1)
    return x
