"""The spectral norm of a dense matrix, proved in floating point at the cost of about one matrix product."""

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import get_blas_funcs
from torch import Tensor

from netgain.core.errors import NonFiniteWeightError
from netgain.core.norms import Norm
from netgain.core.results import Enclosure
from netgain.core.rounding import (
    UNDERFLOW,
    UNIT_ROUNDOFF,
    add_up,
    check_arithmetic,
    div_down,
    gamma,
    mul_up,
    norm_lower,
    norm_upper,
    sqrt_up,
    sub_down,
)
from netgain.norms.cholesky import Gram, gram, shifted_bound
from netgain.norms.enclose import operator_enclosure
from netgain.norms.lanczos import top_vector
from netgain.norms.scaling import scaled, unscaled

# Matrices whose largest entry lies within 2^-16 and 2^16 are not rescaled: their Gram matrix neither overflows nor
# loses anything to underflow that the allowance 2^-960 does not cover.
_UNSCALED = 16
# Lanczos steps before the first factorization, and inverse Lanczos steps after a loose one.
_STEPS, _INVERSE_STEPS = 160, 24
# Below this relative accuracy of the eigenvalue, Lanczos runs in float64.
_FLOAT32_TOLERANCE = 1e-7
# A shift is tried this far above the estimate, and again further away while the factorization fails.
_RETRY = 64.0
_ATTEMPTS = 8
_BLOCK = 128
# Up to this order all eigenvectors are cheaper than Lanczos.
_SMALL = 64
(_TRSV,) = get_blas_funcs(("trsv",), dtype=np.float64)


def spectral_norm(
    matrix: Float[Tensor, "m n"], *, error: Float[Tensor, "m n"] | None = None, rtol: float = 1e-6
) -> Enclosure:
    """Enclose ||A||_2 = max ||A x||_2 / ||x||_2.

    With G = A^T A on the smaller side, a Ritz vector v of G from a few Lanczos steps gives the lower bound
    ||A v|| / ||v||. A Cholesky factorization of s I - G, with s just above the Ritz value, gives
    ||A||_2^2 <= s + (rounding terms), see `cholesky.shifted_bound`.

    Guarantee: both sides are proved, rounding included, for the exact values of the entries given (of any floating
    dtype, subnormal and huge ones too) and every matrix within `error` of them. The ratio of the sides is about
    1 + rtol; it is larger only where rounding (n^2 u) or the failure of Lanczos forces it.

    Args:
        matrix: A, of any floating dtype; converted to float64 exactly.
        error: entrywise bound of |true A - matrix|; None if the entries are exact.
        rtol: how far the upper side may lie above the lower one, relatively.

    Returns:
        The enclosure in the l2 norm. An infinite entry gives the enclosure 0 to infinity.

    Raises:
        NonFiniteWeightError: if an entry is NaN.

    Cost:
        For m >= n: m n^2 operations for G, 2 n^3/3 for the certificate, 2 n^2 for each of up to 160 Lanczos steps;
        three n x n buffers.

    Source:
        Rump, Verification of positive definiteness, BIT 46 (2006), for the shifted factorization; the residual form
        used here is derived in docs/theory/dense_norms.md.
    """
    check_arithmetic()
    lower, upper = _stored_norm(matrix.detach(), rtol)
    if error is not None:
        distance = crude_upper(error.detach().to("cpu", torch.float64))
        lower, upper = max(0.0, sub_down(lower, distance)), add_up(upper, distance)
    return operator_enclosure(
        lower, upper, Norm.L2, lower_method="Rayleigh quotient of a Lanczos vector", upper_method="shifted Cholesky"
    )


def crude_upper(matrix: Float[Tensor, "m n"]) -> float:
    """An upper bound of ||A||_2 from sums: the smaller of ||A||_F and sqrt(||A||_1 ||A||_inf)."""
    if matrix.numel() == 0:
        return 0.0
    frobenius = float(norm_upper(matrix.reshape(1, -1), Norm.L2))
    rows = float(norm_upper(matrix, Norm.L1).max())
    columns = float(norm_upper(matrix.T, Norm.L1).max())
    # The product of the roots, not the root of the product, which may overflow or underflow.
    return min(frobenius, mul_up(sqrt_up(rows), sqrt_up(columns)))


def _stored_norm(matrix: Float[Tensor, "m n"], rtol: float) -> tuple[float, float]:
    """Lower and upper bound of ||A||_2 for the exact entries."""
    if matrix.numel() == 0:
        return 0.0, 0.0
    least, most = torch.aminmax(matrix)
    largest = max(-float(least), float(most))
    if math.isnan(largest):
        raise NonFiniteWeightError(f"a matrix of shape {tuple(matrix.shape)} contains NaN")
    if largest == 0.0 or math.isinf(largest):
        return 0.0, largest
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    exact = tall.to("cpu", torch.float64)
    if abs(math.frexp(largest)[1]) <= _UNSCALED:
        return _moderate_norm(exact.contiguous(), rtol)
    moderate, exponent = scaled(exact, largest)
    return unscaled(*_moderate_norm(moderate.contiguous(), rtol), exponent)


def _moderate_norm(matrix: Float[Tensor, "m n"], rtol: float) -> tuple[float, float]:
    """Lower and upper bound of ||A||_2 for m >= n and entries that need no scaling."""
    if matrix.shape[1] == 1:
        row = matrix.reshape(1, -1)
        return float(norm_lower(row, Norm.L2)), float(norm_upper(row, Norm.L2))
    products = gram(matrix)
    upper = frobenius = sqrt_up(products.trace)
    longest = int(products.lower.diagonal().argmax())
    lower = float(norm_lower(matrix[:, longest].reshape(1, -1), Norm.L2))
    # Of the 2 rtol to be had in sigma^2 the shift takes 1.8, which the error of the Ritz value must not exceed.
    wanted = max(1.8 * rtol, 4 * (products.size + 8) ** 2 * UNIT_ROUNDOFF)
    tolerance = 0.1 * wanted
    slack, vector = wanted, _top_vector(products, tolerance)
    for _ in range(_ATTEMPTS):
        lower = max(lower, _rayleigh_lower(matrix, vector, frobenius))
        shift = lower * lower * (1.0 + slack)
        if shift >= products.trace:
            break
        proved = shifted_bound(products, shift)
        upper = min(upper, sqrt_up(proved.bound))
        if proved.factor is None:
            slack *= _RETRY
        elif slack == wanted:
            break
        else:
            slack, vector = wanted, _inverse_vector(proved.factor, vector, tolerance)
    return lower, upper


def _top_vector(products: Gram, tolerance: float) -> Float[Tensor, " n"]:
    """A vector near the top eigenvector of G; Lanczos in float32 (half the memory traffic) where that is accurate."""
    if products.size <= _SMALL:
        return torch.linalg.eigh(products.lower).eigenvectors[:, -1]
    dtype = torch.float32 if tolerance > _FLOAT32_TOLERANCE else torch.float64
    full = _mirrored(products.lower.to(dtype))
    start = torch.randn(products.size, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return top_vector(full.mv, full.mv(start), tolerance=tolerance, steps=_STEPS).double()


def _mirrored(lower: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The symmetric matrix of a lower triangle, in place, block by block so that the cache holds both sides."""
    array, size = lower.numpy(), lower.shape[0]
    for i in range(0, size, _BLOCK):
        rows = slice(i, i + _BLOCK)
        for j in range(0, i, _BLOCK):
            columns = slice(j, j + _BLOCK)
            array[columns, rows] = array[rows, columns].T
        corner = array[rows, rows]
        corner += np.tril(corner, -1).T
    return lower


def _inverse_vector(factor: "np.ndarray", start: Float[Tensor, " n"], tolerance: float) -> Float[Tensor, " n"]:
    """A Ritz vector for the smallest eigenvalue of R^T R = s I - G: the largest of G, far better separated."""

    def solve(x: Tensor) -> Tensor:
        return torch.from_numpy(_TRSV(factor, _TRSV(factor, x.numpy(), trans=1)))

    # The start may be an exact eigenvector of another eigenvalue: without the noise it would stay one.
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(1), dtype=start.dtype)
    mixed = (start / start.norm()).nan_to_num(0.0) + 0.1 * noise / noise.norm()
    return top_vector(solve, mixed, tolerance=tolerance, steps=_INVERSE_STEPS)


def _rayleigh_lower(matrix: Float[Tensor, "m n"], vector: Float[Tensor, " n"], frobenius: float) -> float:
    """A proved lower bound of ||A||_2 from one vector: ||A v|| / ||v||; 0 if the vector is useless."""
    image = matrix.mv(vector)
    length = float(norm_upper(vector.reshape(1, -1), Norm.L2))
    if not (math.isfinite(length) and length > 0.0):
        return 0.0
    # |fl(A v) - A v| <= gamma_n |A| |v|, and || |A| |v| || <= ||A||_F ||v||.
    lost = add_up(mul_up(gamma(matrix.shape[1]), frobenius, length), UNDERFLOW)
    return div_down(max(0.0, sub_down(float(norm_lower(image.reshape(1, -1), Norm.L2)), lost)), length)
