"""Interval arithmetic: the exact result lies inside, also for the platform's library functions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from netgain.core.interval import Interval

LIBRARY = {
    "exp": (Interval.exp, mp.exp, -800, 709),
    "expm1": (Interval.expm1, mp.expm1, -800, 709),
    "log": (Interval.log, mp.log, 1e-300, 1e300),
    "log1p": (Interval.log1p, mp.log1p, 0, 1e300),
    "tanh": (Interval.tanh, mp.tanh, -50, 50),
    "erf": (Interval.erf, mp.erf, -30, 30),
    "erfc": (Interval.erfc, mp.erfc, -30, 30),
    "sigmoid": (Interval.sigmoid, lambda x: 1 / (1 + mp.exp(-x)), -800, 800),
    "sin": (Interval.sin, mp.sin, -1e6, 1e6),
    "cos": (Interval.cos, mp.cos, -1e6, 1e6),
    "power 0.1": (lambda x: x.power(0.1), lambda x: x ** mpf(0.1), 0, 1e300),
    "power 2.7": (lambda x: x.power(2.7), lambda x: x ** mpf(2.7), 0, 1e100),
    "power -3": (lambda x: x.power(-3.0), lambda x: x**-3, 1e-90, 1e90),
    "sqrt": (Interval.sqrt, mp.sqrt, 0, 1e300),
    "reciprocal": (Interval.reciprocal, lambda x: 1 / x, 1e-300, 1e300),
}


def spread(lo, hi):
    """Points dense near both ends of [lo, hi], near 0 and across magnitudes."""
    generator = torch.Generator().manual_seed(7)
    line = torch.rand(300, generator=generator, dtype=torch.float64) * (min(hi, 1e4) - max(lo, -1e4)) + max(lo, -1e4)
    tiny = torch.logspace(-320, 2, 200, dtype=torch.float64)
    huge = torch.logspace(0, 300, 60, dtype=torch.float64)
    points = torch.cat([line, tiny, -tiny, huge, -huge, torch.tensor([0.0, lo, hi], dtype=torch.float64)])
    return points[(points >= lo) & (points <= hi)]


@pytest.mark.parametrize("name", LIBRARY)
def test_library_functions_are_enclosed_tightly(name):
    function, exact, lo, hi = LIBRARY[name]
    x = spread(lo, hi)
    if name.startswith("log") and not name.startswith("log1p"):
        x = x[x > 0]
    image = function(Interval.exactly(x))
    for point, low, high in zip(x.tolist(), image.lo.tolist(), image.hi.tolist(), strict=True):
        value = exact(mpf(point))
        assert low <= value <= high, (name, point)
        assert high - low <= abs(value) * 2.0**-46 + 1e-306, (name, point)


@pytest.mark.parametrize("name", ["erf", "erfc", "exp", "tanh", "sin", "log"])
@pytest.mark.slow
def test_the_assumed_library_error_is_generous(name):
    """The platform errs by less than a quarter of what the proofs allow."""
    _, exact, lo, hi = LIBRARY[name]
    x = spread(lo, hi)
    x = x[(x > 0) | (name != "log")]
    for point, value in zip(x.tolist(), getattr(torch, name)(x).tolist(), strict=True):
        true = exact(mpf(point))
        assert abs(value - true) <= abs(true) * 2.0**-51 + 2.3e-308, (name, point)


NUMBERS = st.floats(-1e30, 1e30, allow_subnormal=True)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(a=NUMBERS, b=NUMBERS, c=NUMBERS, d=NUMBERS)
def test_arithmetic_encloses(a, b, c, d):
    def tensor(x):
        return torch.tensor(x, dtype=torch.float64)

    x = Interval(tensor(min(a, b)), tensor(max(a, b)))
    y = Interval(tensor(min(c, d)), tensor(max(c, d)))
    for result, exact in (
        (x + y, lambda s, t: s + t),
        (x - y, lambda s, t: s - t),
        (x * y, lambda s, t: s * t),
        (x / y, lambda s, t: s / t if t else mpf(0)),
        (x.abs(), lambda s, t: abs(s)),
        (x.square(), lambda s, t: s * s),
        (2.0 - x, lambda s, t: 2 - s),
        (3.0 * x, lambda s, t: 3 * s),
    ):
        for s in (mpf(a), mpf(b), (mpf(a) + mpf(b)) / 2):
            for t in (mpf(c), mpf(d)):
                assert float(result.lo) <= exact(s, t) <= float(result.hi)


def test_sum_of_cancelling_terms_is_enclosed():
    x = torch.tensor([[1e16, 1.0, -1e16, 1e-300, 3.0]], dtype=torch.float64)
    total = Interval.exactly(x).sum((1,))
    assert float(total.lo) <= 4.0 <= float(total.hi)
    assert float(total.hi - total.lo) < 1e3


def test_distance():
    x = torch.tensor([1.0, 2.0, 1.0, math.nan, math.inf], dtype=torch.float64)
    interval = Interval(
        torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0]).double(), torch.tensor([1.0, 3.0, 4.0, 1.0, 1.0]).double()
    )
    far = interval.distance(x).tolist()
    assert far[0] == 0.0
    assert far[1] == pytest.approx(1.0, rel=1e-15)
    assert far[1] >= 1.0
    assert far[2] >= 3.0
    assert far[3:] == [math.inf, math.inf]


def test_overflow_keeps_the_enclosure():
    far = Interval.exactly(torch.tensor([710.0, 1e300], dtype=torch.float64)).exp()
    assert bool((far.lo < math.inf).all())
    assert bool((far.hi == math.inf).all())
    small = Interval.exactly(torch.tensor([-710.0], dtype=torch.float64)).sigmoid()
    assert float(small.lo) <= mp.exp(-710) / (1 + mp.exp(-710)) <= float(small.hi)
