"""Convolutions merged with their neighbours: factors a channel, padding in front, pointwise convolutions."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from netgain.linear.convolution import Conv, ConvTransposed, Widths
from netgain.linear.diagonal import Diagonal
from netgain.linear.products import Known, entry_product, matrix_product
from netgain.linear.selection import Selection
from netgain.linear.shapes import PadMode, pad


def channels_scaled(scale: Diagonal, conv: Conv | ConvTransposed, before: bool) -> Conv | ConvTransposed | None:
    """A factor a channel taken into the kernel: padding by zeros, or around, commutes with it.

    Args:
        scale: a diagonal that is constant over the grid, stored with size 1 there.
        conv: the convolution.
        before: whether the diagonal is applied first.
    """
    channels, ones = scale.shape[0], tuple(1 for _ in conv.kernel)
    # The weight's first axis runs over all channels of one side, its second over one group's channels of the other.
    whole = before == isinstance(conv, ConvTransposed)

    def factors(values: Tensor) -> Tensor:
        flat = values.reshape(-1).expand(channels)
        if whole:
            return flat.reshape(-1, 1, *ones)
        rows = conv.weight.shape[0]
        grouped = flat.reshape(conv.groups, 1, -1).expand(-1, rows // conv.groups, -1)
        return grouped.reshape(rows, -1, *ones)

    error = None if scale.error is None else factors(scale.error)
    known = entry_product(conv.weight, conv.error, factors(scale.scale), error)
    return None if known is None else dataclasses.replace(conv, weight=known[0], error=known[1])


def padding_absorbed(first: Selection, second: Conv) -> Conv | None:
    """A convolution after zero or circular padding of its grid, as one padded convolution; None for other selections.

    Args:
        first: any selection.
        second: the convolution that reads it.
    """
    own = any(any(widths) for widths in second.padding)
    if len(first.in_shape) != len(second.in_shape) or first.in_shape[0] != second.in_shape[0]:
        return None
    zeros = _widths(first, "constant")
    if zeros is not None and not (own and second.circular):
        both = tuple((a + c, b + d) for (a, b), (c, d) in zip(zeros, second.padding, strict=True))
        return dataclasses.replace(second, in_shape=first.in_shape, padding=both, circular=False)
    around = _widths(first, "circular")
    if around is not None and not own:
        return dataclasses.replace(second, in_shape=first.in_shape, padding=around, circular=True)
    return None


def crop_absorbed(first: Conv | ConvTransposed, second: Selection) -> Conv | ConvTransposed | None:
    """A convolution whose outputs are cut at the ends of the grid, as one of other padding; None for other selections.

    Args:
        first: the convolution.
        second: the selection that reads it.
    """
    same = len(second.out_shape) == len(second.in_shape) and second.out_shape[0] == second.in_shape[0]
    if not same or int(second.index[0]) < 0:
        return None
    before = _coordinates(int(second.index[0]), second.in_shape)[1:]
    sizes = zip(before, second.in_shape[1:], second.out_shape[1:], strict=True)
    crop = tuple((b, n - b - m) for b, n, m in sizes)
    if min(min(widths) for widths in crop) < 0:
        return None
    expected = pad(second.in_shape, tuple((-b, -a) for b, a in crop))
    if not (isinstance(expected, Selection) and torch.equal(expected.index, second.index)):
        return None
    pairs = zip(first.padding, crop, strict=True)
    if isinstance(first, ConvTransposed):
        return dataclasses.replace(first, padding=tuple((p[0] + c[0], p[1] + c[1]) for p, c in pairs))
    steps = zip(first.padding, crop, first.stride, strict=True)
    padding = tuple((p[0] - s * c[0], p[1] - s * c[1]) for p, c, s in steps)
    if min(min(widths) for widths in padding) < 0:
        return None
    return dataclasses.replace(first, padding=padding)


def pointwise_product(first: Conv, second: Conv, limit: int) -> Conv | None:
    """Two convolutions one of which has a 1 x 1 kernel, as one.

    Args:
        first: the convolution applied first.
        second: the convolution applied to its output.
        limit: entries that the merged kernel may have, if it is larger than the two.

    Returns:
        The merged convolution, or None where neither is pointwise or the kernel becomes too large.
    """
    after = _pointwise(second)
    before = _pointwise(first) and all(step == 1 for step in first.stride)
    if not (after or before):
        return None
    spatial = first if after else second
    groups = first.groups if first.groups == second.groups else 1
    size = second.weight.shape[0] * (first.in_shape[0] // groups) * math.prod(spatial.kernel)
    if size > max(limit, first.weight.numel(), second.weight.numel()):
        return None
    outer, inner = _grouped(second, groups), _grouped(first, groups)
    known = _after(outer, inner) if after else _before(outer, inner)
    if known is None:
        return None
    weight, error = _both(known, lambda x: x.flatten(0, 1))
    stride = tuple(a * b for a, b in zip(first.stride, second.stride, strict=True))
    merged = dataclasses.replace(
        spatial, weight=weight, error=error, in_shape=first.in_shape, stride=stride, groups=groups
    )
    return merged if merged.out_shape == second.out_shape else None


def _after(outer: Known, inner: Known) -> Known | None:
    """Kernels W[g, o, c, t] = sum over m of V[g, o, m] U[g, m, c, t]."""
    shape = (outer[0].shape[0], outer[0].shape[1], *inner[0].shape[2:])
    known = matrix_product(*_both(outer, lambda x: x.flatten(2)), *_both(inner, lambda x: x.flatten(2)))
    return None if known is None else _both(known, lambda x: x.reshape(shape))


def _before(outer: Known, inner: Known) -> Known | None:
    """Kernels W[g, o, c, t] = sum over m of V[g, o, m, t] U[g, m, c]."""
    groups, rows, _, *kernel = outer[0].shape
    taps_first = _both(outer, lambda x: x.movedim(2, -1).flatten(1, -2))
    known = matrix_product(*taps_first, *_both(inner, lambda x: x.flatten(2)))
    return None if known is None else _both(known, lambda x: x.reshape(groups, rows, *kernel, -1).movedim(-1, 2))


def _both(known: Known, change: Callable[[Tensor], Tensor]) -> Known:
    """A change of shape applied to numbers and errors."""
    return change(known[0]), None if known[1] is None else change(known[1])


def _pointwise(conv: Conv) -> bool:
    """Whether the kernel has one tap and nothing is padded."""
    return math.prod(conv.kernel) == 1 and not any(any(widths) for widths in conv.padding)


def _grouped(conv: Conv, groups: int) -> Known:
    """The kernel as (groups, out, in, *kernel) of the given number of groups, which is the conv's own or 1."""
    known = (conv.weight, conv.error)
    if groups == conv.groups:
        return _both(known, lambda x: x.unflatten(0, (groups, -1)))
    rows, columns = conv.weight.shape[0] // conv.groups, conv.weight.shape[1]

    def full(x: Tensor) -> Tensor:
        whole = x.new_zeros(conv.groups, rows, conv.groups, columns, *conv.kernel)
        own = torch.arange(conv.groups)
        whole[own, :, own] = x.unflatten(0, (conv.groups, rows))
        return whole.flatten(2, 3).flatten(0, 1).unsqueeze(0)

    return _both(known, full)


def _widths(selection: Selection, mode: PadMode) -> Widths | None:
    """The widths of the padding that a selection is, or None."""
    inner, outer = selection.in_shape[1:], selection.out_shape[1:]
    if mode == "constant":
        found = (selection.index == 0).nonzero().reshape(-1)
        if found.numel() != 1:
            return None
        before = _coordinates(int(found), selection.out_shape)[1:]
    else:
        corner = _coordinates(max(0, int(selection.index[0])), selection.in_shape)[1:]
        before = tuple((n - c) % n for n, c in zip(inner, corner, strict=True))
    widths = tuple((b, m - n - b) for b, m, n in zip(before, outer, inner, strict=True))
    fits = all(after >= 0 and (mode == "constant" or after <= n) for (_, after), n in zip(widths, inner, strict=True))
    if not fits:
        return None
    expected = pad(selection.in_shape, widths, mode)
    same = isinstance(expected, Selection) and torch.equal(expected.index, selection.index)
    return widths if same else None


def _coordinates(position: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The multi-index of a flat position."""
    coordinates: list[int] = []
    for size in reversed(shape):
        coordinates.append(position % size)
        position //= size
    return tuple(reversed(coordinates))
