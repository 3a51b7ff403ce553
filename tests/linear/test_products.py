"""Error bounds of products and sums, in exact arithmetic: covered, and tight where the worst case is known."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netgain.linear.products import entry_product, entry_sum, matrix_product

from .examples import exact, product, random, spread

numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
sizes = st.floats(min_value=0, max_value=1e300)
MILLIONTH = Fraction(1, 10**6)


def one(value):
    return torch.tensor([[value]], dtype=torch.float64)


@settings(max_examples=200)
@given(numbers, sizes, numbers, sizes, st.sampled_from([-1, 0, 1]), st.sampled_from([-1, 0, 1]))
def test_single_numbers(a, e, b, f, s, t):
    truth_a, truth_b = Fraction(a) + s * Fraction(e), Fraction(b) + t * Fraction(f)
    results = [
        (entry_product(one(a), one(e), one(b), one(f)), truth_a * truth_b),
        (matrix_product(one(a), one(e), one(b), one(f)), truth_a * truth_b),
        (entry_sum(one(a), one(e), one(b), one(f)), truth_a + truth_b),
    ]
    for known, truth in results:
        if known is not None:
            value, error = known
            bound = Fraction(0) if error is None else Fraction(error.item())
            assert abs(Fraction(value.item()) - truth) <= bound


@settings(max_examples=100)
@given(numbers, numbers)
def test_rounding_alone(a, b):
    for known, truth in (
        (entry_product(one(a), None, one(b), None), Fraction(a) * Fraction(b)),
        (entry_sum(one(a), None, one(b), None), Fraction(a) + Fraction(b)),
    ):
        if known is not None:
            distance = abs(Fraction(known[0].item()) - truth)
            assert distance <= (0 if known[1] is None else Fraction(known[1].item()))


@pytest.mark.parametrize("multiply", [entry_product, matrix_product])
def test_a_product_that_rounds_by_half_an_ulp_attains_the_bound(multiply):
    a, b = 1 + 2.0**-26, 1 + 2.0**-27  # the exact product ends in 2^-53: a tie
    value, error = multiply(one(a), None, one(b), None)
    distance = abs(Fraction(value.item()) - Fraction(a) * Fraction(b))
    assert distance == Fraction(1, 2**53)
    assert distance <= Fraction(error.item()) <= distance * (1 + MILLIONTH)


def test_a_sum_that_rounds_by_half_an_ulp_attains_the_bound():
    value, error = entry_sum(one(1.0), None, one(2.0**-53), None)
    distance = abs(Fraction(value.item()) - 1 - Fraction(1, 2**53))
    assert distance == Fraction(1, 2**53)
    assert distance <= Fraction(error.item()) <= distance * (1 + MILLIONTH)


@pytest.mark.parametrize("multiply", [entry_product, matrix_product])
def test_propagated_errors_attain_the_bound(multiply):
    a, e, b, f = 2.0, 2.0**-10, 4.0, 2.0**-9
    _, error = multiply(one(a), one(e), one(b), one(f))
    worst = (Fraction(a) + Fraction(e)) * (Fraction(b) + Fraction(f)) - Fraction(a) * Fraction(b)
    assert worst <= Fraction(error.item()) <= worst * (1 + MILLIONTH)


def test_factors_that_are_powers_of_two_are_exact():
    a = random(3, 4)
    for factor in (0.0, 1.0, -1.0, 2.0, -0.125):
        value, error = entry_product(a, None, one(factor), None)
        assert error is None
        assert torch.equal(value, a * factor)
    assert entry_product(one(2.0**-1074), None, one(0.5), None)[1] is not None  # underflows


@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e150])
@pytest.mark.parametrize("seed", range(5))
def test_matrices(seed, scale):
    a, b = random(3, 7, seed=seed) * scale, random(7, 2, seed=seed + 1) * scale
    e, f = spread(3, 7, seed=seed, scale=1e-12) * scale, spread(7, 2, seed=seed, scale=1e-12) * scale
    for ea, eb in ((None, None), (e, None), (None, f), (e, f)):
        value, error = matrix_product(a, ea, b, eb)
        signs_a, signs_b = random(3, 7, seed=seed + 2).sign(), random(7, 2, seed=seed + 3).sign()
        truth = product(moved(a, ea, signs_a), moved(b, eb, signs_b))
        for xs, ts, es in zip(exact(value), truth, exact(error), strict=True):
            assert all(abs(x - t) <= bound for x, t, bound in zip(xs, ts, es, strict=True))
        largest = (7.01 * 2.0**-53) * (a.abs() @ b.abs()) + 1e-280
        largest += 0 if ea is None else 1.001 * ea @ b.abs()
        largest += 0 if eb is None else 1.001 * a.abs() @ eb
        assert bool((error <= largest).all()), "the bound is wasteful"


def moved(matrix, error, signs):
    if error is None:
        return exact(matrix)
    rows = zip(exact(matrix), exact(error), signs.tolist(), strict=True)
    return [[x + e * int(s) for x, e, s in zip(xs, es, ss, strict=True)] for xs, es, ss in rows]


def test_products_that_underflow_one_by_one():
    a = torch.full((1, 16), 2.0**-540, dtype=torch.float64)
    value, error = matrix_product(a, None, torch.full((16, 1), 2.0**-535, dtype=torch.float64), None)
    # Each product is half the smallest subnormal number; together they are eight of them.
    assert abs(Fraction(value.item()) - Fraction(16) / 2**1075) <= Fraction(error.item())


def test_overflow_is_refused():
    assert matrix_product(one(1e200), None, one(1e200), None) is None
    assert entry_product(one(1e200), None, one(1e200), None) is None
    assert entry_sum(one(1.7e308), None, one(1.7e308), None) is None
    assert entry_product(one(1.0), one(1e200), one(1e200), None) is None
