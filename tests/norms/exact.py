"""References that are exact: comparisons in integers, matrices whose norm is known, and hard families."""

import math
from fractions import Fraction

import torch

DECADES = 8


def fractions(matrix):
    """The entries as exact fractions, whatever the dtype."""
    return [[Fraction(float(x)) for x in row] for row in matrix.tolist()]


def exceeds(t, matrix):
    """Whether t > ||A||_2, decided without rounding: all leading minors of t^2 I - A^T A are positive."""
    rows = fractions(matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T)
    if math.isinf(t):
        return True
    bound = Fraction(t)
    power = max(x.denominator for row in [*rows, [bound]] for x in row)
    integers = [[int(x * power) for x in row] for row in rows]
    size, limit = len(integers[0]), int(bound * power) ** 2
    shifted = [
        [(limit if i == j else 0) - sum(row[i] * row[j] for row in integers) for j in range(size)] for i in range(size)
    ]
    return _positive_definite(shifted)


def _positive_definite(matrix):
    """Fraction-free elimination (Bareiss): the pivots are the leading minors."""
    size, before = len(matrix), 1
    for k in range(size):
        pivot = matrix[k][k]
        if pivot <= 0:
            return False
        for i in range(k + 1, size):
            for j in range(k + 1, size):
                matrix[i][j] = (pivot * matrix[i][j] - matrix[i][k] * matrix[k][j]) // before
        before = pivot
    return True


def reflected(values, rows, columns, seed):
    """Q diag(values) P, computed exactly, with reflections Q, P; its singular values are |values|.

    Q = I - 2 v v^T / (v^T v), with v of entries 0, 1, -1 of which a power of two differ from 0, so that Q has few bits.
    """
    generator = torch.Generator().manual_seed(seed)
    middle = torch.zeros(rows, columns, dtype=torch.float64)
    for k, value in enumerate(values):
        middle[k, k] = value
    return _reflection(rows, generator) @ middle @ _reflection(columns, generator)


def _reflection(size, generator):
    """A reflection with dyadic entries."""
    count = 1 << int(math.log2(size))
    v = torch.zeros(size, dtype=torch.float64)
    v[torch.randperm(size, generator=generator)[:count]] = 1.0
    v *= torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1
    return torch.eye(size, dtype=torch.float64) - torch.outer(v, v) * (2.0 / count)


def rank_one_plus_noise(m, n, g):
    left, right = (
        torch.randn(m, 1, generator=g, dtype=torch.float64),
        torch.randn(1, n, generator=g, dtype=torch.float64),
    )
    return left @ right + 1e-9 * torch.randn(m, n, generator=g, dtype=torch.float64)


def scaled_columns(m, n, g):
    scale = 10.0 ** (-DECADES * torch.rand(n, generator=g, dtype=torch.float64))
    return torch.randn(m, n, generator=g, dtype=torch.float64) * scale


def repeated_top(m, n, g):
    values = [3.0] * (min(m, n) // 2 + 1) + [1.0] * (min(m, n) - min(m, n) // 2 - 1)
    return reflected(values, m, n, int(torch.randint(0, 10**6, (1,), generator=g)))


def vandermonde(m, n, g):
    points = torch.rand(m, 1, generator=g, dtype=torch.float64) * 2 - 1
    return points ** torch.arange(n, dtype=torch.float64)


def nilpotent(m, n, g):
    return torch.triu(torch.randint(-3, 4, (m, n), generator=g).double(), 1)


def sparse(m, n, g):
    keep = torch.rand(m, n, generator=g) < 0.2
    return torch.randn(m, n, generator=g, dtype=torch.float64) * keep


def low_precision(dtype):
    return lambda m, n, g: torch.randn(m, n, generator=g, dtype=torch.float64).to(dtype)


def at_scale(power):
    return lambda m, n, g: torch.randn(m, n, generator=g, dtype=torch.float64) * 2.0**power


def wide_range(m, n, g):
    exponents = torch.randint(-1060, 1000, (m, n), generator=g)
    half = exponents // 2
    values = torch.randn(m, n, generator=g, dtype=torch.float64)
    return values * torch.exp2(half.double()) * torch.exp2((exponents - half).double())


def float32_limits(m, n, g):
    tiny = torch.rand(m, n, generator=g) < 0.5
    return torch.where(tiny, 1e-44, 3e38) * torch.sign(torch.randn(m, n, generator=g))


FAMILIES = {
    "rank one plus noise": rank_one_plus_noise,
    "columns over 8 decades": scaled_columns,
    "repeated top value": repeated_top,
    "vandermonde": vandermonde,
    "nilpotent": nilpotent,
    "sparse": sparse,
    "bfloat16": low_precision(torch.bfloat16),
    "float16": low_precision(torch.float16),
    "float32": low_precision(torch.float32),
    "float32 at its limits": float32_limits,
    "subnormal": at_scale(-1065),
    "barely normal": at_scale(-1018),
    "tiny": at_scale(-700),
    "huge": at_scale(1018),
    "large": at_scale(600),
    "all exponents": wide_range,
}
