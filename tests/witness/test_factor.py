"""The factor of a form in a metric: alpha d - Q is positive semidefinite in rational arithmetic, and alpha is tight."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.linear.dense import Dense
from netgain.witness.factor import Factor, factor, factor_behind
from netgain.witness.form import Form, begin
from netgain.witness.operators import Linear
from tests.gain.networks import normal
from tests.witness.test_form import fractions, gram, minus, product, psd, scaled, transposed, value


def exact(found: Factor) -> Fraction:
    return Fraction(found.value) * Fraction(2) ** found.exponent


def least(matrix: Tensor, metric: Tensor) -> float:
    root = metric.rsqrt()
    return float(torch.linalg.eigvalsh(matrix * root * root.unsqueeze(1))[..., -1].max())


@pytest.mark.parametrize("rank", [1, 3, 6])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_dominates_and_is_tight(seed, rank):
    form = Form(gram(seed, 6, rank), {"x": 6}, 5)
    metric = 10.0 ** (3 * torch.rand(6, generator=torch.Generator().manual_seed(seed)).double())
    alpha = exact(factor(form, metric))
    diagonal = [[alpha * Fraction(float(metric[i])) if i == j else Fraction(0) for j in range(6)] for i in range(6)]
    assert psd(minus(diagonal, value(form)))
    assert float(alpha) <= 32 * least(form.matrix, metric) * (1 + 1e-11)


def test_equal_and_clustered_eigenvalues():
    for gap in (0.0, 1e-15, 1e-12, 1e-6):
        matrix = torch.diag(torch.tensor([1.0, 1.0 - gap, 1.0 - 2 * gap, 0.1], dtype=torch.float64)).unsqueeze(0)
        alpha = float(exact(factor(begin("x", matrix), torch.ones(4, dtype=torch.float64))))
        assert 1.0 <= alpha <= 1.0 + 1e-12


def test_start_vectors_that_miss_the_top():
    # The linear start vector is orthogonal to this one up to rounding.
    top = torch.tensor([1.0, -2.0, 1.0, 0.0], dtype=torch.float64)
    matrix = (torch.outer(top, top) + 0.01 * torch.ones(4, 4)).unsqueeze(0)
    matrix = (matrix + matrix.mT) / 2
    ones = torch.ones(4, dtype=torch.float64)
    assert float(exact(factor(begin("x", matrix), ones))) <= least(matrix, ones) * (1 + 1e-11)


def test_multiple_eigenvalues_in_a_batch():
    """Projections of rank 18 in 36 dimensions, a structure that a simple start vector could miss."""
    half = torch.kron(torch.ones(2, 2), torch.eye(18)).double() / 2
    matrix = torch.stack([
        half,
        0.3 * half,
        141.8 * torch.kron(torch.eye(18), torch.tensor([[1.0, -1.0], [-1.0, 1.0]])),
    ])
    ones = torch.ones(36, dtype=torch.float64)
    alpha, wanted = float(exact(factor(begin("x", matrix.double()), ones))), 283.6
    assert wanted * (1 - 1e-7) <= alpha <= wanted * (1 + 1e-7)


def test_a_batch_takes_its_largest():
    root = torch.complex(normal(0, 5, 4, 4), normal(1, 5, 4, 4))
    matrix = root.mH @ root
    matrix = (matrix + matrix.mH) / 2
    ones = torch.ones(4, dtype=torch.float64)
    alpha, wanted = float(exact(factor(begin("x", matrix), ones))), least(matrix, ones)
    assert wanted * (1 - 1e-14) <= alpha <= wanted * (1 + 1e-11)


def test_zero_and_extremes():
    ones = torch.ones(2, dtype=torch.float64)
    assert factor(begin("x", torch.zeros(1, 2, 2, dtype=torch.float64)), ones).value == 0.0
    for power in (-170, 170):
        form = begin("x", torch.eye(2, dtype=torch.float64).unsqueeze(0) * 10.0**power)
        assert 1 <= exact(factor(form, ones)) / Fraction(10.0**power) < 1 + Fraction(1, 10**12)
    with pytest.raises(RefusedCertificateError):
        begin("x", torch.full((1, 2, 2), torch.nan).double())


@pytest.mark.parametrize("power", [0.0, 3.0])
@pytest.mark.parametrize("uncertain", [False, True])
def test_many_inputs_through_the_small_side(uncertain, power):
    a = scaled(3, power, 3, 8)
    error = a.abs() * 1e-4 if uncertain else None
    form = Form(gram(1, 3, 2), {"y": 3}, -3)
    metric = 10.0 ** normal(5, 8)
    alpha = exact(factor_behind(form, Linear(Dense(a, (), error)), metric))
    true = a if error is None else a + error * torch.sign(a) * (1 - 1e-12)
    pulled = product(transposed(fractions(true)), product(value(form), fractions(true)))
    diagonal = [[alpha * Fraction(float(metric[i])) if i == j else Fraction(0) for j in range(8)] for i in range(8)]
    assert psd(minus(diagonal, pulled))
    wanted = least(torch.tensor([[[float(x) for x in row] for row in pulled]], dtype=torch.float64), metric)
    assert float(alpha) <= wanted * (1 + (2e-3 if uncertain else 1e-10))
