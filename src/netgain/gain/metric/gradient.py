"""Derivatives of a sweep's log factor by the logarithms of its multipliers, by one forward pass.

By the envelope theorem the derivative of the largest eigenvalue by a multiplier is the value of the multiplier's own
constraint at the worst-case increments: (b z - y)(y - a z) for an elementwise entry, g^2 ||z||^2 - ||y||^2 for a gain.
"""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm
from netgain.gain.metric.sweep import Seal, Swept, grouped
from netgain.network.graph import Elementwise, Node, Vector


@dataclasses.dataclass(frozen=True, eq=False)
class Slopes:
    """How a sweep's log factor depends on the logarithms of its multipliers.

    Attributes:
        by: derivatives, (batch, entries) for each node with multipliers (sorting: (batch, 2, groups)).
        size: the two sides of each constraint added up instead of subtracted, halved: never below half of |by|, and
            about the second derivative; for the scale of steps.
    """

    by: dict[str, Tensor]
    size: dict[str, Tensor]


def slopes(swept: Swept, sharpness: float = math.inf) -> Slopes:
    """d log_factor / d log T.

    Args:
        swept: a feasible sweep.
        sharpness: of `Swept.smooth`; infinite for the largest eigenvalue alone, where it is a subgradient.

    Cost:
        A few products of matrices and vectors a node and eigenvector.
    """
    region = swept.prepared.region
    seals = {seal.name: seal for seal in swept.seals}
    current = seals[region.start]
    weights = _weights(current, sharpness)
    live: dict[str, Tensor] = {region.start: current.top.vectors}
    sides: dict[str, tuple[Tensor, Tensor]] = {}
    for node in region.nodes:
        inputs = [live[name] for name in node.inputs if name in live]
        if len(inputs) < len(node.inputs):
            continue
        if node.name in seals:
            inner = _sealed(swept, node, inputs[0], (current, weights))
            current = seals[node.name]
            weights = _weights(current, sharpness)
            live = {node.name: current.top.vectors}
            sides[node.name] = inner, _own(swept, node, live[node.name], (current, weights))
        elif node.name in swept.responses:
            live[node.name] = swept.responses[node.name](live)
            sides[node.name] = _sides(swept, node, (inputs[0], live[node.name]), (current, weights))
        else:
            batch, many = inputs[0].shape[:2]
            image = swept.prepared.image(node, [x.reshape(batch * many, -1) for x in inputs])
            live[node.name] = image.reshape(batch, many, -1)
    by = {name: inner - outer for name, (inner, outer) in sides.items()}
    return Slopes(by, {name: (inner + outer) / 2 for name, (inner, outer) in sides.items()})


def _weights(seal: Seal, sharpness: float) -> Float[Tensor, "batch many"]:
    """How much each eigenpair counts, divided by its eigenvalue."""
    values = seal.top.values
    if math.isinf(sharpness):
        share = torch.zeros_like(values)
        share[:, 0] = 1.0
    else:
        logs = values.log()
        share = torch.softmax(sharpness * (logs - logs[:, :1]), 1)
    return torch.where(share > 0, share / values, torch.zeros_like(share))


def _sides(
    swept: Swept, node: Node, increments: tuple[Tensor, Tensor], at: tuple[Seal, Float[Tensor, "batch many"]]
) -> tuple[Tensor, Tensor]:
    """T times both sides of the constraint at the increments (z, y), summed over eigenpairs."""
    seal, weights = at
    exponent = swept.responses[node.name].exponent
    # In the units of the form at the node: neither squares nor multipliers leave the range of float64.
    z, y = (x * torch.exp2(exponent - seal.exponent).reshape(-1, 1, 1) for x in increments)
    logs = swept.logs[node.name]
    scale = (logs - 2 * math.log(2.0) * exponent.reshape(-1, *(1,) * (logs.dim() - 1))).exp()
    if isinstance(node.kind, Elementwise):
        sector = swept.prepared.sectors[node.name]
        inner, outer = (sector.radius * z).square(), (y - sector.centre * z).square()
    else:
        inner, outer = _gain(node) ** 2 * _squares(swept, node, z), _squares(swept, node, y)
    return scale * torch.einsum("bk,bk...->b...", weights, inner), scale * torch.einsum(
        "bk,bk...->b...", weights, outer
    )


def _sealed(swept: Swept, node: Node, z: Tensor, at: tuple[Seal, Float[Tensor, "batch many"]]) -> Tensor:
    """How the seal in front depends on a sealed node's T."""
    seal, weights = at
    z = z * torch.exp2(-seal.exponent).reshape(-1, 1, 1)
    if isinstance(node.kind, Elementwise):
        z = z * swept.prepared.sectors[node.name].radius
    squares = _gain(node) ** 2 * _squares(swept, node, z)
    return swept.logs[node.name].exp() * torch.einsum("bk,bk...->b...", weights, squares)


def _own(swept: Swept, node: Node, y: Tensor, at: tuple[Seal, Float[Tensor, "batch many"]]) -> Tensor:
    """How a sealed node's own scale depends on its T: the eigenvectors have length 1 in T."""
    seal, weights = at
    squares = _squares(swept, node, y)
    return swept.logs[node.name].exp() * torch.einsum("bk,bk...->b...", weights * seal.top.values, squares)


def _gain(node: Node) -> float:
    """The gain of a vector node."""
    return node.kind.function.gain(Norm.L2) if isinstance(node.kind, Vector) else 1.0


def _squares(swept: Swept, node: Node, x: Float[Tensor, "batch many entries"]) -> Float[Tensor, "batch many ..."]:
    """What T's numbers multiply: each square, the square norm, or those of deviations and means of each group."""
    if isinstance(node.kind, Elementwise):
        return x.square()
    groups = swept.prepared.groups.get(node.name)
    if groups is None:
        return x.square().sum(2).reshape(*x.shape[:2], 1, 1)
    deviations, means = grouped(x, groups)
    return torch.stack([deviations.square().sum(3), means.square().squeeze(3) * groups.shape[1]], 2)
