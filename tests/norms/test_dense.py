"""spectral_norm: known norms, then integers decide, then properties and bad input."""

import math
from fractions import Fraction

import hypothesis.extra.numpy as arrays
import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netgain.core.errors import ArithmeticModeError, NonFiniteWeightError
from netgain.core.norms import Norm
from netgain.norms import cholesky, dense
from netgain.norms.cholesky import gram, shifted_bound
from netgain.norms.dense import spectral_norm
from tests.norms.exact import FAMILIES, exceeds, reflected

WIDTH = 1 + 1e-6


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sides(matrix, **options):
    found = spectral_norm(matrix, **options)
    return found.lower.value, found.upper.value


def check(matrix, norm):
    lower, upper = sides(matrix)
    assert lower <= norm <= upper
    assert upper <= lower * WIDTH
    # A bound too small by one part in a million is below the norm.
    assert upper * (1 - 1e-6) < norm


def hilbert(n):
    return tensor([[1 / (i + j + 1) for j in range(n)] for i in range(n)])


@pytest.mark.parametrize(
    ("matrix", "norm"),
    [
        (tensor([[3.0]]), 3.0),
        (tensor([[3.0, 4.0]]), 5.0),
        (tensor([[3.0], [4.0]]), 5.0),
        (torch.eye(7, dtype=torch.float64), 1.0),
        (torch.diag(tensor([1.0, -5.0, 2.0])), 5.0),
        (torch.ones(16, 9, dtype=torch.float64), 12.0),
        (tensor([[0.0, 1.0], [0.0, 0.0]]), 1.0),
        (tensor([[1.0, 1.0], [0.0, 1.0]]), (1 + math.sqrt(5)) / 2),
        (torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), math.sqrt(2)),
        (reflected([7.0] * 40 + [3.0] * 88, 128, 128, 1), 7.0),
        (reflected([2.0**20, 2.0**20 - 1, 1.0], 100, 70, 2), 2.0**20),
        (reflected([2.0**26] * 3 + [1.0] * 60, 65, 300, 3), 2.0**26),
        (reflected([1000.0 - k for k in range(200)], 200, 256, 4), 1000.0),
    ],
)
def test_known_norms(matrix, norm):
    lower, upper = sides(matrix)
    assert lower * (1 - 2e-16) <= norm <= upper * (1 + 2e-16)
    assert upper <= lower * WIDTH
    assert upper * (1 - 1e-6) < norm


def test_circulant():
    first = random(96)
    matrix = torch.stack([first.roll(k) for k in range(96)])
    norm = float(torch.fft.fft(first).abs().max())
    check(matrix, norm)


def test_hilbert_against_mpmath():
    matrix = hilbert(9)
    with mpmath.workdps(60):
        exact = mpmath.matrix(matrix.tolist())
        norm = float(max(abs(value) for value in mpmath.eigsy(exact, eigvals_only=True)))
    check(matrix, norm)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_sandwich_decided_in_integers(family):
    """63 adversarial matrices a family, 1008 in all, of up to 9 x 9 entries: no reference is computed in floats."""
    generator = torch.Generator().manual_seed(2006)
    deflated = 0
    for trial in range(63):
        most = 5 if family == "all exponents" else 9
        m, n = 1 + trial % most, 1 + (trial // 7) % most
        matrix = FAMILIES[family](m, n, generator)
        lower, upper = sides(matrix)
        if not bool(matrix.any()):
            assert upper == 0.0
            continue
        assert exceeds(upper, matrix)
        assert not exceeds(lower, matrix)
        deflated += exceeds(upper * (1 - 1e-6), matrix)
    # Subnormal numbers are too coarse for one part in a million.
    assert deflated == 0 or family in {"subnormal", "barely normal"}


@pytest.mark.parametrize("seed", range(12))
def test_sandwich_beyond_the_small_path(seed):
    """Lanczos runs here. float64 svdvals is within n^1.5 u of the truth; a bound 1e-6 too small would be seen."""
    generator = torch.Generator().manual_seed(seed)
    m, n = 70 + 13 * seed, 200 - 9 * seed
    for name in ("rank one plus noise", "columns over 8 decades", "bfloat16", "float32", "sparse"):
        matrix = FAMILIES[name](m, n, generator)
        norm = float(torch.linalg.svdvals(matrix.double())[0])
        lower, upper = sides(matrix)
        assert lower <= norm * (1 + 1e-12)
        assert norm <= upper * (1 + 1e-12)
        assert upper <= lower * WIDTH


def test_float32_singular_values_fall_below_the_truth_and_ours_never_do():
    below = 0
    for seed in range(60):
        matrix = random(96, 96, seed=seed).float()
        norm = float(torch.linalg.svdvals(matrix.double())[0])
        below += float(torch.linalg.svdvals(matrix)[0]) < norm * (1 - 1e-12)
        assert norm * (1 + 1e-13) <= sides(matrix)[1]
    assert below >= 15


@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-8, 1e-10])
def test_width_follows_rtol(rtol):
    matrix = random(150, 120)
    lower, upper = sides(matrix, rtol=rtol)
    norm = float(torch.linalg.svdvals(matrix)[0])
    assert lower <= norm * (1 + 1e-13)
    assert norm <= upper * (1 + 1e-13)
    assert upper <= lower * (1 + max(rtol, 1e-10))


def test_rtol_beyond_rounding_still_gives_a_proof():
    lower, upper = sides(random(100, 100), rtol=1e-16)
    assert 0 < lower <= upper <= lower * (1 + 1e-10)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (4, 5)])
def test_zero(shape):
    assert sides(torch.zeros(shape, dtype=torch.float32)) == (0.0, 0.0)


def test_tall():
    matrix = random(200_000, 10)
    check(matrix, float(torch.linalg.eigvalsh(matrix.T @ matrix)[-1].sqrt()))


def test_error_widens_both_sides():
    matrix, error = random(80, 90), random(80, 90, seed=1).abs() * 1e-3
    lower, upper = sides(matrix, error=error)
    for signs in (random(80, 90, seed=2).sign(), torch.ones(80, 90, dtype=torch.float64)):
        for matrix_at_corner in (matrix + signs * error, matrix - signs * error):
            norm = float(torch.linalg.svdvals(matrix_at_corner)[0])
            assert lower <= norm <= upper
    # Aligned with the top singular vectors the error moves the norm by at least its own mean entry.
    left, _, right = torch.linalg.svd(matrix)
    worst = matrix + error * torch.outer(left[:, 0], right[0]).sign()
    assert float(torch.linalg.svdvals(worst)[0]) <= upper
    assert upper <= float(torch.linalg.svdvals(matrix)[0]) * WIDTH + float(torch.linalg.matrix_norm(error))


def test_error_as_large_as_the_matrix():
    lower, upper = sides(torch.eye(3, dtype=torch.float64), error=torch.ones(3, 3, dtype=torch.float64))
    assert lower == 0.0
    assert 4.0 <= upper <= 4.0 * WIDTH


def test_norm_beyond_float64_is_infinite():
    matrix = torch.full((4, 4), 1.7e308, dtype=torch.float64)
    lower, upper = sides(matrix)
    assert lower == np.finfo(np.float64).max
    assert upper == math.inf


def test_infinite_entry():
    assert sides(tensor([[1.0, math.inf], [0.0, 1.0]])) == (0.0, math.inf)


def test_nan_is_refused():
    with pytest.raises(NonFiniteWeightError, match="NaN"):
        spectral_norm(tensor([[1.0, math.nan], [0.0, 1.0]]))


def test_flushed_subnormals_are_refused():
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        with pytest.raises(ArithmeticModeError):
            spectral_norm(torch.eye(3, dtype=torch.float64))
    finally:
        torch.set_flush_denormal(False)


def test_strided_and_differentiable_input():
    matrix = random(90, 180)[:, ::2].T.clone().requires_grad_()
    norm = float(torch.linalg.svdvals(matrix.detach())[0])
    check(matrix, norm)
    check(random(90, 180)[:, ::2], norm)


@pytest.mark.parametrize("useless", ["eigenvector", "zero", "nan"])
def test_a_useless_start_is_mended(useless, monkeypatch):
    """A start that misses the top vector makes the first shift too small; the bound must survive and stay sharp."""
    vector = torch.zeros(90, dtype=torch.float64)
    vector[0] = {"eigenvector": 1.0, "zero": 0.0, "nan": math.nan}[useless]
    monkeypatch.setattr(dense, "_top_vector", lambda products, tolerance: vector)
    spread = torch.diag(torch.linspace(1.0, 2.0, 90, dtype=torch.float64))
    for matrix in (spread, spread @ reflected([1.0] * 90, 90, 90, 3)):
        lower, upper = sides(matrix)
        assert lower * (1 - 1e-15) <= 2.0 <= upper <= lower * WIDTH


def test_a_flat_top_with_a_start_of_no_use(monkeypatch):
    monkeypatch.setattr(dense, "_top_vector", lambda products, tolerance: torch.eye(128, dtype=torch.float64)[0])
    matrix = reflected([1.0 - k * 2.0**-20 for k in range(128)], 128, 128, 5)
    lower, upper = sides(matrix)
    assert lower <= 1.0 <= upper <= lower * WIDTH


MATRICES = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(-8, 8, allow_subnormal=False) | st.just(0.0),
)


@settings(max_examples=30, deadline=None)
@given(MATRICES, st.integers(-600, 600))
def test_scaling_by_a_power_of_two(values, power):
    matrix = torch.from_numpy(values)
    values_scaled = torch.from_numpy(np.ldexp(values, power))
    lower, upper = sides(matrix)
    lower_scaled, upper_scaled = sides(values_scaled)
    if bool(matrix.any()):
        assert exceeds(upper_scaled, values_scaled)
        assert not exceeds(lower_scaled, values_scaled)
        if float(matrix.abs().max()) > 1e-3:
            assert upper_scaled == pytest.approx(math.ldexp(upper, power), rel=1e-14)
            assert lower_scaled == pytest.approx(math.ldexp(lower, power), rel=1e-14)


@settings(max_examples=30, deadline=None)
@given(MATRICES)
def test_transposition_and_embedding(values):
    matrix = torch.from_numpy(values)
    lower, upper = sides(matrix)
    larger = torch.zeros(matrix.shape[0] + 2, matrix.shape[1] + 3, dtype=torch.float64)
    larger[1:-1, 2:-1] = matrix
    for other in (matrix.T, larger, torch.block_diag(matrix, matrix), -matrix.flip(0)):
        other_lower, other_upper = sides(other)
        assert max(lower, other_lower) <= min(upper, other_upper)
        assert other_upper <= other_lower * WIDTH or other_upper < 1e-300


def top_eigenvalue(matrix):
    return float(torch.linalg.eigvalsh(matrix.T @ matrix)[-1])


@pytest.mark.parametrize("factor", [0.5, 0.999, 1 - 1e-9, 1 + 1e-9, 1.5])
def test_the_certificate_does_not_trust_the_factorization(factor, monkeypatch):
    """Whatever comes back as R, the residual makes the bound true."""
    matrix = random(60, 40)
    top = top_eigenvalue(matrix)
    honest = cholesky._POTRF

    def wrong(shifted, **options):
        upper, _ = honest(np.eye(40) * 100.0 - np.triu(shifted) * 0.01, **options)
        return np.asfortranarray(np.triu(upper)), 0

    monkeypatch.setattr(cholesky, "_POTRF", wrong)
    assert shifted_bound(gram(matrix), top * factor).bound >= top * (1 - 1e-13)


@pytest.mark.parametrize("n", [2, 5, 33, 130])
def test_a_completed_factorization_bounds_as_rump_says(n):
    """The residual form and the a-priori constant 2 gamma_{n+4} tr(B) agree on this platform's LAPACK."""
    matrix = random(n + 3, n)
    products = gram(matrix)
    shift = top_eigenvalue(matrix) * (1 + 1e-6)
    proved = shifted_bound(products, shift)
    assert proved.factor is not None
    factor = np.triu(proved.factor).astype(np.longdouble)
    full = products.lower.numpy() + np.tril(products.lower.numpy(), -1).T
    shifted = np.diag(shift - np.diag(full)) - (full - np.diag(np.diag(full)))
    residual = np.abs(factor.T @ factor - shifted)
    unit = 2.0**-53
    allowed = (n + 1) * unit / (1 - (n + 1) * unit) * (np.abs(factor).T @ np.abs(factor))
    assert (residual <= allowed * (1 + 1e-10) + 1e-300).all()
    a_priori = 2 * (n + 4) * unit * float(np.trace(shifted))
    assert proved.bound <= shift + 2 * a_priori + products.error + unit * shift * n


def test_a_shift_below_the_top_eigenvalue_fails():
    matrix = random(50, 50)
    proved = shifted_bound(gram(matrix), top_eigenvalue(matrix) * (1 - 1e-9))
    assert proved.factor is None
    assert proved.bound == math.inf


def test_result_says_what_it_is():
    found = spectral_norm(random(5, 5))
    assert found.upper.quantity == "operator norm"
    assert found.upper.norm is Norm.L2
    assert found.upper.method == "shifted Cholesky"


def test_rounding_of_the_gram_matrix_is_covered():
    """Squares below half a unit in the last place of the partial sums vanish: the computed matrix is too small."""
    column = torch.full((4096,), 0.999 * 2.0**-26.5, dtype=torch.float64)
    column[::128] = 1.0
    matrix = torch.zeros(4097, 2, dtype=torch.float64)
    matrix[:-1, 0] = column
    matrix[-1, 1] = 1.0
    exact = sum(Fraction(x) ** 2 for x in column.tolist())
    products = gram(matrix)
    shift = float(products.lower[0, 0]) * (1 + 2.0**-50)
    assert exact <= Fraction(shifted_bound(products, shift).bound) <= exact * (1 + Fraction(1, 10**11))
