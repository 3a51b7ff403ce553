"""Operations that only move entries: reshaping, permuting, slicing, padding, repeating, nearest upsampling."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.shapes import from_index
from netgain.network.graph import Affine, Concat, Vector
from netgain.network.read.aten.opaque import opaque, unknown
from netgain.network.read.aten.patterns import SortedPair, sorted_pair
from netgain.network.read.layout import Layout
from netgain.network.read.lowering import Call, Lowered, Value, lowers, moved
from netgain.vectors.extrema import Sort


def place(call: Call, value: Value, positions: Tensor, layout: Layout, part: str = "") -> Value:
    """The node that puts entry `positions[i]` of each sample at place i; none where nothing moves."""
    shape = tuple(positions.shape)
    linear_map = from_index(positions.flatten(), value.shape, shape)
    if isinstance(linear_map, Reshape):
        return reshaped(call, value, shape, layout, part)
    return call.emit(Affine(linear_map), [value], shape, layout, part)


def reshaped(call: Call, value: Value, shape: tuple[int, ...], layout: Layout | None = None, part: str = "") -> Value:
    """The value with samples of another shape, entries in the same order."""
    layout = layout or value.layout
    if shape == value.shape:
        return dataclasses.replace(value, layout=layout)
    return call.emit(Affine(Reshape(value.shape, shape)), [value], shape, layout, part)


def move(call: Call, value: Value, run: Callable[[Tensor], Tensor], part: str = "") -> Value:
    """The value with its entries moved by `run`, a function of the exported tensor."""
    positions, layout = moved(call, value, run)
    return place(call, value, positions, layout, part)


def broadcast(call: Call, value: Value, shape: tuple[int, ...]) -> Value:
    """The value repeated so that its exported tensor has the given shape."""
    if call.full_shape(value) == shape:
        return value
    return move(call, value, lambda x: x.broadcast_to(shape), "broadcast")


_MOVES = """
view.default _unsafe_view.default reshape.default flatten.using_ints unflatten.int view_as.default
reshape_as.default permute.default transpose.int t.default mT.default movedim.int swapaxes.default unsqueeze.default
squeeze.default squeeze.dim squeeze.dims slice.Tensor select.int narrow.default index_select.default gather.default
index.Tensor expand.default expand_as.default repeat.default repeat_interleave.self_int
tile.default flip.default roll.default rot90.default tril.default triu.default diagonal.default diag_embed.default
pixel_shuffle.default pixel_unshuffle.default channel_shuffle.default native_channel_shuffle.default unfold.default
im2col.default pad.default constant_pad_nd.default reflection_pad1d.default reflection_pad2d.default
reflection_pad3d.default replication_pad1d.default replication_pad2d.default replication_pad3d.default
upsample_nearest1d.vec upsample_nearest2d.vec upsample_nearest3d.vec upsample_nearest1d.default
upsample_nearest2d.default upsample_nearest3d.default _upsample_nearest_exact1d.vec _upsample_nearest_exact2d.vec
_upsample_nearest_exact3d.vec
"""


@lowers(*(f"aten.{name}" for name in _MOVES.split()))
def movement(call: Call) -> Lowered:
    """Whatever moves entries moves numbered entries the same way."""
    (value,) = call.operands
    filled = call.get("value")
    if isinstance(filled, int | float) and filled != 0:
        return _padded_with(call, value, float(filled))
    result = move(call, value, lambda x: call_with(call, value, x))
    _note_padding(call, value, result)
    return result


def _note_padding(call: Call, value: Value, result: Value) -> None:
    """Remember paddings by zeros or around, which a following convolution can take over."""
    mode = call.get("mode", "constant") if call.operation == "pad" else "constant"
    if call.operation not in ("pad", "constant_pad_nd") or mode not in ("constant", "circular"):
        return
    flat = [int(width) for width in call["pad"]]
    widths = tuple((flat[k], flat[k + 1]) for k in range(len(flat) - 2, -1, -2))
    if all(min(pair) >= 0 for pair in widths) and result.name != value.name:
        call.builder.padded[result.name] = (value, widths, mode == "circular")


def call_with(call: Call, value: Value, full: Tensor) -> Tensor:
    """The operation applied to an exported tensor."""
    return call.run({value.name: value.layout.to_samples(full, call.batch)})


def _padded_with(call: Call, value: Value, filled: float) -> Lowered:
    """Padding by a number: zero padding, then that number added where nothing came from the input."""
    if not math.isfinite(filled):
        return opaque(call, "NG010", f"padding by {filled} has no rule")

    def pad(x: Tensor) -> Tensor:
        return call.run({value.name: value.layout.to_samples(x, call.batch)}, value=0.0)

    positions, layout = moved(call, value, pad)
    padded = place(call, value, positions, layout)
    bias = torch.where(positions < 0, filled, 0.0).double()
    return call.emit(Affine(Reshape(padded.shape, padded.shape), bias), [padded], padded.shape, part="fill")


@lowers(
    *(
        f"aten.{name}"
        for name in ["split.Tensor", "split_with_sizes.default", "chunk.default", "unbind.int", "tensor_split.sections"]
    )
)
def pieces(call: Call) -> Lowered:
    """Several slices; each becomes a node when it is used."""
    (value,) = call.operands
    count = len(call.node.meta["val"])

    def piece(index: int) -> Callable[[], Value]:
        return lambda: move(
            call, value, lambda x: call.run({value.name: value.layout.to_samples(x, call.batch)})[index]
        )

    return tuple(piece(index) for index in range(count))


@lowers(
    "aten.clone.default",
    "aten.alias.default",
    "aten.detach.default",
    "aten.contiguous.default",
    "aten.lift_fresh_copy.default",
    "aten.dropout.default",
    "aten._to_copy.default",
    "aten.to.dtype",
    "aten.type_as.default",
)
def unchanged(call: Call) -> Lowered:
    """Copies and float casts: the identity on real numbers."""
    (value,) = call.operands
    return dataclasses.replace(value, dtype=call.dtype) if call.dtype.is_floating_point else unknown(call)


@lowers("aten.cat.default", "aten.concat.default")
def cat(call: Call) -> Lowered:
    """Tensors joined along an axis; a constant among them is zero padding and a bias."""
    return join(call, list(call["tensors"]), int(call["dim"]))


@lowers("aten.stack.default")
def stack(call: Call) -> Lowered:
    """Tensors joined along a new axis."""
    axis, tensors = int(call["dim"]), list(call["tensors"])
    values = [part for part in tensors if isinstance(part, Value)]
    axis %= len(call.full_shape(values[0])) + 1
    raised = [
        move(call, part, lambda x: x.unsqueeze(axis), "unsqueeze") if isinstance(part, Value) else part.unsqueeze(axis)
        for part in tensors
    ]
    return join(call, raised, axis)


def join(call: Call, tensors: list[Value | Tensor], axis: int) -> Value:
    """Values and constants joined along an axis of the exported tensors."""
    tensors = [part for part in tensors if isinstance(part, Value) or part.numel()]
    values = [part for part in tensors if isinstance(part, Value)]
    layout = values[0].layout
    sample_axis = call.axis(values[0], axis)
    if len(values) < len(tensors):
        return _joined_with_constants(call, tensors, sample_axis, layout)
    if len(values) == 1:
        return values[0]
    shape = list(values[0].shape)
    shape[sample_axis] = sum(part.shape[sample_axis] for part in values)
    call.same_layout(values)
    pair = sorted_pair(call.builder, values, sample_axis)
    if pair is not None:
        return _sorted(call, values, sample_axis, pair)
    return call.emit(Concat(sample_axis), values, shape, layout)


def _sorted(call: Call, values: list[Value], axis: int, pair: SortedPair) -> Value:
    """The smaller and the larger of two tensors side by side: a sorting of pairs, which is 1-Lipschitz as a whole."""
    layout, dtype = values[0].layout, values[0].dtype
    if len(pair.sources) == 1:
        (name,) = pair.sources
        source = Value(
            name, call.builder.nodes[name].shape if name in call.builder.nodes else pair.shape, layout, dtype
        )
        return call.emit(Vector(Sort(source.shape, axis, pair.descending)), [source], source.shape, layout)
    part = values[0].shape
    raised = [reshaped(call, Value(name, part, layout, dtype), (1, *part), part="unsqueeze") for name in pair.sources]
    stacked = call.emit(Concat(0), raised, (2, *part), layout, "pair")
    ordered = call.emit(Vector(Sort(stacked.shape, 0, pair.descending)), [stacked], stacked.shape, layout)
    positions = torch.arange(math.prod(stacked.shape)).reshape(stacked.shape).movedim(0, axis).flatten(axis, axis + 1)
    return place(call, ordered, positions, layout, "cat")


def _joined_with_constants(call: Call, tensors: list[Value | Tensor], axis: int, layout: Layout) -> Value:
    """The values joined, moved to their places among zeros, and the constants added there."""
    values = [part for part in tensors if isinstance(part, Value)]
    parts: list[Tensor] = []
    places: list[Tensor] = []
    shape = list(values[0].shape)
    for part in tensors:
        if isinstance(part, Value):
            parts.append(torch.zeros(part.shape, dtype=torch.float64))
            places.append(torch.ones(part.shape, dtype=torch.bool))
            continue
        full = tuple(part.shape)
        sample = call.full(part, full, layout).expand(layout.sample_shape(full))
        parts.append(sample)
        places.append(torch.zeros(sample.shape, dtype=torch.bool))
    bias, mask = torch.cat(parts, axis), torch.cat(places, axis)
    shape[axis] = sum(part.shape[axis] for part in values)
    call.same_layout(values)
    whole = values[0] if len(values) == 1 else call.emit(Concat(axis), values, shape, layout, "cat")
    # The values keep their order along the axis, so counting along it finds each entry's place in the joined values.
    place_along = mask.to(torch.int64).cumsum(axis) - 1
    numbered = torch.arange(math.prod(whole.shape)).reshape(whole.shape)
    index = torch.where(mask, numbered.gather(axis, place_along.clamp_min(0)), -1)
    selection = Selection(index.flatten(), whole.shape, tuple(index.shape))
    return call.emit(Affine(selection, bias), [whole], tuple(index.shape), layout)
