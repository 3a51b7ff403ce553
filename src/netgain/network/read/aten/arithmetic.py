"""Sums, differences, products and quotients, of computed tensors and with constants."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from netgain.activations.table import activation
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.network.graph import Affine, Bilinear, Elementwise, Form, Sum
from netgain.network.read.aten.movement import broadcast, move
from netgain.network.read.aten.opaque import opaque, unknown
from netgain.network.read.aten.patterns import l2_pool_pattern, product_pattern, quotient_pattern, sum_pattern
from netgain.network.read.layout import Layout
from netgain.network.read.lowering import Call, Lowered, Value, constant_tensor, lowers
from netgain.network.read.rounding import reciprocal, relative_error

Operand = Value | Tensor | float | int


def full_shape(call: Call, operand: Operand) -> tuple[int, ...]:
    """Shape of an operand in the exported graph."""
    return call.full_shape(operand) if isinstance(operand, Value) else tuple(constant_tensor(operand).shape)


def discrete(*operands: Any) -> bool:
    """Whether a computed operand is not real."""
    return any(isinstance(operand, Value) and not operand.real for operand in operands)


def spread(call: Call, value: Value, other: Operand) -> tuple[Value, tuple[int, ...], Layout]:
    """The value broadcast against another operand, the exported shape of the result, and its layout."""
    shape = tuple(torch.broadcast_shapes(call.full_shape(value), full_shape(call, other)))
    value = broadcast(call, value, shape)
    return value, shape, value.layout


def constant_sum(call: Call, value: Value, constant: Operand, factor: float, part: str = "") -> Value:
    """The value plus factor times a constant."""
    value, shape, layout = spread(call, value, constant)
    sample = call.full(constant, shape, layout)
    bias = (sample * factor).broadcast_to(value.shape)
    error = None if abs(factor) == 1 else relative_error(sample * factor, 1).broadcast_to(value.shape)
    kind = Affine(Reshape(value.shape, value.shape), bias, error)
    return call.emit(kind, [value], value.shape, layout, part)


def constant_product(call: Call, value: Value, constant: Operand, part: str = "") -> Value:
    """The value times a constant."""
    value, shape, layout = spread(call, value, constant)
    sample = call.full(constant, shape, layout)
    if bool((sample == 1).all()):
        return value
    return call.emit(Affine(Diagonal(sample, value.shape)), [value], value.shape, layout, part)


def add_values(call: Call, left: Operand, right: Operand, factor: float, part: str = "") -> Lowered:
    """Left + factor * right."""
    if discrete(left, right):
        return unknown(call)
    if not all(isinstance(part, Value) or bool(torch.isfinite(constant_tensor(part)).all()) for part in (left, right)):
        return opaque(call, "NG010", f"{call.source} adds an infinite number (a mask?), which has no rule")
    if isinstance(left, Value) and isinstance(right, Value):
        left, shape, layout = spread(call, left, right)
        right = broadcast(call, right, shape)
        call.same_layout([left, right])
        matched = sum_pattern(call.builder, left, right, factor)
        if matched is not None:
            kind, inner = matched
            return call.emit(kind, [inner], inner.shape, layout, part)
        return call.emit(Sum((1.0, factor)), [left, right], left.shape, layout, part)
    if isinstance(left, Value):
        return constant_sum(call, left, right, factor, part)
    if not isinstance(right, Value):
        return unknown(call)
    scaled_right = right if factor == 1 else _times(call, right, factor)
    return constant_sum(call, scaled_right, left, 1.0, part)


def _times(call: Call, value: Value, factor: float) -> Value:
    """Factor * value as a sum of one term, which is exact."""
    return call.emit(Sum((factor,)), [value], value.shape, part="scale")


@lowers("aten.add.Tensor", "aten.add.Scalar")
def add(call: Call) -> Lowered:
    """A + alpha b."""
    return add_values(call, call["self"], call["other"], float(call.get("alpha", 1)))


@lowers("aten.sub.Tensor", "aten.sub.Scalar")
def sub(call: Call) -> Lowered:
    """A - alpha b."""
    return add_values(call, call["self"], call["other"], -float(call.get("alpha", 1)))


@lowers("aten.rsub.Scalar", "aten.rsub.Tensor")
def rsub(call: Call) -> Lowered:
    """B - alpha a."""
    return add_values(call, call["other"], call["self"], -float(call.get("alpha", 1)))


@lowers("aten.neg.default")
def neg(call: Call) -> Lowered:
    """-a."""
    value = call["self"]
    return unknown(call) if discrete(value) else call.emit(Sum((-1.0,)), [value], value.shape)


@lowers("aten.mul.Tensor", "aten.mul.Scalar")
def mul(call: Call) -> Lowered:
    """A b."""
    return scaled(call, call["self"], call["other"])


def scaled(call: Call, left: Operand, right: Operand, part: str = "") -> Lowered:
    """The entrywise product."""
    if discrete(left, right):
        return unknown(call)
    if isinstance(left, Value) and isinstance(right, Value):
        left, shape, layout = spread(call, left, right)
        right = broadcast(call, right, shape)
        call.same_layout([left, right])
        matched = product_pattern(call.builder, left, right)
        if matched is not None:
            kind, inner = matched
            return call.emit(kind, [inner], inner.shape, layout, part)
        return call.emit(Bilinear(Form.PRODUCT), [left, right], left.shape, layout, part)
    if isinstance(right, Value):
        left, right = right, left
    return constant_product(call, left, right, part) if isinstance(left, Value) else unknown(call)


@lowers("aten.glu.default")
def glu(call: Call) -> Lowered:
    """a sigmoid(b) for the halves a, b along an axis."""
    value, axis = call["self"], int(call["dim"])
    half = call.full_shape(value)[axis] // 2
    left = move(call, value, lambda x: x.narrow(axis, 0, half), "value")
    right = move(call, value, lambda x: x.narrow(axis, half, half), "gate")
    gate = call.emit(Elementwise(activation("sigmoid")), [right], right.shape, part="sigmoid")
    return scaled(call, left, gate)


@lowers("aten.div.Tensor", "aten.div.Scalar", "aten.true_divide.Tensor")
def div(call: Call) -> Lowered:
    """A / b."""
    left, right = call["self"], call["other"]
    if discrete(left, right):
        return unknown(call)
    if isinstance(left, Value) and isinstance(right, Value):
        return _quotient(call, left, right)
    if isinstance(left, Value):
        left, shape, layout = spread(call, left, right)
        scale, error = reciprocal(call.full(right, shape, layout))
        return call.emit(Affine(Diagonal(scale, left.shape, error)), [left], left.shape, layout)
    if not isinstance(right, Value):
        return unknown(call)
    inverse = call.emit(Elementwise(activation("reciprocal")), [right], right.shape, part="reciprocal")
    return constant_product(call, inverse, left)


def _quotient(call: Call, left: Value, right: Value) -> Lowered:
    """A quotient of computed tensors: a known function, or reciprocal and product."""
    matched = quotient_pattern(call.builder, left, right)
    if matched is not None:
        kind, inner = matched
        return call.emit(kind, [inner], inner.shape, left.layout)
    inverse = call.emit(Elementwise(activation("reciprocal")), [right], right.shape, part="reciprocal")
    return scaled(call, left, inverse)


@lowers("aten.square.default", "aten.pow.Tensor_Scalar")
def power(call: Call) -> Lowered:
    """A^k."""
    value, exponent = call["self"], float(call.get("exponent", 2))
    if discrete(value):
        return unknown(call)
    if exponent == 1:
        return dataclasses.replace(value)
    pooled = l2_pool_pattern(call.builder, value) if exponent == 0.5 else None
    if pooled is not None:
        kind, inner, layout = pooled[0], pooled[1], value.layout
        return call.emit(kind, [inner], value.shape, layout)
    names = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
    known = activation(names[exponent]) if exponent in names else activation("power", exponent=exponent)
    return call.emit(Elementwise(known), [value], value.shape)


@lowers("aten.pow.Scalar", "aten.pow.Tensor_Tensor", "aten.exp2.default", "aten.atan2.default")
def general_power(call: Call) -> Lowered:
    """C^a and a^b."""
    if discrete(*call.operands):
        return unknown(call)
    return opaque(call, "NG012", f"the slope of {call.source} is unbounded over the whole input space")
