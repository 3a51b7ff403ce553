"""Arithmetic that the steps of a form share: upper bounds of sums, scaling by powers of two, scaled coordinates."""

import math

import torch
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.core.rounding import gamma, tensor_up

# Larger than every underflow of a sum of fewer than 2^70 products; the vectors it is added to have entries near 1.
TINY = 2.0**-1000
# Exponents beyond this are refused, so that underflow stays far below everything else.
LARGEST_EXPONENT = 600
# A diagonal entry counts as at least so much of the largest one when coordinates are scaled.
_FLOOR = 2.0**-600


def size(x: Tensor) -> Tensor:
    """An upper bound of the magnitude of each entry; for complex ones |re| + |im|, which needs no square root."""
    return tensor_up(x.real.abs() + x.imag.abs()) if x.is_complex() else x.abs()


def above(value: Tensor, terms: int) -> Tensor:
    """An upper bound of a sum of at most `terms` non-negative products an entry, from its computed value.

    Args:
        value: the sum, computed in any order.
        terms: how many products.
    """
    return tensor_up(tensor_up(value * (1.0 + gamma(2 * terms + 4))) + TINY)


def times(matrix: Tensor, v: Tensor) -> Tensor:
    """An upper bound of |matrix| v."""
    return above((size(matrix) @ v.unsqueeze(-1)).squeeze(-1), matrix.shape[-1])


def raised(matrix: Tensor, slack: Tensor) -> Tensor:
    """The matrix with something added to its diagonal, rounded up."""
    higher = tensor_up(diagonal(matrix) + tensor_up(slack))
    matrix = matrix.clone()
    matrix.diagonal(dim1=-2, dim2=-1).copy_(higher)
    return matrix


def normalized(matrix: Tensor) -> tuple[Tensor, int]:
    """The matrix times 2^-k with its largest magnitude in [1/2, 1), and k; k = 0 where it is as good as zero."""
    largest = float(size(matrix).max()) if matrix.numel() else 0.0
    if not math.isfinite(largest):
        raise RefusedCertificateError("numbers overflow, or are not numbers, in the form of a piece")
    exponent = math.frexp(largest)[1]
    if exponent > LARGEST_EXPONENT:
        raise RefusedCertificateError("numbers in the form of a piece are out of range")
    if exponent < -LARGEST_EXPONENT:  # a dead layer: only allowances for underflow are left
        return matrix, 0
    return scaled(matrix, -exponent), exponent


def scaled(x: Tensor, exponent: int) -> Tensor:
    """x 2^exponent in two steps, neither of which is out of range before the result is (|exponent| <= 2000)."""
    half = max(-1000, min(1000, exponent // 2))
    return x * 2.0**half * 2.0 ** max(-1000, min(1000, exponent - half))


def diagonal(matrix: Tensor) -> Tensor:
    """The real diagonal, (batch, n)."""
    return matrix.real.diagonal(dim1=-2, dim2=-1)


def coordinates(matrix: Tensor, least: Tensor | None = None) -> Tensor:
    """s about 1 / sqrt(diagonal), (batch, n), no entry extreme beside the others.

    Args:
        matrix: the matrix.
        least: what each diagonal entry counts as at least.
    """
    entries = diagonal(matrix) if least is None else torch.maximum(diagonal(matrix), least)
    largest = entries.amax(-1, keepdim=True) if entries.shape[-1] else entries
    return torch.rsqrt(torch.maximum(entries, largest * _FLOOR).clamp_min(_FLOOR))


def underflow(terms: int, carried: float, first: int, second: int) -> float:
    """What underflow adds to an entry of 2^-second M^H (2^-first Q M), the columns of |M| summing to at most `carried`.

    An entry of the inner product is off by tau, which M^H carries on.
    """
    tau = terms * 2.0**-1072 * 2.0 ** max(0, -first)
    return (tau * (1.0 + carried) + terms * 2.0**-1072) * 2.0 ** max(0, -second) * (1.0 + 2.0**-40) + TINY


def width(matrix: Tensor) -> int:
    """What multiplies the number of terms of a sum: 3 for complex numbers."""
    return 3 if matrix.is_complex() else 1


def power(t: Tensor) -> Tensor:
    """Powers of two h with 1/2 <= h^2 t <= 2."""
    return torch.ldexp(torch.ones_like(t), -torch.div(torch.frexp(t).exponent, 2, rounding_mode="floor"))
