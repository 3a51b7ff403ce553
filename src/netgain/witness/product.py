"""The product of factors along the graph, in any of the three norms."""

import math
from collections.abc import Sequence
from typing import assert_never

import torch

from netgain.core.errors import RefusedCertificateError
from netgain.core.norms import Norm
from netgain.core.rounding import add_up, mul_up, norm_upper
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Node, Opaque, Sum, Vector
from netgain.norms.operator import operator_norm
from netgain.witness.pieces import slopes

# Relative width of the norms of matrices; those of convolutions have their own.
RTOL = 1e-9


def product_gain(nodes: Sequence[Node], start: str, norm: Norm) -> float:
    """An upper bound of the Lipschitz constant from `start` to the last node: the chain rule, node by node.

    Guarantee: proved, rounded up.

    Args:
        nodes: the nodes behind `start`, in order.
        start: the value in front.
        norm: of inputs and outputs.

    Raises:
        RefusedCertificateError: for a node without a finite factor.
    """
    gains = {start: 1.0}
    result = 1.0
    for node in nodes:
        result = _gain(node, [gains[name] for name in node.inputs], norm)
        if not math.isfinite(result):
            raise RefusedCertificateError(f"{node.source} has no finite factor in {norm}")
        gains[node.name] = result
    return result


def _gain(node: Node, gains: list[float], norm: Norm) -> float:
    """The gain of one node from those of its inputs."""
    match node.kind:
        case Affine(map=linear_map):
            return mul_up(operator_norm(linear_map, norm, rtol=RTOL).upper.value, gains[0])
        case Elementwise():
            low, high = slopes(node)
            return mul_up(float(torch.maximum(low.abs(), high.abs()).max()), gains[0])
        case Vector(function=function):
            return mul_up(function.gain(norm), gains[0])
        case Sum(scales=scales):
            return add_up(0.0, *(mul_up(abs(scale), gain) for scale, gain in zip(scales, gains, strict=True)))
        case Concat():
            return float(norm_upper(torch.tensor([gains], dtype=torch.float64), norm))
        case Bilinear() | Opaque():
            raise RefusedCertificateError(f"{node.source} has no global Lipschitz constant that could be proved")
        case _:
            assert_never(node.kind)
