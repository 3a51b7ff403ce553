"""Gram matrices and Cholesky factors of batches, by one symmetric update and one factorization in place where large."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.linalg import get_blas_funcs, get_lapack_funcs
from torch import Tensor

(_SYRK,) = get_blas_funcs(("syrk",), dtype=np.float64)
(_POTRF,) = get_lapack_funcs(("potrf",), dtype=np.float64)
# From this order on a symmetric update (half the products) beats a plain matrix product and its copies.
_LARGE = 256


def gram(factor: Float[Tensor, "batch rows size"]) -> Float[Tensor, "batch size size"]:
    """F^T F.

    Args:
        factor: F, one for each form.
    """
    if factor.shape[0] > 1 or factor.shape[2] < _LARGE:
        return factor.mT @ factor
    lower = torch.from_numpy(_update(factor[0], False).T)  # the upper triangle is set, zeros below
    diagonal = lower.diagonal().clone()
    full = lower + lower.T
    full.diagonal().copy_(diagonal)
    return full.unsqueeze(0)


def outer(factor: Float[Tensor, "batch rows size"]) -> Float[Tensor, "batch rows rows"]:
    """F F^T.

    Args:
        factor: F, one for each form.
    """
    if factor.shape[0] > 1 or factor.shape[1] < _LARGE:
        return factor @ factor.mT
    return gram(factor.mT)


def cholesky_of_rest(
    factor: Float[Tensor, "batch rows size"], diagonal: Float[Tensor, "batch size"] | None = None
) -> tuple[Float[Tensor, "batch order order"], Bool[Tensor, " batch"]]:
    """The lower Cholesky factor of diag(t) - F^T F, or without t of I - F F^T.

    Args:
        factor: F.
        diagonal: t.

    Returns:
        The factors, and which exist.
    """
    order = factor.shape[1] if diagonal is None else factor.shape[2]
    if factor.shape[0] > 1 or order < _LARGE:
        if diagonal is None:
            rest = torch.eye(order, dtype=torch.float64) - factor @ factor.mT
        else:
            rest = torch.diag_embed(diagonal) - factor.mT @ factor
        left, info = torch.linalg.cholesky_ex(rest)
        return left, info == 0
    array = _update(factor[0], diagonal is None, -1.0)
    array[np.diag_indices(order)] += 1.0 if diagonal is None else diagonal[0].numpy()
    if not np.isfinite(array[np.diag_indices(order)]).all():
        return torch.full((1, order, order), torch.nan, dtype=torch.float64), torch.zeros(1, dtype=torch.bool)
    # The upper triangle is never written, so it needs no cleaning.
    left, info = _POTRF(array, lower=1, overwrite_a=1, clean=0)
    return torch.from_numpy(left).unsqueeze(0), torch.tensor([info == 0])


def _update(factor: Float[Tensor, "rows size"], transposed: bool, alpha: float = 1.0) -> "np.ndarray":
    """The lower triangle of alpha F^T F, or of alpha F F^T, in Fortran order; zeros above."""
    if factor.T.is_contiguous() and not factor.is_contiguous():
        return _SYRK(alpha, factor.numpy(), trans=0 if transposed else 1, lower=1)
    return _SYRK(alpha, factor.contiguous().numpy().T, trans=1 if transposed else 0, lower=1)
