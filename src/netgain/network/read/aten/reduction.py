"""Sums, means, extrema, softmax and sorting along axes."""

import dataclasses
from collections.abc import Callable

import torch

from netgain.core.errors import BatchCoupledError
from netgain.linear.pooling import mean as mean_map
from netgain.linear.pooling import total
from netgain.network.graph import Affine, Concat, Elementwise, Vector
from netgain.network.read.aten.activations import clamping
from netgain.network.read.aten.arithmetic import discrete, full_shape
from netgain.network.read.aten.movement import broadcast, move, reshaped
from netgain.network.read.aten.opaque import opaque, unknown
from netgain.network.read.layout import Layout
from netgain.network.read.lowering import Call, Lowered, Value, lowers
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.extrema import Extremum, Sort
from netgain.vectors.softmax import LogSoftmax, LogSumExp, Softmax


def reduced_axes(call: Call, value: Value) -> tuple[tuple[int, ...], Layout]:
    """The sample axes that a reduction removes, and the layout of its result.

    Raises:
        BatchCoupledError: if the batch axis is among them.
    """
    rank = len(call.full_shape(value))
    given = call.get("dim")
    given = [given] if isinstance(given, int) else list(given or [])
    axes = sorted(axis % rank for axis in given) or list(range(rank))
    if value.layout.axis in axes:
        raise BatchCoupledError(f"{call.source} reduces over the batch axis")
    gone = 0 if call.get("keepdim") else sum(axis < value.layout.axis for axis in axes)
    layout = dataclasses.replace(value.layout, axis=value.layout.axis - gone)
    return tuple(value.layout.sample_axis(axis) for axis in axes), layout


@lowers("aten.mean.dim", "aten.mean.default", "aten.sum.dim_IntList", "aten.sum.default")
def average(call: Call) -> Lowered:
    """Mean or sum over axes."""
    value = call["self"]
    if discrete(value):
        return unknown(call)
    axes, layout = reduced_axes(call, value)
    if not axes:
        return value
    build = mean_map if call.operation == "mean" else total
    linear_map = build(value.shape, axes, bool(call.get("keepdim")))
    return call.emit(Affine(linear_map), [value], linear_map.out_shape, layout)


@lowers("aten.softmax.int", "aten._softmax.default")
def softmax(call: Call) -> Lowered:
    """Softmax along an axis."""
    return _along(call, lambda shape, axis: Softmax(shape, axis))


@lowers("aten.log_softmax.int", "aten._log_softmax.default")
def log_softmax(call: Call) -> Lowered:
    """Log-softmax along an axis."""
    return _along(call, lambda shape, axis: LogSoftmax(shape, axis))


def _along(call: Call, build: Callable[[tuple[int, ...], int], AbstractVectorFunction]) -> Lowered:
    """A vector function along one axis that keeps the shape."""
    value = call["self"]
    if discrete(value):
        return unknown(call)
    function = build(value.shape, call.axis(value, int(call["dim"])))
    return call.emit(Vector(function), [value], function.out_shape)


@lowers("aten.logsumexp.default")
def logsumexp(call: Call) -> Lowered:
    """Log-sum-exp along axes, one after another: exp of the inner one is the sum that the outer one needs."""
    value = call["self"]
    axes, layout = reduced_axes(call, value)
    return _one_by_one(call, value, axes, layout, lambda shape, axis: LogSumExp(shape, axis, True))


@lowers("aten.amax.default", "aten.amin.default")
def extremum(call: Call) -> Lowered:
    """The largest or smallest entry along axes."""
    value, largest = call["self"], call.operation == "amax"
    if discrete(value):
        return unknown(call)
    axes, layout = reduced_axes(call, value)
    return _one_by_one(call, value, axes, layout, lambda shape, axis: Extremum(shape, axis, True, largest))


def _one_by_one(
    call: Call,
    value: Value,
    axes: tuple[int, ...],
    layout: Layout,
    build: Callable[[tuple[int, ...], int], AbstractVectorFunction],
) -> Value:
    """A reduction along several axes in turn; the axes go at the end unless they are kept."""
    current = value
    for axis in axes:
        function = build(current.shape, axis)
        current = call.emit(Vector(function), [current], function.out_shape)
    if not call.get("keepdim"):
        shape = tuple(size for axis, size in enumerate(current.shape) if axis not in axes)
        current = reshaped(call, current, shape, layout, "squeeze")
    return dataclasses.replace(current, layout=layout)


@lowers("aten.max.default", "aten.min.default")
def over_everything(call: Call) -> Lowered:
    """The extremum of a whole tensor, batch included."""
    raise BatchCoupledError(f"{call.source} reduces over the batch axis")


@lowers("aten.max.dim", "aten.min.dim")
def extremum_with_index(call: Call) -> Lowered:
    """Extremum along an axis; its position, where it is used, jumps."""
    value = call["self"]
    if discrete(value):
        return unknown(call)
    axes, layout = reduced_axes(call, value)
    largest = call.operation == "max"
    found = _one_by_one(call, value, axes, layout, lambda shape, axis: Extremum(shape, axis, True, largest))
    return _with_positions(call, found)


def _with_positions(call: Call, values: Value) -> Lowered:
    """Values, and positions as an opaque node where they are used."""
    positions = opaque(call, "NG011", f"{call.source} returns positions, which jump")
    return (values, positions[1]) if isinstance(positions, tuple) else values


@lowers(
    "aten.maximum.default",
    "aten.minimum.default",
    "aten.max.other",
    "aten.min.other",
    "aten.fmax.default",
    "aten.fmin.default",
)
def of_two(call: Call) -> Lowered:
    """The larger or smaller of two tensors, entry by entry."""
    left, right, largest = call["self"], call["other"], "max" in call.operation
    if discrete(left, right):
        return unknown(call)
    shape = tuple(torch.broadcast_shapes(full_shape(call, left), full_shape(call, right)))
    if not isinstance(left, Value):
        left, right = right, left
    left = broadcast(call, left, shape)
    if not isinstance(right, Value):
        limit = call.full(right, shape, left.layout)
        return call.emit(Elementwise(clamping(**{"min" if largest else "max": limit})), [left], left.shape)
    right = broadcast(call, right, shape)
    call.same_layout([left, right])
    pair = [reshaped(call, value, (1, *value.shape), part="unsqueeze") for value in (left, right)]
    joined = call.emit(Concat(0), pair, (2, *left.shape), left.layout, "stack")
    function = Extremum(joined.shape, 0, False, largest)
    return call.emit(Vector(function), [joined], function.out_shape, left.layout)


@lowers("aten.sort.default", "aten.sort.stable", "aten.topk.default", "aten.msort.default")
def sort(call: Call) -> Lowered:
    """Sorted values; the k largest are the first k of them. Positions, where they are used, jump."""
    value, axis = call["self"], int(call.get("dim", -1 if call.operation == "topk" else 0))
    if discrete(value):
        return unknown(call)
    descending = bool(call["largest"]) if call.operation == "topk" else bool(call.get("descending"))
    function = Sort(value.shape, call.axis(value, axis), descending)
    ordered = call.emit(Vector(function), [value], value.shape)
    if call.operation == "topk":
        count = int(call["k"])
        ordered = move(call, ordered, lambda x: x.narrow(axis, 0, count), "first")
    return ordered if call.operation == "msort" else _with_positions(call, ordered)


@lowers("aten.median.dim", "aten.kthvalue.default")
def order_statistic(call: Call) -> Lowered:
    """One of the sorted values."""
    value, axis = call["self"], int(call["dim"])
    if discrete(value):
        return unknown(call)
    ordered = call.emit(Vector(Sort(value.shape, call.axis(value, axis), False)), [value], value.shape)
    length = call.full_shape(value)[axis]
    place = int(call["k"]) - 1 if call.operation == "kthvalue" else (length - 1) // 2
    kept = move(call, ordered, lambda x: x.narrow(axis, place, 1), "choose")
    if not call["keepdim"]:
        kept = move(call, kept, lambda x: x.squeeze(axis), "squeeze")
    return _with_positions(call, kept)


@lowers("aten.linalg_vector_norm.default", "aten.norm.ScalarOpt_dim")
def vector_norm(call: Call) -> Lowered:
    """A norm along axes; the divisor of a normalization is recognized by what follows."""
    value = call["self"] if "self" in call.arguments else call["x"]
    if discrete(value):
        return unknown(call)
    axes, _ = reduced_axes(call, value)
    lowered = opaque(call, "NG010", f"{call.source}: a norm of computed values has no rule by itself")
    order = call.get("ord", call.get("p"))
    if isinstance(lowered, Value) and order == 2 and len(axes) == 1 and call.get("keepdim"):
        call.builder.norms[lowered.name] = (value.name, axes[0])
    return lowered
