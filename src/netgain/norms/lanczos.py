"""Largest eigenvalue of a symmetric operator by Lanczos: where the certificate starts looking. No guarantee.

What comes out of here is only a vector. Its Rayleigh quotient is proved elsewhere, and the upper side never trusts it.
"""

from collections.abc import Callable

from jaxtyping import Float
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

# Eigenvalues of the small tridiagonal matrix are computed once in so many steps.
_CHECK_EVERY = 5


def top_vector(
    operator: Callable[[Tensor], Tensor], start: Float[Tensor, " n"], *, tolerance: float, steps: int
) -> Float[Tensor, " n"]:
    """An approximate eigenvector of the largest eigenvalue lambda of a symmetric positive semidefinite operator.

    After k steps with full orthogonalization the largest Ritz value theta_k <= lambda grows with k. The distance left
    is extrapolated from its last increments, taken as a geometric series; the iteration stops when this is below
    tolerance * theta_k.

    No guarantee: the start may be orthogonal to the eigenvector, and the extrapolation may be wrong.

    Args:
        operator: x -> G x in the dtype of `start`.
        start: any non-zero vector.
        tolerance: relative accuracy wanted of the eigenvalue.
        steps: most applications of the operator.

    Returns:
        The Ritz vector, of Euclidean norm about 1; NaN entries if the operator overflowed.

    Cost:
        At most `steps` applications, and 4 n k^2 operations for orthogonalization over k steps.

    Source:
        Kuczynski and Wozniakowski, SIAM J. Matrix Anal. Appl. 13 (1992), for how fast theta_k grows from a random
        start.
    """
    size = start.numel()
    steps = min(steps, size)
    basis = start.new_zeros(steps, size)
    basis[0] = start / start.norm()
    diagonal: list[float] = []
    below: list[float] = []
    ritz: list[float] = []
    for k in range(steps):
        image = operator(basis[k])
        done = basis[: k + 1]
        coefficients = done @ image
        diagonal.append(float(coefficients[k]))
        image = image - coefficients @ done
        image -= (done @ image) @ done
        length = float(image.norm())
        last = k + 1 == steps or not length > abs(diagonal[0]) * 1e-12
        if last or (k + 1) % _CHECK_EVERY == 0:
            value, weights = _top_of_tridiagonal(diagonal, below)
            ritz.append(value)
            if last or _converged(ritz, tolerance):
                return start.new_tensor(weights) @ done
        below.append(length)
        basis[k + 1] = image / length
    return basis[0]


def _top_of_tridiagonal(diagonal: list[float], below: list[float]) -> tuple[float, list[float]]:
    """Largest eigenvalue of a symmetric tridiagonal matrix and its eigenvector."""
    k = len(diagonal)
    values, vectors = eigh_tridiagonal(diagonal, below, select="i", select_range=(k - 1, k - 1), check_finite=False)
    return float(values[0]), vectors[:, 0].tolist()


def _converged(ritz: list[float], tolerance: float) -> bool:
    """Whether the distance left, by a geometric extrapolation of the last two increments, is within the tolerance."""
    if len(ritz) < 3:
        return False
    before, last = ritz[-2] - ritz[-3], ritz[-1] - ritz[-2]
    allowed = tolerance * ritz[-1]
    if last <= 0.0 or before <= 0.0:
        return last <= allowed
    ratio = min(last / before, 0.9)
    return last * ratio / (1.0 - ratio) <= allowed
