"""The canonical form of a convolution: a multilevel block Toeplitz matrix with unit stride.

Along one axis a convolution with stride s, dilation d and padding p reads input s j + t for output j, where
t = d k - p for tap k. Write t = s q + r with 0 <= r < s and the input position as s m + r. Then tap k joins output j to
entry r ("phase") of block m = j + q: a Toeplitz matrix T[j, m] = K_{m - j} whose blocks have a column for each input
channel and phase. Outputs 0 <= j < n_out, blocks 0 <= m < ceil(n / s); where s does not divide n, some entries of the
last block do not exist, which only removes columns.

A transposed convolution is the transpose of such a matrix and has the same norm.
"""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.linear.convolution import Conv, ConvTransposed


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a convolution that reads input s j + d k - p for output j and tap k.

    Attributes:
        size: n, input positions.
        outputs: n_out, output positions.
        taps: number of taps.
        stride: s.
        dilation: d.
        before: p, zeros in front of the input.
        period: None for zero padding; n where the input continues periodically.
    """

    size: int
    outputs: int
    taps: int
    stride: int
    dilation: int
    before: int
    period: int | None = None

    def shift(self, tap: int) -> int:
        """t = d k - p: the input position that output 0 reads through a tap."""
        return self.dilation * tap - self.before

    @property
    def used(self) -> list[int]:
        """The taps that read at least one position of the input; the others only ever meet padding."""
        if self.period is not None:
            return list(range(self.taps))
        return [k for k in range(self.taps) if self._reads(self.shift(k))]

    def _reads(self, shift: int) -> bool:
        """Whether 0 <= s j + shift < n for some output j."""
        first = max(0, -(shift // self.stride))
        return first < self.outputs and self.stride * first + shift < self.size

    @property
    def whole(self) -> bool:
        """Whether some output reads the input through all taps that are ever used."""
        if self.period is not None:
            return self.dilation * (self.taps - 1) < self.period
        low, high = self.shift(self.used[0]), self.shift(self.used[-1])
        first = max(0, -(low // self.stride))
        return first < self.outputs and self.stride * first + high < self.size

    def count(self, tap: int) -> int:
        """The number of outputs for which the tap reads the input: how often it stands in the matrix."""
        if self.period is not None:
            return self.outputs
        shift = self.shift(tap)
        first = max(0, -(shift // self.stride))
        last = min(self.outputs - 1, (self.size - 1 - shift) // self.stride)
        return max(0, last - first + 1)


@dataclasses.dataclass(frozen=True)
class Level:
    """One axis as a Toeplitz matrix T[j, m] = K_{m - j} with m - j = offset + step * (0 .. degree).

    Attributes:
        degree: D, so that the symbol is a polynomial of degree D in exp(i theta), up to a phase.
        least: the smallest circulant size that holds the matrix (see `embedding`), in units of `step`.
        circulant: the size of the grid where the matrix is circulant already; None otherwise.
        stride: input positions a block.
        step: see above.
    """

    degree: int
    least: int
    circulant: int | None
    stride: int
    step: int


@dataclasses.dataclass(frozen=True)
class Stencil:
    """A multilevel block Toeplitz matrix per group, its norm up to a factor that of the convolution.

    Attributes:
        kernel: blocks K_q (group, row channel, column channel, offset); row channels and column channels may have
            been exchanged (a transpose, same norm), so that there are at most as many columns as rows.
        offsets: q of each block, one row an offset, one column an axis, from 0 to the axis's degree.
        levels: the axes.
        exponent: the kernel was multiplied by 2^-exponent, so that its largest entry lies in [1/2, 1).
        repeats: the norm of the convolution is at most sqrt(repeats) 2^exponent times the norm of this matrix;
            repeats > 1 where circular padding makes outputs coincide.
    """

    kernel: Float[Tensor, "group row column offset"]
    offsets: Float[Tensor, "offset axis"]
    levels: tuple[Level, ...]
    exponent: int
    repeats: int

    @property
    def degrees(self) -> tuple[int, ...]:
        """The degree of the symbol in each axis."""
        return tuple(level.degree for level in self.levels)


def axes_of(conv: Conv | ConvTransposed) -> tuple[Axis, ...]:
    """The axes of the convolution whose matrix is that of `conv` or its transpose."""
    transposed = isinstance(conv, ConvTransposed)
    inputs, outputs = (conv.out_shape, conv.in_shape) if transposed else (conv.in_shape, conv.out_shape)
    circular = isinstance(conv, Conv) and conv.circular
    return tuple(
        Axis(n, m, k, s, d, p[0], n if circular else None)
        for n, m, k, s, d, p in zip(
            inputs[1:], outputs[1:], conv.kernel, conv.stride, conv.dilation, conv.padding, strict=True
        )
    )


def grouped(weight: Float[Tensor, "first second *taps"], groups: int) -> Float[Tensor, "group row column *taps"]:
    """The kernel of each group. For a transposed convolution this already is the kernel of its transpose."""
    return weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])


def scaled(x: Float[Tensor, "*shape"], exponent: int) -> Float[Tensor, "*shape"]:
    """2^exponent x in two exact steps; entries that become subnormal are rounded by at most 2^-1074."""
    half = exponent // 2
    return x * math.ldexp(1.0, half) * math.ldexp(1.0, exponent - half)


def stencil(conv: Conv | ConvTransposed) -> Stencil | None:
    """The canonical form of a convolution with the stored kernel.

    Taps that are zero or only meet padding are dropped. An axis with a single output position needs no shift at all:
    its taps become input channels.

    Args:
        conv: any convolution.

    Returns:
        The stencil; its norm times sqrt(repeats) 2^exponent bounds the norm of `conv` from above, and equals it for
        zero padding. None for the zero map.
    """
    axes = axes_of(conv)
    kernel = grouped(conv.weight.double(), conv.groups)
    used: list[list[int]] = []
    for number, axis in enumerate(axes, start=3):
        kept = [k for k in axis.used if bool(kernel.select(number, k).any())]
        kernel = kernel.index_select(number, torch.tensor(kept, dtype=torch.int64))
        used.append(kept)
    if not bool(kernel.any()):
        return None
    exponent = int(torch.frexp(kernel.abs().max()).exponent)
    kernel = scaled(kernel, -exponent)
    levels: list[Level] = []
    offsets: list[list[int]] = []
    repeats = 1
    for axis, taps in zip(axes, used, strict=True):
        kernel, blocks, level, copies = _split(kernel, axis, taps)
        offsets.append(blocks)
        levels.append(level)
        repeats *= copies
    # Now (group, row, column, q1, phase1, q2, phase2, ...).
    d = len(levels)
    kernel = kernel.permute(0, 1, 2, *(4 + 2 * a for a in range(d)), *(3 + 2 * a for a in range(d)))
    kernel = kernel.reshape(*kernel.shape[:2], -1, math.prod(len(q) for q in offsets))
    if kernel.shape[2] > kernel.shape[1]:
        kernel = kernel.transpose(1, 2)
    grid = torch.cartesian_prod(*(torch.tensor(q, dtype=torch.float64) for q in offsets)).reshape(-1, d)
    return Stencil(kernel.contiguous(), grid, tuple(levels), exponent, repeats)


def stencils(conv: Conv | ConvTransposed) -> list[Stencil]:
    """Canonical forms of a convolution, each of which bounds its norm from above; none for the zero map.

    A circular convolution whose stride does not divide the grid has a second one: padding copies an input at most
    `copies` times, so its norm is at most sqrt(copies), and a convolution without padding follows.
    """
    first = stencil(conv)
    forms = [] if first is None else [first]
    if not (isinstance(conv, Conv) and conv.circular and first is not None):
        return forms
    axes = axes_of(conv)
    if first.repeats == 1 and all(axis.size % axis.stride == 0 for axis in axes):
        return forms
    read = tuple(axis.stride * (axis.outputs - 1) + axis.dilation * (axis.taps - 1) + 1 for axis in axes)
    copies = math.prod(math.ceil(length / axis.size) for length, axis in zip(read, axes, strict=True))
    plain = dataclasses.replace(conv, in_shape=(conv.in_shape[0], *read), padding=((0, 0),) * len(read), circular=False)
    second = stencil(plain)
    return forms if second is None else [*forms, dataclasses.replace(second, repeats=copies)]


def _split(kernel: Tensor, axis: Axis, taps: list[int]) -> tuple[Tensor, list[int], Level, int]:
    """Replace the first tap axis of the kernel (axis 3) by two at its end: block offset and phase."""
    # A circular axis whose stride does not divide n is computed at the stride that does, which adds outputs.
    stride = axis.stride if axis.period is None else math.gcd(axis.stride, axis.period)
    if axis.outputs == 1 and axis.period is None:
        stride = max(axis.size, axis.dilation * axis.taps + axis.before) + 1
    shifts = [axis.shift(k) for k in taps]
    if axis.outputs == 1 and axis.period is None:
        shifts = [t - shifts[0] for t in shifts]
    quotients = [t // stride for t in shifts]
    phases = sorted({t % stride for t in shifts})
    low = min(quotients)
    step = math.gcd(*(q - low for q in quotients)) or 1
    blocks = sorted({(q - low) // step for q in quotients})
    result = kernel.new_zeros(*kernel.shape[:3], *kernel.shape[4:], len(blocks), len(phases))
    for place, (t, q) in enumerate(zip(shifts, quotients, strict=True)):
        result[..., blocks.index((q - low) // step), phases.index(t % stride)] = kernel.select(3, place)
    level, copies = _level(axis, stride, low, max(quotients), step)
    return result, blocks, level, copies


def _level(axis: Axis, stride: int, low: int, high: int, step: int) -> tuple[Level, int]:
    """The Toeplitz level of an axis with block offsets low .. high in steps of `step`, and how often rows repeat."""
    degree = (high - low) // step
    if axis.period is not None:
        size = axis.period // stride
        copies = math.ceil(axis.outputs / (axis.period // math.gcd(axis.stride, axis.period)))
        points = size // math.gcd(size, step)
        # The unshifted grid 2 pi k / size, seen by a symbol in step * theta.
        return Level(degree, points, points, stride, step), copies
    if axis.outputs == 1:
        return Level(0, 1, None, stride, 1), 1
    blocks = math.ceil(axis.size / stride)
    first_row, last_row = max(0, -high), min(axis.outputs, blocks - low) - 1
    first_column, last_column = max(0, low), min(blocks, axis.outputs + high) - 1
    least = max(
        high - first_column + last_row + 1,
        last_column - first_row - low + 1,
        last_row - first_row + 1,
        last_column - first_column + 1,
    )
    return Level(degree, max(1, math.ceil(least / step)), None, stride, step), 1
