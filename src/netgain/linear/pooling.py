"""Average pooling, means and sums over axes: one matrix an axis."""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Literal

import torch

from netgain.core.rounding import UNIT_ROUNDOFF
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.checks import require
from netgain.linear.convolution import Conv
from netgain.linear.diagonal import Diagonal
from netgain.linear.rational import Row, rational_matrix
from netgain.linear.reshape import Reshape
from netgain.linear.separable import Matrix, Separable

LONGEST_MATRIX = 2**23
"""Entries of one axis' matrix above which average pooling is a convolution instead."""

Shape = tuple[int, ...]
Widths = tuple[tuple[int, int], ...]


def average_pool(
    in_shape: Shape,
    kernel: Shape,
    stride: Shape,
    padding: Widths,
    *,
    ceil_mode: bool = False,
    divisor: int | Literal["padded", "inside"] = "padded",
) -> AbstractLinearMap:
    """Average pooling over the trailing axes, as torch's avg_pool1d, 2d, 3d.

    A window is a box and its divisor a product of one count an axis, with or without the padding, so the map is a
    Kronecker product in all cases; entries 1/count carry their rounding error.

    Args:
        in_shape: shape of one input; pooled are its last len(kernel) axes.
        kernel: window, one size an axis.
        stride: step, one an axis.
        padding: zeros (before, after) an axis.
        ceil_mode: round the output size up; windows must start inside the input or the padding before it.
        divisor: what the sum over a window is divided by: "padded" counts the padding too (count_include_pad=True),
            "inside" only entries of the input (count_include_pad=False), a number is used as it is (divisor_override).

    Raises:
        ModelError: if the window does not fit.
        TooLargeError: if an axis is too long for its matrix.
    """
    lead = len(in_shape) - len(kernel)
    grid = in_shape[lead:]
    require(lead >= 0 and len(kernel) == len(stride) == len(padding), f"window {kernel} does not fit {in_shape}")
    fits = all(max(widths) * 2 <= k for widths, k in zip(padding, kernel, strict=True))
    require(fits, f"padding {padding} of average pooling is more than half the window {kernel}")
    windows = [_windows(n, k, s, p, ceil_mode) for n, k, s, p in zip(grid, kernel, stride, padding, strict=True)]
    if isinstance(divisor, int):
        require(divisor > 0, f"divisor of average pooling must be positive, got {divisor}")
        divisors = [[divisor if k == 0 else 1 for _ in axis] for k, axis in enumerate(windows)]
    else:
        divisors = [[count if divisor == "padded" else stop - start for start, stop, count in axis] for axis in windows]
    if any(len(axis) * n > LONGEST_MATRIX for axis, n in zip(windows, grid, strict=True)):
        return _as_convolution(in_shape, kernel, stride, padding, divisors)
    rows = [
        [[(column, share) for column in range(start, stop)] for (start, stop, _), share in pairs]
        for pairs in (
            list(zip(axis, (Fraction(1, count) for count in counts), strict=True))
            for axis, counts in zip(windows, divisors, strict=True)
        )
    ]
    return separable(in_shape, dict(enumerate(rows, start=lead)))


def adaptive_average_pool(in_shape: Shape, output_size: tuple[int | None, ...]) -> AbstractLinearMap:
    """Average pooling to a given size, as torch's adaptive_avg_pool: window i is [floor(i n / m), ceil((i + 1) n / m)).

    Args:
        in_shape: shape of one input; pooled are its last len(output_size) axes.
        output_size: m, one size an axis; None keeps the axis.
    """
    lead = len(in_shape) - len(output_size)
    require(lead >= 0, f"output size {output_size} has more axes than {in_shape}")
    rows: dict[int, list[Row]] = {}
    for axis, m in enumerate(output_size, start=lead):
        n = in_shape[axis]
        if m is None or m == n:
            continue
        require(m > 0, f"output size {output_size} must be positive")
        windows = [range(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
        rows[axis] = [[(column, Fraction(1, len(window))) for column in window] for window in windows]
    return separable(in_shape, rows)


def mean(in_shape: Shape, axes: Shape, keepdim: bool = False) -> AbstractLinearMap:
    """The mean over axes.

    Args:
        in_shape: shape of one input.
        axes: the axes, batch axis excluded; negative ones count from the end.
        keepdim: whether they stay with size 1.
    """
    return _reduced(in_shape, axes, keepdim, lambda size: Fraction(1, size))


def total(in_shape: Shape, axes: Shape, keepdim: bool = False) -> AbstractLinearMap:
    """The sum over axes.

    Args:
        in_shape: shape of one input.
        axes: the axes, batch axis excluded; negative ones count from the end.
        keepdim: whether they stay with size 1.
    """
    return _reduced(in_shape, axes, keepdim, lambda _: Fraction(1))


def separable(in_shape: Shape, rows: Mapping[int, Sequence[Row]]) -> AbstractLinearMap:
    """The Kronecker product of rational matrices, one for each listed axis, identities elsewhere.

    Args:
        in_shape: shape of one input.
        rows: for each axis the sparse rows of its matrix.
    """
    pairs = {axis: rational_matrix(matrix, in_shape[axis]) for axis, matrix in rows.items()}
    if not pairs:
        return Reshape(in_shape, in_shape)
    none: tuple[Matrix | None, Matrix | None] = (None, None)
    matrices = tuple(pairs.get(axis, none)[0] for axis in range(len(in_shape)))
    return Separable(matrices, in_shape, tuple(pairs.get(axis, none)[1] for axis in range(len(in_shape))))


def _reduced(in_shape: Shape, axes: Shape, keepdim: bool, weight: Callable[[int], Fraction]) -> AbstractLinearMap:
    """A weighted sum over axes."""
    rank = len(in_shape)
    require(all(-rank <= axis < rank for axis in axes), f"axes {axes} are not axes of {in_shape}")
    reduced = sorted({axis % rank for axis in axes})
    require(len(reduced) == len(axes) > 0, f"axes {axes} of a reduction must be different, and at least one")
    weights = [(axis, in_shape[axis], weight(in_shape[axis])) for axis in reduced]
    rows = {axis: [[(k, entry) for k in range(n)]] for axis, n, entry in weights}
    summed = separable(in_shape, rows)
    if keepdim:
        return summed
    return Chain((summed, Reshape(summed.out_shape, tuple(n for k, n in enumerate(in_shape) if k not in reduced))))


def _windows(
    size: int, kernel: int, stride: int, widths: tuple[int, int], ceil_mode: bool
) -> list[tuple[int, int, int]]:
    """For each output of one axis: first input, one past the last, and the count with padding."""
    before, after = widths
    space = size + before + after - kernel
    require(space >= 0 or ceil_mode, f"window {kernel} is larger than the padded axis of size {size}")
    count = (-(-space // stride) if ceil_mode else space // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + before:
        count -= 1
    require(count > 0, f"window {kernel} does not fit the padded axis of size {size}")
    windows: list[tuple[int, int, int]] = []
    for start in range(-before, count * stride - before, stride):
        stop = min(start + kernel, size + after)
        windows.append((max(start, 0), min(stop, size), stop - start))
    return windows


def _as_convolution(in_shape: Shape, kernel: Shape, stride: Shape, padding: Widths, divisors: list[list[int]]) -> Chain:
    """The same pooling as a convolution of ones and a diagonal, for axes too long for a matrix."""
    lead, grid, out = len(in_shape) - len(kernel), in_shape[-len(kernel) :], tuple(len(axis) for axis in divisors)
    channels = math.prod(in_shape[:lead])
    widths = tuple(
        (before, max(0, (m - 1) * s + k - n - before))
        for (before, _), m, s, k, n in zip(padding, out, stride, kernel, grid, strict=True)
    )
    ones = torch.ones(channels, 1, *kernel, dtype=torch.float64)
    window = Conv(ones, (channels, *grid), stride, widths, (1,) * len(grid), channels)
    counts = torch.ones(1, *out, dtype=torch.float64)
    for axis, divisor in enumerate(divisors, start=1):
        counts = counts * torch.tensor(divisor, dtype=torch.float64).reshape([
            -1 if k == axis else 1 for k in range(counts.ndim)
        ])
    inverse = 1.0 / counts
    scale = Diagonal(inverse, window.out_shape, inverse * UNIT_ROUNDOFF)
    return Chain((Reshape(in_shape, window.in_shape), window, scale, Reshape(scale.shape, (*in_shape[:lead], *out))))
