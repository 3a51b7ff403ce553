"""Convolutions of a grid piece as taps on the whole lattice, and where the values between them live."""

import dataclasses
import functools
import itertools

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.core.rounding import gamma, tensor_up
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.separable import Separable
from netgain.network.graph import Node
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.pool import AdaptiveMaxPool, L2Pool, MaxPool

Sizes = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a value of the piece lives on the lattice.

    Attributes:
        channels: number of channels.
        grid: the true grid: positions 0 .. n - 1 an axis.
        step: positions of the start's grid from one position of this grid to the next, an axis.
        zero: whether the extended value is zero between its true grid and the next period.
    """

    channels: int
    grid: Sizes
    step: Sizes
    zero: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Taps:
    """The linear map y[o, j] = sum over c, t of K[o, c, t] x[c, s j + offset_t], zeros outside the true grid of x.

    Attributes:
        weight: K as stored.
        error: entrywise bound of |stored K - K|.
        offsets: offset of each tap, one column an axis. Every tap reads the true grid for some output.
        stride: s, one number an axis.
        before: true grid of x.
        behind: true grid of y.
    """

    weight: Float[Tensor, "out in taps"]
    error: Float[Tensor, "out in taps"]
    offsets: Int64[Tensor, "taps axes"]
    stride: Sizes
    before: Sizes
    behind: Sizes

    @property
    def reach(self) -> tuple[tuple[int, int], ...]:
        """First and last position that the true outputs read, an axis."""
        low, high = self.offsets.amin(0).tolist(), self.offsets.amax(0).tolist()
        return tuple((a, s * (m - 1) + b) for a, b, s, m in zip(low, high, self.stride, self.behind, strict=True))

    @property
    def inside(self) -> bool:
        """Whether true outputs read the true grid only: what lies outside does not matter."""
        return all(low >= 0 and high < n for (low, high), n in zip(self.reach, self.before, strict=True))

    @property
    def local(self) -> bool:
        """Whether the map reads one position, s j, so that zeros outside the true grid stay zeros."""
        covered = all(s * m >= n for s, m, n in zip(self.stride, self.behind, self.before, strict=True))
        return covered and not bool(self.offsets.any())

    @property
    def least(self) -> Sizes:
        """The smallest period of x with which true outputs read no second copy of its true grid, an axis."""
        pairs = zip(self.reach, self.before, strict=True)
        return tuple(max(high + 1, n - low, n) for (low, high), n in pairs)


def taps(node: Node, linear_map: AbstractLinearMap) -> tuple[Taps, ...]:
    """A linear map between grids as maps that the lattice knows, first applied first; none for the identity.

    Args:
        node: whose map it is, for messages.
        linear_map: the map.

    Raises:
        NoSoundRuleError: if it is not a convolution, a scale a channel or average pooling without border effects.
    """
    match linear_map:
        case Chain(maps=maps):
            return tuple(itertools.chain.from_iterable(taps(node, one) for one in maps))
        case Reshape(in_shape=before, out_shape=behind) if before == behind:
            return ()
        case Conv(circular=False):
            return (_convolution(linear_map),)
        case Diagonal() if 2 <= len(linear_map.shape) <= 4:
            return (_diagonal(node, linear_map),)
        case Separable() if 2 <= len(linear_map.in_shape) <= 4:
            return (_separable(node, linear_map),)
        case _:
            what = type(linear_map).__name__
            raise NoSoundRuleError(f"{node.source}: {what} of {linear_map.in_shape} has no symbol on a grid")


def pooling(node: Node, function: AbstractVectorFunction) -> Sizes:
    """The stride an axis of a vector function that acts between grids: 1 unless it pools.

    Args:
        node: whose function it is, for messages.
        function: the function.

    Raises:
        NoSoundRuleError: if its output is on no grid nested in that of its input.
    """
    before, behind = function.in_shape, function.out_shape
    if isinstance(function, MaxPool | L2Pool) and len(function.kernel) == len(before) - 1:
        return function.stride
    if isinstance(function, AdaptiveMaxPool) and len(function.output_size) == len(before) - 1:
        if all(n % m == 0 for n, m in zip(before[1:], behind[1:], strict=True)):
            return tuple(n // m for n, m in zip(before[1:], behind[1:], strict=True))
    elif not isinstance(function, MaxPool | L2Pool | AdaptiveMaxPool) and before[1:] == behind[1:]:
        return (1,) * (len(before) - 1)
    raise NoSoundRuleError(f"{node.source}: {function.name} of {before} has no stride on a grid")


def _convolution(conv: Conv) -> Taps:
    """A zero-padded convolution, without the taps that are zero or read zeros only."""
    weight = conv.weight
    error = torch.zeros_like(weight) if conv.error is None else conv.error
    axes: list[Int64[Tensor, " taps"]] = []
    for axis, (n, m) in enumerate(zip(conv.in_shape[1:], conv.out_shape[1:], strict=True)):
        shifts = torch.arange(conv.kernel[axis]) * conv.dilation[axis] - conv.padding[axis][0]
        others = [k for k in range(weight.dim()) if k != axis + 2]
        alive = ((weight != 0) | (error != 0)).movedim(axis + 2, -1).flatten(0, len(others) - 1).any(0)
        kept = (alive & _reads(shifts, conv.stride[axis], n, m)).nonzero().squeeze(1)
        if len(kept) == 0:  # the zero map
            shape = (conv.out_shape[0], conv.in_shape[0], 1)
            nothing = torch.zeros(shape, dtype=torch.float64)
            origin = torch.zeros(1, len(conv.stride), dtype=torch.int64)
            return Taps(nothing, nothing, origin, conv.stride, conv.in_shape[1:], conv.out_shape[1:])
        weight, error = weight.index_select(axis + 2, kept), error.index_select(axis + 2, kept)
        axes.append(shifts[kept])
    offsets = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    full, full_error = (_ungrouped(part.flatten(2), conv.groups) for part in (weight, error))
    return Taps(full, full_error, offsets, conv.stride, conv.in_shape[1:], conv.out_shape[1:])


def _reads(shifts: Int64[Tensor, " taps"], stride: int, n: int, m: int) -> Tensor:
    """Whether each tap reads a position 0 .. n - 1 for some output 0 .. m - 1."""
    first = torch.div(-shifts + stride - 1, stride, rounding_mode="floor").clamp_min(0)
    return (first < m) & (stride * first + shifts < n)


def _ungrouped(weight: Float[Tensor, "out inner taps"], groups: int) -> Float[Tensor, "out in taps"]:
    """The kernel between all channels, zero between groups."""
    out, inner, count = weight.shape
    full = weight.new_zeros(groups, out // groups, groups, inner, count)
    each = torch.arange(groups)
    full[each, :, each] = weight.reshape(groups, out // groups, inner, count)
    return full.reshape(out, groups * inner, count)


def _diagonal(node: Node, linear_map: Diagonal) -> Taps:
    """A factor a channel."""
    channels, grid = linear_map.shape[0], linear_map.shape[1:]
    same = linear_map.constant_along(tuple(range(1, len(linear_map.shape))))
    if same is None:
        raise NoSoundRuleError(f"{node.source}: a scale that differs between pixels has no symbol on a grid")
    ends = (same.scale, torch.zeros_like(same.scale) if same.error is None else same.error)
    weight, error = (torch.diag(end.reshape(-1).expand(channels)).unsqueeze(2) for end in ends)
    origin = torch.zeros(1, len(grid), dtype=torch.int64)
    return Taps(weight, error, origin, (1,) * len(grid), grid, grid)


def _separable(node: Node, linear_map: Separable) -> Taps:
    """A Kronecker product of one Toeplitz matrix an axis, the same for all channels."""
    if linear_map.matrices[0] is not None:
        raise NoSoundRuleError(f"{node.source}: a matrix along the channels beside the grid has no symbol")
    errors = linear_map.errors or (None,) * len(linear_map.matrices)
    rows: list[tuple[Tensor, Tensor, Tensor, int]] = []
    for n, matrix, error in zip(linear_map.in_shape[1:], linear_map.matrices[1:], errors[1:], strict=True):
        row = _identity() if matrix is None else _toeplitz(matrix, error)
        if row is None:
            raise NoSoundRuleError(f"{node.source}: along an axis of {n} positions its rows are not one shifted row")
        rows.append(row)
    values, bounds = functools.reduce(_outer, [(value, bound) for value, bound, _, _ in rows])
    offsets = torch.cartesian_prod(*(shifts for _, _, shifts, _ in rows)).reshape(-1, len(rows))
    eye = torch.eye(linear_map.in_shape[0], dtype=torch.float64).unsqueeze(2)
    stride = tuple(step for _, _, _, step in rows)
    return Taps(eye * values, eye * bounds, offsets, stride, linear_map.in_shape[1:], linear_map.out_shape[1:])


def _identity() -> tuple[Tensor, Tensor, Tensor, int]:
    """The identity as `_toeplitz` gives it."""
    one = torch.ones(1, dtype=torch.float64)
    return one, torch.zeros_like(one), torch.zeros(1, dtype=torch.int64), 1


def _toeplitz(
    matrix: Float[Tensor, "m n"], error: Float[Tensor, "m n"] | None
) -> tuple[Tensor, Tensor, Tensor, int] | None:
    """w, its error, offsets and a stride s with matrix[j, i] = w_(i - s j) for all entries; None if there is none."""
    m, n = matrix.shape
    bound = torch.zeros_like(matrix) if error is None else error
    # Strides with which the last window starts inside; a single window of k positions stands for stride k.
    for stride in range(1, n // (m - 1) + 1) if m > 1 else [max(1, int((matrix != 0).sum()))]:
        shift = torch.arange(n) - stride * torch.arange(m)[:, None]
        place, count = (shift + stride * (m - 1)).flatten(), n + stride * (m - 1)
        least, most = (
            matrix.new_zeros(count).scatter_reduce(0, place, matrix.flatten(), how, include_self=False)
            for how in ("amin", "amax")
        )
        if torch.equal(least, most):
            widest = bound.new_zeros(count).scatter_reduce(0, place, bound.flatten(), "amax", include_self=False)
            kept = ((most != 0) | (widest != 0)).nonzero().squeeze(1)
            kept = kept if len(kept) else torch.tensor([stride * (m - 1)])
            return most[kept], widest[kept], kept - stride * (m - 1), stride
    return None


def _outer(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """All products of two rows of numbers known up to errors, in order, with their error."""
    (a, da), (b, db) = first, second
    value = torch.outer(a, b).flatten()
    error = torch.outer(da, b.abs() + db) + torch.outer(a.abs(), db)
    # The product's own rounding and that of the error, with room to spare.
    return value, tensor_up(error.flatten() * (1.0 + 8 * gamma(1)) + 2 * gamma(1) * value.abs())
