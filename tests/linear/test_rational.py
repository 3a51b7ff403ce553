"""Rounding of rational matrices: exact, tight, and no error where there is none."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netgain.core.errors import TooLargeError
from netgain.linear.rational import rational_matrix, rounded


@given(st.fractions(max_denominator=10**9), st.integers(-300, 300))
def test_the_error_covers_the_rounding(value, exponent):
    value *= Fraction(10) ** exponent
    if abs(value) < Fraction(10) ** 308:
        nearest, error = rounded(value)
        assert abs(Fraction(nearest) - value) <= Fraction(error)
        assert error <= abs(nearest) * 2.0**-53 * (1 + 1e-15) + 1e-323


def test_the_error_is_tight_where_rounding_is_worst():
    # Just under half an ulp above 1.
    value = 1 + Fraction(1, 2**53) - Fraction(1, 2**90)
    nearest, error = rounded(value)
    assert nearest == 1.0
    distance = abs(Fraction(nearest) - value)
    assert distance <= Fraction(error) <= distance * (1 + Fraction(1, 10**6))


def test_subnormal_results():
    value = Fraction(3, 2**1076)  # between two subnormal numbers
    nearest, error = rounded(value)
    assert 0 < abs(Fraction(nearest) - value) <= Fraction(error)


def test_values_of_one_column_add_up_before_rounding():
    matrix, error = rational_matrix([[(0, Fraction(1, 3)), (0, Fraction(2, 3)), (1, Fraction(1, 4))]], 3)
    assert matrix.tolist() == [[1.0, 0.25, 0.0]]
    assert error is None


def test_thirds_carry_an_error():
    _, error = rational_matrix([[(0, Fraction(1, 3)), (1, Fraction(1, 2))]], 2)
    assert error is not None
    assert Fraction(error[0, 0].item()) >= abs(Fraction(1 / 3) - Fraction(1, 3)) > 0
    assert error[0, 1] == 0


def test_too_large():
    with pytest.raises(TooLargeError):
        rational_matrix([[]] * 2**13, 2**13)
