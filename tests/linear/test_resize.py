"""Resampling against torch, and its weights against exact fractions."""

import random as python_random
from fractions import Fraction

import pytest
import torch
from torch.nn import functional

from netgain.core.errors import ModelError
from netgain.linear.reshape import Reshape
from netgain.linear.resize import upsample
from netgain.linear.selection import Selection

from .examples import distance_within, random

MODES = [
    ("nearest", 1),
    ("nearest", 2),
    ("nearest", 3),
    ("nearest-exact", 1),
    ("nearest-exact", 2),
    ("linear", 1),
    ("bilinear", 2),
    ("trilinear", 3),
    ("bicubic", 2),
    ("area", 2),
]


CASES = [
    (mode, axes, by, False) for mode, axes in MODES for by in ("size", "factor") if (mode, by) != ("area", "factor")
]
CASES += [(mode, axes, by, True) for mode, axes in MODES[5:9] for by in ("size", "factor")]


@pytest.mark.parametrize(("mode", "axes", "by", "align_corners"), CASES)
def test_agrees_with_torch(mode, axes, by, align_corners):
    cornered = mode not in ("nearest", "nearest-exact", "area")
    draw = python_random.Random(0)
    for trial in range(40):
        grid = [draw.randint(1, 9) for _ in range(axes)]
        x = random(2, 2, *grid, seed=trial)
        factors = [draw.choice([0.5, 0.7, 1.3, 1.5, 2.0, 3.0]) for _ in range(axes)]
        size = [draw.randint(1, 15) for _ in range(axes)]
        if by == "factor":
            size = [int(n * f) for n, f in zip(grid, factors, strict=True)]
            if 0 in size:
                continue
        how = {"scale_factor": factors} if by == "factor" else {"size": size}
        expected = functional.interpolate(x, mode=mode, align_corners=align_corners if cornered else None, **how)
        resized = upsample(
            (2, *grid),
            tuple(size),
            mode,
            align_corners=align_corners,
            scale_factors=tuple(factors) if by == "factor" else None,
        )
        assert resized.out_shape == tuple(expected.shape[1:])
        torch.testing.assert_close(resized.apply(x), expected, rtol=0, atol=2e-14)


def test_linear_weights_are_the_known_quarters():
    doubled = upsample((1, 2), (4,), "linear")
    assert doubled.matrix().tolist() == [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    assert doubled.uncertainty() is None


def test_thirds_are_within_their_errors():
    # Output i of 3 to 5 reads 3 (i + 1/2) / 5 - 1/2 = (3 i - 1) / 5.
    truth = [[Fraction(0)] * 3 for _ in range(5)]
    for i in range(5):
        place = max(Fraction(3 * i - 1, 5), Fraction(0))
        left = min(int(place), 2)
        truth[i][left] += 1 - (place - left)
        truth[i][min(left + 1, 2)] += place - left
    resized = upsample((3,), (5,), "linear")
    assert distance_within(resized, truth)
    assert resized.uncertainty() is not None


def test_rows_of_the_cubic_sum_to_one_exactly_in_fractions():
    resized = upsample((1, 4, 4), (7, 9), "bicubic")
    for axis in (1, 2):
        matrix, error = resized.matrices[axis], resized.errors[axis]
        for row, bound in zip(matrix.tolist(), error.tolist(), strict=True):
            off = abs(sum(map(Fraction, row)) - 1)
            assert off <= sum(map(Fraction, bound))


def test_same_size_is_the_identity():
    assert isinstance(upsample((2, 5), (5,), "linear"), Reshape)
    assert isinstance(upsample((2, 5), (5,), "nearest"), Reshape)
    assert isinstance(upsample((2, 5), (7,), "nearest"), Selection)


def test_bad_input_is_refused():
    for bad in (
        lambda: upsample((2, 5), (0,), "linear"),
        lambda: upsample((5,), (2, 2), "nearest"),
        lambda: upsample((2, 5, 5), (5, 5), "linear"),
        lambda: upsample((2, 5), (5,), "linear", scale_factors=(0.0,)),
        lambda: upsample((2, 5), (5,), "linear", scale_factors=(1.0, 1.0)),
    ):
        with pytest.raises(ModelError):
            bad()
