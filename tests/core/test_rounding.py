"""Directed rounding against exact rational arithmetic."""

import math
import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netgain.core import rounding
from netgain.core.errors import ArithmeticModeError
from netgain.core.norms import Norm

positive = st.floats(0, 1e150, allow_nan=False)
entries = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=20)


@given(positive, positive, positive)
def test_sums_and_products_err_upwards(a: float, b: float, c: float):
    assert Fraction(rounding.add_up(a, b, c)) >= Fraction(a) + Fraction(b) + Fraction(c)
    product = rounding.mul_up(a, b)
    assert math.isinf(product) or Fraction(product) >= Fraction(a) * Fraction(b)
    assert Fraction(rounding.mul_down(a, b)) <= Fraction(a) * Fraction(b)
    assert Fraction(rounding.sub_down(a, b)) <= Fraction(a) - Fraction(b)


@given(positive, st.floats(1e-150, 1e150))
def test_quotients_and_roots_err_to_their_side(a: float, b: float):
    assert Fraction(rounding.div_up(a, b)) >= Fraction(a) / Fraction(b)
    assert Fraction(rounding.div_down(a, b)) <= Fraction(a) / Fraction(b)
    assert Fraction(rounding.sqrt_up(a)) ** 2 >= Fraction(a)
    assert Fraction(rounding.sqrt_down(a)) ** 2 <= Fraction(a)


def test_products_never_underflow_to_a_false_zero():
    assert rounding.mul_up(1e-200, 1e-200) > 0
    assert rounding.mul_up(0.0, math.inf) == 0
    assert rounding.mul_down(1e-200, 1e-200) == 0


@pytest.mark.parametrize("terms", [1, 2, 1000, 10**9, 2**51])
def test_gamma_is_not_below_its_definition(terms: int):
    ku = Fraction(terms, 2**53)
    assert Fraction(rounding.gamma(terms)) >= ku / (1 - ku)
    assert Fraction(rounding.gamma(terms)) <= ku / (1 - ku) * (1 + Fraction(1, 2**40))


def test_gamma_of_hopeless_sums_is_infinite():
    assert math.isinf(rounding.gamma(2**53))


@pytest.mark.parametrize("norm", list(Norm))
@given(entries)
def test_vector_norms_enclose_the_exact_one(norm: Norm, values: list[float]):
    x = torch.tensor([values], dtype=torch.float64)
    upper, lower = float(rounding.norm_upper(x, norm)), float(rounding.norm_lower(x, norm))
    exact = [abs(Fraction(value)) for value in values]
    power = 2 if norm is Norm.L2 else 1
    size = max(exact) if norm is Norm.LINF else sum(value**power for value in exact)
    assert math.isinf(upper) or Fraction(upper) ** power >= size
    assert Fraction(lower) ** power <= size
    if 0 < upper < 1e300 and max(exact) > 1e-300:
        assert upper <= lower * (1 + 1e-13)


def test_norms_of_empty_and_infinite_rows():
    assert rounding.norm_upper(torch.zeros(2, 0, dtype=torch.float64), Norm.L2).tolist() == pytest.approx([0, 0])
    assert math.isinf(float(rounding.norm_upper(torch.tensor([[math.inf, 1.0]]), Norm.L2)))
    assert math.isnan(float(rounding.norm_upper(torch.tensor([[math.nan, 1.0]]), Norm.L2)))


def test_flushing_subnormals_is_refused():
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        with pytest.raises(ArithmeticModeError, match="flush"):
            rounding.check_arithmetic()
    finally:
        torch.set_flush_denormal(False)
    rounding.check_arithmetic()


WORKERS = """
import torch
from netgain.core.errors import ArithmeticModeError
from netgain.core.rounding import check_arithmetic

torch.set_num_threads(2)
if not torch.set_flush_denormal(True):
    raise SystemExit
(torch.ones(2**20, dtype=torch.float64) * 1.5).sum()
torch.set_flush_denormal(False)
quarter = torch.full((2**20,), 2.0**-1022, dtype=torch.float64) / 4
try:
    check_arithmetic()
except ArithmeticModeError:
    raise SystemExit
assert bool(quarter.all())
"""


def test_worker_threads_that_flush_subnormals_are_refused():
    """In a process of its own, because nothing can change the mode of a thread that has started."""
    done = subprocess.run([sys.executable, "-c", WORKERS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
