"""The largest eigenvalues of symmetric positive semidefinite operators in a batch, for searches. No guarantee."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.norms.lanczos import top_vector

# The error of a value is about the square of its residual, divided by the distance to the other values.
_RESIDUAL, _STEPS = 2e-5, 24
# Up to this order a single value is taken from a decomposition; above, by Lanczos to this relative accuracy.
_SMALL, _LANCZOS = 128, 1e-9

Operator = Callable[[Tensor], Tensor]
"""x -> G x on vectors in rows, (batch, many, size)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Top:
    """Largest eigenvalues, largest first, with orthonormal eigenvectors in rows.

    Attributes:
        values: estimates from below.
        vectors: Ritz vectors.
    """

    values: Float[Tensor, "batch many"]
    vectors: Float[Tensor, "batch many size"]


def direct(matrix: Float[Tensor, "batch size size"], many: int) -> Top:
    """By a full decomposition.

    Args:
        matrix: symmetric; a matrix that is not finite has infinite values.
        many: pairs wanted.
    """
    finite = torch.isfinite(matrix).flatten(1).all(1)
    values, vectors = torch.linalg.eigh(torch.where(finite.reshape(-1, 1, 1), matrix, torch.zeros_like(matrix)))
    values = values[:, -many:].flip(1).clamp_min(0.0)
    values = torch.where(finite.unsqueeze(1), values, torch.full_like(values, torch.inf))
    return Top(values, vectors[:, :, -many:].flip(2).mT)


def krylov(operator: Operator, start: Float[Tensor, "batch block size"], many: int) -> Top:
    """By a block Krylov space with full orthogonalization, started from a block that may be close already.

    Args:
        operator: x -> G x.
        start: the first block, independent rows.
        many: pairs wanted, at most the size of the block.
    """
    block, size = start.shape[1:]
    basis = torch.linalg.qr(start.mT).Q.mT
    images = newest = operator(basis)
    found = _ritz(basis, images, many)
    for _ in range(_STEPS):
        settled = found.residual <= _RESIDUAL * found.top.values[:, 0]
        if bool(settled.all()) or basis.shape[1] + block > size or not bool(torch.isfinite(images).all()):
            break
        fresh = newest
        for _ in range(2):
            for _ in range(2):
                fresh = fresh - (fresh @ basis.mT) @ basis
            fresh = torch.linalg.qr(fresh.mT).Q.mT
        newest = operator(fresh)
        basis, images = torch.cat([basis, fresh], 1), torch.cat([images, newest], 1)
        found = _ritz(basis, images, many)
    return found.top


@dataclasses.dataclass(frozen=True, eq=False)
class _Ritz:
    """Ritz pairs and the norm of the largest pair's residual."""

    top: Top
    residual: Float[Tensor, " batch"]


def _ritz(basis: Tensor, images: Tensor, many: int) -> _Ritz:
    """The largest pairs within a space, given the operator's images of its orthonormal basis."""
    small = basis @ images.mT
    finite = torch.isfinite(small).flatten(1).all(1).reshape(-1, 1, 1)
    values, rotation = torch.linalg.eigh(torch.where(finite, small + small.mT, torch.zeros_like(small)) / 2)
    lead = rotation[:, :, -many:].flip(2).mT
    values, vectors = values[:, -many:].flip(1).clamp_min(0.0), lead @ basis
    values = torch.where(finite.squeeze(2), values, torch.full_like(values, torch.inf))
    residual = ((lead @ images)[:, 0] - values[:, :1] * vectors[:, 0]).norm(dim=1)
    return _Ritz(Top(values, vectors), residual)


def largest(matrix: Float[Tensor, "batch size size"]) -> Float[Tensor, " batch"]:
    """The largest eigenvalue of symmetric matrices.

    Args:
        matrix: symmetric, positive semidefinite.
    """
    size = matrix.shape[2]
    if size <= _SMALL:
        return direct(matrix, 1).values[:, 0]
    if matrix.shape[0] == 1 and bool(torch.isfinite(matrix).all()):
        start = random_block(1, 1, size)[0, 0]
        vector = top_vector(lambda x: matrix[0] @ x, start, tolerance=_LANCZOS, steps=200)
        return (vector @ (matrix[0] @ vector) / (vector @ vector)).reshape(1)
    return krylov(lambda x: x @ matrix, random_block(matrix.shape[0], 4, size), 1).values[:, 0]


def random_block(batch: int, block: int, size: int) -> Float[Tensor, "batch block size"]:
    """Fixed random vectors.

    Args:
        batch: number of blocks.
        block: vectors in each.
        size: their length.
    """
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, min(block, size), size, generator=generator, dtype=torch.float64).expand(batch, -1, -1)
