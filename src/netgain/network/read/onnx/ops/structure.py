"""Operations that only move entries: reshape, transpose, slice, concatenation, padding, repetition."""

import math

import numpy as np

from netgain.core.errors import ModelError
from netgain.network.graph import Concat
from netgain.network.read.onnx.lower import (
    Constant,
    DynamicOperandError,
    Lowering,
    Operation,
    Result,
    Signal,
    axis_of,
    broadcast_shape,
    lowers,
    real,
)

Shape = tuple[int, ...]


@lowers("Identity")
def identity(lowering: Lowering, op: Operation) -> Result:
    """The input itself."""
    return op.signal(0)


@lowers("Dropout")
def dropout(lowering: Lowering, op: Operation) -> Result:
    """Dropout at inference: the input itself, and a mask of ones."""
    x = op.signal(0)
    training = op.array(2)
    if training is not None and bool(np.asarray(training).any()):
        raise ModelError(f"{op.source} is in training mode; export the model in eval mode")
    return x, Constant(np.ones(x.shape, dtype=bool), "mask")


@lowers("Reshape")
def reshape(lowering: Lowering, op: Operation) -> Result:
    """The same entries under another shape; 0 keeps an axis, -1 is worked out."""
    x, wanted = op.signal(0), op.ints(1, "shape")
    if wanted is None:
        raise ModelError(f"{op.source} lacks its shape")
    keep = not int(op.attributes.get("allowzero", 0))
    shape = [x.shape[k] if size == 0 and keep and k < len(x.shape) else size for k, size in enumerate(wanted)]
    total = math.prod(x.shape)
    if shape.count(-1) == 1:
        rest = -math.prod(shape)
        shape[shape.index(-1)] = total // rest if rest > 0 else 0
    if min(shape, default=1) < 1 or math.prod(shape) != total:
        raise ModelError(f"{op.source} cannot turn the shape {x.shape} (at a batch of one) into {tuple(wanted)}")
    return lowering.reshaped(op, x, tuple(shape))


@lowers("Flatten")
def flatten(lowering: Lowering, op: Operation) -> Result:
    """Two axes: those before `axis` and the rest."""
    x, axis = op.signal(0), int(op.attributes.get("axis", 1))
    axis = axis + len(x.shape) if axis < 0 else axis
    if not 0 <= axis <= len(x.shape):
        raise ModelError(f"{op.source} flattens at axis {axis} of {len(x.shape)}")
    return lowering.reshaped(op, x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@lowers("Squeeze")
def squeeze(lowering: Lowering, op: Operation) -> Result:
    """Axes of size 1 removed."""
    x, axes = op.signal(0), op.ints(1, "axes")
    rank = len(x.shape)
    gone = [k for k, size in enumerate(x.shape) if size == 1] if axes is None else [axis_of(a, rank, op) for a in axes]
    if any(x.shape[axis] != 1 for axis in gone):
        raise ModelError(f"{op.source} removes axes {gone} of the shape {x.shape}, which are not all of size 1")
    return lowering.reshaped(op, x, tuple(size for k, size in enumerate(x.shape) if k not in gone))


@lowers("Unsqueeze")
def unsqueeze(lowering: Lowering, op: Operation) -> Result:
    """Axes of size 1 inserted."""
    x, axes = op.signal(0), op.ints(1, "axes")
    if not axes or len(x.shape) + len(axes) > 32:
        raise ModelError(f"{op.source} inserts {len(axes or ())} axes")
    rank = len(x.shape) + len(axes)
    new = {axis_of(axis, rank, op) for axis in axes}
    if len(new) != len(axes):
        raise ModelError(f"{op.source} inserts an axis twice: {axes}")
    rest = iter(x.shape)
    return lowering.reshaped(op, x, tuple(1 if k in new else next(rest) for k in range(rank)))


@lowers("Transpose")
def transpose(lowering: Lowering, op: Operation) -> Result:
    """Axes in another order."""
    x = op.signal(0)
    order = [int(axis) for axis in op.attributes.get("perm", reversed(range(len(x.shape))))]
    if sorted(order) != list(range(len(x.shape))):
        raise ModelError(f"{op.source} has the order {order} for {len(x.shape)} axes")
    return lowering.transpose(op, x, order)


@lowers("Slice")
def slices(lowering: Lowering, op: Operation) -> Result:
    """Entries start, start + step, ... before end, along some axes."""
    x = op.signal(0)
    starts, ends = op.ints(1, "starts"), op.ints(2, "ends")
    if starts is None or ends is None or len(starts) != len(ends):
        raise ModelError(f"{op.source} lacks starts or ends")
    axes = op.ints(3, "axes") or list(range(len(starts)))
    steps = op.ints(4, "steps") or [1] * len(starts)
    if not len(starts) == len(axes) == len(steps) or 0 in steps:
        raise ModelError(f"{op.source} has starts {starts}, ends {ends}, axes {axes}, steps {steps}")
    cut: list[slice] = [slice(None)] * len(x.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis_of(axis, len(x.shape), op)
        cut[place] = _cut(start, end, step, x.shape[place])
    return lowering.move(op, x, lambda index: index[tuple(cut)])


def _cut(start: int, end: int, step: int, size: int) -> slice:
    """ONNX's clamping of a slice, as a Python slice."""
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), step)
    first, last = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    return slice(first, None if last < 0 else last, step)


@lowers("Split")
def split(lowering: Lowering, op: Operation) -> Result:
    """Consecutive pieces along an axis."""
    x = op.signal(0)
    axis = axis_of(int(op.attributes.get("axis", 0)), len(x.shape), op)
    sizes = op.ints(1, "split")
    if sizes is None:
        count = int(op.attributes.get("num_outputs", len(op.proto.output)))
        if not 1 <= count <= x.shape[axis]:
            raise ModelError(f"{op.source} splits {x.shape[axis]} entries into {count} pieces")
        step = -(-x.shape[axis] // count)
        sizes = [min(step, x.shape[axis] - k * step) for k in range(count)]
    if sum(sizes) != x.shape[axis] or min(sizes) < 1:
        raise ModelError(f"{op.source} splits {x.shape[axis]} entries into pieces of {sizes}")
    pieces: list[Signal] = []
    before = 0
    for size in sizes:
        cut = (slice(None),) * axis + (slice(before, before + size),)
        pieces.append(lowering.move(op, x, lambda index, cut=cut: index[cut]))
        before += size
    return tuple(pieces)


@lowers("Gather")
def gather(lowering: Lowering, op: Operation) -> Result:
    """Rows at constant positions."""
    x, positions = op.signal(0), op.array(1)
    if positions is None:
        raise ModelError(f"{op.source} lacks its positions")
    axis = axis_of(int(op.attributes.get("axis", 0)), len(x.shape), op)
    lowering.guard((*x.shape[:axis], *positions.shape, *x.shape[axis + 1 :]), op)
    places = _places(positions, x.shape[axis], op)
    return lowering.move(op, x, lambda index: np.take(index, places, axis=axis))


def _places(positions: np.ndarray, size: int, op: Operation) -> np.ndarray:
    """Positions counted from the front.

    Raises:
        ModelError: if one is outside.
    """
    places = np.asarray(positions).astype(np.int64)
    if places.size and (places.min() < -size or places.max() >= size):
        raise ModelError(f"{op.source} reads positions outside an axis of {size} entries")
    return np.where(places < 0, places + size, places)


@lowers("GatherElements")
def gather_elements(lowering: Lowering, op: Operation) -> Result:
    """One constant position an entry."""
    x, positions = op.signal(0), op.array(1)
    if positions is None or positions.ndim != len(x.shape):
        raise ModelError(f"{op.source} lacks its positions")
    axis = axis_of(int(op.attributes.get("axis", 0)), len(x.shape), op)
    places = _places(positions, x.shape[axis], op)

    def rearrange(index: np.ndarray) -> np.ndarray:
        cut = tuple(slice(size) if k != axis else slice(None) for k, size in enumerate(places.shape))
        return np.take_along_axis(index[cut], places, axis=axis)

    return lowering.move(op, x, rearrange)


@lowers("Concat")
def concat(lowering: Lowering, op: Operation) -> Result:
    """Tensors end to end along an axis; constant parts become zeros plus a bias."""
    parts = [value for value in op.inputs if value is not None]
    rank = len(parts[0].shape)
    axis = axis_of(int(op.attributes.get("axis", 1)), rank, op)
    outer = [part.shape[:axis] + part.shape[axis + 1 :] for part in parts]
    if any(len(part.shape) != rank for part in parts) or any(shape != outer[0] for shape in outer):
        raise ModelError(f"{op.source} joins shapes {[part.shape for part in parts]} along axis {axis}")
    parts = [part for part in parts if part.shape[axis] > 0]
    shape = (*parts[0].shape[:axis], sum(part.shape[axis] for part in parts), *parts[0].shape[axis + 1 :])
    lowering.guard(shape, op)
    signals = [part if isinstance(part, Signal) else _fixed(lowering, op, part) for part in parts]
    if len(signals) == 1:
        return signals[0]
    kept = all(one.shape[0] == 1 for one in signals) and axis > 0
    nodes = tuple(one.node if kept else lowering.view(one, one.shape, op) for one in signals)
    node = lowering.builder.add(Concat(axis - 1 if kept else axis), nodes, op.source)
    floating = next((one for one in signals if one.floating), signals[0])
    return lowering.signal(node, shape, op, floating.element)


def _fixed(lowering: Lowering, op: Operation, part: Constant) -> Signal:
    """A constant as a node that does not read the input's value: zero times the input, plus the constant."""
    return lowering.constant(op, real(part, op), tuple(part.shape))


@lowers("Pad")
def pad(lowering: Lowering, op: Operation) -> Result:
    """Padding by a constant, by the edge, mirrored or periodic; negative widths cut."""
    x, rank = op.signal(0), len(op.signal(0).shape)
    widths = op.ints(1, "paddings" if "paddings" in op.attributes else "pads")
    if widths is None:
        raise ModelError(f"{op.source} lacks its widths")
    axes = [axis_of(axis, rank, op) for axis in (op.ints(3, "axes") or range(rank))]
    if len(widths) != 2 * len(axes):
        raise ModelError(f"{op.source} has {len(widths)} widths for {len(axes)} axes")
    before, after = [0] * rank, [0] * rank
    for k, axis in enumerate(axes):
        before[axis], after[axis] = widths[k], widths[k + len(axes)]
    mode = str(op.attributes.get("mode", "constant"))
    lowering.guard([max(0, n + b + a) for n, b, a in zip(x.shape, before, after, strict=True)], op)
    cut = tuple(slice(max(0, -b), n - max(0, -a)) for n, b, a in zip(x.shape, before, after, strict=True))
    grow = [(max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)]
    if mode == "constant":
        padded = lowering.move(op, x, lambda index: np.pad(index[cut], grow, constant_values=-1))
        return _filled(lowering, op, x, padded, cut, grow)
    if mode not in ("edge", "reflect", "wrap"):
        raise ModelError(f"{op.source} has the unknown mode {mode!r}")
    return lowering.move(op, x, lambda index: np.pad(index[cut], grow, mode=mode))  # type: ignore[call-overload]


def _filled(
    lowering: Lowering, op: Operation, x: Signal, padded: Signal, cut: tuple[slice, ...], grow: list[tuple[int, int]]
) -> Signal:
    """The padded signal with the padding's value added, where that is not zero."""
    value = op.get(2)
    if isinstance(value, Signal):
        raise DynamicOperandError("its padding value is computed")
    fill = float(op.attributes.get("value", 0.0)) if value is None else float(np.asarray(value.array).reshape(-1)[0])
    if fill == 0.0:
        return padded
    mask = np.pad(np.zeros(x.shape, dtype=np.float64)[cut], grow, constant_values=fill)
    offset = real(Constant(mask, "the padding value"), op)
    return lowering.shifted(op, padded, offset)


@lowers("Expand")
def expand(lowering: Lowering, op: Operation) -> Result:
    """Broadcasting to a constant shape."""
    x, wanted = op.signal(0), op.ints(1, "shape")
    shape = broadcast_shape(op, x.shape, tuple(wanted or ()))
    return lowering.broadcast(op, x, shape)


@lowers("Tile")
def tile(lowering: Lowering, op: Operation) -> Result:
    """The tensor repeated along each axis."""
    x, counts = op.signal(0), op.ints(1, "repeats")
    if counts is None or len(counts) != len(x.shape) or min(counts, default=1) < 1:
        raise ModelError(f"{op.source} repeats {counts} for {len(x.shape)} axes")
    lowering.guard([size * count for size, count in zip(x.shape, counts, strict=True)], op)
    return lowering.move(op, x, lambda index: np.tile(index, counts))


@lowers("DepthToSpace")
def depth_to_space(lowering: Lowering, op: Operation) -> Result:
    """Channels become pixels."""
    x, block = op.signal(0), int(op.attributes.get("blocksize", 0))
    if len(x.shape) != 4 or block < 1 or x.shape[1] % (block * block):
        raise ModelError(f"{op.source} has block size {block} for the shape {x.shape}")
    n, c, h, w = x.shape
    rest = c // (block * block)
    columns = str(op.attributes.get("mode", "DCR")) == "CRD"

    def rearrange(index: np.ndarray) -> np.ndarray:
        if columns:
            parts = index.reshape(n, rest, block, block, h, w).transpose(0, 1, 4, 2, 5, 3)
        else:
            parts = index.reshape(n, block, block, rest, h, w).transpose(0, 3, 4, 1, 5, 2)
        return parts.reshape(n, rest, h * block, w * block)

    return lowering.move(op, x, rearrange)


@lowers("SpaceToDepth")
def space_to_depth(lowering: Lowering, op: Operation) -> Result:
    """Pixels become channels."""
    x, block = op.signal(0), int(op.attributes.get("blocksize", 0))
    if len(x.shape) != 4 or block < 1 or x.shape[2] % block or x.shape[3] % block:
        raise ModelError(f"{op.source} has block size {block} for the shape {x.shape}")
    n, c, h, w = x.shape

    def rearrange(index: np.ndarray) -> np.ndarray:
        parts = index.reshape(n, c, h // block, block, w // block, block).transpose(0, 3, 5, 1, 2, 4)
        return parts.reshape(n, c * block * block, h // block, w // block)

    return lowering.move(op, x, rearrange)


@lowers("Trilu")
def trilu(lowering: Lowering, op: Operation) -> Result:
    """The upper or lower triangle of the last two axes, zero elsewhere."""
    x, offset = op.signal(0), op.ints(1, "k")
    keep = np.triu if int(op.attributes.get("upper", 1)) else np.tril
    mask = keep(np.ones(x.shape[-2:], dtype=bool), offset[0] if offset else 0)
    return lowering.move(op, x, lambda index: np.where(mask, index, -1))


@lowers("ReverseSequence")
def reverse_sequence(lowering: Lowering, op: Operation) -> Result:
    """The first entries of each sequence in reverse order."""
    x, lengths = op.signal(0), op.array(1)
    batch, time = int(op.attributes.get("batch_axis", 1)), int(op.attributes.get("time_axis", 0))
    if lengths is None or {batch, time} != {0, 1} or lengths.size != x.shape[batch]:
        raise ModelError(f"{op.source} lacks one length a sequence")

    def rearrange(index: np.ndarray) -> np.ndarray:
        moved = np.moveaxis(index, (batch, time), (0, 1)).copy()
        for row, length in enumerate(int(size) for size in lengths.reshape(-1)):
            moved[row, :length] = moved[row, :length][::-1]
        return np.moveaxis(moved, (0, 1), (batch, time))

    return lowering.move(op, x, rearrange)
