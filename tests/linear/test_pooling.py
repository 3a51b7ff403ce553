"""Average pooling, means and sums against torch and against exact fractions."""

import random as python_random
from fractions import Fraction

import pytest
import torch
from torch.nn import functional

from netgain.core.errors import ModelError
from netgain.linear import pooling
from netgain.linear.pooling import adaptive_average_pool, average_pool, mean, total
from netgain.linear.reshape import Reshape
from netgain.linear.separable import Separable

from .examples import distance_within, random

POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
ADAPTIVE = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}


def draw_pool(seed):
    draw = python_random.Random(seed)
    axes = draw.randint(1, 3)
    several = lambda low, high: tuple(draw.randint(low, high) for _ in range(axes))  # noqa: E731
    kernel = several(1, 4)
    options = {"ceil_mode": draw.random() < 0.5, "count_include_pad": draw.random() < 0.5}
    if axes > 1:
        options["divisor_override"] = draw.choice([None, None, 3])
    return several(4, 8), kernel, several(1, 4), tuple(draw.randint(0, k // 2) for k in kernel), options


def ours(grid, kernel, stride, padding, options):
    divisor = options.get("divisor_override") or ("padded" if options["count_include_pad"] else "inside")
    widths = tuple((p, p) for p in padding)
    return average_pool((2, *grid), kernel, stride, widths, ceil_mode=options["ceil_mode"], divisor=divisor)


@pytest.mark.parametrize("seed", range(250))
@pytest.mark.parametrize("long", [False, True])
def test_average_pool_agrees_with_torch(seed, long, monkeypatch):
    if long:  # axes too long for a matrix become a convolution
        monkeypatch.setattr(pooling, "LONGEST_MATRIX", 0)
    grid, kernel, stride, padding, options = draw_pool(seed)
    x = random(2, 2, *grid, seed=seed)
    expected = POOL[len(grid)](x, kernel, stride, padding, **options)
    pool = ours(grid, kernel, stride, padding, options)
    assert pool.out_shape == tuple(expected.shape[1:])
    torch.testing.assert_close(pool.apply(x), expected, rtol=1e-15, atol=3e-15)


def windows(n, k, s, p, ceil_mode):
    """The windows of one axis written down from torch's documentation: (real positions, size with padding)."""
    count = (n + 2 * p - k + (s - 1 if ceil_mode else 0)) // s + 1
    starts = [i * s - p for i in range(count) if not ceil_mode or i * s < n + p]
    return [([j for j in range(a, a + k) if 0 <= j < n], min(a + k, n + p) - a) for a in starts]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("divisor", ["padded", "inside", 7])
@pytest.mark.parametrize("long", [False, True])
def test_entries_are_within_their_error_of_the_exact_fractions(ceil_mode, divisor, long, monkeypatch):
    if long:
        monkeypatch.setattr(pooling, "LONGEST_MATRIX", 0)
    n, k, s, p = (5, 4), (3, 3), (2, 1), (1, 1)
    pool = average_pool((1, *n), k, s, tuple((q, q) for q in p), ceil_mode=ceil_mode, divisor=divisor)
    rows = []
    for inside, padded in windows(n[0], k[0], s[0], p[0], ceil_mode):
        for inside2, padded2 in windows(n[1], k[1], s[1], p[1], ceil_mode):
            counts = {"padded": padded * padded2, "inside": len(inside) * len(inside2)}
            entry = Fraction(1, counts.get(divisor, divisor))
            rows.append([
                entry if i in inside and j in inside2 else Fraction(0) for i in range(n[0]) for j in range(n[1])
            ])
    # The matrix of a product of two stored thirds rounds once more; the proofs add that through `terms`.
    slack = Fraction(1, 2**53)
    stored, error = pool.matrix().tolist(), pool.uncertainty().matrix().tolist()
    for row, truth, bound in zip(stored, rows, error, strict=True):
        for x, t, e in zip(row, truth, bound, strict=True):
            assert abs(Fraction(x) - t) <= Fraction(e) + 2 * slack * abs(t)


def test_stored_thirds_are_within_their_errors():
    pool = average_pool((5,), (3,), (1,), ((0, 0),))
    truth = [[Fraction(1, 3) if j <= i < j + 3 else Fraction(0) for i in range(5)] for j in range(3)]
    assert distance_within(pool, truth)
    # One part in a million less would be wrong: the nearest float64 of 1/3 is this far away.
    distance = abs(Fraction(1 / 3) - Fraction(1, 3))
    assert distance <= Fraction(pool.errors[0].max().item()) <= 3 * distance


def test_asymmetric_padding_is_padding_and_pooling():
    x = random(1, 2, 6, seed=3)
    pool = average_pool((2, 6), (4,), (2,), ((2, 1),))
    torch.testing.assert_close(
        pool.apply(x), functional.avg_pool1d(functional.pad(x, (2, 1)), 4, 2), rtol=0, atol=1e-15
    )


@pytest.mark.parametrize("seed", range(40))
def test_adaptive_average_pool_agrees_with_torch(seed):
    draw = python_random.Random(seed)
    axes = draw.randint(1, 3)
    grid, size = ([draw.randint(1, 9) for _ in range(axes)] for _ in range(2))
    x = random(2, 3, *grid, seed=seed)
    pool = adaptive_average_pool((3, *grid), tuple(size))
    torch.testing.assert_close(pool.apply(x), ADAPTIVE[axes](x, size), rtol=1e-15, atol=1e-15)


def test_adaptive_pool_that_changes_nothing():
    assert isinstance(adaptive_average_pool((3, 4, 5), (None, 5)), Reshape)
    assert adaptive_average_pool((3, 4, 5), (None, 1)).out_shape == (3, 4, 1)


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("axes", [(0,), (-1,), (0, 2), (1, -1), (0, 1, 2)])
def test_means_and_sums(axes, keepdim):
    x = random(2, 3, 4, 5)
    shifted = [axis + 1 if axis >= 0 else axis for axis in axes]
    averaged, summed = mean((3, 4, 5), axes, keepdim), total((3, 4, 5), axes, keepdim)
    torch.testing.assert_close(averaged.apply(x), x.mean(shifted, keepdim=keepdim), rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(summed.apply(x), x.sum(shifted, keepdim=keepdim), rtol=1e-14, atol=1e-14)
    assert summed.uncertainty() is None


def test_powers_of_two_are_exact():
    assert mean((4, 8), (0, 1)).uncertainty() is None
    assert average_pool((1, 4, 4), (2, 2), (2, 2), ((0, 0), (0, 0))).uncertainty() is None


def test_terms_count_only_the_window():
    pool = average_pool((2, 100), (3,), (3,), ((0, 0),))
    assert isinstance(pool, Separable)
    assert pool.terms == 3
    assert pool.adjoint_terms == 1


def test_long_axes_need_no_matrix():
    pool = average_pool((2, 40_000), (4,), (2,), ((0, 0),))
    x = random(1, 2, 40_000)
    torch.testing.assert_close(pool.apply(x), functional.avg_pool1d(x, 4, 2), rtol=1e-14, atol=1e-15)


BAD = {
    "padding over half the window": lambda: average_pool((5,), (3,), (1,), ((2, 2),)),
    "window too large": lambda: average_pool((2,), (3,), (1,), ((0, 0),)),
    "divisor 0": lambda: average_pool((5,), (3,), (1,), ((0, 0),), divisor=0),
    "too many axes": lambda: average_pool((5,), (3, 3), (1, 1), ((0, 0), (0, 0))),
    "adaptive to nothing": lambda: adaptive_average_pool((5,), (0,)),
    "axis twice": lambda: mean((5, 2), (0, -2)),
    "axis outside": lambda: mean((5, 2), (2,)),
    "no axis": lambda: mean((5, 2), ()),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    with pytest.raises(ModelError):
        BAD[name]()
