"""Multipliers chosen in closed form, node by node, during a sweep."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.gain.metric.eliminate import Elimination
from netgain.gain.metric.prepared import Prepared, prepare
from netgain.gain.metric.region import Region
from netgain.gain.metric.sweep import Rule, Swept, sweep
from netgain.gain.metric.top import largest
from netgain.linear.dense import Dense
from netgain.network.graph import Affine, Elementwise, Network, Node

_LEAST = 1e-6  # of |c| / r: T must stay above the form, whose largest eigenvalue is estimated
_FLOOR = 1e-6  # of a diagonal entry over the largest one

# Multipliers of a reversed chain are for a squared gain larger by this part.
_ABOVE = 1e-7


def scalar_rule(prepared: Prepared, gains: Mapping[str, float], power: float = 0.0) -> Rule:
    """T_i = d_i lambda_max(d^-1/2 Q d^-1/2) (1 + |c_i| / r_i) with d = diag(Q)^power.

    For slopes [0, 1] and power 0 this is 2 lambda_max(Q). It is the best multiple of d where Q is one, and it leaves at
    most d_i max(|a_i|, |b_i|)^2 lambda_max(d^-1/2 Q d^-1/2) on entry i (docs/theory/metric_pullback.md), so with
    power 0 the sweep of a chain never exceeds the product of its norms. Where other variables are live, 1 + s times
    that, s the ratio of the most that they and the node can contribute: the triangle inequality's weights.

    Args:
        prepared: the region.
        gains: upper bounds of how far each node can move while the region's input moves by one (any common unit).
        power: of the diagonal scaling.

    Source:
        Xu and Sivaranjani (2024), ECLipsE, algorithm 2 (ECLipsE-Fast), for slopes [0, 1], a chain and power 0.
    """

    def rule(split: Elimination) -> Tensor:
        pressure, sector = split.pressure, prepared.sectors[split.node.name]
        scale = pressure.diagonal()
        if power == 0.0:
            scale = torch.ones_like(scale)
        else:
            scale = scale.clamp_min(_FLOOR * scale.amax(1, keepdim=True)).clamp_min(1e-300) ** power
        top = largest(pressure.relative(scale)).clamp_min(1e-250)
        if len(split.form.live) > 1:
            top = top * (1 + _others(split, gains, top * scale.mean(1)))
        bent = torch.where(sector.bent, sector.radius, torch.ones_like(sector.radius))
        ratio = (sector.centre.abs() / bent).clamp_min(_LEAST)
        return scale * top.unsqueeze(1) * (1 + ratio)

    return rule


def _others(split: Elimination, gains: Mapping[str, float], top: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """sqrt(what the other live variables can contribute / what the node can)."""
    own = gains[split.node.name]
    sizes = {name: gains[name] / own if own > 0 else 1.0 for name in split.form.live}
    return (split.others(sizes) / top).sqrt().clamp(1e-6, 1e6)


def reversed_chain(prepared: Prepared) -> Prepared | None:
    """The chain of transposed matrices in reverse order, with the same slopes; None if the region is no chain of them.

    For goals B and metric d at the start, A_1 gets d^-1/2 on its right and A_last is multiplied by B on its left.

    Args:
        prepared: a region with one form.
    """
    nodes = prepared.region.nodes
    names = (prepared.region.start, *(node.name for node in nodes))
    chain = all(node.inputs == (name,) for name, node in zip(names, nodes, strict=False))
    if not chain or prepared.batch > 1 or not all(isinstance(node.kind, Affine | Elementwise) for node in nodes):
        return None
    goals = prepared.goals[0]
    ends = goals.diag() if goals.dim() == 1 else goals
    found: list[Node] = []
    previous, size = "reversed", len(ends)
    for node in reversed(nodes):
        kind = node.kind
        if isinstance(kind, Affine):
            matrix = prepared.matrix(node)
            if matrix is None:
                return None
            matrix = ends @ matrix if node is nodes[-1] else matrix
            matrix = matrix / prepared.weight if node is nodes[0] else matrix
            kind, size = Affine(Dense(matrix.T.contiguous())), matrix.shape[1]
        elif node in (nodes[0], nodes[-1]):
            return None
        found.append(
            Node(node.name, kind, (previous,), (size,) if isinstance(kind, Affine) else node.shape, node.source)
        )
        previous = node.name
    network = Network("reversed", (len(ends),), tuple(found), previous)
    turned = prepare(Region(network, "reversed", previous, tuple(found)))
    return turned


def turned_logs(prepared: Prepared, backwards: Swept) -> dict[str, Tensor]:
    """Multipliers of a chain from those of the reversed chain, with almost the same factor: T = L^2 / (r^2 T').

    At exactly L^2 the form in front of the stop would be singular; L^2 is taken a little larger.

    Args:
        prepared: the chain.
        backwards: a sweep of the reversed chain.
    """
    logs: dict[str, Tensor] = {}
    for name, log in backwards.logs.items():
        radius = prepared.sectors[name].radius
        safe = torch.where(radius > 0, radius, torch.ones_like(radius))
        logs[name] = backwards.log_factor.unsqueeze(1) - log - backwards.behind[name].unsqueeze(1) - 2 * safe.log()
        logs[name] = logs[name] + _ABOVE
    return logs


def closed_form(prepared: Prepared, gains: Mapping[str, float]) -> Swept:
    """The best of a few closed forms: backwards with two diagonal scalings and, for chains, forwards.

    Args:
        prepared: the region.
        gains: as `scalar_rule` takes them.

    Cost:
        Up to four sweeps.
    """
    found = [sweep(prepared, scalar_rule(prepared, gains, power)) for power in (0.0, 0.5)]
    turned = reversed_chain(prepared)
    if turned is not None:
        backwards = [sweep(turned, scalar_rule(turned, gains, power)) for power in (0.0, 0.5)]
        best = min(backwards, key=lambda one: float(one.log_factor))
        if float(best.log_factor) < min(float(one.log_factor) for one in found):
            found.append(sweep(prepared, turned_logs(prepared, best)))
    return min(found, key=lambda one: float(one.log_factor.sum()))
