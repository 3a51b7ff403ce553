"""Moves of entries against torch."""

import random as python_random

import pytest
import torch
from torch.nn import functional

from netgain.core.errors import ModelError, UsageError
from netgain.linear import shapes
from netgain.linear.reshape import Reshape

from .examples import random

CASES = {
    "permute": (shapes.permute((2, 3, 4), (2, 0, -2)), lambda x: x.permute(0, 3, 1, 2)),
    "slice": (shapes.strided_slice((2, 7), 1, 1, 6, 2), lambda x: x[:, :, 1:6:2]),
    "slice from the end": (shapes.strided_slice((2, 7), -1, -3, None), lambda x: x[:, :, -3:]),
    "slice backwards": (shapes.strided_slice((2, 7), 1, None, None, -2), lambda x: x.flip(2)[:, :, ::2]),
    "take": (shapes.take((3, 2), 0, [2, -3, 2]), lambda x: x[:, [2, 0, 2]]),
    "select": (shapes.select((3, 2), -1, -1), lambda x: x[:, :, -1]),
    "expand": (shapes.expand((3, 1), (2, 3, 4)), lambda x: x.unsqueeze(1).expand(-1, 2, 3, 4)),
    "flip": (shapes.flip((3, 2), (0, -1)), lambda x: x.flip((1, 2))),
    "roll": (shapes.roll((3, 2), (1, -3), (1, 0)), lambda x: x.roll((1, -3), (2, 1))),
    "roll flat": (shapes.roll((3, 2), (1,), ()), lambda x: x.flatten(1).roll(1, 1).reshape(-1, 3, 2)),
    "repeat": (shapes.repeat((3, 2), (2, 1, 3)), lambda x: x.unsqueeze(1).repeat(1, 2, 1, 3)),
    "repeat_interleave": (shapes.repeat_interleave((3, 2), 2, 0), lambda x: x.repeat_interleave(2, 1)),
    "pixel_shuffle": (shapes.pixel_shuffle((8, 2, 3), 2), lambda x: functional.pixel_shuffle(x, 2)),
    "pixel_unshuffle": (shapes.pixel_unshuffle((2, 4, 6), 2), lambda x: functional.pixel_unshuffle(x, 2)),
    "channel_shuffle": (shapes.channel_shuffle((6, 2, 2), 3), lambda x: functional.channel_shuffle(x, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_torch_exactly(name):
    moved, expected = CASES[name]
    x = random(2, *moved.in_shape)
    assert torch.equal(moved.apply(x), expected(x))
    assert moved.moves


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad_agrees_with_torch(mode):
    draw = python_random.Random(0)
    for trial in range(100):
        axes = draw.randint(1, 3)
        grid = [draw.randint(3, 6) for _ in range(axes)]
        low = 0 if mode == "circular" else -1
        widths = tuple((draw.randint(low, 2), draw.randint(low, 2)) for _ in range(axes))
        x = random(2, 2, *grid, seed=trial)
        expected = functional.pad(x, [w for pair in reversed(widths) for w in pair], mode=mode)
        padded = shapes.pad((2, *grid), widths, mode)
        assert torch.equal(padded.apply(x), expected), (grid, widths)


def test_moves_that_keep_the_order_are_reshapes():
    assert isinstance(shapes.permute((1, 3, 1), (1, 2, 0)), Reshape)
    assert isinstance(shapes.pad((2, 3), ((0, 0),)), Reshape)
    assert isinstance(shapes.expand((3,), (1, 3)), Reshape)
    assert isinstance(shapes.strided_slice((3,), 0, 0, None), Reshape)


BAD = {
    "not a permutation": lambda: shapes.permute((2, 3), (0, 0)),
    "empty slice": lambda: shapes.strided_slice((2, 3), 1, 2, 2),
    "outside": lambda: shapes.select((2, 3), 1, 3),
    "take outside": lambda: shapes.take((2, 3), 1, [3]),
    "does not broadcast": lambda: shapes.expand((2,), (3,)),
    "channels do not divide": lambda: shapes.channel_shuffle((3, 1), 2),
    "reflection too wide": lambda: shapes.pad((3,), ((3, 0),), "reflect"),
    "circle too wide": lambda: shapes.pad((3,), ((4, 0),), "circular"),
    "circle mixed": lambda: shapes.pad((3,), ((1, -1),), "circular"),
    "nothing left": lambda: shapes.pad((3,), ((-2, -1),)),
    "too many axes": lambda: shapes.pad((3,), ((1, 1), (1, 1))),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    with pytest.raises((ModelError, UsageError)):
        BAD[name]()
