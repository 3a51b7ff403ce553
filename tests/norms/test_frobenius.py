"""Frobenius norm and stable rank against the written-out matrix, summed exactly."""

import math
from fractions import Fraction

import pytest
import torch

from netgain.core.norms import Norm
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.norms.frobenius import frobenius_norm, stable_rank
from netgain.norms.operator import operator_norm
from tests.norms.exact import FAMILIES, fractions, reflected
from tests.norms.test_operator import maps, random


def squares(matrix):
    return sum(x * x for row in fractions(matrix) for x in row)


@pytest.mark.parametrize("name", list(maps()))
def test_every_kind_of_map(name):
    linear_map = maps()[name]
    exact = math.sqrt(squares(linear_map.matrix()))
    found = frobenius_norm(linear_map)
    assert found.lower.value <= exact * (1 + 1e-13)
    assert exact * (1 - 1e-13) <= found.upper.value
    assert found.ratio <= 1 + 1e-11
    assert found.upper.quantity == "Frobenius norm"


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "huge"])
def test_adversarial_entries_decided_in_fractions(family):
    matrix = FAMILIES[family](7, 5, torch.Generator().manual_seed(3))
    found = frobenius_norm(Dense(matrix))
    assert Fraction(found.lower.value) ** 2 <= squares(matrix)
    assert squares(matrix) <= Fraction(found.upper.value) ** 2
    assert found.upper.value <= found.lower.value * (1 + 1e-12) or found.upper.value < 1e-300


@pytest.mark.parametrize("padding", [(0, 0), (2, 0), (5, 7)])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_taps_that_hang_over_the_edge(padding, stride, dilation):
    conv = Conv(random(2, 3, 4), (3, 9), (stride,), (padding,), (dilation,))
    exact = math.sqrt(squares(conv.matrix()))
    found = frobenius_norm(conv)
    assert found.lower.value <= exact * (1 + 1e-13)
    assert exact * (1 - 1e-13) <= found.upper.value
    assert found.ratio <= 1 + 1e-11


def test_a_tap_that_never_reads_the_input_does_not_count():
    weight = torch.tensor([[[1e300, 2.0, 1e300]]], dtype=torch.float64)
    found = frobenius_norm(Conv(weight, (1, 1), (1,), ((1, 1),), (1,)))
    assert found.lower.value == pytest.approx(2.0, rel=1e-12)
    assert found.upper.value == pytest.approx(2.0, rel=1e-12)


def test_errors_are_added():
    weight, error = random(4, 5), random(4, 5, seed=1).abs() * 1e-3
    found = frobenius_norm(Dense(weight, error=error))
    assert found.lower.value <= math.sqrt(squares(weight.sign() * (weight.abs() - error).clamp_min(0.0)))
    assert math.sqrt(squares(weight.abs() + error)) <= found.upper.value


def test_large_chain_is_enclosed():
    shape = (2, 80, 80)
    conv = Conv(random(2, 2, 3, 3), shape, (1, 1), ((1, 1), (1, 1)), (1, 1))
    found = frobenius_norm(Chain((conv, Diagonal(torch.full((1,), 2.0), shape))))
    assert found.lower.value <= 2 * frobenius_norm(conv).upper.value
    assert 2 * frobenius_norm(conv).lower.value <= found.upper.value


def test_stable_rank():
    matrix = reflected([2.0, 1.0, 1.0, 1.0, 1.0], 8, 5, 0)
    found = stable_rank(Dense(matrix), rtol=1e-6)
    assert found is not None
    assert found.lower.value <= 2.0 <= found.upper.value
    assert found.ratio <= 1 + 1e-5
    given = stable_rank(Dense(matrix), spectral=operator_norm(Dense(matrix), Norm.L2))
    assert given is not None
    assert given.lower.value <= 2.0 <= given.upper.value


def test_stable_rank_of_zero_is_undefined():
    assert stable_rank(Dense(torch.zeros(3, 3))) is None
