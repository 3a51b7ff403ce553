"""Max and average pooling, adaptive pooling, interpolation."""

from typing import Any

from netgain.linear.pooling import adaptive_average_pool, average_pool
from netgain.linear.resize import upsample
from netgain.network.graph import Affine, Vector
from netgain.network.read.aten.convolution import per_axis
from netgain.network.read.aten.opaque import opaque
from netgain.network.read.lowering import Call, Lowered, Value, lowers
from netgain.vectors.pool import AdaptiveMaxPool, MaxPool


def pooled_axes(call: Call, value: Value) -> int:
    """The number of spatial axes in the operation's name, none of them the batch axis."""
    axes = next(count for count in (1, 2, 3) if f"{count}d" in call.operation)
    for axis in range(axes):
        call.axis(value, -1 - axis)
    return axes


@lowers(
    "aten.max_pool1d.default",
    "aten.max_pool2d.default",
    "aten.max_pool3d.default",
    "aten.max_pool1d_with_indices.default",
    "aten.max_pool2d_with_indices.default",
    "aten.max_pool3d_with_indices.default",
)
def max_pool(call: Call) -> Lowered:
    """Max pooling; indices, where they are used, jump."""
    value = call["self"]
    axes = pooled_axes(call, value)
    kernel = per_axis(call["kernel_size"], axes)
    stride = per_axis(call["stride"], axes) if call["stride"] else kernel
    padding, dilation = per_axis(call["padding"], axes), per_axis(call["dilation"], axes)
    function = MaxPool(value.shape, kernel, stride, padding, dilation, bool(call["ceil_mode"]))
    return _with_indices(call, call.emit(Vector(function), [value], function.out_shape))


@lowers("aten.adaptive_max_pool1d.default", "aten.adaptive_max_pool2d.default", "aten.adaptive_max_pool3d.default")
def adaptive_max_pool(call: Call) -> Lowered:
    """Adaptive max pooling; indices, where they are used, jump."""
    value = call["self"]
    axes = pooled_axes(call, value)
    function = AdaptiveMaxPool(value.shape, per_axis(call["output_size"], axes))
    pooled = call.emit(Vector(function), [value], function.out_shape)
    return _with_indices(call, pooled, always=True)


def _with_indices(call: Call, pooled: Value, always: bool = False) -> Lowered:
    """The pooled values, and the indices where the operation returns them."""
    if not always and "with_indices" not in call.operation:
        return pooled
    indices = opaque(call, "NG011", f"{call.source} returns positions of maxima, which jump")
    return (pooled, indices[1]) if isinstance(indices, tuple) else pooled


@lowers("aten.avg_pool1d.default", "aten.avg_pool2d.default", "aten.avg_pool3d.default")
def avg_pool(call: Call) -> Lowered:
    """Average pooling."""
    value = call["self"]
    axes = pooled_axes(call, value)
    kernel = per_axis(call["kernel_size"], axes)
    stride = per_axis(call["stride"], axes) if call["stride"] else kernel
    padding = tuple((width, width) for width in per_axis(call["padding"], axes))
    linear_map = average_pool(
        value.shape,
        kernel,
        stride,
        padding,
        ceil_mode=bool(call["ceil_mode"]),
        divisor=call.get("divisor_override") or ("padded" if call["count_include_pad"] else "inside"),
    )
    pooled = call.emit(Affine(linear_map), [value], linear_map.out_shape)
    if not any(map(any, padding)) and not call["ceil_mode"] and not call.get("divisor_override"):
        call.builder.windows[pooled.name] = (kernel, stride)
    return pooled


@lowers(
    "aten.adaptive_avg_pool1d.default",
    "aten.adaptive_avg_pool2d.default",
    "aten.adaptive_avg_pool3d.default",
    "aten._adaptive_avg_pool2d.default",
    "aten._adaptive_avg_pool3d.default",
)
def adaptive_avg_pool(call: Call) -> Lowered:
    """Adaptive average pooling."""
    value = call["self"]
    axes = pooled_axes(call, value)
    linear_map = adaptive_average_pool(value.shape, per_axis(call["output_size"], axes))
    return call.emit(Affine(linear_map), [value], linear_map.out_shape)


@lowers(
    "aten.upsample_linear1d.vec",
    "aten.upsample_bilinear2d.vec",
    "aten.upsample_trilinear3d.vec",
    "aten.upsample_bicubic2d.vec",
    "aten.upsample_linear1d.default",
    "aten.upsample_bilinear2d.default",
    "aten.upsample_trilinear3d.default",
    "aten.upsample_bicubic2d.default",
)
def interpolation(call: Call) -> Lowered:
    """Linear and cubic interpolation."""
    value = call["input"] if "input" in call.arguments else call["self"]
    axes = pooled_axes(call, value)
    mode: Any = call.operation.removeprefix("upsample_").rstrip("123d")
    mode = (
        "bicubic" if mode == "bicubic" else {"linear": "linear", "bilinear": "bilinear", "trilinear": "trilinear"}[mode]
    )
    size = tuple(int(length) for length in call.node.meta["val"].shape[-axes:])
    factors = tuple(float(factor) for factor in call.get("scale_factors") or ()) or None
    aligned = bool(call["align_corners"])
    linear_map = upsample(value.shape, size, mode, align_corners=aligned, scale_factors=factors)
    return call.emit(Affine(linear_map), [value], linear_map.out_shape)
