"""operator_norm: closed forms by kind of map, then every kind against its written-out matrix."""

import math
from fractions import Fraction

import pytest
import torch

from netgain.core.errors import UsageError
from netgain.core.norms import Norm
from netgain.linear.chain import Chain, ChainUncertainty
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable
from netgain.norms.frobenius import frobenius_norm
from netgain.norms.operator import operator_norm

ORDER = {Norm.L1: 1, Norm.L2: 2, Norm.LINF: math.inf}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps():
    dense = Dense(random(5, 6))
    conv = Conv(random(4, 3, 3, 3), (3, 5, 6), (1, 2), ((1, 1), (0, 1)), (1, 1))
    return {
        "dense": dense,
        "lead": Dense(random(5, 6), lead=(3,)),
        "diagonal": Diagonal(random(3, 1), (3, 4)),
        "selection": Selection(torch.tensor([0, 0, 2, -1, 2, 2]), (4,), (6,)),
        "reshape": Reshape((2, 3), (6,)),
        "separable": Separable((random(3, 4), None, random(2, 5)), (4, 2, 5)),
        "conv": conv,
        "grouped": Conv(random(4, 1, 3), (2, 6), (1,), ((1, 1),), (2,), 2),
        "circular": Conv(random(2, 2, 3), (2, 2), (1,), ((2, 2),), (1,), circular=True),
        "transposed": ConvTransposed(random(3, 2, 2, 3), (3, 3, 4), (2, 1), ((0, 1), (1, 0)), (1, 0), (1, 1)),
        "chain": Chain((conv, Reshape(conv.out_shape, (conv.out_size,)), Dense(random(7, conv.out_size, seed=3)))),
        "one part": Chain((Reshape((2, 3), (6,)), dense)),
    }


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", list(maps()))
def test_encloses_the_norm_of_the_written_out_matrix(name, norm):
    linear_map = maps()[name]
    exact = float(torch.linalg.matrix_norm(linear_map.matrix(), ORDER[norm]))
    found = operator_norm(linear_map, norm)
    assert found.lower.value <= exact * (1 + 1e-12)
    assert exact * (1 - 1e-12) <= found.upper.value
    assert found.upper.quantity == "operator norm"
    assert found.upper.norm is norm
    assert found.ratio <= 1 + 1e-6


@pytest.mark.parametrize(
    ("linear_map", "norms"),
    [
        (Reshape((6,), (2, 3)), (1.0, 1.0, 1.0)),
        (Selection(torch.tensor([0, 0, 0, 0, 1]), (2,), (5,)), (4.0, 2.0, 1.0)),
        (Selection(torch.tensor([-1, -1]), (2,), (2,)), (0.0, 0.0, 0.0)),
        (Diagonal(torch.tensor([0.5, -3.0, 2.0]), (3,)), (3.0, 3.0, 3.0)),
        (Chain((Reshape((6,), (2, 3)), Reshape((2, 3), (6,)))), (1.0, 1.0, 1.0)),
    ],
)
def test_exact_norms(linear_map, norms):
    for norm, exact in zip(Norm, norms, strict=True):
        found = operator_norm(linear_map, norm)
        assert (found.lower.value, found.upper.value) == (exact, exact)


def test_kronecker_product_multiplies():
    first, second = random(5, 4), random(3, 6, seed=1)
    found = operator_norm(Separable((first, second), (4, 6)), Norm.L2)
    exact = float(torch.linalg.svdvals(first)[0] * torch.linalg.svdvals(second)[0])
    assert found.lower.value <= exact * (1 + 1e-13)
    assert exact * (1 - 1e-13) <= found.upper.value
    assert found.ratio <= 1 + 1e-6


def test_diagonal_error_moves_both_sides():
    scale = torch.tensor([1.0, -2.0], dtype=torch.float64)
    found = operator_norm(Diagonal(scale, (2,), error=torch.tensor([1.5, 0.25], dtype=torch.float64)), Norm.L2)
    assert found.lower.value == pytest.approx(1.75, rel=1e-15)
    assert found.lower.value <= 1.75
    assert found.upper.value == pytest.approx(2.5, rel=1e-15)
    assert found.upper.value >= 2.5


@pytest.mark.parametrize("norm", list(Norm))
def test_a_kind_without_a_rule_of_its_own_is_still_enclosed(norm):
    """ChainUncertainty stands for any map that the dispatch does not know."""
    assert operator_norm(ChainUncertainty((Dense(torch.eye(3)),)), norm).upper.value < 1e-300
    dense = Dense(random(4, 5), error=random(4, 5, seed=1).abs())
    other = Dense(random(3, 4), error=random(3, 4, seed=2).abs())
    widened = ChainUncertainty((dense, other))
    exact = float(torch.linalg.matrix_norm(widened.matrix(), ORDER[norm]))
    found = operator_norm(widened, norm)
    assert found.lower.value <= exact * (1 + 1e-12)
    assert exact * (1 - 1e-12) <= found.upper.value
    assert found.lower.value >= 0.5 * exact


@pytest.mark.parametrize("rtol", [0.0, -1.0, math.nan])
def test_unusable_rtol(rtol):
    with pytest.raises(UsageError, match="rtol"):
        operator_norm(Reshape((2,), (2,)), Norm.L2, rtol=rtol)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("kernel", [1, 2])
def test_stored_errors_of_convolutions_move_the_lower_side_too(kernel, norm):
    """A pointwise kernel has a constant symbol, whose norm alone would not be a lower bound for the true kernel."""
    weight = random(1, 5, kernel)
    conv = Conv(weight, (5, 4), (3,), ((2, 0),), (1,), error=weight.abs() * 1e-3)
    found = operator_norm(conv, norm)
    for factor in (0.999, 1.001):
        corner = Conv(weight * factor, (5, 4), (3,), ((2, 0),), (1,)).matrix()
        exact = float(torch.linalg.matrix_norm(corner, ORDER[norm]))
        assert found.lower.value <= exact * (1 + 1e-12)
        assert exact * (1 - 1e-12) <= found.upper.value


def cancelling_chain():
    """A product of 1 x 1 size whose magnitudes overflow on the way, and its exact value."""
    a, x = (1 + 2.0**-30) * 2.0**1023, 1 + 2.0**-30
    b, y = (1 + 2.0**-29) * 2.0**1023, 1 + 2.0**-52
    rows = [[[x], [y]], [[a, -b], [a, -b]], [[1.0, 0.0]]]
    parts = tuple(Dense(torch.tensor(row, dtype=torch.float64)) for row in rows)
    return Chain(parts), abs(Fraction(a) * Fraction(x) - Fraction(b) * Fraction(y))


@pytest.mark.parametrize("norm", [*Norm, None])
def test_overflowing_magnitudes_are_not_taken_for_exact_entries(norm):
    """The rounding of a x - b y, of the size of the result, is lost where infinity times the zero becomes NaN."""
    linear_map, exact = cancelling_chain()
    found = frobenius_norm(linear_map) if norm is None else operator_norm(linear_map, norm)
    assert Fraction(found.lower.value) <= exact
    assert math.isinf(found.upper.value) or exact <= Fraction(found.upper.value)


@pytest.mark.parametrize("norm", [*Norm, None])
def test_overflowing_products_have_no_finite_bound(norm):
    huge = Dense(torch.full((3, 3), 1e200, dtype=torch.float64))
    linear_map = Chain((huge, huge))
    found = frobenius_norm(linear_map) if norm is None else operator_norm(linear_map, norm)
    assert math.isinf(found.upper.value)
