"""Sums, means, extremes and norms over axes; softmax."""

import math
from fractions import Fraction

import torch

from netgain.linear.separable import Separable
from netgain.network.read.onnx.lower import Lowering, Operation, Result, Signal, along, axis_of, lowers
from netgain.network.read.onnx.ops.arithmetic import apply
from netgain.network.read.onnx.patterns import Term
from netgain.network.read.onnx.rational import matrix
from netgain.network.read.onnx.statistics import from_end, l2_norm
from netgain.vectors import Extremum, LogSoftmax, LogSumExp, Softmax

Shape = tuple[int, ...]


def reduced_axes(op: Operation, x: Signal) -> tuple[int, ...]:
    """The axes that are reduced, counted from the front; all of them where none is named."""
    axes = op.ints(1, "axes")
    if not axes:
        empty = int(op.attributes.get("noop_with_empty_axes", 0))
        return () if empty else tuple(range(len(x.shape)))
    return tuple(sorted({axis_of(axis, len(x.shape), op) for axis in axes}))


def reduced_shape(op: Operation, x: Signal, axes: Shape) -> Shape:
    """The shape after the reduction."""
    if int(op.attributes.get("keepdims", 1)):
        return tuple(1 if k in axes else size for k, size in enumerate(x.shape))
    return tuple(size for k, size in enumerate(x.shape) if k not in axes)


def summed(lowering: Lowering, op: Operation, x: Signal, axes: Shape, mean: bool) -> Signal:
    """The sum or mean over axes, axes of size 1 left in place."""
    kept = tuple(1 if k in axes else size for k, size in enumerate(x.shape))
    busy = [axis for axis in axes if x.shape[axis] > 1]
    if not busy:
        return x
    shape, places = along(x, busy)
    matrices: list[torch.Tensor | None] = [None] * len(shape)
    errors: list[torch.Tensor | None] = [None] * len(shape)
    for place in places:
        size = shape[place]
        matrices[place], errors[place] = matrix([dict.fromkeys(range(size), Fraction(1, size if mean else 1))], size)
    return lowering.affine(op, x, Separable(tuple(matrices), shape, tuple(errors)), kept)


@lowers("ReduceMean", "ReduceSum")
def reduce_linear(lowering: Lowering, op: Operation) -> Result:
    """The mean or sum over axes."""
    x = op.signal(0)
    axes = reduced_axes(op, x)
    result = lowering.reshaped(op, summed(lowering, op, x, axes, op.type == "ReduceMean"), reduced_shape(op, x, axes))
    if result.node != x.node:
        note_mean(lowering, op, x, result, axes)
    return result


def note_mean(lowering: Lowering, op: Operation, x: Signal, result: Signal, axes: Shape) -> None:
    """Note that the result is a multiple of the mean over axes."""
    factor = 1 if op.type == "ReduceMean" else math.prod(x.shape[axis] for axis in axes)
    if any(x.shape[axis] > 1 for axis in axes):
        lowering.patterns[result.node] = Term("mean", (x.node,), (Fraction(factor), *from_end(axes, x.shape)))


@lowers("ReduceMax", "ReduceMin", "ReduceLogSumExp")
def reduce_extremum(lowering: Lowering, op: Operation) -> Result:
    """The largest or smallest entry over axes, or the logarithm of the sum of exponentials."""
    x = op.signal(0)
    axes = reduced_axes(op, x)
    if not axes:
        return x
    rest = [k for k in range(len(x.shape)) if k not in axes]
    turned = lowering.transpose(op, x, (*rest, *axes))
    flat = (math.prod(x.shape[k] for k in rest), math.prod(x.shape[k] for k in axes))
    if op.type == "ReduceLogSumExp":
        function = LogSumExp(flat, 1, True)
    else:
        function = Extremum(flat, 1, True, op.type == "ReduceMax")
    return lowering.vector(op, turned, function, reduced_shape(op, x, axes))


@lowers("ReduceL1")
def reduce_l1(lowering: Lowering, op: Operation) -> Result:
    """The sum of magnitudes."""
    x = op.signal(0)
    axes = reduced_axes(op, x)
    return lowering.reshaped(
        op, summed(lowering, op, apply(lowering, op, x, "abs"), axes, False), reduced_shape(op, x, axes)
    )


@lowers("ReduceSumSquare", "ReduceL2")
def reduce_squares(lowering: Lowering, op: Operation) -> Result:
    """The sum of squares, or its root."""
    x = op.signal(0)
    axes = reduced_axes(op, x)
    if op.type == "ReduceL2":
        return (
            l2_norm(lowering, op, x, axes, 0.0, reduced_shape(op, x, axes)) if axes else apply(lowering, op, x, "abs")
        )
    squares = lowering.squared(op, x)
    total = lowering.reshaped(op, summed(lowering, op, squares, axes, False), reduced_shape(op, x, axes))
    if total.node != squares.node:
        note_mean(lowering, op, squares, total, axes)
    return total


@lowers("Softmax", "LogSoftmax")
def softmax(lowering: Lowering, op: Operation) -> Result:
    """Softmax along one axis; before operator set 13 over all axes from `axis` on, taken together."""
    x = op.signal(0)
    axis = axis_of(int(op.attributes.get("axis", -1 if op.opset >= 13 else 1)), len(x.shape), op)
    if op.opset >= 13:
        shape, (place,) = along(x, (axis,))
    else:
        shape, place = (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])), 1
        if shape[0] == 1:
            shape, place = shape[1:], 0
    function = Softmax(shape, place) if op.type == "Softmax" else LogSoftmax(shape, place)
    return lowering.vector(op, x, function, x.shape)
