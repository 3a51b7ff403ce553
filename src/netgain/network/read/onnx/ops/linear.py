"""Gemm, MatMul, convolutions and frozen batch normalization."""

import math
from collections.abc import Sequence

from torch import Tensor

from netgain.core.errors import BatchCoupledError, ModelError
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.network.graph import Affine, Bilinear, Form, Sum
from netgain.network.read.onnx.build import normalization_affine, scaled
from netgain.network.read.onnx.lower import (
    Constant,
    Lowering,
    Operation,
    Result,
    Signal,
    Value,
    against,
    broadcast_shape,
    lowers,
    real,
    sample,
)

Shape = tuple[int, ...]
Widths = tuple[tuple[int, int], ...]


@lowers("Gemm")
def gemm(lowering: Lowering, op: Operation) -> Result:
    """alpha A B + beta C, A and B optionally transposed."""
    a, b, c = op.need(0), op.need(1), op.get(2)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ModelError(f"{op.source} takes two matrices, got shapes {a.shape} and {b.shape}")
    a = _turned(lowering, op, a) if op.attributes.get("transA", 0) else a
    b = _turned(lowering, op, b) if op.attributes.get("transB", 0) else b
    alpha, beta = float(op.attributes.get("alpha", 1.0)), float(op.attributes.get("beta", 1.0))
    if isinstance(a, Constant) and isinstance(b, Constant):
        raise ModelError(f"{op.source} multiplies two constants and adds a computed tensor; write it as an Add")
    product = matmul(lowering, op, a, b, alpha)
    if c is None or beta == 0.0:
        return product
    broadcast_shape(op, product.shape, c.shape)
    if isinstance(c, Constant):
        value, error = scaled(real(c, op), beta)
        bias = against(value, product.shape).expand(sample(product.shape)).contiguous()
        spread = None if error is None else against(error, product.shape).expand(sample(product.shape)).contiguous()
        return with_bias(lowering, op, product, bias, spread)
    wide = lowering.broadcast(op, c, product.shape)
    return Signal(lowering.builder.add(Sum((1.0, beta)), (product.node, wide.node), op.source), product.shape)


def with_bias(lowering: Lowering, op: Operation, x: Signal, bias: Tensor, error: Tensor | None = None) -> Signal:
    """x plus a bias of the sample shape: put into the affine node that just computed x, where it has none yet."""
    return Signal(lowering.builder.add_bias(x.node, bias, error, op.source), x.shape, x.element)


def _turned(lowering: Lowering, op: Operation, value: Value) -> Value:
    """A transposed matrix."""
    if isinstance(value, Constant):
        return Constant(value.array.T, value.name)
    return lowering.transpose(op, value, (1, 0))


@lowers("MatMul")
def matmul_op(lowering: Lowering, op: Operation) -> Result:
    """Batched matrix product by numpy's rules."""
    a, b = op.need(0), op.need(1)
    wide = lambda value, shape: _as(lowering, op, value, shape)  # noqa: E731
    left, right = len(a.shape) == 1, len(b.shape) == 1
    product = matmul(lowering, op, wide(a, (1, *a.shape)) if left else a, wide(b, (*b.shape, 1)) if right else b, 1.0)
    shape = product.shape
    shape = (*shape[:-2], shape[-1]) if left else shape
    shape = shape[:-1] if right else shape
    return lowering.reshaped(op, product, shape)


def _as(lowering: Lowering, op: Operation, value: Value, shape: Shape) -> Value:
    """A value under another shape of the same size."""
    if isinstance(value, Constant):
        return Constant(value.array.reshape(shape), value.name)
    return lowering.reshaped(op, value, shape)


def matmul(lowering: Lowering, op: Operation, a: Value, b: Value, alpha: float) -> Signal:
    """alpha A B over the last two axes, the others broadcast; at least one of the two is computed."""
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        raise ModelError(f"{op.source} multiplies matrices of shapes {a.shape} and {b.shape}")
    lead = broadcast_shape(op, a.shape[:-2], b.shape[:-2])
    shape = lowering.guard((*lead, a.shape[-2], b.shape[-1]), op)
    if isinstance(a, Signal) and isinstance(b, Signal):
        return _bilinear(lowering, op, a, b, shape, alpha)
    if isinstance(a, Signal) and isinstance(b, Constant):
        weight, error = scaled(real(b, op), alpha)
        if math.prod(b.shape[:-2]) == 1:
            return _right(lowering, op, a, (weight, error), shape)
        turned = (weight.transpose(-1, -2), None if error is None else error.transpose(-1, -2))
        flipped = _blocks(lowering, op, turned, _flip(lowering, op, a), (*lead, shape[-1], shape[-2]))
        return _flip(lowering, op, flipped)
    if isinstance(a, Constant) and isinstance(b, Signal):
        weight, error = scaled(real(a, op), alpha)
        if math.prod(a.shape[:-2]) == 1:
            turned = (weight.transpose(-1, -2), None if error is None else error.transpose(-1, -2))
            flipped = _right(lowering, op, _flip(lowering, op, b), turned, (*lead, shape[-1], shape[-2]))
            return _flip(lowering, op, flipped)
        return _blocks(lowering, op, (weight, error), b, shape)
    raise ModelError(f"{op.source} multiplies two constants that were not folded")


def _flip(lowering: Lowering, op: Operation, x: Signal) -> Signal:
    """The last two axes exchanged."""
    rank = len(x.shape)
    return lowering.transpose(op, x, (*range(rank - 2), rank - 1, rank - 2))


def _right(lowering: Lowering, op: Operation, x: Signal, weight: tuple[Tensor, Tensor | None], shape: Shape) -> Signal:
    """x W with one matrix W for all leading axes."""
    x = lowering.broadcast(op, x, (*shape[:-1], x.shape[-1]))
    matrix, error = (None if part is None else part.reshape(part.shape[-2:]).T for part in weight)
    lead = sample(x.shape)[:-1] if len(sample(x.shape)) == len(x.shape) else x.shape[1:-1]
    return lowering.affine(op, x, Dense(matrix, lead, error), shape)  # type: ignore[arg-type]


def _blocks(lowering: Lowering, op: Operation, weight: tuple[Tensor, Tensor | None], x: Signal, shape: Shape) -> Signal:
    """W x with a matrix of its own for each leading index: one grouped convolution of width 1."""
    rows, inner, columns = shape[-2], x.shape[-2], shape[-1]
    count = math.prod(shape[:-2])
    x = lowering.broadcast(op, x, (*shape[:-2], inner, columns))
    lowering.guard((count * rows, inner), op)
    kernel, error = (
        None if part is None else part.expand(*shape[:-2], rows, inner).reshape(count * rows, inner, 1)
        for part in weight
    )
    conv = Conv(kernel, (count * inner, columns), (1,), ((0, 0),), (1,), count, error)  # type: ignore[arg-type]
    return lowering.affine(op, x, conv, shape)


def _bilinear(lowering: Lowering, op: Operation, a: Signal, b: Signal, shape: Shape, alpha: float) -> Signal:
    """A product of two computed matrices."""
    rank = max(len(a.shape), len(b.shape))
    first, second = ((1,) * (rank - len(one.shape)) + one.shape for one in (a, b))
    if first[0] == second[0] == 1 and rank > 2:
        first, second = first[1:], second[1:]
    nodes = (lowering.view(a, first, op), lowering.view(b, second, op))
    product = lowering.signal(lowering.builder.add(Bilinear(Form.MATMUL), nodes, op.source), shape, op)
    if alpha == 1.0:
        return product
    return Signal(lowering.builder.affine(product.node, alpha, None, op.source), shape)


def windows(op: Operation, grid: Shape, kernel: Shape) -> tuple[Shape, Widths, Shape]:
    """Stride, padding and dilation of a sliding window, `auto_pad` resolved.

    Returns:
        (stride, padding, dilation), one entry an axis.

    Raises:
        ModelError: if the attributes do not fit the grid.
    """
    axes = len(grid)
    stride = _tuple(op, "strides", axes)
    dilation = _tuple(op, "dilations", axes)
    mode = str(op.attributes.get("auto_pad", "NOTSET") or "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        widths: list[tuple[int, int]] = []
        for size, k, s, d in zip(grid, kernel, stride, dilation, strict=True):
            total = max(0, (math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size)
            small, large = total // 2, total - total // 2
            widths.append((small, large) if mode == "SAME_UPPER" else (large, small))
        return stride, tuple(widths), dilation
    if mode == "VALID":
        return stride, ((0, 0),) * axes, dilation
    if mode != "NOTSET":
        raise ModelError(f"{op.source} has the unknown padding {mode!r}")
    pads = [int(width) for width in op.attributes.get("pads", [0] * (2 * axes))]
    if len(pads) != 2 * axes:
        raise ModelError(f"{op.source} has {len(pads)} paddings for {axes} axes")
    return stride, tuple(zip(pads[:axes], pads[axes:], strict=True)), dilation


def _tuple(op: Operation, name: str, axes: int) -> Shape:
    """A positive integer an axis, 1 where the attribute is left out."""
    values = tuple(int(value) for value in op.attributes.get(name, [1] * axes))
    if len(values) != axes or min(values, default=1) < 1:
        raise ModelError(f"{op.source} has {name} {values} for {axes} axes")
    return values


def _weights(op: Operation) -> Tensor:
    """The kernel of a convolution, which must be constant."""
    op.array(1)
    weight = op.need(1)
    return real(weight, op)  # type: ignore[arg-type]


@lowers("Conv")
def conv(lowering: Lowering, op: Operation) -> Result:
    """Convolution over one to three axes, any group, stride, dilation and zero padding."""
    x, weight, group = op.signal(0), _weights(op), int(op.attributes.get("group", 1))
    grid = x.shape[2:]
    if weight.ndim != len(x.shape) or not 1 <= len(grid) <= 3:
        raise ModelError(f"{op.source} has a kernel of shape {tuple(weight.shape)} for an input of shape {x.shape}")
    if group < 1 or x.shape[1] != weight.shape[1] * group:
        raise ModelError(f"{op.source}: {x.shape[1]} channels do not fit {tuple(weight.shape)} in {group} groups")
    stride, padding, dilation = windows(op, grid, tuple(weight.shape[2:]))
    return _convolve(
        lowering,
        op,
        x,
        lambda one, shape, inner: Conv(one, shape, inner(stride, 1), inner(padding, (0, 0)), inner(dilation, 1), group),
    )


@lowers("ConvTranspose")
def conv_transpose(lowering: Lowering, op: Operation) -> Result:
    """Transposed convolution."""
    x, weight, group = op.signal(0), _weights(op), int(op.attributes.get("group", 1))
    grid, kernel = x.shape[2:], tuple(weight.shape[2:])
    if weight.ndim != len(x.shape) or not 1 <= len(grid) <= 3 or group < 1 or x.shape[1] != weight.shape[0]:
        raise ModelError(f"{op.source} has a kernel of shape {tuple(weight.shape)} for an input of shape {x.shape}")
    stride, padding, dilation, extra = _transposed_windows(op, grid, kernel)
    return _convolve(
        lowering,
        op,
        x,
        lambda one, shape, inner: ConvTransposed(
            one, shape, inner(stride, 1), inner(padding, (0, 0)), inner(extra, 0), inner(dilation, 1), group
        ),
    )


def _transposed_windows(op: Operation, grid: Shape, kernel: Shape) -> tuple[Shape, Widths, Shape, Shape]:
    """Stride, padding, dilation and output padding of a transposed convolution."""
    axes = len(grid)
    stride, dilation = _tuple(op, "strides", axes), _tuple(op, "dilations", axes)
    extra = tuple(int(value) for value in op.attributes.get("output_padding", [0] * axes))
    full = [
        s * (n - 1) + d * (k - 1) + 1 + e for n, k, s, d, e in zip(grid, kernel, stride, dilation, extra, strict=True)
    ]
    mode = str(op.attributes.get("auto_pad", "NOTSET") or "NOTSET")
    target = op.attributes.get("output_shape")
    if target is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        target = [n * s for n, s in zip(grid, stride, strict=True)]
    if target is None:
        if mode == "VALID":
            return stride, ((0, 0),) * axes, dilation, extra
        return stride, windows(op, grid, kernel)[1], dilation, extra
    widths: list[tuple[int, int]] = []
    for size, goal in zip(full, [int(value) for value in target][-axes:], strict=True):
        total = size - goal
        if total < 0:
            raise ModelError(f"{op.source} asks for an output of size {goal}, but only {size} are computed")
        small, large = total // 2, total - total // 2
        widths.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return stride, tuple(widths), dilation, extra


def _convolve(lowering: Lowering, op: Operation, x: Signal, make) -> Signal:  # type: ignore[no-untyped-def]
    """Apply a convolution; samples that were merged into the leading axis become one more grid axis."""
    weight, bias = _weights(op), op.get(2)
    count, grid = x.shape[0], x.shape[2:]
    if count == 1:
        linear_map = make(weight, x.shape[1:], lambda values, _: tuple(values))
    elif len(grid) < 3:
        x = lowering.transpose(op, x, (1, 0, *range(2, len(x.shape))))
        linear_map = make(weight.unsqueeze(2), x.shape, lambda values, one: (one, *values))
    else:
        raise BatchCoupledError(f"{op.source} is a 3-d convolution over {count} merged samples")
    lowering.guard(linear_map.out_shape, op)
    offset = None
    if bias is not None:
        values = real(bias, op) if isinstance(bias, Constant) else None
        if values is None or values.ndim != 1 or len(values) != linear_map.out_shape[0]:
            raise ModelError(f"{op.source} has a bias that does not fit its {linear_map.out_shape[0]} channels")
        offset = values.reshape(-1, *([1] * (len(linear_map.out_shape) - 1)))
    if count == 1:
        return lowering.affine(op, x, linear_map, (1, *linear_map.out_shape), offset)
    merged = lowering.affine(op, x, linear_map, linear_map.out_shape, offset)
    return lowering.transpose(op, merged, (1, 0, *range(2, len(merged.shape))))


@lowers("BatchNormalization")
def batch_normalization(lowering: Lowering, op: Operation) -> Result:
    """Frozen batch normalization."""
    training = int(op.attributes.get("training_mode", 0)) or (op.opset < 7 and not int(op.attributes.get("is_test", 0)))
    if training or len([name for name in op.proto.output if name]) > 1:
        raise BatchCoupledError(f"{op.source} is in training mode and uses the statistics of the batch")
    x = op.signal(0)
    gamma, beta, mean, variance = (_channel(op, k, x.shape[1]) for k in range(1, 5))
    eps = float(op.attributes.get("epsilon", 1e-5))
    shape = x.shape
    if x.shape[0] != 1:
        shape = (1, x.shape[1], x.shape[0], *x.shape[2:])
        x = lowering.transpose(op, x, (1, 0, *range(2, len(x.shape))))
    kind = normalization_affine(mean, variance, gamma, beta, eps, shape[1:])
    node = lowering.builder.add(
        Affine(kind.map, kind.bias, kind.bias_error), (lowering.view(x, shape[1:], op),), op.source
    )
    if shape[0] == op.signal(0).shape[0]:
        return lowering.signal(node, shape, op)
    moved = lowering.signal(node, shape[1:], op)
    return lowering.transpose(op, moved, (1, 0, *range(2, len(moved.shape))))


def _channel(op: Operation, index: int, channels: int) -> Tensor:
    """One number a channel."""
    op.array(index)
    values = real(op.need(index), op)  # type: ignore[arg-type]
    if tuple(values.shape) != (channels,):
        raise ModelError(f"{op.source} has statistics of shape {tuple(values.shape)} for {channels} channels")
    return values


def total(lowering: Lowering, op: Operation, parts: Sequence[Signal], scales: Sequence[float], shape: Shape) -> Signal:
    """A weighted sum of signals, each repeated to `shape`."""
    wide = [lowering.broadcast(op, part, shape) for part in parts]
    node = lowering.builder.add(Sum(tuple(scales)), tuple(one.node for one in wide), op.source)
    return Signal(node, shape, parts[0].element)
