"""Convolutions over one to three axes and their transposes."""

import math
from typing import Any

from torch import Tensor

from netgain.linear.convolution import Conv, ConvTransposed
from netgain.network.graph import Affine
from netgain.network.read.aten.movement import reshaped
from netgain.network.read.aten.opaque import opaque
from netgain.network.read.lowering import Call, Lowered, Value, lowers

Widths = tuple[tuple[int, int], ...]


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """An int or list argument as one int an axis."""
    sizes = [value] if isinstance(value, int) else list(value)
    return tuple(int(size) for size in (sizes * axes if len(sizes) == 1 else sizes))


@lowers("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default")
def conv(call: Call) -> Lowered:
    """A convolution with zero padding."""
    axes = call["weight"].ndim - 2 if isinstance(call["weight"], Tensor) else 0
    widths = per_axis(call["padding"], axes)
    return _conv(call, tuple((width, width) for width in widths))


@lowers("aten.conv1d.padding", "aten.conv2d.padding", "aten.conv3d.padding")
def conv_named_padding(call: Call) -> Lowered:
    """A convolution with padding "valid" or "same"."""
    if not isinstance(call["weight"], Tensor):
        return _conv(call, ())
    kernel = call["weight"].shape[2:]
    dilation = per_axis(call["dilation"], len(kernel))
    if call["padding"] == "valid":
        return _conv(call, ((0, 0),) * len(kernel))
    totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return _conv(call, tuple((total // 2, total - total // 2) for total in totals))


@lowers("aten.convolution.default")
def convolution(call: Call) -> Lowered:
    """The general form of both directions."""
    axes = call["weight"].ndim - 2 if isinstance(call["weight"], Tensor) else 0
    widths = tuple((width, width) for width in per_axis(call["padding"], axes))
    return _transposed(call, widths) if call["transposed"] else _conv(call, widths)


@lowers("aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input")
def conv_transposed(call: Call) -> Lowered:
    """A transposed convolution."""
    axes = call["weight"].ndim - 2 if isinstance(call["weight"], Tensor) else 0
    return _transposed(call, tuple((width, width) for width in per_axis(call["padding"], axes)))


def _conv(call: Call, padding: Widths) -> Lowered:
    """The convolution with these paddings."""
    value, weight, groups = call["input"], call["weight"], int(call["groups"])
    if not isinstance(value, Value) or not isinstance(weight, Tensor) or isinstance(call["bias"], Value):
        return opaque(call, "NG012", f"{call.source} convolves with a computed kernel")
    axes = weight.ndim - 2
    value, padding, circular = _take_over(call, value, padding)
    frames, flat = _frames(call, value, axes)
    stride, dilation = per_axis(call["stride"], axes), per_axis(call["dilation"], axes)
    kernel = weight.double().repeat(frames, *([1] * (axes + 1)))
    linear_map = Conv(kernel, flat.shape, stride, padding, dilation, groups * frames, circular=circular)
    return _emit(call, value, flat, linear_map, frames)


def _take_over(call: Call, value: Value, padding: Widths) -> tuple[Value, Widths, bool]:
    """The padding before a convolution as its own: the padded value, all widths, and whether it goes around."""
    if value.name not in call.builder.padded:
        return value, padding, False
    inner, widths, circular = call.builder.padded[value.name]
    missing = len(padding) - len(widths)
    if missing < 0 or inner.layout != value.layout:
        return value, padding, False
    widths = ((0, 0),) * missing + widths
    if not circular:
        return inner, tuple((a + c, b + d) for (a, b), (c, d) in zip(widths, padding, strict=True)), False
    if any(padding_pair != (0, 0) for padding_pair in padding):
        return value, padding, False
    return inner, widths, True


def _transposed(call: Call, padding: Widths) -> Lowered:
    """The transposed convolution with these paddings."""
    value, weight, groups = call["input"], call["weight"], int(call["groups"])
    if not isinstance(value, Value) or not isinstance(weight, Tensor) or isinstance(call["bias"], Value):
        return opaque(call, "NG012", f"{call.source} convolves with a computed kernel")
    axes = weight.ndim - 2
    frames, flat = _frames(call, value, axes)
    stride, dilation = per_axis(call["stride"], axes), per_axis(call["dilation"], axes)
    extra = per_axis(call["output_padding"], axes)
    kernel = weight.double().repeat(frames, *([1] * (axes + 1)))
    linear_map = ConvTransposed(kernel, flat.shape, stride, padding, extra, dilation, groups * frames)
    return _emit(call, value, flat, linear_map, frames)


def _frames(call: Call, value: Value, axes: int) -> tuple[int, Value]:
    """The number of images in one sample, and the value with their channels joined: images become groups."""
    for axis in range(axes + 1):
        call.axis(value, -1 - axis)
    lead = value.shape[: -axes - 1]
    frames = math.prod(lead)
    return frames, reshaped(call, value, (frames * value.shape[-axes - 1], *value.shape[-axes:]), part="join")


def _emit(call: Call, value: Value, flat: Value, linear_map: Conv | ConvTransposed, frames: int) -> Lowered:
    """The node, its bias, and the images of a sample taken apart again."""
    bias = call["bias"]
    out = linear_map.out_shape
    if bias is not None:
        repeated = bias.double().repeat(frames)
        bias = repeated.reshape(-1, *([1] * (len(out) - 1))).broadcast_to(out)
    image = call.emit(Affine(linear_map, bias), [flat], out)
    axes = len(out) - 1
    lead = value.shape[: -axes - 1]
    shape = (*lead, out[0] // frames, *out[1:])
    return reshaped(call, image, shape, part="split") if lead else image
