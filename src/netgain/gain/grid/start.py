"""A strictly feasible point of a program of stacked forms: closed-form multipliers, last node first."""

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.gain.metric.program import Block, assembled


@dataclasses.dataclass(frozen=True)
class Layer:
    """The variables of one key in a block.

    Attributes:
        first: its first row in the form.
        last: one behind its last row.
        equal: its variables that are set to one positive number.
        free: those that are set to 0.
    """

    first: int
    last: int
    equal: Int[Tensor, " equal"]
    free: Int[Tensor, " free"]


def feasible_start(
    block: Block, layers: tuple[Layer, ...], x: Float[Tensor, " variables"], margin: float = 1.5
) -> None:
    """Set the variables of a block, given those of the metric behind it, so that it is positive definite.

    From the last layer to the first: the form Q over the rows left; multipliers 2 lambda_max(Q_JJ) over the batch for
    the layer's rows J, more for units with small weights, whose multipliers cost little (else the barrier's centre
    would be far away); the rows are then eliminated. At the start `margin` lambda_max.

    No guarantee.

    Args:
        block: the forms.
        layers: in the order of the rows, the start first.
        x: all variables; those of the layers are set.
        margin: of the metric at the start over the least that is feasible.

    Source:
        The rule for chains is Xu and Sivaranjani (2024), ECLipsE, the fast variant.
    """
    for layer in layers:
        x[layer.equal] = 0.0
        x[layer.free] = 0.0
    form = assembled(block, x)
    for layer in reversed(layers):
        rows = slice(layer.first, layer.last)
        top = float(torch.linalg.eigvalsh(-form[:, rows, rows]).max())
        scale = float(form.abs().max())
        least = max(top, 1e-9 * scale, 1e-300)
        if layer is layers[0]:
            x[layer.equal] = margin * least
            return
        mine = torch.isin(block.ties, layer.equal).nonzero().squeeze(1)
        incoming = (block.right[:, : layer.first, mine] - block.left[:, : layer.first, mine]).abs().square()
        x[layer.equal] = 2.0 * least * lifted(incoming.sum(1).mean(0), block.ties[mine], layer.equal)
        half = (block.left[:, :, mine] * x[block.ties[mine]]) @ block.right[:, :, mine].mH
        form = form[:, : layer.last, : layer.last] + ((half + half.mH) / 2)[:, : layer.last, : layer.last]
        own, side = form[:, rows, rows], form[:, : layer.first, rows]
        form = form[:, : layer.first, : layer.first] - side @ torch.linalg.solve(own, side.mH)


def lifted(
    sizes: Float[Tensor, " terms"], ties: Int[Tensor, " terms"], variables: Int[Tensor, " some"]
) -> Float[Tensor, " some"]:
    """By how much to raise variables whose terms are small: up to the median size, at most a million times.

    Args:
        sizes: of the terms.
        ties: the variable of each term.
        variables: which.
    """
    total = torch.stack([sizes[ties == k].sum() for k in variables])
    middle = total.median().clamp_min(1e-300)
    return (middle / total.clamp_min(1e-6 * float(middle))).clamp_min(1.0)
