"""Batch, layer, group, instance and RMS normalization."""

import math

import torch
from torch import Tensor

from netgain.core.errors import NonFiniteWeightError
from netgain.linear.diagonal import Diagonal
from netgain.network.graph import Affine, Vector
from netgain.network.read.aten.movement import reshaped
from netgain.network.read.aten.opaque import opaque, unknown
from netgain.network.read.lowering import Call, Lowered, Value, lowers
from netgain.network.read.rounding import normalizer, shift
from netgain.vectors.normalize import GroupNorm, LayerNorm, RMSNorm


@lowers("aten._native_batch_norm_legit_no_training.default")
def frozen_batch_norm(call: Call) -> Lowered:
    """Batch normalization with frozen statistics; the other outputs are unused."""
    return (frozen(call, call["input"], call["running_mean"], call["running_var"], float(call["eps"])),)


@lowers("aten.batch_norm.default", "aten.native_batch_norm.default", "aten.cudnn_batch_norm.default")
def batch_norm(call: Call) -> Lowered:
    """Batch normalization; training mode is refused before it gets here."""
    eps = float(call["eps"] if "eps" in call.arguments else call["epsilon"])
    value = frozen(call, call["input"], call["running_mean"], call["running_var"], eps)
    return value if call.operation == "batch_norm" else (value,)


def frozen(call: Call, value: Value, mean: Tensor, variance: Tensor, eps: float) -> Value:
    """x -> (x - mean) / sqrt(variance + eps) * weight + bias for each channel (axis 1), with its rounding errors.

    Raises:
        NonFiniteWeightError: if variance + eps is not positive.
    """
    axis = call.axis(value, 1)
    weight, bias = (None if part is None else part.double() for part in (call["weight"], call["bias"]))
    variance, mean = variance.double(), mean.double()
    if not bool((variance + eps > 0).all()):
        raise NonFiniteWeightError(f"{call.source} divides by the root of a variance that is not positive")
    scale, scale_error = normalizer(variance, eps, weight)
    offset, offset_error = shift(mean, scale, scale_error, bias)
    column = (-1, *([1] * (len(value.shape) - axis - 1)))
    scaling = Diagonal(scale.reshape(column), value.shape, scale_error.reshape(column))
    added = (part.reshape(column).broadcast_to(value.shape) for part in (offset, offset_error))
    return call.emit(Affine(scaling, *added), [value], value.shape)


@lowers("aten.layer_norm.default", "aten.native_layer_norm.default")
def layer_norm(call: Call) -> Lowered:
    """Layer normalization over the trailing axes."""
    value, axes = call["input"], len(call["normalized_shape"])
    if not isinstance(value, Value):
        return unknown(call)
    for axis in range(axes):
        call.axis(value, -1 - axis)
    normed = call.emit(Vector(LayerNorm(value.shape, axes, float(call["eps"]))), [value], value.shape)
    lowered = weighted(call, normed, call["weight"], call["bias"])
    return lowered if call.operation == "layer_norm" else (lowered,)


@lowers("aten.rms_norm.default", "aten._fused_rms_norm.default")
def rms_norm(call: Call) -> Lowered:
    """RMS normalization over the trailing axes; without eps, torch takes the dtype's."""
    value, axes = call["input"], len(call["normalized_shape"])
    for axis in range(axes):
        call.axis(value, -1 - axis)
    eps = torch.finfo(call.dtype).eps if call["eps"] is None else float(call["eps"])
    normed = call.emit(Vector(RMSNorm(value.shape, axes, eps)), [value], value.shape)
    lowered = weighted(call, normed, call["weight"], None)
    return lowered if call.operation == "rms_norm" else (lowered,)


@lowers("aten.group_norm.default")
def group_norm(call: Call) -> Lowered:
    """Group normalization of the channels (axis 1)."""
    return _grouped(call, int(call["num_groups"]))


@lowers("aten.instance_norm.default")
def instance_norm(call: Call) -> Lowered:
    """Instance normalization: each channel by itself, or by frozen statistics."""
    if not call["use_input_stats"]:
        return frozen(call, call["input"], call["running_mean"], call["running_var"], float(call["eps"]))
    return _grouped(call, call["input"].shape[call.axis(call["input"], 1)])


def _grouped(call: Call, groups: int) -> Lowered:
    """Group normalization, then weight and bias a channel."""
    value = call["input"]
    axis = call.axis(value, 1)
    if value.layout.axis != 0:
        return opaque(call, "NG010", f"{call.source} behind an exchange of batch and channel axis has no rule")
    # Axes merged into the batch (frames of a video) are groups of their own.
    frames = math.prod(value.shape[:axis])
    flat = reshaped(call, value, (frames * value.shape[axis], *value.shape[axis + 1 :]), part="join")
    function = GroupNorm(flat.shape, groups * frames, float(call["eps"]))
    normed = reshaped(call, call.emit(Vector(function), [flat], flat.shape), value.shape, part="split")
    column = (-1, *([1] * (len(value.shape) - axis - 1)))
    weight, bias = (None if part is None else part.reshape(column) for part in (call["weight"], call["bias"]))
    return weighted(call, normed, weight, bias)


def weighted(call: Call, value: Value, weight: Tensor | None, bias: Tensor | None) -> Value:
    """Weight * value + bias, both broadcast to a sample; the value itself where there is neither."""
    if weight is None and bias is None:
        return value
    scale = torch.ones((1,) * len(value.shape)) if weight is None else weight
    added = None if bias is None else bias.double().broadcast_to(value.shape)
    return call.emit(Affine(Diagonal(scale.double(), value.shape), added), [value], value.shape, part="weight")
