"""Images and written-out matrices against exact fractions, at the corners of the maps' uncertainty."""

from fractions import Fraction

import pytest
import torch

from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable
from netgain.norms.evaluate import fits, image, magnitude, materialized
from tests.norms.exact import fractions


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def product(left, right):
    return [
        [sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*right, strict=True)] for row in left
    ]


def inside(value, bound, exact):
    for row, widths, truths in zip(value.tolist(), bound.tolist(), exact, strict=True):
        for x, width, truth in zip(row, widths, truths, strict=True):
            assert abs(Fraction(x) - truth) <= Fraction(width)


def corner(seed, *maps):
    """The exact matrix of a chain whose maps sit at a random corner of their uncertainty."""
    whole = None
    for k, one in enumerate(maps):
        entries = fractions(one.matrix())
        error = one.uncertainty()
        if error is not None:
            signs = random(one.out_size, one.in_size, seed=seed + k).sign()
            shift = fractions(error.matrix() * signs)
            entries = [[a + b for a, b in zip(p, q, strict=True)] for p, q in zip(entries, shift, strict=True)]
        whole = entries if whole is None else product(entries, whole)
    return whole


def parts():
    first = Dense(random(6, 4), error=random(6, 4, seed=1).abs() * 1e-9)
    second = Diagonal(random(6, seed=2) * 1e3, (6,), error=torch.full((6,), 1e-7, dtype=torch.float64))
    third = Selection(torch.tensor([5, 0, 0, -1, 2]), (6,), (5,))
    return first, second, third, Dense(random(3, 5, seed=3))


@pytest.mark.parametrize("seed", range(4))
def test_written_out_chain_contains_every_corner(seed):
    maps = parts()
    matrix, error = materialized(Chain(maps))
    assert error is not None
    inside(matrix, error, corner(10 * seed, *maps))
    # The bound is about as small as the corners allow.
    assert float(error.max()) < 1e-4


@pytest.mark.parametrize("transposed", [False, True])
def test_image_contains_every_corner(transposed):
    maps = parts()
    chain = Chain(maps)
    x = random(2, chain.out_size if transposed else chain.in_size, seed=9)
    value, error = image(chain, x, transposed=transposed)
    above = magnitude(chain, x.abs(), transposed=transposed)
    exact = corner(3, *maps)
    columns = exact if transposed else [list(column) for column in zip(*exact, strict=True)]
    truth = product(fractions(x), columns)
    inside(value, error, truth)
    for row, limits in zip(truth, above.tolist(), strict=True):
        assert all(abs(t) <= Fraction(limit) for t, limit in zip(row, limits, strict=True))


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 2, 3)])
def test_single_maps_are_written_out_exactly(shape):
    conv = Conv(random(3, 2, 2, 2), shape, (1, 1), ((1, 0), (0, 1)), (1, 1))
    transposed = ConvTransposed(random(2, 3, 2, 2), shape, (2, 1), ((0, 1), (0, 0)), (1, 0), (1, 1))
    for one in (
        conv,
        transposed,
        Dense(random(3, 4)),
        Reshape((2, 3), (6,)),
        Selection(torch.tensor([0, 0]), (1,), (2,)),
    ):
        matrix, error = materialized(one)
        assert error is None
        assert torch.equal(matrix, one.matrix())


def test_taps_that_wrap_onto_each_other_carry_their_rounding():
    conv = Conv(random(1, 1, 5), (1, 2), (1,), ((2, 2),), (1,), circular=True)
    matrix, error = materialized(conv)
    assert error is not None
    taps = [Fraction(float(t)) for t in conv.weight.reshape(-1).tolist()]
    exact = [
        [sum(t for k, t in enumerate(taps) if (i + k - 2) % 2 == j) for j in range(conv.in_size)]
        for i in range(conv.out_size)
    ]
    inside(matrix, error, exact)


def test_separable_is_a_kronecker_product():
    maps = Separable((random(3, 2), random(2, 4, seed=1)), (2, 4))
    matrix, error = materialized(maps)
    a, b = fractions(maps.matrices[0]), fractions(maps.matrices[1])
    exact = [[a[i // 2][j // 4] * b[i % 2][j % 4] for j in range(8)] for i in range(6)]
    inside(matrix, error, exact)


def test_what_fits():
    assert fits(Dense(torch.ones(10, 20)))
    assert not fits(Diagonal(torch.ones(1), (6000,)))
    assert not fits(Conv(torch.ones(8, 8, 3, 3), (8, 64, 64), (1, 1), ((1, 1), (1, 1)), (1, 1)))


@pytest.mark.parametrize("transposed", [False, True])
def test_products_that_underflow_are_allowed_for(transposed):
    """64 products just below half the smallest subnormal number vanish; together they are 31 of it."""
    entry, x = 2.0**-500, 0.49 * 2.0**-574
    dense = Dense(torch.full((64, 64), entry, dtype=torch.float64))
    value, bound = image(dense, torch.full((1, 64), x, dtype=torch.float64), transposed=transposed)
    exact = 64 * Fraction(entry) * Fraction(x)
    inside(value, bound, [[exact] * 64])
    assert float(magnitude(dense, torch.full((1, 64), x, dtype=torch.float64)).min()) >= exact
