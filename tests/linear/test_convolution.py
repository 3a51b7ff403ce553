"""Convolutions against torch, over random geometries."""

import random as python_random

import pytest
import torch
from torch.nn import functional

from netgain.core.errors import ModelError
from netgain.linear.convolution import Conv, ConvTransposed

from .examples import random

FORWARD = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
BACKWARD = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def geometry(seed):
    draw = python_random.Random(seed)
    axes, groups = draw.randint(1, 3), draw.randint(1, 3)
    several = lambda low, high: tuple(draw.randint(low, high) for _ in range(axes))  # noqa: E731
    return {
        "groups": groups,
        "inward": groups * draw.randint(1, 2),
        "outward": groups * draw.randint(1, 2),
        "kernel": several(1, 3),
        "grid": several(2, 6),
        "stride": several(1, 3),
        "dilation": several(1, 2),
        "padding": several(0, 2),
        "after": several(0, 2),
        "extra": several(0, 2),
    }


@pytest.mark.parametrize("seed", range(150))
def test_conv_agrees_with_torch(seed):
    g = geometry(seed)
    weight = random(g["outward"], g["inward"] // g["groups"], *g["kernel"], seed=seed)
    x = random(2, g["inward"], *g["grid"], seed=seed + 1)
    widths = tuple(zip(g["padding"], g["after"], strict=True))
    flat = [width for pair in reversed(widths) for width in pair]
    for circular in (False, True):
        build = lambda: Conv(weight, x.shape[1:], g["stride"], widths, g["dilation"], g["groups"], None, circular)  # noqa: B023, E731
        padded = functional.pad(x, flat, mode="circular" if circular else "constant")
        try:
            expected = FORWARD[len(g["grid"])](padded, weight, None, g["stride"], 0, g["dilation"], g["groups"])
        except RuntimeError:
            with pytest.raises(ModelError):
                build()
            continue
        conv = build()
        assert conv.out_shape == tuple(expected.shape[1:])
        torch.testing.assert_close(conv.apply(x), expected, rtol=0, atol=1e-13)
        y = random(*expected.shape, seed=seed + 2)
        assert float((conv.apply(x) * y).sum() - (x * conv.adjoint(y)).sum()) == pytest.approx(0, abs=1e-11)


@pytest.mark.parametrize("seed", range(150))
def test_conv_transposed_agrees_with_torch(seed):
    g = geometry(seed)
    weight = random(g["inward"], g["outward"] // g["groups"], *g["kernel"], seed=seed)
    x = random(2, g["inward"], *g["grid"], seed=seed + 1)
    widths = tuple((p, p) for p in g["padding"])
    build = lambda: ConvTransposed(weight, x.shape[1:], g["stride"], widths, g["extra"], g["dilation"], g["groups"])  # noqa: E731
    small = all(e < max(s, d) for e, s, d in zip(g["extra"], g["stride"], g["dilation"], strict=True))
    if not small:
        g["extra"] = tuple(0 for _ in g["extra"])
    try:
        expected = BACKWARD[len(g["grid"])](
            x, weight, None, g["stride"], g["padding"], g["extra"], g["groups"], g["dilation"]
        )
    except RuntimeError:
        with pytest.raises(ModelError):
            build()
        return
    conv = build()
    assert conv.out_shape == tuple(expected.shape[1:])
    torch.testing.assert_close(conv.apply(x), expected, rtol=0, atol=1e-13)
    y = random(*expected.shape, seed=seed + 2)
    assert float((conv.apply(x) * y).sum() - (x * conv.adjoint(y)).sum()) == pytest.approx(0, abs=1e-11)


def test_padding_wider_than_the_full_output_of_a_transposed_convolution():
    weight, x = random(1, 1, 1), random(2, 1, 1, seed=1)
    expected = functional.conv_transpose1d(x, weight, stride=5, padding=2, output_padding=4)
    conv = ConvTransposed(weight, (1, 1), (5,), ((2, 2),), (4,), (1,))
    assert torch.equal(conv.apply(x), expected)
    assert conv.adjoint(expected).shape == x.shape


def test_terms_are_attained():
    inside = Conv(torch.ones(4, 3, 3, 2), (3, 5, 5), (1, 1), ((1, 1), (1, 1)), (1, 1))
    assert inside.terms == 18 == int(inside.matrix().sum(1).max())
    assert inside.adjoint_terms == 24 == int(inside.matrix().sum(0).max())
    strided = Conv(torch.ones(4, 3, 3, 3), (3, 9, 9), (2, 3), ((0, 0), (0, 0)), (1, 2))
    assert strided.adjoint_terms == 4 * 2 * 1 == int(strided.matrix().sum(0).max())
    back = ConvTransposed(torch.ones(4, 3, 3, 3), (4, 5, 5), (2, 1), ((0, 0), (0, 0)), (0, 0), (1, 1))
    assert back.terms == 4 * 2 * 3 == int(back.matrix().sum(1).max())
    around = Conv(torch.ones(1, 1, 7), (1, 3), (1,), ((3, 3),), (1,), circular=True)
    assert around.terms == 7 == int(around.matrix().sum(1).max())
    assert around.adjoint_terms >= int(around.matrix().sum(0).max())


def test_adjoint_of_a_convolution_is_the_transposed_convolution():
    weight = random(3, 2, 3, 3)
    conv = Conv(weight, (2, 8, 8), (2, 2), ((1, 1), (1, 1)), (1, 1))
    back = ConvTransposed(weight, conv.out_shape, (2, 2), ((1, 1), (1, 1)), (1, 1), (1, 1))
    assert back.out_shape == conv.in_shape
    torch.testing.assert_close(back.matrix(), conv.matrix().T, rtol=0, atol=0)
