"""Pooling: largest, mean and l2 entries of windows, and of whole channels."""

import math
from fractions import Fraction

import torch
from torch import Tensor

from netgain.core.errors import ModelError
from netgain.linear.convolution import Conv
from netgain.linear.separable import Separable
from netgain.network.read.onnx.build import product_error
from netgain.network.read.onnx.lower import DynamicOperandError, Lowering, Operation, Result, Signal, lowers
from netgain.network.read.onnx.ops.linear import windows
from netgain.network.read.onnx.rational import matrix
from netgain.vectors import Extremum, MaxPool

LARGEST_MATRIX = 2**22
Shape = tuple[int, ...]
Widths = tuple[tuple[int, int], ...]


def _kernel(op: Operation, x: Signal) -> Shape:
    """The window's size.

    Raises:
        ModelError: if it does not fit the input.
    """
    kernel = tuple(int(size) for size in op.attributes.get("kernel_shape", ()))
    if len(kernel) != len(x.shape) - 2 or not 1 <= len(kernel) <= 3 or min(kernel) < 1:
        raise ModelError(f"{op.source} has the kernel {kernel} for an input of shape {x.shape}")
    return kernel


def _outputs(op: Operation, grid: Shape, kernel: Shape, frame: tuple[Shape, Widths, Shape]) -> Shape:
    """Number of windows an axis: by ONNX's rule, no window of `ceil_mode` starts in the padding behind."""
    sizes: list[int] = []
    for n, k, s, (before, after), d in zip(grid, kernel, *frame, strict=True):
        room = n + before + after - d * (k - 1) - 1
        size = (-(-room // s) if int(op.attributes.get("ceil_mode", 0)) else room // s) + 1
        if int(op.attributes.get("ceil_mode", 0)) and (size - 1) * s >= n + before:
            size -= 1
        if size < 1:
            raise ModelError(f"{op.source} has a window of {k} that does not fit {n} entries")
        sizes.append(size)
    return tuple(sizes)


@lowers("MaxPool")
def max_pool(lowering: Lowering, op: Operation) -> Result:
    """The largest entry of each window."""
    x = op.signal(0)
    if len([name for name in op.proto.output if name]) > 1:
        raise DynamicOperandError("its second output, the positions, is used")
    kernel = _kernel(op, x)
    stride, padding, dilation = frame = windows(op, x.shape[2:], kernel)
    out = _outputs(op, x.shape[2:], kernel, frame)
    shape = lowering.guard((*x.shape[:2], *out), op)
    for sizes in zip(out, kernel, strict=True):
        lowering.guard(sizes, op)
    lead = x.shape[:2] if x.shape[0] != 1 else x.shape[1:2]
    # Uneven padding: the windows' positions are what counts, so pad behind as much as the last window reaches.
    reach = [
        (o - 1) * s + d * (k - 1) + 1 - n - before
        for o, s, d, k, n, (before, _) in zip(out, stride, dilation, kernel, x.shape[2:], padding, strict=True)
    ]
    widths = tuple((before, max(0, after)) for (before, _), after in zip(padding, reach, strict=True))
    function = MaxPool((*lead, *x.shape[2:]), kernel, stride, widths, dilation, False)
    return lowering.vector(op, x, function, shape)


@lowers("AveragePool")
def average_pool(lowering: Lowering, op: Operation) -> Result:
    """The mean of each window: one matrix an axis."""
    x = op.signal(0)
    kernel = _kernel(op, x)
    frame = windows(op, x.shape[2:], kernel)
    out = _outputs(op, x.shape[2:], kernel, frame)
    shape = lowering.guard((*x.shape[:2], *out), op)
    for sizes in zip(out, kernel, strict=True):
        lowering.guard(sizes, op)
    counted = bool(int(op.attributes.get("count_include_pad", 0)))
    rows = [
        _window_rows(n, o, (k, s, d), widths, counted)
        for n, o, k, s, widths, d in zip(x.shape[2:], out, kernel, *frame, strict=True)
    ]
    large = max(o * n for o, n in zip(out, x.shape[2:], strict=True)) > LARGEST_MATRIX
    if large and x.shape[0] == 1 and all(len(set(counts)) == 1 for counts in rows):
        return lowering.affine(op, x, _convolution(x, kernel, frame, out), shape)
    pairs: list[tuple[Tensor, Tensor | None]] = []
    for n, o, k, s, widths, d, counts in zip(x.shape[2:], out, kernel, *frame, rows, strict=True):
        lowering.allowance.spend((o, n), 8, f"the matrix of {op.source}")
        pairs.append(matrix([_taps(position, n, (k, s, d), widths, counts[position]) for position in range(o)], n))
    return lowering.affine(op, x, _separable(x, pairs), shape)


def _first(position: int, window: tuple[int, int, int], widths: tuple[int, int]) -> int:
    """Where the window of an output position starts."""
    return position * window[1] - widths[0]


def _window_rows(
    size: int, out: int, window: tuple[int, int, int], widths: tuple[int, int], counted: bool
) -> list[int]:
    """For each output position the number of entries that its mean is taken over."""
    k, _, dilation = window
    counts: list[int] = []
    for position in range(out):
        start = _first(position, window, widths)
        low = 0 if counted else -(start // dilation) if start < 0 else 0
        end = size + widths[1] if counted else size
        high = min(k - 1, (end - 1 - start) // dilation)
        counts.append(max(1, high - low + 1))
    return counts


def _taps(
    position: int, size: int, window: tuple[int, int, int], widths: tuple[int, int], count: int
) -> dict[int, Fraction]:
    """The weights of one mean: 1 / count for each entry inside."""
    k, _, dilation = window
    start = _first(position, window, widths)
    low = -(start // dilation) if start < 0 else 0
    high = min(k - 1, (size - 1 - start) // dilation)
    return {start + j * dilation: Fraction(1, count) for j in range(low, high + 1)}


def _convolution(x: Signal, kernel: Shape, frame: tuple[Shape, Widths, Shape], out: Shape) -> Conv:
    """The mean over windows of equal counts as a convolution of each channel with itself."""
    share = Fraction(1, math.prod(kernel))
    value = torch.full((x.shape[1], 1, *kernel), float(share), dtype=torch.float64)
    error = product_error(value, Fraction(float(share)) == share)
    stride, padding, dilation = frame
    reach = [
        max(0, (o - 1) * s + d * (k - 1) + 1 - n - before)
        for o, s, d, k, n, (before, _) in zip(out, stride, dilation, kernel, x.shape[2:], padding, strict=True)
    ]
    widths = tuple((before, after) for (before, _), after in zip(padding, reach, strict=True))
    return Conv(value, x.shape[1:], stride, widths, dilation, x.shape[1], error)


def _separable(x: Signal, pairs: list[tuple[Tensor, Tensor | None]]) -> Separable:
    """One matrix for each axis of the grid, the identity for samples and channels."""
    lead = x.shape[:2] if x.shape[0] != 1 else x.shape[1:2]
    none: tuple[None, ...] = (None,) * len(lead)
    matrices = (*none, *(stored for stored, _ in pairs))
    errors = (*none, *(error for _, error in pairs))
    return Separable(matrices, (*lead, *x.shape[2:]), errors)


@lowers("GlobalAveragePool")
def global_average_pool(lowering: Lowering, op: Operation) -> Result:
    """The mean of each channel."""
    x = op.signal(0)
    pairs = [matrix([dict.fromkeys(range(n), Fraction(1, n))], n) for n in x.shape[2:]]
    return lowering.affine(op, x, _separable(x, pairs), (*x.shape[:2], *(1 for _ in pairs)))


@lowers("GlobalMaxPool")
def global_max_pool(lowering: Lowering, op: Operation) -> Result:
    """The largest entry of each channel."""
    x = op.signal(0)
    flat = (math.prod(x.shape[:2]), math.prod(x.shape[2:]))
    return lowering.vector(op, x, Extremum(flat, 1, True, True), (*x.shape[:2], *(1 for _ in x.shape[2:])))
