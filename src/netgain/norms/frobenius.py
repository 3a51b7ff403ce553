"""The Frobenius norm of a linear map and its stable rank, without writing the map out where a closed form exists."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm
from netgain.core.results import Enclosure
from netgain.core.rounding import (
    UNDERFLOW,
    add_up,
    div_down,
    div_up,
    gamma,
    mul_down,
    mul_up,
    sqrt_down,
    sqrt_up,
    sub_down,
)
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable
from netgain.norms.enclose import operator_enclosure
from netgain.norms.evaluate import fits, materialized
from netgain.norms.operator import operator_norm
from netgain.norms.scaling import scaled, unscaled
from netgain.norms.sums import l1_norm, linf_norm, vector_lower

_Sides = tuple[float, float]


def frobenius_norm(linear_map: AbstractLinearMap) -> Enclosure:
    """Enclose ||A||_F, the root of the sum of all squared entries of the map's matrix.

    A convolution's tap stands in the matrix once for each output position at which it reads inside the input; these
    counts are products over the axes. Kronecker products multiply the norms of their factors.

    Guarantee: both sides proved, rounding and stored errors included. They agree up to rounding, except for a chain
    (or a circular convolution whose taps wrap onto each other) that is too large to be written out: there
    ||A x||_2 / ||x||_2 <= ||A||_F <= sqrt(min(m, n) ||A||_1 ||A||_inf), which is wide.

    Args:
        linear_map: A.

    Returns:
        The enclosure.

    Cost:
        One pass over the stored entries.
    """
    lower, upper, method = _enclosed(linear_map)
    return operator_enclosure(
        lower, upper, Norm.L2, lower_method=method, upper_method=method, quantity="Frobenius norm"
    )


def stable_rank(
    linear_map: AbstractLinearMap, *, spectral: Enclosure | None = None, rtol: float = 1e-3
) -> Enclosure | None:
    """Enclose ||A||_F^2 / ||A||_2^2, a smooth substitute for the rank: between 1 and the rank.

    Guarantee: both sides proved.

    Args:
        linear_map: A.
        spectral: its l2 operator norm, where known already.
        rtol: relative width of the operator norm otherwise.

    Returns:
        The enclosure; None where it is undefined: the map may be zero, or its norm is infinite.

    Cost:
        That of the two norms.
    """
    least, most, _ = _enclosed(linear_map)
    norm = operator_norm(linear_map, Norm.L2, rtol=rtol) if spectral is None else spectral
    below, above = norm.lower.value, norm.upper.value
    if below == 0.0 or math.isinf(above):
        return None
    low, high = div_down(least, above), div_up(most, below)
    method = "Frobenius norm over operator norm"
    return operator_enclosure(
        max(1.0, mul_down(low, low)),
        max(1.0, mul_up(high, high)),
        Norm.L2,
        lower_method=method,
        upper_method=method,
        quantity="stable rank",
    )


def _enclosed(linear_map: AbstractLinearMap) -> tuple[float, float, str]:
    """Lower and upper bound of the Frobenius norm and the method."""
    sides = _sides(linear_map)
    if sides is not None:
        return *sides, "sum of squares"
    probe = torch.randn(1, *linear_map.in_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns, rows = l1_norm(linear_map).upper.value, linf_norm(linear_map).upper.value
    rank = sqrt_up(float(min(linear_map.in_size, linear_map.out_size)))
    upper = mul_up(rank, sqrt_up(columns), sqrt_up(rows))
    return vector_lower(linear_map, probe, Norm.L2), upper, "one image; row and column sums"


def _sides(linear_map: AbstractLinearMap) -> _Sides | None:
    """Lower and upper bound of the Frobenius norm, None where the map would have to be written out and is too large."""
    match linear_map:
        case Reshape():
            return _root(linear_map.in_size)
        case Selection():
            return _root(int((linear_map.index >= 0).sum()))
        case Dense():
            return _stored(linear_map.weight, linear_map.error, torch.tensor(math.prod(linear_map.lead)))
        case Diagonal():
            copies = linear_map.in_size // linear_map.scale.numel()
            return _stored(linear_map.scale, linear_map.error, torch.tensor(copies))
        case ConvTransposed():
            return _stored(linear_map.weight, linear_map.error, _counts(linear_map, linear_map.in_shape[1:]))
        case Conv() if not linear_map.circular:
            return _stored(linear_map.weight, linear_map.error, _counts(linear_map, linear_map.out_shape[1:]))
        case Conv() if _taps_apart(linear_map):
            return _stored(linear_map.weight, linear_map.error, torch.tensor(math.prod(linear_map.out_shape[1:])))
        case Separable():
            return _separable(linear_map)
        case Chain():
            return _chain(linear_map)
        case _:
            return _written_out(linear_map)


def _counts(conv: Conv | ConvTransposed, positions: tuple[int, ...]) -> Float[Tensor, "*kernel"]:
    """How often each tap stands in the matrix: positions i with 0 <= s i + d t - p < n, on the grid tapped into."""
    grid = conv.in_shape[1:] if isinstance(conv, Conv) else conv.out_shape[1:]
    counts = torch.ones((), dtype=torch.float64)
    axes = zip(conv.kernel, conv.stride, conv.dilation, conv.padding, positions, grid, strict=True)
    for k, s, d, (before, _), many, n in axes:
        place = s * torch.arange(many) + d * torch.arange(k).unsqueeze(1) - before
        inside = ((place >= 0) & (place < n)).sum(1).double()
        counts = counts.unsqueeze(-1) * inside
    return counts


def _taps_apart(conv: Conv) -> bool:
    """Whether no two taps of a circular convolution read the same input for one output."""
    axes = zip(conv.kernel, conv.dilation, conv.in_shape[1:], strict=True)
    return all(d * step % n != 0 for k, d, n in axes for step in range(1, k))


def _separable(separable: Separable) -> _Sides:
    """The product of the factors' norms."""
    errors = separable.errors or (None,) * len(separable.matrices)
    lower = upper = 1.0
    for matrix, error, size in zip(separable.matrices, errors, separable.in_shape, strict=True):
        factor = _root(size) if matrix is None else _stored(matrix, error, torch.tensor(1))
        lower, upper = mul_down(lower, factor[0]), mul_up(upper, factor[1])
    return lower, upper


def _chain(chain: Chain) -> _Sides | None:
    """The norm of the one part that does not only reshape, or of the written-out product."""
    working = [part for part in chain.maps if not isinstance(part, Reshape)]
    if len(working) <= 1:
        return _sides(working[0] if working else chain.maps[0])
    return _written_out(chain)


def _written_out(linear_map: AbstractLinearMap) -> _Sides | None:
    """The norm of the map's matrix, where that fits and its entries do not overflow."""
    if not fits(linear_map):
        return None
    matrix, error = materialized(linear_map)
    if error is not None and not bool(error.isfinite().all()):
        return None
    return _stored(matrix, error, torch.tensor(1))


def _root(count: int) -> _Sides:
    """The square root of an integer."""
    root = math.isqrt(count)
    return (float(root), float(root)) if root * root == count else (sqrt_down(float(count)), sqrt_up(float(count)))


def _stored(values: Tensor, error: Tensor | None, counts: Tensor) -> _Sides:
    """The root of sum over entries of count * value^2, widened by the norm of the errors."""
    lower, upper = _weighted(values, counts)
    if error is None:
        return lower, upper
    distance = _weighted(error, counts)[1]
    return max(0.0, sub_down(lower, distance)), add_up(upper, distance)


def _weighted(values: Tensor, counts: Tensor) -> _Sides:
    """The root of sum over entries of count * value^2, for exact values."""
    seen = torch.where(counts > 0, values, 0.0)
    largest = float(seen.abs().max())
    if largest == 0.0 or not math.isfinite(largest):
        return 0.0, largest
    moderate, exponent = scaled(seen, largest)
    total = float((moderate * moderate * counts).sum())
    lost = add_up(mul_up(gamma(2 * seen.numel() + 8), total), UNDERFLOW)
    return unscaled(sqrt_down(max(0.0, sub_down(total, lost))), sqrt_up(add_up(total, lost)), exponent)
