"""The part of a network between two cut nodes, as the search of multipliers sees it."""

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.gain.recursion import ancestors
from netgain.network.graph import Elementwise, Network, Node, Vector
from netgain.vectors.extrema import GroupSort, Sort


@dataclasses.dataclass(frozen=True)
class Region:
    """The nodes behind `start` up to and including `stop`.

    Attributes:
        network: the folded network.
        start: name of the node in front, or the network's input.
        stop: name of the last node.
        nodes: in order, `start` not included.
    """

    network: Network
    start: str
    stop: str
    nodes: tuple[Node, ...]


def region(network: Network, start: str, stop: str) -> Region:
    """The nodes between two cut nodes.

    Args:
        network: the folded network.
        start: the node in front, or the network's input.
        stop: the last node.

    Raises:
        NoSoundRuleError: if something in between reads a value from in front of `start`.
    """
    needed = {stop}
    kept: list[Node] = []
    for node in reversed(network.nodes):
        if node.name in needed and node.name != start:
            needed.update(node.inputs)
            kept.append(node)
    if network.input in needed and start != network.input:
        raise NoSoundRuleError(f"{start} does not cut the network in front of {stop}")
    return Region(network, start, stop, tuple(reversed(kept)))


def cuts(network: Network) -> tuple[str, ...]:
    """All cut nodes in order, from the network's input to its output: every path from input to output meets them."""
    nodes = ancestors(network)
    last = {network.input: -1}
    for position, node in enumerate(nodes):
        for name in node.inputs:
            last[name] = position
    found = [network.input]
    reach = last[network.input]
    for position, node in enumerate(nodes):
        if reach <= position:  # nothing computed before this node is read behind it
            found.append(node.name)
        reach = max(reach, last.get(node.name, position))
    return tuple(found)


def sector(node: Node) -> tuple[Float[Tensor, " size"], Float[Tensor, " size"]]:
    """Centre c and radius r of the slopes of an elementwise node, one an entry: every difference quotient is in c +- r.

    Args:
        node: a node of kind Elementwise.

    Raises:
        TypeError: if it is of another kind.
    """
    if not isinstance(node.kind, Elementwise):
        raise TypeError(f"{node.name} is not elementwise")
    line = torch.full(node.shape, torch.inf, dtype=torch.float64)
    low, high = node.kind.activation.slope_range(-line, line)
    low, high = (end.expand(node.shape).reshape(-1) for end in (low, high))
    return (low + high) / 2, (high - low) / 2


def sorted_groups(node: Node) -> Int[Tensor, "groups size"] | None:
    """The flat entries that a sorting node sorts among themselves, one group a row; None for other nodes.

    Args:
        node: any node.
    """
    if not isinstance(node.kind, Vector) or not isinstance(node.kind.function, Sort | GroupSort):
        return None
    function = node.kind.function
    size = function.group_size if isinstance(function, GroupSort) else function.in_shape[function.axis]
    entries = torch.arange(math.prod(function.in_shape)).reshape(function.in_shape)
    return entries.movedim(function.axis, -1).reshape(-1, size)


def expanded(numbers: Float[Tensor, "*batch numbers"], shape: tuple[int, ...]) -> Float[Tensor, "*batch entries"]:
    """One number, one a channel (first axis) or one an entry as one an entry.

    Args:
        numbers: multipliers or weights of a metric.
        shape: of the value that they belong to.
    """
    return numbers.repeat_interleave(math.prod(shape) // numbers.shape[-1], dim=-1)
