"""The product bound over a graph: from factors of nodes to gains of nodes, and which factor matters how much."""

import math
from collections.abc import Mapping
from typing import assert_never

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.core.rounding import add_up, div_up, mul_up, sqrt_up, up
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Network, Node, Opaque, Sum, Vector


def ancestors(network: Network) -> tuple[Node, ...]:
    """The nodes that the output depends on, in order."""
    needed = {network.output}
    for node in reversed(network.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return tuple(node for node in network.nodes if node.name in needed)


def node_gains(network: Network, norm: Norm, factors: Mapping[str, float]) -> dict[str, float]:
    """For each node, an upper bound of the Lipschitz constant of the map from the network's input to it.

    With L_k the factor of node k and g_i the gains of its inputs: a node of one input has g = L_k g_i; a sum has
    g = sum |s_i| g_i, where uses of one input are first added up; a concatenation has the norm of the vector (g_i).

    Guarantee:
        Upper bounds, rounded up at each step; at least the smallest subnormal number where the exact value is positive,
        infinity on overflow.

    Args:
        network: the network.
        norm: the norm of inputs and outputs.
        factors: proved Lipschitz factors of the nodes with one input.

    Returns:
        A gain for the network's input (1) and for each node that the output depends on.

    Raises:
        NoSoundRuleError: for a node without a factor.
    """
    gains = {network.input: 1.0}
    for node in ancestors(network):
        match node.kind:
            case Affine() | Elementwise() | Vector():
                gains[node.name] = mul_up(factors[node.name], gains[node.inputs[0]])
            case Sum():
                weights = sum_weights(node)
                gains[node.name] = add_up(0.0, *(mul_up(weight, gains[name]) for name, weight in weights.items()))
            case Concat():
                gains[node.name] = combine([gains[name] for name in node.inputs], norm)
            case Bilinear() | Opaque():
                raise NoSoundRuleError(f"{node.source} has no factor")
            case _:
                assert_never(node.kind)
    return gains


def sum_weights(node: Node) -> dict[str, float]:
    """For each distinct input of a sum, a number not below the magnitude of its total scale.

    Args:
        node: a node of kind Sum.

    Raises:
        TypeError: if it is of another kind.
    """
    if not isinstance(node.kind, Sum):
        raise TypeError(f"{node.name} is not a sum")
    scales: dict[str, list[float]] = {}
    for name, scale in zip(node.inputs, node.kind.scales, strict=True):
        scales.setdefault(name, []).append(scale)
    return {name: _magnitude_of_sum(parts) for name, parts in scales.items()}


def _magnitude_of_sum(parts: list[float]) -> float:
    """A float64 not below |exact sum|; `fsum` rounds the exact sum once."""
    if len(parts) == 1:
        return abs(parts[0])
    total = abs(math.fsum(parts))
    return 0.0 if total == 0.0 else up(total)


def combine(gains: list[float], norm: Norm) -> float:
    """A number not below the norm of the vector of gains, safe from overflow and underflow.

    Args:
        gains: non-negative.
        norm: the norm.
    """
    largest = max(gains)
    if norm is Norm.LINF or largest == 0.0 or math.isinf(largest) or len(gains) == 1:
        return largest
    if norm is Norm.L1:
        return add_up(*gains)
    squares = [mul_up(ratio, ratio) for ratio in (div_up(gain, largest) for gain in gains)]
    return mul_up(largest, sqrt_up(add_up(*squares)))


def elasticities(network: Network, norm: Norm, gains: Mapping[str, float]) -> dict[str, float]:
    """For each node: d log(gain of the output) / d log(gain of the node), by a reverse pass over the graph.

    A plain chain gives 1 for each node; a node on one of two equal branches of a sum 1/2.

    No guarantee: these are attributions for reports.

    Args:
        network: the network.
        norm: the norm.
        gains: from `node_gains`.
    """
    pull = dict.fromkeys(gains, 0.0) | {network.output: 1.0}
    for node in reversed(ancestors(network)):
        total, weight = gains[node.name], pull[node.name]
        if not 0.0 < total < math.inf:
            continue
        if isinstance(node.kind, Sum):
            for name, scale in sum_weights(node).items():
                pull[name] += weight * scale * gains[name] / total
        elif isinstance(node.kind, Concat):
            for name, part in zip(node.inputs, _concat_parts([gains[n] for n in node.inputs], norm), strict=True):
                pull[name] += weight * part
        else:
            pull[node.inputs[0]] += weight
    return pull


def _concat_parts(gains: list[float], norm: Norm) -> list[float]:
    """How the logarithm of a concatenation's gain is shared between its inputs."""
    if norm is Norm.LINF:
        winner = gains.index(max(gains))
        return [float(i == winner) for i in range(len(gains))]
    power = 1 if norm is Norm.L1 else 2
    ratios = [(gain / max(gains)) ** power for gain in gains]
    return [ratio / sum(ratios) for ratio in ratios]


def shares(network: Network, norm: Norm, factors: Mapping[str, float]) -> dict[str, float]:
    """Each node's share of the product bound: elasticity times max(0, log factor), divided by the total.

    A node that does not amplify (factor <= 1) has share 0. Empty where the bound is 0 or infinite or no node
    amplifies: then there is nothing to share.

    No guarantee: these are attributions for reports.

    Args:
        network: the network.
        norm: the norm.
        factors: proved Lipschitz factors of the nodes with one input.
    """
    gains = node_gains(network, norm, factors)
    if not 0.0 < gains[network.output] < math.inf:
        return {}
    pull = elasticities(network, norm, gains)
    weights = {
        name: pull[name] * max(0.0, math.log(f)) if f > 0 else 0.0 for name, f in factors.items() if name in pull
    }
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()} if total > 0 else {}
