"""Linear maps that act on a grid by a kernel: convolutions, factors per channel, average pooling."""

import dataclasses
import itertools
import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv
from netgain.linear.diagonal import Diagonal
from netgain.linear.separable import Separable

LARGEST = 2**24
"""Entries of a kernel, groups of channels written out, above which a map counts as too large."""


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """y[o, j] = sum over c, k of weight[o, c, k] x[c, s j + t_k], zeros outside the grid of x.

    Attributes:
        weight: one matrix a tap; groups of channels are written out.
        taps: t, the offsets of each axis.
        stride: s, one number an axis.
        sizes: points an axis of the grid of x.
        out_sizes: points an axis of the grid of y.
    """

    weight: Float[Tensor, "out in *kernel"]
    taps: tuple[tuple[int, ...], ...]
    stride: tuple[int, ...]
    sizes: tuple[int, ...]
    out_sizes: tuple[int, ...]

    @property
    def local(self) -> bool:
        """Whether each point of y reads one point of x, so that zeros outside the grid stay zeros."""
        ends = zip(self.stride, self.sizes, self.out_sizes, strict=True)
        return all(taps == (0,) for taps in self.taps) and all(s * m >= n for s, n, m in ends)

    @property
    def inside(self) -> bool:
        """Whether all points that y reads lie on the grid of x."""
        return all(
            min(taps) >= 0 and s * (m - 1) + max(taps) < n
            for taps, s, n, m in zip(self.taps, self.stride, self.sizes, self.out_sizes, strict=True)
        )

    @property
    def room(self) -> tuple[int, ...]:
        """The least circulant grid an axis, at the resolution of x, on which no window reads across its end."""
        return tuple(
            max(s * (m - 1) + max(taps) + 1, n - min(taps), n, s * m)
            for taps, s, n, m in zip(self.taps, self.stride, self.sizes, self.out_sizes, strict=True)
        )

    def symbol(self, turns: Float[Tensor, "points axes"]) -> Complex[Tensor, "points out in"]:
        """sum_k weight_k exp(2 pi i <t_k, turns>).

        Args:
            turns: frequencies in turns a point of the grid of x.
        """
        offsets = torch.tensor(list(itertools.product(*self.taps)), dtype=torch.float64)
        phases = torch.exp(2j * math.pi * (turns @ offsets.T))
        flat = self.weight.reshape(*self.weight.shape[:2], -1).to(torch.complex128)
        return torch.einsum("pk,oik->poi", phases, flat)


def kernels(linear_map: AbstractLinearMap) -> tuple[Kernel, ...] | None:
    """A map as kernels applied one after another, or None where it does not act on a grid by kernels.

    Args:
        linear_map: any map between tensors (channels, *grid).
    """
    if len(linear_map.in_shape) < 2 or len(linear_map.in_shape) != len(linear_map.out_shape):
        return None
    match linear_map:
        case Conv():
            return _convolution(linear_map)
        case Diagonal():
            return _per_channel(linear_map)
        case Separable():
            return _stencils(linear_map)
        case Chain():
            parts = [kernels(part) for part in linear_map.maps]
            return None if None in parts else tuple(one for part in parts if part is not None for one in part)
        case _:
            return None


def _convolution(conv: Conv) -> tuple[Kernel, ...] | None:
    """A zero-padded convolution."""
    out, width = conv.weight.shape[:2]
    if conv.circular or conv.weight.numel() * conv.groups > LARGEST:
        return None
    weight = torch.zeros(out, width * conv.groups, *conv.kernel, dtype=torch.float64)
    rows = out // conv.groups
    for group in range(conv.groups):
        part = slice(group * rows, (group + 1) * rows)
        weight[part, group * width : (group + 1) * width] = conv.weight[part]
    taps: list[tuple[int, ...]] = []
    for axis, (n, m) in enumerate(zip(conv.in_shape[1:], conv.out_shape[1:], strict=True)):
        before, _ = conv.padding[axis]
        every = [conv.dilation[axis] * k - before for k in range(conv.kernel[axis])]
        kept = [k for k, tap in enumerate(every) if _reads(tap, conv.stride[axis], n, m)]
        kept = kept or [every.index(min(every, key=abs))]
        weight = weight.index_select(axis + 2, torch.tensor(kept))
        taps.append(tuple(every[k] for k in kept))
    return (Kernel(weight, tuple(taps), conv.stride, conv.in_shape[1:], conv.out_shape[1:]),)


def _reads(tap: int, stride: int, n: int, m: int) -> bool:
    """Whether a tap reads a point 0 .. n - 1 for some output 0 .. m - 1."""
    return any(0 <= stride * j + tap < n for j in range(m))


def _per_channel(diagonal: Diagonal) -> tuple[Kernel, ...] | None:
    """A factor per channel."""
    axes = tuple(range(1, len(diagonal.shape)))
    constant = diagonal.constant_along(axes)
    if constant is None:
        return None
    scale = torch.diag(constant.scale.reshape(-1).expand(diagonal.shape[0]))
    sizes = diagonal.shape[1:]
    ones = (1,) * len(axes)
    return (Kernel(scale.reshape(*scale.shape, *ones), ((0,),) * len(axes), ones, sizes, sizes),)


def _stencils(pooling: Separable) -> tuple[Kernel, ...] | None:
    """Average pooling whose windows all weigh alike: one row of weights an axis."""
    channels = pooling.in_shape[0]
    if pooling.matrices[0] is not None:
        return None
    weight = torch.eye(channels, dtype=torch.float64)
    taps: list[tuple[int, ...]] = []
    strides: list[int] = []
    for matrix in pooling.matrices[1:]:
        found = ((0,), torch.ones(1, dtype=torch.float64), 1) if matrix is None else _stencil(matrix)
        if found is None:
            return None
        offsets, row, stride = found
        weight = weight.unsqueeze(-1) * row
        taps.append(offsets)
        strides.append(stride)
    return (Kernel(weight, tuple(taps), tuple(strides), pooling.in_shape[1:], pooling.out_shape[1:]),)


def _stencil(matrix: Float[Tensor, "out in"]) -> tuple[tuple[int, ...], Tensor, int] | None:
    """Offsets, weights and stride s with matrix[i, s i + t] = weights[t] and zeros elsewhere, if there are such."""
    rows, columns = matrix.shape
    if rows < 2:
        return None
    for stride in range(1, columns + 1):
        places = torch.arange(columns) - stride * torch.arange(rows)[:, None]
        used = places[matrix != 0]
        if used.numel() == 0:
            return None
        first, last = int(used.min()), int(used.max())
        if last - first >= columns:
            continue
        weights = torch.zeros(last - first + 1, dtype=torch.float64)
        within = (places >= first) & (places <= last)
        weights[places[within] - first] = matrix[within]
        if torch.equal(weights[places[within] - first], matrix[within]):
            return tuple(range(first, last + 1)), weights, stride
    return None
