from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netgain.linear.chain import Chain
from netgain.linear.dense import Dense
from netgain.linear.selection import Selection
from netgain.propagate.magnitude import Magnitude, inflate, schur_norm
from tests.gain.networks import normal
from tests.propagate.exact import image, rational


def test_inflate_covers_the_worst_rounding_of_a_sum():
    # 1 + u is rounded to 1 each time: the computed sum stays 1, the exact one is 1 + 1000 u.
    terms = 1001
    exact = 1 + 1000 * Fraction(2) ** -53
    computed = torch.ones(1, dtype=torch.float64)
    assert Fraction(float(inflate(computed, terms))) >= exact


def test_inflate_covers_a_sum_that_underflowed():
    assert float(inflate(torch.zeros(1, dtype=torch.float64), 3)) > 3 * 2.0**-1022


def test_inflate_turns_nan_into_infinity():
    assert float(inflate(torch.tensor([torch.nan]), 3)) == torch.inf


@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 7), st.booleans())
def test_image_is_above_the_exact_image_of_magnitudes(seed: int, rows: int, columns: int, uncertain: bool):
    weight = normal(seed, rows, columns) * 10.0 ** normal(seed + 1, rows, columns)
    error = normal(seed + 2, rows, columns).abs() * 1e-9 if uncertain else None
    magnitude = Magnitude.of(Dense(weight, error=error))
    most = weight.abs()
    v, w = normal(seed + 3, columns).abs(), normal(seed + 4, rows).abs()
    ahead, back = magnitude.apply(v[None])[0], magnitude.adjoint(w[None])[0]
    exact_ahead, exact_back = image(most, rational(v)), image(most.T, rational(w))
    if error is not None:
        exact_ahead = [a + b for a, b in zip(exact_ahead, image(error, rational(v)), strict=True)]
        exact_back = [a + b for a, b in zip(exact_back, image(error.T, rational(w)), strict=True)]
    for computed, exact in ((ahead, exact_ahead), (back, exact_back)):
        for above, true in zip(rational(computed), exact, strict=True):
            assert true <= above <= true * (1 + Fraction(1, 10**12))


def test_moves_are_exact():
    move = Magnitude.of(Selection(torch.tensor([2, -1, 0]), (3,), (3,)))
    assert move.apply(torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)).tolist() == [[3.0, 0.0, 1.0]]


@pytest.mark.parametrize("seed", range(5))
def test_schur_norm_is_above_the_spectral_norm(seed: int):
    weight = normal(seed, 5, 8).abs()
    assert schur_norm(Dense(weight)) >= float(torch.linalg.matrix_norm(weight, 2))


def test_schur_norm_is_attained_by_a_constant_matrix():
    weight = torch.full((4, 9), 0.1, dtype=torch.float64)
    exact = 0.1 * 6
    assert exact * (1 - 1e-15) <= schur_norm(Dense(weight)) <= exact * (1 + 1e-12)
    assert schur_norm(None) == 0.0


def test_a_chain_enlarges_the_underflow_of_its_first_map():
    # 1e-200 * 1e-200 underflows to 0; the exact product with 1e300 is 1e-100.
    chain = Chain((
        Dense(torch.tensor([[1e-200]], dtype=torch.float64)),
        Dense(torch.tensor([[1e300]], dtype=torch.float64)),
    ))
    v = torch.tensor([[1e-200]], dtype=torch.float64)
    assert float(Magnitude.of(chain).apply(v)) >= 1e-100
    assert float(Magnitude.of(chain).adjoint(v)) >= 1e-100
