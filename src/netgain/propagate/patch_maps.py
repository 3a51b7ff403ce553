"""Linear maps behind patches: A^T a for rows a that read a window, on the window of A's input that they read."""

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from netgain.linear.base import AbstractLinearMap
from netgain.linear.convolution import Conv
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable
from netgain.propagate.patches import Patches

_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def adjoint(linear_map: AbstractLinearMap, rows: Patches) -> Patches:
    """A^T a for each row a, in ordinary float64 arithmetic on the stored entries.

    Each entry is a sum of at most `linear_map.adjoint_terms` products. Maps that do not move windows along a grid are
    applied to the rows written out, as is a window that is no smaller than the grid.

    Args:
        linear_map: A, not a chain.
        rows: linear functions of A x.

    Returns:
        Linear functions of x.
    """
    local = _local(linear_map, rows)
    if local is not None and (rows.axes == 0 or math.prod(local.window) < math.prod(local.grid)):
        return local
    flat = rows.flat()
    groups, count = flat.values.shape[:2]
    values = linear_map.adjoint(flat.values.reshape(groups * count, *linear_map.out_shape))
    return Patches(values.reshape(groups, count, linear_map.in_size), flat.corner, flat.image, linear_map.in_shape)


def _local(linear_map: AbstractLinearMap, rows: Patches) -> Patches | None:
    """A^T a on windows, None where the map does not move windows along the grid."""
    axes = rows.axes
    if axes == 0:
        return dataclasses.replace(rows, shape=linear_map.in_shape) if isinstance(linear_map, Reshape) else None
    match linear_map:
        case Conv() if len(linear_map.kernel) == axes and not linear_map.circular:
            return _convolution(linear_map, rows.clean())
        case Diagonal():
            factor = linear_map.scale.expand(linear_map.shape).unsqueeze(0)
            values = rows.values * rows.gathered(factor).reshape(len(rows.values), 1, *rows.values.shape[2:])
            return dataclasses.replace(rows, values=values, inside=True)
        case Reshape() if linear_map.in_shape[-axes:] == linear_map.out_shape[-axes:]:
            return dataclasses.replace(rows, shape=linear_map.in_shape)
        case Separable():
            return _separable(linear_map, rows)
        case Selection():
            found = slide(linear_map, axes)
            return None if found is None else _slid(found, linear_map, rows.clean())
        case _:
            return None


def _convolution(conv: Conv, rows: Patches) -> Patches:
    """The transposed convolution of each window."""
    groups, count = rows.values.shape[:2]
    spread = _TRANSPOSED[rows.axes]
    images = rows.values.reshape(groups * count, *rows.values.shape[2:])
    if len(images):
        images = spread(images, conv.weight, None, conv.stride, 0, 0, conv.groups, conv.dilation)
    else:
        window = ((n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(rows.window, *_sizes(conv), strict=True))
        images = rows.values.new_zeros(0, conv.in_shape[0], *window)
    corner = rows.corner * torch.tensor(conv.stride) - torch.tensor([before for before, _ in conv.padding])
    values = images.reshape(groups, count, *images.shape[1:])
    return Patches(values, corner, rows.image, conv.in_shape, inside=False).cropped()


def _sizes(conv: Conv) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    return conv.stride, conv.dilation, conv.kernel


@dataclasses.dataclass(frozen=True)
class Band:
    """A matrix that slides a kernel along one axis: M[i, stride * i + t - before] = kernel[t] where that is a column.

    Attributes:
        kernel: the numbers.
        stride: step from row to row.
        before: how far the first row's window starts before the axis.
    """

    kernel: Float[Tensor, " taps"]
    stride: int
    before: int


def band(matrix: Float[Tensor, "out in"]) -> Band | None:
    """The sliding kernel of a matrix, None where it is none.

    Args:
        matrix: of one axis, as of a pooling.
    """
    count, size = matrix.shape
    used = matrix != 0
    if not bool(used.any(1).all()):
        return None
    first = used.long().argmax(1)
    last = size - 1 - used.flip(1).long().argmax(1)
    # A row in the middle is not cut by the border.
    middle = count // 2
    inner = int((last - first).argmax()) if count < 3 else middle
    taps = int(last[inner] - first[inner]) + 1
    if count == 1:
        stride = 1
    elif int(first[-1] - first[-2]) > 0:
        stride = int(first[-1] - first[-2])
    else:
        stride = int(last[1] - last[0])
    if stride <= 0:
        return None
    before = stride * inner - int(first[inner])
    kernel = matrix[inner, first[inner] : last[inner] + 1]
    column = stride * torch.arange(count).unsqueeze(1) + torch.arange(taps) - before
    valid = (column >= 0) & (column < size)
    built = torch.zeros_like(matrix)
    row = torch.arange(count).unsqueeze(1).expand_as(column)
    built[row[valid], column[valid]] = kernel.expand_as(column)[valid]
    return Band(kernel, stride, before) if torch.equal(built, matrix) else None


def _separable(linear_map: Separable, rows: Patches) -> Patches | None:
    """Each axis in turn; the leading axes must not be mixed."""
    lead = len(linear_map.in_shape) - rows.axes
    if lead < 1 or any(matrix is not None for matrix in linear_map.matrices[:lead]):
        return None
    bands = [None if matrix is None else band(matrix) for matrix in linear_map.matrices[lead:]]
    if any(one is None and m is not None for one, m in zip(bands, linear_map.matrices[lead:], strict=True)):
        return None
    rows = rows.clean()
    values, corner = rows.values, rows.corner.clone()
    for axis, one in enumerate(bands):
        if one is None:
            continue
        window, place = values.shape[axis + 3], axis + 3
        taps = len(one.kernel)
        shape = list(values.shape)
        shape[place] = (window - 1) * one.stride + taps
        wide = values.new_zeros(shape)
        for tap, factor in enumerate(one.kernel.tolist()):
            where = [slice(None)] * wide.dim()
            where[place] = slice(tap, tap + (window - 1) * one.stride + 1, one.stride)
            wide[tuple(where)] += values * factor
        values = wide
        corner[:, axis] = corner[:, axis] * one.stride - one.before
    return Patches(values, corner, rows.image, linear_map.in_shape, inside=False).cropped()


@dataclasses.dataclass(frozen=True)
class Slide:
    """A selection that takes, for each channel, one channel of its input at every stride-th position from an offset on.

    Attributes:
        stride: one an axis.
        source: input channel of each output channel.
        offset: position of the first entry of each output channel.
    """

    stride: tuple[int, ...]
    source: Int64[Tensor, " channels"]
    offset: Int64[Tensor, "channels axes"]


def slide(selection: Selection, axes: int) -> Slide | None:
    """The slices that a selection takes along its trailing axes, None where it does something else.

    Positions outside the input's grid read zero, as in the padding of a pooling.

    Args:
        selection: the selection.
        axes: how many trailing axes are the grid.
    """
    if min(len(selection.in_shape), len(selection.out_shape)) <= axes:
        return None
    grid, out = selection.in_shape[-axes:], selection.out_shape[-axes:]
    cells, channels = math.prod(grid), math.prod(selection.out_shape[:-axes])
    index = selection.index.reshape(channels, *out)
    flat = index.reshape(channels, -1)
    seen = flat >= 0
    if not bool(seen.any(1).all()):
        return None
    # Of each channel, the first entry that reads something, and its neighbours along each axis.
    start = seen.long().argmax(1)
    first = flat.gather(1, start.unsqueeze(1)).squeeze(1)
    stride, offset = list[int](), list[Tensor]()
    position, place = first % cells, start
    for axis in range(axes - 1, -1, -1):
        along = _step(index, axis + 1, grid, axis)
        if along is None:
            return None
        stride.insert(0, along)
        offset.insert(0, position % grid[axis] - along * (place % out[axis]))
        position, place = position // grid[axis], place // out[axis]
    found = Slide(tuple(stride), first // cells, torch.stack(offset, 1))
    return found if torch.equal(_index(found, grid, out), index) else None


def _step(index: Tensor, dim: int, grid: tuple[int, ...], axis: int) -> int | None:
    """How far the position moves along one axis from one entry to the next."""
    if index.shape[dim] == 1:
        return 1
    inner = math.prod(grid[axis + 1 :])
    before, after = index.narrow(dim, 0, index.shape[dim] - 1), index.narrow(dim, 1, index.shape[dim] - 1)
    both = (before >= 0) & (after >= 0)
    if not bool(both.any()):
        return None
    at = both.reshape(-1).long().argmax()
    jump = int(after.reshape(-1)[at] - before.reshape(-1)[at])
    return jump // inner if jump > 0 and jump % inner == 0 else None


def _index(found: Slide, grid: tuple[int, ...], out: tuple[int, ...]) -> Tensor:
    """The index that a slide stands for."""
    axes = len(grid)
    flat = (found.source * math.prod(grid)).reshape(-1, *[1] * axes)
    valid = torch.ones(1, *[1] * axes, dtype=torch.bool)
    for axis in range(axes):
        shape = [1] * (axes + 1)
        shape[axis + 1] = out[axis]
        position = found.offset[:, axis].reshape(-1, *[1] * axes) + found.stride[axis] * torch.arange(
            out[axis]
        ).reshape(shape)
        valid = valid & (position >= 0) & (position < grid[axis])
        flat = flat + position * math.prod(grid[axis + 1 :])
    return torch.where(valid, flat, -1)


def _slid(found: Slide, selection: Selection, rows: Patches) -> Patches:
    """The transpose of a slide: windows spread over the input's grid."""
    axes = rows.axes
    channels = math.prod(selection.in_shape[:-axes])
    first = found.offset.amin(0)
    apart = found.offset - first
    window = [(n - 1) * s + 1 for n, s in zip(rows.window, found.stride, strict=True)]
    full = [n + int(extra) for n, extra in zip(window, apart.amax(0), strict=True)]
    wide = rows.values.new_zeros(*rows.values.shape[:2], channels, *full)
    for start in apart.unique(dim=0):
        mine = (apart == start).all(1).nonzero().squeeze(1)
        where = [slice(int(a), int(a) + n, s) for a, n, s in zip(start, window, found.stride, strict=True)]
        there, values = wide[(..., *where)], rows.values
        if len(mine) < values.shape[2]:
            values = values[:, :, mine]
        source = found.source[mine]
        if torch.equal(source, torch.arange(channels)):
            there += values
        else:
            there.index_add_(2, source, values)
    corner = rows.corner * torch.tensor(found.stride) + first
    return Patches(wide, corner, rows.image, selection.in_shape, inside=False).cropped()
