"""Proved upper bounds of the largest eigenvalue of A^T A: Gram matrix, shifted Cholesky, residual.

Notation: A is real m x n, G = fl(A^T A), s a shift, B = fl(s I - G), R upper triangular from a floating-point Cholesky
factorization of B, P = fl(R^T R), D = fl(B - P); u = 2^-53, gamma_k = k u / (1 - k u).

    lambda_max(A^T A) <= s + u max|b_ii| + (1 + u) ||D||_F + gamma_n tr(R^T R) + gamma_m tr(A^T A) + underflow

The proof (docs/theory/dense_norms.md) uses R only through its residual. It holds for any R, so neither the Cholesky
routine nor the triangular solves inside it have to be trusted; what must hold is that matrix products are inner
products in float64, in any order, fused or not.
"""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import get_blas_funcs, get_lapack_funcs
from torch import Tensor

from netgain.core.rounding import UNDERFLOW, UNIT_ROUNDOFF, add_up, gamma, mul_up, up

(_SYRK,) = get_blas_funcs(("syrk",), dtype=np.float64)
_POTRF, _LAUUM = get_lapack_funcs(("potrf", "lauum"), dtype=np.float64)


@dataclasses.dataclass(frozen=True)
class Gram:
    """G = fl(A^T A) of a float64 matrix with entries scaled to avoid overflow.

    Attributes:
        lower: the lower triangle of G; zero above the diagonal.
        inner: m, the number of products summed for each entry.
        trace: an upper bound of tr(A^T A) = ||A||_F^2, rounding included.
    """

    lower: Float[Tensor, "n n"]
    inner: int
    trace: float

    @property
    def size(self) -> int:
        """The order n of the matrix."""
        return self.lower.shape[0]

    @property
    def error(self) -> float:
        """An upper bound of ||G - A^T A||_2.

        Entry by entry |G - A^T A| <= gamma_m |A|^T |A|, and || |A|^T |A| ||_2 = || |A| ||_2^2 <= ||A||_F^2.
        """
        return add_up(mul_up(gamma(self.inner), self.trace), UNDERFLOW)


def gram(matrix: Float[Tensor, "m n"]) -> Gram:
    """The Gram matrix of the columns, by one symmetric rank-m update (half a matrix product).

    Args:
        matrix: A in float64, contiguous, entries below 2^100.

    Returns:
        The lower triangle with its error terms.
    """
    inner, size = matrix.shape
    # Fortran order of A^T is C order of A: no copy is made here.
    upper = _SYRK(1.0, matrix.numpy().T, trans=0, lower=0)
    lower = torch.from_numpy(upper.T)
    # tr(A^T A) <= sum of g_ii / (1 - gamma_m), summed with gamma_n: together below 1 + gamma_{2(m+n)}.
    total = float(lower.diagonal().sum())
    trace = add_up(total, mul_up(gamma(2 * (inner + size) + 8), total), UNDERFLOW)
    return Gram(lower, inner, trace)


@dataclasses.dataclass(frozen=True)
class Shifted:
    """What one shifted Cholesky factorization proves.

    Attributes:
        bound: an upper bound of lambda_max(A^T A); infinity where the factorization failed.
        factor: R as a Fortran-ordered array, for inverse iteration; None where it failed.
    """

    bound: float
    factor: "np.ndarray | None"


def shifted_bound(gram: Gram, shift: float) -> Shifted:
    """Prove lambda_max(A^T A) <= shift + small terms, or fail.

    Guarantee: `bound` is an upper bound of lambda_max(A^T A), rounding included, whatever the factorization returned.

    Args:
        gram: the Gram matrix.
        shift: s; the factorization succeeds if it exceeds lambda_max by a little more than rounding.

    Returns:
        The bound and the factor.

    Cost:
        n^3/3 operations for the factorization, n^3/3 for the residual, two n x n buffers.
    """
    size = gram.size
    shifted = gram.lower.numpy().T.copy(order="F")
    np.negative(shifted, out=shifted)
    diagonal = shift - gram.lower.diagonal().numpy()
    np.fill_diagonal(shifted, diagonal)
    factor, info = _POTRF(shifted, lower=0, overwrite_a=1, clean=0)
    if info != 0:
        return Shifted(math.inf, None)
    # LAPACK's lauum multiplies L^T L, and the flip J R J is lower triangular with (J R J)^T (J R J) = J R^T R J.
    flipped = factor.ravel(order="K")[::-1].copy().reshape((size, size), order="F")
    product, _ = _LAUUM(flipped, lower=1, overwrite_c=1)
    residual = product.ravel(order="K")[::-1].reshape((size, size), order="F")
    trace = float(np.sum(residual.diagonal()))
    trace = add_up(trace, mul_up(gamma(4 * size + 8), trace))
    difference = gram.lower.numpy().T + residual
    np.fill_diagonal(difference, diagonal - residual.diagonal())
    largest = float(np.abs(diagonal).max())
    frobenius = frobenius_upper(torch.from_numpy(difference.T))
    # Only one triangle was formed: ||D||_F^2 <= 2 ||triangle||_F^2.
    bound = add_up(
        shift,
        mul_up(UNIT_ROUNDOFF, largest),
        mul_up(math.sqrt(2.0) * (1.0 + 4 * UNIT_ROUNDOFF), frobenius),
        mul_up(gamma(size), trace),
        gram.error,
        UNDERFLOW,
    )
    return Shifted(bound if math.isfinite(bound) else math.inf, factor)


def frobenius_upper(matrix: Float[Tensor, "m n"]) -> float:
    """An upper bound of ||A||_F for entries of moderate size (squares that underflow are allowed for)."""
    value = float(torch.linalg.vector_norm(matrix))
    return up(add_up(value, mul_up(gamma(matrix.numel() + 8), value), 2.0**-400))
