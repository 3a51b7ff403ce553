"""From multipliers a channel to multipliers an entry: one dense piece over the whole network."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.gain.recursion import ancestors
from netgain.network.graph import Elementwise, Network, Node, Vector
from netgain.vectors.extrema import GroupSort
from netgain.witness.certificate import Piece, Proof


def whole(network: Network, pieces: Sequence[Piece]) -> Piece:
    """One dense piece with the multipliers of all pieces, each number repeated over the pixels of its channel.

    The form behind a cut is at most the cut's weights, and a form on the true grid at most that on a circulant one, so
    what is feasible in the pieces is feasible here, and the factor is at most the product of theirs. Masks have no
    place here. A pooling has one number in a dense piece, the largest of its channels: all multipliers in front are
    raised by the ratio to the smallest, so there the factor may grow.

    No guarantee: the checker proves the piece.

    Args:
        network: the folded network.
        pieces: of it, as the convolutional method returns them.

    Raises:
        NoSoundRuleError: if a node has no multiplier, inside a piece of which only the gain is used.
    """
    given: dict[str, Tensor] = {}
    for piece in pieces:
        given |= {name: value for name, value in piece.multipliers.items() if not name.startswith("mask:")}
    spread: dict[str, Tensor] = {}
    raised = 1.0
    for node in reversed(ancestors(network)):
        if not isinstance(node.kind, Elementwise | Vector):
            continue
        if node.name not in given:
            raise NoSoundRuleError(f"{node.source} has no multiplier: only its gain was used")
        numbers = given[node.name]
        spread[node.name] = raised * _spread(node, numbers)
        if isinstance(node.kind, Vector) and numbers.dim() == 1:
            raised *= float(numbers.max() / numbers.min())
    one = torch.ones(1, dtype=torch.float64)
    return Piece(start=network.input, stop=network.output, proof=Proof.DENSE, metric=one, multipliers=spread)


def _spread(node: Node, numbers: Tensor) -> Tensor:
    """The multiplier of a node in a dense piece."""
    if isinstance(node.kind, Vector):
        if numbers.dim() == 1:
            return numbers.max().reshape(1)
        function = node.kind.function
        if isinstance(function, GroupSort) and numbers.shape[1] > 1:  # one group after another, pixel by pixel
            groups = function.in_shape[function.axis] // function.group_size
            return numbers.repeat(1, math.prod(node.shape) // (groups * function.group_size))
        return numbers
    entries = math.prod(node.shape)
    if numbers.numel() in (1, entries):
        return numbers
    return numbers.repeat_interleave(entries // numbers.numel())
