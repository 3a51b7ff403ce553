"""l1 and linf norms against sums of fractions."""

from fractions import Fraction

import pytest
import torch

from netgain.core.norms import Norm
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.norms.operator import operator_norm
from netgain.norms.sums import l1_norm, linf_norm, vector_lower
from tests.norms.exact import FAMILIES, fractions


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def row_sum(matrix):
    return max(sum(abs(x) for x in row) for row in fractions(matrix))


def column_sum(matrix):
    return row_sum(matrix.T)


def check(found, exact, width=1e-12):
    assert Fraction(found.lower.value) <= exact
    assert exact <= Fraction(min(found.upper.value, 1.7976931348623157e308)) or found.upper.value == float("inf")
    assert found.upper.value <= found.lower.value * (1 + width) or found.upper.value < 1e-300


def test_known():
    dense = Dense(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    assert l1_norm(dense).lower.value == pytest.approx(6.0, rel=1e-14)
    assert l1_norm(dense).upper.value == pytest.approx(6.0, rel=1e-14)
    assert linf_norm(dense).lower.value == pytest.approx(7.0, rel=1e-14)
    assert linf_norm(dense).upper.value == pytest.approx(7.0, rel=1e-14)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in {"huge", "all exponents"}])
def test_sums_decided_in_fractions(family):
    generator = torch.Generator().manual_seed(7)
    for m, n in ((1, 1), (3, 8), (8, 3), (9, 9)):
        matrix = FAMILIES[family](m, n, generator)
        check(l1_norm(Dense(matrix)), column_sum(matrix))
        check(linf_norm(Dense(matrix)), row_sum(matrix))


@pytest.mark.parametrize("family", ["huge", "all exponents"])
def test_sums_near_overflow_stay_bounds(family):
    matrix = FAMILIES[family](6, 6, torch.Generator().manual_seed(7))
    for found, exact in ((l1_norm(Dense(matrix)), column_sum(matrix)), (linf_norm(Dense(matrix)), row_sum(matrix))):
        assert Fraction(found.lower.value) <= exact
        assert found.upper.value == float("inf") or exact <= Fraction(found.upper.value)


def test_convolution():
    conv = Conv(random(3, 2, 3, 3), (2, 4, 5), (1, 2), ((1, 1), (1, 0)), (1, 1))
    check(l1_norm(conv), column_sum(conv.matrix()))
    check(linf_norm(conv), row_sum(conv.matrix()))


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
def test_errors_are_added(norm):
    weight, error = random(6, 7), random(6, 7, seed=1).abs() * 1e-2
    found = operator_norm(Dense(weight, error=error), norm)
    exact = {Norm.L1: column_sum, Norm.LINF: row_sum}[norm]
    assert exact(weight.abs() + error) * (1 - Fraction(1, 10**12)) <= Fraction(found.upper.value)
    assert Fraction(found.lower.value) <= exact(torch.sign(weight) * (weight.abs() - error).clamp_min(0.0))


@pytest.mark.parametrize("norm", list(Norm))
def test_cancellation_inside_a_chain(norm):
    """(1, 1) then (1, -1) is zero: the written-out product knows it, sums of magnitudes do not."""
    chain = Chain((Dense(torch.tensor([[1.0], [1.0]])), Dense(torch.tensor([[1.0, -1.0]]))))
    found = operator_norm(chain, norm)
    assert found.lower.value == 0.0
    assert found.upper.value < 1e-14


@pytest.mark.parametrize("norm", list(Norm))
def test_underflow_inside_a_chain(norm):
    """1e-200 * 1e-200 underflows to zero on the way; the real product with 1e300 is 1e-100."""
    small = torch.tensor([[1e-200]], dtype=torch.float64)
    chain = Chain((Dense(small), Dense(small), Dense(torch.tensor([[1e300]], dtype=torch.float64))))
    found = operator_norm(chain, norm)
    assert found.lower.value <= 1e-100 <= found.upper.value


@pytest.mark.parametrize("norm", list(Norm))
def test_large_chain_is_bounded_by_its_parts(norm):
    shape = (3, 60, 60)
    conv = Conv(random(3, 3, 3, 3), shape, (1, 1), ((1, 1), (1, 1)), (1, 1))
    scale = Diagonal(random(3, 1, 1).abs() + 0.1, shape)
    found = operator_norm(Chain((conv, scale)), norm)
    x = random(4, *shape, seed=5)
    stretch = norm.of(scale.apply(conv.apply(x))) / norm.of(x)
    assert float(stretch.max()) <= found.upper.value
    assert 0 < found.lower.value <= found.upper.value
    parts = operator_norm(conv, norm).upper.value * operator_norm(scale, norm).upper.value
    assert found.upper.value <= parts * (1 + 1e-12)


def test_vector_lower_of_useless_vectors():
    dense = Dense(torch.eye(3))
    assert vector_lower(dense, torch.zeros(1, 3, dtype=torch.float64), Norm.L2) == 0.0
    assert vector_lower(dense, torch.full((1, 3), float("nan"), dtype=torch.float64), Norm.L2) == 0.0
    assert vector_lower(dense, torch.full((1, 3), float("inf"), dtype=torch.float64), Norm.LINF) == 0.0
