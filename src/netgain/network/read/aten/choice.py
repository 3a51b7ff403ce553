"""Choices between tensors by a mask."""

from typing import Any

import torch
from torch import Tensor, fx

from netgain.activations.table import activation
from netgain.network.graph import Elementwise
from netgain.network.read.aten.arithmetic import add_values, scaled
from netgain.network.read.aten.opaque import opaque, unknown
from netgain.network.read.lowering import Call, Lowered, Value, lowers


@lowers("aten.where.self", "aten.where.ScalarSelf", "aten.where.ScalarOther", "aten.where.Scalar")
def where(call: Call) -> Lowered:
    """A choice by a condition on the input: only the hard shrink is recognized."""
    shrunk = _hardshrink(call)
    if shrunk is not None:
        value, threshold = shrunk
        return call.emit(Elementwise(activation("hardshrink", lambd=threshold)), [value], value.shape)
    if isinstance(call["condition"], Value):
        reason = f"{call.source} chooses by a comparison of computed values, which may jump; use clamp, relu or abs"
        return opaque(call, "NG011", reason)
    return masked(call, call["condition"], call["self"], call["other"])


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
        not bool(torch.isfinite(torch.as_tensor(branch)).all())
        for branch in (chosen, other)
        if not isinstance(branch, Value)
    ):
        return opaque(call, "NG010", f"{call.source} fills in an infinite number, which has no rule")
    parts: list[Any] = []
    for branch, share in ((chosen, mask), (other, 1.0 - mask)):
        if isinstance(branch, Value):
            parts.append(scaled(call, branch, share.broadcast_to(shape), "mask"))
        else:
            constant = torch.as_tensor(branch).double().broadcast_to(shape)
            parts.append(torch.where(share.broadcast_to(shape) == 1, constant, 0.0))
    return add_values(call, parts[0], parts[1], 1.0)


def _hardshrink(call: Call) -> tuple[Value, float] | None:
    """x and the threshold of where(|x| <= threshold, 0, x)."""
    condition, value = call.node.args[0], call["other"]
    if not isinstance(condition, fx.Node) or str(condition.target) != "aten.le.Scalar" or call["self"] != 0:
        return None
    inner, threshold = condition.args[0], condition.args[1]
    magnitude = call.builder.values.get(inner) if isinstance(inner, fx.Node) else None
    if not isinstance(magnitude, Value) or not isinstance(value, Value) or not isinstance(threshold, int | float):
        return None
    node = call.builder.nodes.get(magnitude.name)
    is_abs = node is not None and isinstance(node.kind, Elementwise) and node.kind.activation.name == "abs"
    return (value, float(threshold)) if is_abs and node is not None and node.inputs == (value.name,) else None
