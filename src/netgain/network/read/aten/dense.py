"""Linear layers and matrix products."""

import math
from typing import Any

import torch
from torch import Tensor

from netgain.core.rounding import tensor_up
from netgain.linear.dense import Dense
from netgain.network.graph import Affine, Bilinear, Form, Sum
from netgain.network.read.aten.arithmetic import add_values, constant_sum, scaled
from netgain.network.read.aten.movement import reshaped
from netgain.network.read.aten.opaque import opaque, unknown
from netgain.network.read.lowering import Call, Lowered, Value, lowers

# The largest matrix found by trying unit vectors, for operations that are linear but have no map of their own.
_LARGEST_PROBED = 2**24


@lowers("aten.linear.default")
def linear(call: Call) -> Lowered:
    """X W^T + b on the last axis."""
    value, weight, bias = call["input"], call["weight"], call["bias"]
    if not isinstance(value, Value) or isinstance(weight, Value) or isinstance(bias, Value):
        return product(call)
    return dense(call, value, weight.double(), None if bias is None else bias.double())


@lowers("aten.addmm.default")
def addmm(call: Call) -> Lowered:
    """Beta b + alpha x W."""
    bias, value, weight = call["self"], call["mat1"], call["mat2"]
    if not isinstance(value, Value) or isinstance(weight, Value) or isinstance(bias, Value):
        return product(call)
    image = dense(call, value, weight.double().T.contiguous(), None)
    if isinstance(image, Value) and call["alpha"] != 1:
        image = call.emit(Sum((float(call["alpha"]),)), [image], image.shape, part="scale")
    return constant_sum(call, image, bias, float(call["beta"]), "bias") if isinstance(image, Value) else image


@lowers("aten.mm.default", "aten.matmul.default", "aten.bmm.default", "aten.mv.default", "aten.dot.default")
def matmul(call: Call) -> Lowered:
    """Matrix products: by a constant, or of two computed tensors."""
    left, right = call["self"], next(call[key] for key in ("mat2", "other", "vec", "tensor") if key in call.arguments)
    if isinstance(left, Value) and isinstance(right, Value):
        return _bilinear(call, left, right)
    if isinstance(left, Value) and right.ndim == 2 and len(call.full_shape(left)) >= 2:
        return dense(call, left, right.double().T.contiguous(), None)
    return product(call)


def dense(call: Call, value: Value, weight: Tensor, bias: Tensor | None) -> Lowered:
    """W on the last axis of a value, and a bias."""
    full = call.full_shape(value)
    if value.layout.axis == len(full) - 1:
        call.axis(value, -1)
    lead = value.shape[:-1]
    shape = (*lead, weight.shape[0])
    added = None if bias is None else bias.broadcast_to(shape)
    return call.emit(Affine(Dense(weight, lead), added), [value], shape)


def _bilinear(call: Call, left: Value, right: Value) -> Lowered:
    """The matrix product of two computed tensors."""
    ranks = [len(call.full_shape(value)) for value in (left, right)]
    inner = any(value.layout.axis >= rank - 2 for value, rank in zip((left, right), ranks, strict=True))
    if min(ranks) < 3 or ranks[0] != ranks[1] or inner or left.layout != right.layout:
        return opaque(call, "NG012", f"{call.source} multiplies two computed tensors")
    lead = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    return call.emit(Bilinear(Form.MATMUL), [left, right], (*lead, left.shape[-2], right.shape[-1]))


@lowers("aten.baddbmm.default", "aten.addbmm.default", "aten.addmv.default")
def baddbmm(call: Call) -> Lowered:
    """A batched product added to a tensor."""
    return product(call)


@lowers(
    "aten.einsum.default", "aten.cumsum.default", "aten.col2im.default", "aten.trace.default", "aten.bilinear.default"
)
def product(call: Call) -> Lowered:
    """An operation that is linear in one computed tensor: its matrix is found by trying unit vectors."""
    operands = call.operands
    if len(operands) != 1 or _reads(call, operands[0]) != 1:
        if any(not value.real for value in operands):
            return unknown(call)
        return opaque(call, "NG012", f"{call.source} multiplies computed tensors")
    return probed(call, operands[0])


def _reads(call: Call, value: Value) -> int:
    """How many arguments of a call are this value."""

    def count(item: Any) -> int:
        if isinstance(item, tuple | list):
            return sum(count(part) for part in item)
        return int(isinstance(item, Value) and item.name == value.name)

    return sum(count(item) for item in call.arguments.values())


def probed(call: Call, value: Value) -> Lowered:
    """The affine map of an operation from its images of zero and of the unit vectors.

    The images of unit vectors are exact only where the image of zero vanishes, so an operation with a constant term is
    read as opaque. Sums of products with zeros are exact; one product with a scalar factor may round once.
    """
    size, batch = math.prod(value.shape), call.batch
    zero = torch.zeros(batch, *value.shape, dtype=torch.float64)
    lowered = opaque(call, "NG010", f"{call.source} has no rule")
    if not isinstance(lowered, Value):
        return lowered
    entries = size * math.prod(lowered.shape)
    if entries > _LARGEST_PROBED or bool((call.run({value.name: zero}) != 0).any()):
        return lowered
    columns: list[Tensor] = []
    for start in range(0, size, batch):
        rows = torch.arange(start, start + batch).clamp_max(size - 1)
        unit = torch.zeros(batch, size, dtype=torch.float64)
        unit[torch.arange(batch), rows] = 1.0
        image = call.run({value.name: unit.reshape(batch, *value.shape)})
        columns.append(lowered.layout.to_samples(image, batch).reshape(batch, -1))
    matrix = torch.cat(columns)[:size].T.contiguous()
    rounded = any(call.get(key, 1) != 1 for key in ("alpha", "beta"))
    error = tensor_up(matrix.abs() * 2.0**-52) if rounded else None
    del call.builder.nodes[lowered.name]
    flat = reshaped(call, value, (size,), part="flatten")
    image = call.emit(Affine(Dense(matrix, (), error)), [flat], (matrix.shape[0],), lowered.layout, "matrix")
    return reshaped(call, image, lowered.shape, lowered.layout)


@lowers("aten.addcmul.default")
def addcmul(call: Call) -> Lowered:
    """A + value * b * c: a product and a sum."""
    first, left, right = call["self"], call["tensor1"], call["tensor2"]
    constant = isinstance(left, Tensor) and isinstance(right, Tensor)
    computed = left.double() * right.double() if constant else scaled(call, left, right, "product")
    if isinstance(computed, tuple) or (constant and not _exact(left, right)):
        return unknown(call)
    return add_values(call, first, computed, float(call["value"]))


def _exact(left: Tensor, right: Tensor) -> bool:
    """Whether the products of two constants are exact in float64: both fit in float32."""
    return all(bool((part.float().double() == part.double()).all()) for part in (left, right))
