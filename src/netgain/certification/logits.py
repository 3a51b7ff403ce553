"""The part of a classifier that decides: its output up to a last activation that keeps the order of the scores."""

import dataclasses
import math

from netgain.core.errors import UsageError
from netgain.network.graph import Affine, Elementwise, Network, Vector
from netgain.vectors.softmax import LogSoftmax, Softmax

_INCREASING = ("sigmoid", "tanh", "log_sigmoid", "softplus", "identity")


def logits(network: Network) -> tuple[Network, str]:
    """The network up to its logits: trailing softmax, log-softmax and strictly increasing activations cut off.

    These keep which score is largest, so a decision proved before them is proved after them. A single score is decided
    by its threshold: 0, or the usual 1/2 behind a sigmoid. Of its activations tanh keeps the threshold 0, and the last
    sigmoid turns 1/2 into 0; what stands before that sigmoid is decided at 0 and keeps its own sigmoids.

    Args:
        network: a classifier with one vector of scores, or a single score.

    Returns:
        The shortened network, and what was cut ("" if nothing).

    Raises:
        UsageError: if there is no vector of scores to decide by.
    """
    cut: list[str] = []
    by_name = {node.name: node for node in network.nodes}
    output = network.output
    while output in by_name:
        node = by_name[output]
        match node.kind:
            case Vector(function=Softmax() | LogSoftmax() as function) if _over_all(node.shape, function.axis):
                cut.append(function.name)
            case Elementwise(activation=activation) if _keeps_decision(activation.name, node.shape, bool(cut)):
                cut.append(activation.name)
            case Affine(map=linear_map, bias=None) if linear_map.moves and _same_order(linear_map.in_shape, node.shape):
                pass
            case _:
                break
        output = node.inputs[0]
    if not cut:
        output = network.output
    short = prefix(network, output)
    if math.prod(short.output_shape) < 1:
        raise UsageError("certification needs a vector of class scores; this network has an empty output")
    return short, ", ".join(cut)


def prefix(network: Network, output: str) -> Network:
    """The network that ends at `output`, without nodes that it does not need."""
    needed, kept = {output}, []
    for node in reversed(network.nodes):
        if node.name in needed:
            kept.append(node)
            needed.update(node.inputs)
    return dataclasses.replace(network, nodes=tuple(reversed(kept)), output=output)


def _over_all(shape: tuple[int, ...], axis: int) -> bool:
    """Whether a softmax over `axis` runs over all scores, of which there are several (that of one is constant)."""
    return math.prod(shape) == shape[axis] > 1


def _keeps_decision(name: str, shape: tuple[int, ...], inner: bool) -> bool:
    """Whether an activation is strictly increasing, with the usual threshold for a single score.

    `inner`: another one was cut behind it, so that the threshold of a single score is 0 here.
    """
    plain = name.partition("(")[0]
    if math.prod(shape) > 1:
        return plain in _INCREASING
    return plain in {"tanh", "identity"} or (plain == "sigmoid" and not inner)


def _same_order(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether a pure reshape lies between the shapes: only axes of length one come or go."""
    return [n for n in before if n != 1] == [n for n in after if n != 1]
