"""Choices between tensors by a mask."""

from typing import Any

import torch
from torch import Tensor, fx

from netgain.activations.table import activation
from netgain.linear.diagonal import Diagonal
from netgain.network.graph import Affine, Elementwise, Node, Sum
from netgain.network.read.aten.arithmetic import add_values, scaled
from netgain.network.read.aten.opaque import opaque, unknown
from netgain.network.read.lowering import Call, Lowered, Value, constant_tensor, lowers, lowers_discrete


@lowers_discrete("aten.where.self", "aten.where.ScalarSelf", "aten.where.ScalarOther", "aten.where.Scalar")
@lowers("aten.where.self", "aten.where.ScalarSelf", "aten.where.ScalarOther", "aten.where.Scalar")
def where(call: Call) -> Lowered:
    """A choice by a condition on the input: only the two shrinks are recognized."""
    for name, match in (("hardshrink", _hardshrink), ("softshrink", _softshrink)):
        shrunk = match(call)
        if shrunk is not None:
            value, threshold = shrunk
            return call.emit(Elementwise(activation(name, lambd=threshold)), [value], value.shape)
    if isinstance(call["condition"], Value):
        reason = f"{call.source} chooses by a comparison of computed values, which may jump; use clamp, relu or abs"
        return opaque(call, "NG011", reason)
    return masked(call, call["condition"], call["self"], call["other"])


@lowers_discrete("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
@lowers("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def masked_fill(call: Call) -> Lowered:
    """A number where a mask says so."""
    if isinstance(call["mask"], Value):
        return opaque(call, "NG011", f"{call.source} chooses by a comparison of computed values, which may jump")
    return masked(call, call["mask"], call["value"], call["self"])


def masked(call: Call, condition: Tensor, chosen: Any, other: Any) -> Lowered:
    """A choice by a constant mask: each branch times its mask, and their sum."""
    if any(not value.real for value in call.operands):
        return unknown(call)
    mask = condition.double()
    shape = torch.broadcast_shapes(mask.shape, *(call.full_shape(value) for value in call.operands))
    if any(
        not bool(torch.isfinite(constant_tensor(branch)).all())
        for branch in (chosen, other)
        if not isinstance(branch, Value)
    ):
        return opaque(call, "NG010", f"{call.source} fills in an infinite number, which has no rule")
    parts: list[Any] = []
    for branch, share in ((chosen, mask), (other, 1.0 - mask)):
        if isinstance(branch, Value):
            parts.append(scaled(call, branch, share.broadcast_to(shape), "mask"))
        else:
            constant = constant_tensor(branch).broadcast_to(shape)
            parts.append(torch.where(share.broadcast_to(shape) == 1, constant, 0.0))
    return add_values(call, parts[0], parts[1], 1.0)


def _hardshrink(call: Call) -> tuple[Value, float] | None:
    """x and the threshold of where(|x| <= threshold, 0, x)."""
    found = _compared_magnitude(call, "aten.le.Scalar")
    return found if found is not None and call["self"] == 0 and call["other"] == found[0] else None


def _softshrink(call: Call) -> tuple[Value, float] | None:
    """x and the threshold of where(|x| > threshold, x - threshold sign(x), 0 x)."""
    found = _compared_magnitude(call, "aten.gt.Scalar")
    if found is None or not isinstance(call["self"], Value) or not isinstance(call["other"], Value):
        return None
    value, threshold = found
    nodes = call.builder.nodes
    outside, inside = nodes.get(call["self"].name), nodes.get(call["other"].name)
    if outside is None or inside is None or outside.kind != Sum((1.0, -1.0)) or len(outside.inputs) != 2:
        return None
    step = nodes.get(outside.inputs[1])
    sign = nodes.get(step.inputs[0]) if step is not None else None
    matches = (
        outside.inputs[0] == value.name
        and inside.inputs == (value.name,)
        and _factor(inside) == 0.0
        and step is not None
        and _factor(step) == threshold
        and sign is not None
        and sign.inputs == (value.name,)
        and isinstance(sign.kind, Elementwise)
        and sign.kind.activation.name == "sign"
    )
    return found if matches else None


def _factor(node: Node) -> float | None:
    """The number that a node multiplies its input by, None where it does something else."""
    if not isinstance(node.kind, Affine) or not isinstance(node.kind.map, Diagonal) or node.kind.bias is not None:
        return None
    scale = node.kind.map.scale
    return float(scale.flatten()[0]) if scale.numel() == 1 and node.kind.map.error is None else None


def _compared_magnitude(call: Call, comparison: str) -> tuple[Value, float] | None:
    """x and the number of a condition that compares |x| with it."""
    condition = call.node.args[0]
    if not isinstance(condition, fx.Node) or str(condition.target) != comparison:
        return None
    inner, threshold = condition.args[0], condition.args[1]
    magnitude = call.builder.values.get(inner) if isinstance(inner, fx.Node) else None
    if not isinstance(inner, fx.Node) or not isinstance(magnitude, Value) or not isinstance(threshold, int | float):
        return None
    node = call.builder.nodes.get(magnitude.name)
    if node is None or not isinstance(node.kind, Elementwise) or node.kind.activation.name != "abs":
        return None
    value = call.builder.values.get(inner.all_input_nodes[0])
    fits = isinstance(value, Value) and node.inputs == (value.name,) and value.shape == magnitude.shape
    return (value, float(threshold)) if isinstance(value, Value) and fits else None
