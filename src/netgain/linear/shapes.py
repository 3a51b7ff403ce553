"""Operations that only move entries, as Selection or Reshape: exact, whatever the numbers.

Axes count without the batch axis; negative ones count from the end.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from netgain.core.errors import UsageError
from netgain.linear.base import AbstractLinearMap
from netgain.linear.checks import require, sizes
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection

Shape = tuple[int, ...]
PadMode = Literal["constant", "reflect", "replicate", "circular"]
ZERO = -1


def moved(in_shape: Shape, move: Callable[[Tensor], Tensor]) -> AbstractLinearMap:
    """The map that moves entries as `move` does.

    `move` runs once, on the tensor of flat positions 0, 1, ... of the input; `shapes.ZERO` in its result means zero.

    Args:
        in_shape: shape of one input, batch axis excluded.
        move: any operation that copies or drops entries of an integer tensor of that shape.

    Returns:
        A Reshape where nothing changes its place, else a Selection.
    """
    size = math.prod(sizes(in_shape, "input shape"))
    index = move(torch.arange(size).reshape(in_shape))
    return from_index(index.reshape(-1), in_shape, tuple(index.shape))


def from_index(index: Tensor, in_shape: Shape, out_shape: Shape) -> AbstractLinearMap:
    """The selection of that flat index, or a Reshape where every entry keeps its flat position.

    Args:
        index: flat input position of each output, -1 for zero.
        in_shape: shape of one input.
        out_shape: shape of one output.
    """
    if index.numel() == math.prod(in_shape) and torch.equal(index.reshape(-1), torch.arange(index.numel())):
        return Reshape(in_shape, out_shape)
    return Selection(index, in_shape, out_shape)


def permute(in_shape: Shape, axes: Shape) -> AbstractLinearMap:
    """Axes in another order: axis k of the output is axis axes[k] of the input.

    Args:
        in_shape: shape of one input.
        axes: a permutation of the axes.
    """
    order = [axis % len(in_shape) for axis in axes]
    require(sorted(order) == list(range(len(in_shape))), f"axes {axes} are not a permutation of those of {in_shape}")
    return moved(in_shape, lambda index: index.permute(order))


def strided_slice(in_shape: Shape, axis: int, start: int | None, stop: int | None, step: int = 1) -> AbstractLinearMap:
    """Python's x[start:stop:step] along one axis; negative positions and steps as in Python.

    Args:
        in_shape: shape of one input.
        axis: the axis.
        start: first position, None for the end that the step starts from.
        stop: first position not taken, None for all.
        step: distance of neighbours, not 0.
    """
    size = in_shape[axis]
    kept = list(range(*slice(start, stop, step).indices(size)))
    require(bool(kept), f"slice {start}:{stop}:{step} of axis {axis} of {in_shape} is empty")
    return take(in_shape, axis, kept)


def take(in_shape: Shape, axis: int, positions: list[int]) -> AbstractLinearMap:
    """The listed positions of one axis, in that order (index_select, gather with a constant).

    Args:
        in_shape: shape of one input.
        axis: the axis.
        positions: positions between -size and size - 1.
    """
    size = in_shape[axis]
    require(all(-size <= p < size for p in positions), f"positions of axis {axis} of {in_shape} are out of range")
    index = torch.tensor([p % size for p in positions])
    return moved(in_shape, lambda flat: flat.index_select(axis, index))


def select(in_shape: Shape, axis: int, position: int) -> AbstractLinearMap:
    """One position of an axis; the axis disappears.

    Args:
        in_shape: shape of one input.
        axis: the axis.
        position: a position between -size and size - 1.
    """
    require(-in_shape[axis] <= position < in_shape[axis], f"position {position} is outside axis {axis} of {in_shape}")
    return moved(in_shape, lambda index: index.select(axis, position))


def expand(in_shape: Shape, out_shape: Shape) -> AbstractLinearMap:
    """Broadcasting to a larger shape.

    Args:
        in_shape: shape of one input.
        out_shape: a shape that it broadcasts to.
    """
    fits = len(in_shape) <= len(out_shape)
    fits = fits and all(a in (1, b) for a, b in zip(reversed(in_shape), reversed(out_shape), strict=False))
    require(fits, f"{in_shape} does not broadcast to {out_shape}")
    return moved(in_shape, lambda index: index.expand(out_shape))


def flip(in_shape: Shape, axes: Shape) -> AbstractLinearMap:
    """Axes reversed.

    Args:
        in_shape: shape of one input.
        axes: the axes to reverse.
    """
    return moved(in_shape, lambda index: index.flip(axes))


def roll(in_shape: Shape, shifts: Shape, axes: Shape) -> AbstractLinearMap:
    """Entries shifted around axes, as torch.roll.

    Args:
        in_shape: shape of one input.
        shifts: one shift an axis.
        axes: the axes; empty for the flattened input.
    """
    return moved(in_shape, lambda index: index.roll(shifts, axes) if axes else index.roll(shifts))


def repeat(in_shape: Shape, times: Shape) -> AbstractLinearMap:
    """The input tiled, as torch.Tensor.repeat.

    Args:
        in_shape: shape of one input.
        times: copies an axis; further leading axes may be added.
    """
    return moved(in_shape, lambda index: index.repeat(times))


def repeat_interleave(in_shape: Shape, times: int, axis: int) -> AbstractLinearMap:
    """Each position of an axis repeated.

    Args:
        in_shape: shape of one input.
        times: copies of each position.
        axis: the axis.
    """
    return moved(in_shape, lambda index: index.repeat_interleave(times, axis))


def pixel_shuffle(in_shape: Shape, factor: int) -> AbstractLinearMap:
    """(c r^2, h, w) to (c, h r, w r), as torch.nn.PixelShuffle.

    Args:
        in_shape: (channels, height, width).
        factor: r.
    """
    return moved(in_shape, lambda index: functional.pixel_shuffle(index, factor))


def pixel_unshuffle(in_shape: Shape, factor: int) -> AbstractLinearMap:
    """(c, h r, w r) to (c r^2, h, w), as torch.nn.PixelUnshuffle.

    Args:
        in_shape: (channels, height, width).
        factor: r.
    """
    return moved(in_shape, lambda index: functional.pixel_unshuffle(index, factor))


def channel_shuffle(in_shape: Shape, groups: int) -> AbstractLinearMap:
    """Channels of different groups interleaved, as torch.nn.ChannelShuffle.

    Args:
        in_shape: (channels, *grid).
        groups: the number of groups.
    """
    split = (groups, in_shape[0] // groups, *in_shape[1:])
    require(in_shape[0] % groups == 0, f"{in_shape[0]} channels do not divide into {groups} groups")
    return moved(in_shape, lambda index: index.reshape(split).transpose(0, 1).reshape(in_shape))


def pad(in_shape: Shape, widths: tuple[tuple[int, int], ...], mode: PadMode = "constant") -> AbstractLinearMap:
    """Entries added around the trailing axes; negative widths cut entries off, as in torch.nn.functional.pad.

    Args:
        in_shape: shape of one input.
        widths: (before, after) for each of the last len(widths) axes, in the order of the axes.
        mode: what stands outside: zeros, the mirror image without the edge, the edge, or the other side.

    Raises:
        UsageError: if the mode is unknown.
    """
    rank = len(in_shape)
    require(len(widths) <= rank, f"padding {widths} has more axes than {in_shape}")
    positions = [
        _outside(size, before, after, mode)
        for size, (before, after) in zip(in_shape[rank - len(widths) :], widths, strict=True)
    ]

    def move(index: Tensor) -> Tensor:
        for axis, position in enumerate(positions, start=rank - len(widths)):
            shape = [-1 if k == axis else 1 for k in range(rank)]
            taken = index.index_select(axis, position.clamp_min(0))
            index = torch.where(position.reshape(shape) < 0, torch.tensor(ZERO), taken)
        return index

    return moved(in_shape, move)


def _outside(size: int, before: int, after: int, mode: PadMode) -> Tensor:
    """The position of one axis that each position of the padded axis shows; -1 for zero."""
    require(size + before + after > 0, f"padding ({before}, {after}) leaves nothing of an axis of size {size}")
    position = torch.arange(-before, size + after)
    wide = max(before, after)
    match mode:
        case "constant":
            return torch.where((position >= 0) & (position < size), position, torch.tensor(ZERO))
        case "replicate":
            return position.clamp(0, size - 1)
        case "reflect":
            require(wide < size, f"reflection padding {wide} must be smaller than the axis of size {size}")
            mirrored = position.abs()
            return torch.where(mirrored >= size, 2 * (size - 1) - mirrored, mirrored)
        case "circular":
            mixed = min(before, after) < 0 < wide
            require(not mixed, f"circular padding ({before}, {after}) must not cut one side and extend the other")
            require(wide <= size, f"circular padding {wide} is wider than the axis of size {size}")
            return position % size
        case _:
            raise UsageError(f"padding mode {mode!r} is unknown; expected constant, reflect, replicate or circular")
