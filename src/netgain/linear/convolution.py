"""Convolutions over one to three axes: padding, stride, dilation, groups, and their transposes."""

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from netgain.linear.base import AbstractLinearMap
from netgain.linear.checks import assign, require, sizes, stored, stored_error

Widths = tuple[tuple[int, int], ...]
_FORWARD: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_BACKWARD: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Conv(AbstractLinearMap):
    """Cross-correlation y[o, i] = sum over c, t of W[o, c, t] x[c, s i + d t - p], torch's conv1d, conv2d, conv3d.

    Attributes:
        weight: W, (out channels, in channels / groups, *kernel).
        in_shape: (in channels, *grid).
        stride: s, one number an axis of the grid.
        padding: widths (before, after) an axis.
        dilation: d, one number an axis.
        groups: groups of channels that do not mix.
        error: entrywise bound of |stored W - W|, None where exact.
        circular: whether the padding continues the grid periodically (each width at most the grid) instead of by zeros.
        out_shape: (out channels, *grid).
    """

    weight: Float[Tensor, "out in *kernel"] = dataclasses.field(repr=False)
    in_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Widths
    dilation: tuple[int, ...]
    groups: int = 1
    error: Float[Tensor, "out in *kernel"] | None = dataclasses.field(default=None, repr=False)
    circular: bool = False
    out_shape: tuple[int, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        weight = _checked(self)
        channels, grid = self.in_shape[0], self.in_shape[1:]
        require(
            channels == weight.shape[1] * self.groups and weight.shape[0] % self.groups == 0,
            f"Conv with weight {tuple(weight.shape)} and {self.groups} groups does not fit {channels} input channels",
        )
        wraps = all(max(widths) <= size for widths, size in zip(self.padding, grid, strict=True))
        require(wraps or not self.circular, f"circular padding {self.padding} is wider than the grid {grid}")
        out = tuple(
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(grid, self.padding, self.dilation, self.kernel, self.stride, strict=True)
        )
        require(min(out) > 0, f"kernel {self.kernel} with dilation {self.dilation} is larger than the padded {grid}")
        assign(self, out_shape=(weight.shape[0], *out))

    @property
    def kernel(self) -> tuple[int, ...]:
        """Size of the kernel an axis."""
        return tuple(self.weight.shape[2:])

    @property
    @override
    def terms(self) -> int:
        return self.weight.shape[1] * math.prod(self.kernel)

    @property
    @override
    def adjoint_terms(self) -> int:
        copies = 1
        if self.circular:
            for (before, after), size in zip(self.padding, self.in_shape[1:], strict=True):
                copies *= 1 + math.ceil(before / size) + math.ceil(after / size)
        return self.weight.shape[0] // self.groups * _hits(self.kernel, self.stride, self.dilation) * copies

    @override
    def apply(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        if x.shape[0] == 0:
            return x.new_zeros(0, *self.out_shape)
        convolve = _FORWARD[len(self.kernel)]
        return convolve(self._padded(x), self.weight.to(x), None, self.stride, 0, self.dilation, self.groups)

    @override
    def adjoint(self, y: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        if y.shape[0] == 0:
            return y.new_zeros(0, *self.in_shape)
        spread = _BACKWARD[len(self.kernel)]
        full = spread(y, self.weight.to(y), None, self.stride, 0, 0, self.groups, self.dilation)
        grid = self.in_shape[1:]
        # The padded grid can end behind the last window: entries that nothing reads.
        missing = [n + sum(p) - m for n, p, m in zip(grid, self.padding, full.shape[2:], strict=True)]
        if not self.circular:
            crop = tuple((-p[0], m - p[1]) for p, m in zip(self.padding, missing, strict=True))
            return _pad(full, crop)
        full = _pad(full, tuple((0, m) for m in missing))
        for axis, (size, widths) in enumerate(zip(grid, self.padding, strict=True), start=2):
            folded = full.new_zeros(*full.shape[:axis], size, *full.shape[axis + 1 :])
            full = folded.index_add(axis, _wrapped(size, widths, full.device), full)
        return full

    @override
    def abs(self) -> "Conv":
        return dataclasses.replace(self, weight=self.weight.abs(), error=None)

    @override
    def uncertainty(self) -> "Conv | None":
        return None if self.error is None else dataclasses.replace(self, weight=self.error, error=None)

    def _padded(self, x: Tensor) -> Tensor:
        """The input with its padding."""
        if not self.circular:
            return _pad(x, self.padding)
        for axis, (size, widths) in enumerate(zip(self.in_shape[1:], self.padding, strict=True), start=2):
            x = x.index_select(axis, _wrapped(size, widths, x.device))
        return x


@dataclasses.dataclass(frozen=True, eq=False)
class ConvTransposed(AbstractLinearMap):
    """The transpose of a zero-padded convolution: y[o, s i + d t - p] += W[c, o, t] x[c, i], torch's conv_transpose.

    Attributes:
        weight: W, (in channels, out channels / groups, *kernel).
        in_shape: (in channels, *grid).
        stride: s, one number an axis of the grid.
        padding: widths (before, after) an axis that are cut off the full output.
        output_padding: entries added behind the output, one number an axis.
        dilation: d, one number an axis.
        groups: groups of channels that do not mix.
        error: entrywise bound of |stored W - W|, None where exact.
        out_shape: (out channels, *grid).
    """

    weight: Float[Tensor, "in out *kernel"] = dataclasses.field(repr=False)
    in_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Widths
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    error: Float[Tensor, "in out *kernel"] | None = dataclasses.field(default=None, repr=False)
    out_shape: tuple[int, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        weight = _checked(self)
        channels, grid = self.in_shape[0], self.in_shape[1:]
        extra = tuple(int(size) for size in self.output_padding)
        require(len(extra) == len(grid) and min(extra) >= 0, f"output padding {extra} does not fit the grid {grid}")
        require(
            channels == weight.shape[0] and channels % self.groups == 0,
            f"ConvTransposed of weight {tuple(weight.shape)}, {self.groups} groups does not fit {channels} channels",
        )
        full = tuple(
            (n - 1) * s + d * (k - 1) + 1
            for n, s, d, k in zip(grid, self.stride, self.dilation, self.kernel, strict=True)
        )
        out = tuple(n - sum(p) + e for n, p, e in zip(full, self.padding, extra, strict=True))
        require(min(out) > 0, f"padding {self.padding} cuts off the whole output {full} of ConvTransposed")
        assign(self, output_padding=extra, out_shape=(weight.shape[1] * self.groups, *out))

    @property
    def kernel(self) -> tuple[int, ...]:
        """Size of the kernel an axis."""
        return tuple(self.weight.shape[2:])

    @property
    @override
    def terms(self) -> int:
        return self.weight.shape[0] // self.groups * _hits(self.kernel, self.stride, self.dilation)

    @property
    @override
    def adjoint_terms(self) -> int:
        return self.weight.shape[1] * math.prod(self.kernel)

    @override
    def apply(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        if x.shape[0] == 0:
            return x.new_zeros(0, *self.out_shape)
        spread = _BACKWARD[len(self.kernel)]
        full = spread(x, self.weight.to(x), None, self.stride, 0, 0, self.groups, self.dilation)
        return _pad(full, tuple((-p[0], e - p[1]) for p, e in zip(self.padding, self.output_padding, strict=True)))

    @override
    def adjoint(self, y: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        if y.shape[0] == 0:
            return y.new_zeros(0, *self.in_shape)
        full = _pad(y, tuple((p[0], p[1] - e) for p, e in zip(self.padding, self.output_padding, strict=True)))
        convolve = _FORWARD[len(self.kernel)]
        return convolve(full, self.weight.to(y), None, self.stride, 0, self.dilation, self.groups)

    @override
    def abs(self) -> "ConvTransposed":
        return dataclasses.replace(self, weight=self.weight.abs(), error=None)

    @override
    def uncertainty(self) -> "ConvTransposed | None":
        return None if self.error is None else dataclasses.replace(self, weight=self.error, error=None)


def _checked(conv: Conv | ConvTransposed) -> Tensor:
    """Check and convert what both convolutions share; returns the weight."""
    name = type(conv).__name__
    shape, given = tuple(conv.weight.shape), sizes(conv.in_shape, "input shape")
    axes = len(given) - 1
    require(axes in _FORWARD, f"{name} takes inputs (channels, *grid) with one to three grid axes, got {given}")
    require(len(shape) == axes + 2 and min(shape) > 0, f"weight {shape} of {name} does not fit the input {given}")
    stride = tuple(int(s) for s in conv.stride)
    dilation = tuple(int(d) for d in conv.dilation)
    padding = tuple((int(before), int(after)) for before, after in conv.padding)
    require(len(stride) == len(dilation) == len(padding) == axes, f"{name} needs {axes} strides, dilations, paddings")
    require(min(*stride, *dilation, conv.groups) > 0, f"stride, dilation and groups of {name} must be positive")
    require(min(min(widths) for widths in padding) >= 0, f"padding {padding} of {name} must not be negative")
    weight = stored(conv.weight, f"weight of {name}")
    error = stored_error(conv.error, weight, f"weight of {name}")
    assign(conv, weight=weight, error=error, in_shape=given, stride=stride, padding=padding, dilation=dilation)
    return weight


def _hits(kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> int:
    """The largest number of taps t with d t congruent to one number modulo s, over all axes."""
    return math.prod(math.ceil(k * math.gcd(s, d) / s) for k, s, d in zip(kernel, stride, dilation, strict=True))


def _pad(x: Tensor, widths: Widths) -> Tensor:
    """Zeros added (or, for negative widths, entries cut) around the grid."""
    flat = [width for pair in reversed(widths) for width in pair]
    # Added before anything is cut: a cut may be wider than what is there.
    for part in ([max(width, 0) for width in flat], [min(width, 0) for width in flat]):
        x = functional.pad(x, part) if any(part) else x
    return x


def _wrapped(size: int, widths: tuple[int, int], device: torch.device) -> Tensor:
    """The grid position that each position of the circularly padded grid shows."""
    return torch.arange(-widths[0], size + widths[1], device=device) % size
