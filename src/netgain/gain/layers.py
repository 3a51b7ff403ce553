"""The factor of each node: its own proved Lipschitz constant, with norm, slopes and share for the layer table."""

import dataclasses
import math
from collections.abc import Mapping
from typing import NoReturn, assert_never

import torch

from netgain.activations.base import Activation
from netgain.core.errors import (
    DiscontinuousError,
    DiscreteInputError,
    NonFiniteWeightError,
    NoSoundRuleError,
    UnboundedError,
)
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.results import Enclosure
from netgain.core.rounding import add_up, mul_up, sqrt_up
from netgain.gain.recursion import ancestors, shares
from netgain.linear.base import AbstractLinearMap
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Network, Node, Opaque, Sum, Vector
from netgain.norms.frobenius import frobenius_norm
from netgain.norms.operator import operator_norm

_OPAQUE_ERRORS: Mapping[str, type[NoSoundRuleError]] = {
    error.code: error for error in (NoSoundRuleError, DiscontinuousError, UnboundedError, DiscreteInputError)
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerGain:
    """What one node contributes.

    Attributes:
        name: the node's name.
        kind: "affine", "elementwise", "vector", "sum" or "concat".
        operation: the operation in words: the activation's or function's name, or the source's operation.
        factor: a proved Lipschitz constant of the node as a function of its joined inputs, rounded up.
        norm: the proved enclosure of the operator norm (affine nodes).
        slope: the proved least and greatest difference quotient (elementwise nodes).
        stable_rank: ||A||_F^2 / ||A||_2^2, an estimate (affine nodes, l2).
        share: the node's share of the logarithm of the product bound, as `recursion.shares` defines it; None where
            there is nothing to share.
    """

    name: str
    kind: str
    operation: str
    factor: float
    norm: Enclosure | None = None
    slope: tuple[float, float] | None = None
    stable_rank: float | None = None
    share: float | None = None


def layer_gains(
    network: Network, norm: Norm, *, rtol: float = 1e-6, seconds: float | None = None, progress: Progress = silent
) -> dict[str, LayerGain]:
    """The proved factor of each node that the output depends on.

    Guarantee:
        Each factor is an upper bound of the node's global Lipschitz constant in `norm`, rounded up.

    Args:
        network: the network, folded for tighter factors.
        norm: the norm of inputs and outputs.
        rtol: relative width wanted of the operator norms.
        seconds: time for all norms, about, shared evenly; less time gives wider norms, never wrong ones.
        progress: told about each node.

    Returns:
        One entry a node, by name, in order.

    Raises:
        NoSoundRuleError: for an operation that can be shown but not bounded (`DiscontinuousError`, `UnboundedError`
            and `DiscreteInputError` say why); raised before any norm is computed.
        NonFiniteWeightError: if a weight is NaN or infinite.

    Cost:
        One operator norm a distinct linear map.
    """
    nodes = ancestors(network)
    for node in nodes:
        _refuse(node, norm)
    share = None if seconds is None else seconds / max(1, sum(isinstance(node.kind, Affine) for node in nodes))
    known: dict[int, tuple[Enclosure, float | None]] = {}
    layers: dict[str, LayerGain] = {}
    for done, node in enumerate(nodes):
        progress("layer norms", done, len(nodes))
        layers[node.name] = _layer(node, norm, (rtol, share), known)
    progress("layer norms", len(nodes), len(nodes))
    part = shares(network, norm, {name: layer.factor for name, layer in layers.items()})
    return {name: dataclasses.replace(layer, share=part.get(name)) for name, layer in layers.items()}


def _layer(
    node: Node, norm: Norm, effort: tuple[float, float | None], known: dict[int, tuple[Enclosure, float | None]]
) -> LayerGain:
    """The entry of one node; `known` holds the norms of maps seen before, which nodes may share."""
    kind = node.kind
    match kind:
        case Affine(map=linear_map):
            if id(linear_map) not in known:
                known[id(linear_map)] = _norms(node, linear_map, norm, effort)
            enclosure, rank = known[id(linear_map)]
            return LayerGain(
                name=node.name,
                kind="affine",
                operation=node.source.operation,
                factor=enclosure.upper.value,
                norm=enclosure,
                stable_rank=rank,
            )
        case Elementwise(activation=activation):
            slope = global_slope(activation)
            factor = max(abs(slope[0]), abs(slope[1]))
            return LayerGain(name=node.name, kind="elementwise", operation=activation.name, factor=factor, slope=slope)
        case Vector(function=function):
            return LayerGain(name=node.name, kind="vector", operation=function.name, factor=function.gain(norm))
        case Sum(scales=scales):
            return LayerGain(name=node.name, kind="sum", operation="sum", factor=_sum_factor(scales, norm))
        case Concat():
            return LayerGain(name=node.name, kind="concat", operation="concat", factor=1.0)
        case Bilinear() | Opaque():
            _refuse(node, norm)
            raise NoSoundRuleError(f"{node.source} has no factor")
        case _:
            assert_never(kind)


def _norms(
    node: Node, linear_map: AbstractLinearMap, norm: Norm, effort: tuple[float, float | None]
) -> tuple[Enclosure, float | None]:
    """The operator norm of an affine node and, in l2, an estimate of its stable rank."""
    enclosure = operator_norm(linear_map, norm, rtol=effort[0], seconds=effort[1])
    if not math.isfinite(enclosure.upper.value) and not _finite(linear_map):
        raise NonFiniteWeightError(f"{node.source} has a weight that is NaN or infinite")
    if norm is not Norm.L2 or enclosure.upper.value == 0 or math.isinf(enclosure.upper.value):
        return enclosure, None
    return enclosure, (frobenius_norm(linear_map).lower.value / enclosure.upper.value) ** 2


def _finite(linear_map: AbstractLinearMap) -> bool:
    """Whether no entry of the map is NaN or infinite."""
    image = linear_map.abs().apply(torch.full((1, *linear_map.in_shape), 2.0**-100, dtype=torch.float64))
    return bool(image.isfinite().all())


def global_slope(activation: Activation) -> tuple[float, float]:
    """Proved least and greatest difference quotients of an activation over the whole line, over all its entries.

    Args:
        activation: the activation.
    """
    line = torch.tensor(torch.inf, dtype=torch.float64)
    least, greatest = activation.slope_range(-line, line)
    return float(least.min()), float(greatest.max())


def _sum_factor(scales: tuple[float, ...], norm: Norm) -> float:
    """The norm of (x_1, ..., x_k) -> sum of s_i x_i: the dual norm of the scales."""
    sizes = [abs(scale) for scale in scales]
    if norm is Norm.L1:
        return max(sizes)
    if norm is Norm.LINF:
        return add_up(*sizes)
    return sizes[0] if len(sizes) == 1 else sqrt_up(add_up(*(mul_up(size, size) for size in sizes)))


def _refuse(node: Node, norm: Norm) -> None:
    """Raise the error that says why a node has no factor, if it has none."""
    kind = node.kind
    match kind:
        case Affine() | Sum() | Concat():
            return
        case Elementwise(activation=activation):
            least, greatest = global_slope(activation)
            if math.isfinite(least) and math.isfinite(greatest):
                return
            if not activation.continuous:
                raise DiscontinuousError(f"{node.source}: {activation.name} jumps, so no Lipschitz constant exists")
            raise UnboundedError(f"{node.source}: the slope of {activation.name} is unbounded")
        case Vector(function=function):
            if math.isfinite(function.gain(norm)):
                return
            raise UnboundedError(f"{node.source}: {function.name} has no global Lipschitz constant in {norm}")
        case Bilinear():
            raise UnboundedError(f"{node.source} multiplies two computed tensors")
        case Opaque(code=code, reason=reason):
            _refuse_opaque(node, code, reason)
        case _:
            assert_never(kind)


def _refuse_opaque(node: Node, code: str, reason: str) -> NoReturn:
    """Raise the error of an opaque node's code."""
    detail = reason if reason.startswith(str(node.source)) else f"{node.source}: {reason}"
    raise _OPAQUE_ERRORS.get(code, NoSoundRuleError)(detail, code=code)
