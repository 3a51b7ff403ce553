"""Normalization by a sample's own statistics; factors and offsets become an affine node behind it."""

import math

import torch

from netgain.core.errors import ModelError
from netgain.linear.diagonal import Diagonal
from netgain.network.graph import Affine
from netgain.network.read.onnx.lower import (
    Constant,
    DynamicOperandError,
    Lowering,
    Operation,
    Result,
    Signal,
    against,
    axis_of,
    broadcast_shape,
    lowers,
    real,
    sample,
)
from netgain.vectors import GroupNorm, LayerNorm, Normalize, RMSNorm

Shape = tuple[int, ...]


def rescaled(
    lowering: Lowering, op: Operation, x: Signal, scale: torch.Tensor | None, bias: torch.Tensor | None
) -> Signal:
    """scale x + bias, both lined up with the ONNX shape."""
    if scale is None and bias is None:
        return x
    shape = sample(x.shape)
    factor = torch.ones(1, dtype=torch.float64) if scale is None else against(scale, x.shape)
    offset = None if bias is None else against(bias, x.shape).expand(shape).contiguous()
    node = lowering.builder.add(Affine(Diagonal(factor, shape), offset), (x.node,), op.source)
    return Signal(node, x.shape, x.element)


def fixed(op: Operation, index: int) -> torch.Tensor | None:
    """A constant operand, None where it is left out.

    Raises:
        DynamicOperandError: if it is computed.
    """
    value = op.get(index)
    if isinstance(value, Signal):
        raise DynamicOperandError(f"its input {index} is computed")
    return real(value, op) if isinstance(value, Constant) else None


def positive(op: Operation, default: float) -> float:
    """The constant under the root."""
    eps = float(op.attributes.get("epsilon", default))
    if not (math.isfinite(eps) and eps >= 0):
        raise ModelError(f"{op.source} has epsilon {eps}")
    return eps


@lowers("LayerNormalization", "RMSNormalization")
def layer_normalization(lowering: Lowering, op: Operation) -> Result:
    """Mean 0 and variance 1 (or mean square 1) over the trailing axes."""
    x = op.signal(0)
    axis = axis_of(int(op.attributes.get("axis", -1)), len(x.shape), op)
    if len([name for name in op.proto.output if name]) > 1:
        raise DynamicOperandError("its statistics are used")
    scale, bias = fixed(op, 1), fixed(op, 2)
    for part in (scale, bias):
        if part is not None and broadcast_shape(op, x.shape, tuple(part.shape)) != x.shape:
            raise ModelError(f"{op.source} has factors of shape {tuple(part.shape)} for {x.shape}")
    eps, count = positive(op, 1e-5), len(x.shape) - axis
    return rescaled(lowering, op, trailing(lowering, op, x, count, eps, op.type == "RMSNormalization"), scale, bias)


def trailing(lowering: Lowering, op: Operation, x: Signal, count: int, eps: float, uncentered: bool) -> Signal:
    """Layer or RMS normalization over the last `count` axes."""
    shape = x.shape if count == len(x.shape) or x.shape[0] != 1 else x.shape[1:]
    function = RMSNorm(shape, count, eps) if uncentered else LayerNorm(shape, count, eps)
    return lowering.vector(op, x, function, x.shape)


def over(lowering: Lowering, op: Operation, x: Signal, axes: Shape, eps: float, uncentered: bool) -> Signal:
    """Layer or RMS normalization over any axes: they are moved to the end and back."""
    rank = len(x.shape)
    if axes == tuple(range(rank - len(axes), rank)):
        return trailing(lowering, op, x, len(axes), eps, uncentered)
    order = (*(k for k in range(rank) if k not in axes), *axes)
    turned = trailing(lowering, op, lowering.transpose(op, x, order), len(axes), eps, uncentered)
    return lowering.transpose(op, turned, tuple(order.index(k) for k in range(rank)))


@lowers("InstanceNormalization")
def instance_normalization(lowering: Lowering, op: Operation) -> Result:
    """Mean 0 and variance 1 over each channel."""
    x = op.signal(0)
    groups = x.shape[0] * x.shape[1]
    scale, bias = fixed(op, 1), fixed(op, 2)
    normed = _grouped(lowering, op, x, groups, positive(op, 1e-5))
    return rescaled(lowering, op, normed, _channel(scale, x), _channel(bias, x))


@lowers("GroupNormalization")
def group_normalization(lowering: Lowering, op: Operation) -> Result:
    """Mean 0 and variance 1 over each group of channels."""
    x, groups = op.signal(0), int(op.attributes.get("num_groups", 1))
    if len(x.shape) < 2 or groups < 1 or x.shape[1] % groups:
        raise ModelError(f"{op.source} has {groups} groups for the shape {x.shape}")
    scale, bias = fixed(op, 1), fixed(op, 2)
    if op.opset < 21:
        # The first version has one factor a group.
        repeat = x.shape[1] // groups
        scale, bias = (None if part is None else part.repeat_interleave(repeat) for part in (scale, bias))
    normed = _grouped(lowering, op, x, groups * x.shape[0], positive(op, 1e-5))
    return rescaled(lowering, op, normed, _channel(scale, x), _channel(bias, x))


def _grouped(lowering: Lowering, op: Operation, x: Signal, groups: int, eps: float) -> Signal:
    """Normalization of `groups` consecutive pieces."""
    shape = (math.prod(x.shape[:2]), *x.shape[2:])
    return lowering.vector(op, x, GroupNorm(shape, groups, eps), x.shape)


def _channel(values: torch.Tensor | None, x: Signal) -> torch.Tensor | None:
    """One number a channel, lined up with the channel axis."""
    if values is None:
        return None
    if tuple(values.shape) != (x.shape[1],):
        raise ModelError(f"normalization has factors of shape {tuple(values.shape)} for {x.shape[1]} channels")
    return values.reshape(-1, *([1] * (len(x.shape) - 2)))


@lowers("LpNormalization")
def lp_normalization(lowering: Lowering, op: Operation) -> Result:
    """x / ||x||_2 along one axis (no epsilon: no global bound)."""
    x = op.signal(0)
    if int(op.attributes.get("p", 2)) != 2:
        raise DynamicOperandError("its norm is not l2")
    axis = axis_of(int(op.attributes.get("axis", -1)), len(x.shape), op)
    return l2_normalized(lowering, op, x, axis, 0.0)


def l2_normalized(lowering: Lowering, op: Operation, x: Signal, axis: int, eps: float) -> Signal:
    """x / max(||x||_2, eps) along one axis."""
    shape, place = (x.shape[1:], axis - 1) if x.shape[0] == 1 and axis > 0 else (x.shape, axis)
    return lowering.vector(op, x, Normalize(shape, place, eps), x.shape)
