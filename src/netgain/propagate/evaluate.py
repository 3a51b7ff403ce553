"""Float64 evaluation of a network with a proved bound of its distance from the network in real numbers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import DataMismatchError, NoSoundRuleError, UsageError
from netgain.core.norms import Norm
from netgain.core.rounding import check_arithmetic, norm_upper
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Network, Node, Opaque, Sum, Vector
from netgain.network.graph import evaluate as evaluate_node
from netgain.propagate import running
from netgain.propagate.running import Running

_MEMORY = 2**28  # bytes for the live tensors of one chunk
_COPIES = 6  # tensors of a node's size that a rule holds at once

Rule = Callable[[list[Running]], Running]


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Values of a network computed in float64, and how far the real ones can be.

    Attributes:
        value: the computed outputs.
        error: entry by entry, not below |value - f(z)| for every z within the radius of the input.
        error_l2: row by row, not below ||value - f(z)||_2 for those z; never above the l2 norm of `error`.
    """

    value: Float[Tensor, "batch *out"]
    error: Float[Tensor, "batch *out"]
    error_l2: Float[Tensor, " batch"]


def evaluate(
    network: Network,
    x: Float[Tensor, "batch *in"],
    radius: Float[Tensor, "..."] | float | None = None,
    gains: Mapping[str, float] | None = None,
    *,
    entrywise: bool = True,
) -> Evaluated:
    """The network's float64 output at x, with a proved bound of the distance from the network in real numbers.

    The network f is the function of real numbers with the weights that the nodes describe (each within its stated
    uncertainty). Two bounds run along: entry by entry through |A|, and in l2 through operator norms, which does not
    explode with depth. Each improves the other at every node.

    Guarantee:
        |value - f(z)| <= error for every z with |z - x| <= radius, entry by entry, under IEEE 754 double precision,
        round to nearest, sums in any order. Infinite where nothing can be said.

    Args:
        network: the network.
        x: inputs of any floating-point dtype; they are widened exactly.
        radius: uncertainty of the input entry by entry, broadcast against x; None for none.
        gains: proved l2 operator norms by node name, where the caller has them (`gain.layers`); they make the l2
            bound tighter than Schur's test does.
        entrywise: carry the bound entry by entry; False for the l2 bound alone, which costs little more than the
            evaluation itself and is wider by a few powers of ten for small networks (`error` then repeats it).

    Returns:
        Values and bounds, in float64.

    Raises:
        DataMismatchError: if the shape of x is not the network's.
        UsageError: if a radius is negative or NaN.

    Cost:
        About two evaluations for a network of affine maps, in chunks of bounded memory.
    """
    check_arithmetic()
    if tuple(x.shape[1:]) != network.input_shape:
        raise DataMismatchError(
            f"inputs of shape {tuple(x.shape[1:])} given, the network takes {network.input_shape} (batch axis excluded)"
        )
    start = torch.as_tensor(0.0 if radius is None else radius, dtype=torch.float64)
    if bool((start < 0).any() | start.isnan().any()):
        raise UsageError("radius must be non-negative")
    start = start.expand(x.shape)
    rules = _rules(network, gains or {})
    if x.shape[0] == 0:
        none = torch.zeros(0, *network.output_shape, dtype=torch.float64)
        return Evaluated(none, none, torch.zeros(0, dtype=torch.float64))
    rows = max(1, _MEMORY // max(1, 8 * _COPIES * _live_size(network)))
    parts: list[Running] = []
    for i in range(0, x.shape[0], rows):
        radii = start[i : i + rows]
        total = norm_upper(radii, Norm.L2)
        first = running.settle(x[i : i + rows].double(), radii.clone() if entrywise else None, total)
        parts.append(_forward(network, rules, first))
    return Evaluated(
        torch.cat([part.value for part in parts]),
        torch.cat([part.entries for part in parts]),
        torch.cat([part.total for part in parts]),
    )


@torch.no_grad()
def _forward(network: Network, rules: Mapping[str, Rule], first: Running) -> Running:
    """The running error of the output for one chunk of rows."""
    last = _last_uses(network)
    live = {network.input: first}
    for node in network.nodes:
        if node.name not in last:
            continue
        live[node.name] = rules[node.name]([live[name] for name in node.inputs])
        for name in node.inputs:
            if last[name] == node.name:
                live.pop(name, None)
    return live[network.output]


def _last_uses(network: Network) -> dict[str, str]:
    """For each node that the output depends on: the last node that reads it ("" for the output)."""
    last = {network.output: ""}
    for node in reversed(network.nodes):
        if node.name in last:
            for name in node.inputs:
                last.setdefault(name, node.name)
    return last


def _live_size(network: Network) -> int:
    """The greatest number of scalars of one sample that are alive at once."""
    last, live, most = _last_uses(network), {network.input: _size(network.input_shape)}, 1
    for node in network.nodes:
        if node.name not in last:
            continue
        live[node.name] = _size(node.shape)
        most = max(most, sum(live.values()))
        for name in node.inputs:
            if last[name] == node.name:
                live.pop(name, None)
    return most


def _size(shape: tuple[int, ...]) -> int:
    """Number of scalars."""
    return int(torch.Size(shape).numel())


def _rules(network: Network, gains: Mapping[str, float]) -> dict[str, Rule]:
    """The rule of each node that the output depends on."""
    needed = _last_uses(network)
    return {node.name: _rule(node, gains.get(node.name)) for node in network.nodes if node.name in needed}


def _rule(node: Node, proved: float | None) -> Rule:
    """The rule of one node.

    Raises:
        NoSoundRuleError: for an operation without one.
    """
    kind = node.kind

    def value(inputs: list[Running]) -> Tensor:
        return evaluate_node(node, [item.value for item in inputs])

    match kind:
        case Affine():
            affine = running.AffineRule.of(kind, proved)
            return lambda inputs: affine(inputs[0])
        case Elementwise(activation=activation):
            return lambda inputs: running.elementwise(activation, inputs[0], value(inputs))
        case Vector(function=function):
            return lambda inputs: running.vector(function, proved, inputs[0], value(inputs))
        case Bilinear(form=form):
            return lambda inputs: running.bilinear(form, inputs[0], inputs[1], value(inputs))
        case Sum():
            return lambda inputs: running.weighted_sum(kind, inputs, value(inputs))
        case Concat():
            return lambda inputs: running.concatenated(kind, inputs, value(inputs))
        case Opaque(code=code, reason=reason):
            raise NoSoundRuleError(f"{node.source} cannot be evaluated with a proved error: {reason}", code=code)
        case _:
            assert_never(kind)
