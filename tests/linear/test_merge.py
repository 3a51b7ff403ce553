"""Merged maps equal the product of the true maps, within their error, in exact arithmetic."""

import random as python_random

import pytest
import torch

from netgain.core.errors import ModelError
from netgain.linear import merge as merging
from netgain.linear import shapes
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.merge import chain, is_identity, merge
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable

from .examples import distance_within, exact, product, random, spread, true_matrix

ONES1, ONES2 = ((0, 0),), ((0, 0), (0, 0))


def dense(out, inward, lead=(), seed=0):
    return Dense(random(out, inward, seed=seed), lead, spread(out, inward, seed=seed, scale=1e-14))


def diagonal(scale, shape, seed=0):
    return Diagonal(random(*scale, seed=seed), shape, spread(*scale, seed=seed, scale=1e-14))


def conv(out, inward, grid, kernel, groups=1, seed=0, **changes):
    weight = random(out, inward // groups, *kernel, seed=seed)
    one = tuple(1 for _ in kernel)
    fields = {"stride": one, "padding": tuple((0, 0) for _ in kernel), "dilation": one, "groups": groups} | changes
    return Conv(weight, (inward, *grid), error=weight.abs() * 1e-14, **fields)


def transposed(inward, out, grid, kernel, groups=1):
    weight = random(inward, out // groups, *kernel)
    one = tuple(1 for _ in kernel)
    widths = tuple((0, 0) for _ in kernel)
    return ConvTransposed(
        weight, (inward, *grid), one, widths, tuple(0 for _ in kernel), one, groups, weight.abs() * 1e-14
    )


MERGE = {
    "reshape reshape": (Reshape((2, 3), (6,)), Reshape((6,), (3, 2)), Reshape),
    "selection selection": (shapes.pad((3,), ((1, 1),)), shapes.flip((5,), (0,)), Selection),
    "selection undone": (shapes.permute((2, 3), (1, 0)), shapes.permute((3, 2), (1, 0)), Reshape),
    "selection reshape": (shapes.permute((2, 3), (1, 0)), Reshape((3, 2), (6,)), Selection),
    "reshape selection": (Reshape((6,), (2, 3)), shapes.permute((2, 3), (1, 0)), Selection),
    "diagonal diagonal": (diagonal((2, 1), (2, 3)), diagonal((1, 3), (2, 3), 1), Diagonal),
    "diagonal dense": (diagonal((1, 3), (2, 3)), dense(4, 3, (2,)), Dense),
    "dense diagonal": (dense(4, 3, (2,)), diagonal((1, 4), (2, 4)), Dense),
    "dense scalar": (dense(4, 3), diagonal((), (4,)), Dense),
    "dense dense": (dense(4, 3, (2,)), dense(2, 4, (2,), 1), Dense),
    "selection dense": (shapes.flip((3,), (0,)), dense(2, 3), Dense),
    "permute dense": (Chain((shapes.permute((2, 3), (1, 0)), Reshape((3, 2), (6,)))), dense(2, 6), Chain),
    "duplicates dense": (Selection(torch.tensor([0, -1, 0, 1, 0]), (3,), (5,)), dense(2, 5), Dense),
    "dense selection": (dense(4, 3), Selection(torch.tensor([3, -1, 0, 3]), (4,), (2, 2)), Chain),
    "diagonal conv": (diagonal((4, 1), (4, 5)), conv(6, 4, (5,), (3,), 2, padding=((1, 2),)), Conv),
    "diagonal circular": (diagonal((2, 1), (2, 5)), conv(2, 2, (5,), (3,), padding=((1, 2),), circular=True), Conv),
    "conv diagonal": (conv(6, 4, (5,), (3,), 2), diagonal((6, 1), (6, 3)), Conv),
    "conv scalar": (conv(6, 4, (5,), (3,), 2), diagonal((), (6, 3)), Conv),
    "diagonal transposed": (diagonal((4, 1), (4, 2)), transposed(4, 6, (2,), (3,), 2), ConvTransposed),
    "transposed diagonal": (transposed(4, 6, (2,), (3,), 2), diagonal((6, 1), (6, 4)), ConvTransposed),
    "zeros conv": (shapes.pad((2, 3, 3), ((1, 2), (0, 1))), conv(1, 2, (6, 4), (3, 2), padding=((0, 1), (1, 0))), Conv),
    "circle conv": (shapes.pad((2, 4), ((1, 2),), "circular"), conv(1, 2, (7,), (3,)), Conv),
    "conv cropped": (conv(1, 2, (5,), (3,), padding=((2, 3),)), shapes.pad((1, 8), ((-1, -3),)), Conv),
    "strided conv cropped": (
        conv(1, 2, (5, 4), (3, 2), padding=((2, 3), (0, 0)), stride=(2, 1)),
        shapes.pad((1, 4, 3), ((-1, -1), (0, 0))),
        Conv,
    ),
    "circular conv cropped": (
        conv(1, 2, (5,), (3,), padding=((2, 2),), circular=True),
        shapes.strided_slice((1, 7), 1, 0, -2),
        Conv,
    ),
    "transposed cropped": (
        transposed(4, 6, (3,), (3,), 2),
        shapes.pad((6, 5), ((-1, -2),)),
        ConvTransposed,
    ),
    "depthwise pointwise": (conv(3, 3, (4,), (3,), 3, padding=((1, 1),)), conv(2, 3, (4,), (1,), seed=1), Conv),
    "grouped pointwise": (conv(4, 4, (4,), (3,), 2), conv(6, 4, (2,), (1,), 2, seed=1), Conv),
    "pointwise conv": (conv(3, 2, (4,), (1,)), conv(2, 3, (4,), (3,), seed=1, padding=((1, 0),), stride=(2,)), Conv),
    "pointwise depthwise": (conv(3, 2, (4,), (1,)), conv(3, 3, (4,), (3,), 3, seed=1), Conv),
    "strided pointwise": (conv(3, 2, (7,), (2,), stride=(2,)), conv(2, 3, (3,), (1,), seed=1, stride=(2,)), Conv),
    "separable separable": (
        Separable((random(2, 3), None, random(2, 2)), (3, 2, 2), (spread(2, 3, scale=1e-14), None, None)),
        Separable((random(2, 2), random(1, 2), None), (2, 2, 2), (None, spread(1, 2, scale=1e-14), None)),
        Separable,
    ),
    "separable scalar": (Separable((None, random(2, 3)), (2, 3)), diagonal((), (2, 2)), Separable),
    "scalar separable": (diagonal((), (2, 3)), Separable((None, random(2, 3)), (2, 3)), Separable),
}


@pytest.mark.parametrize("name", MERGE)
@pytest.mark.parametrize("seed", range(3))
def test_merged_pairs_stand_for_the_true_product(name, seed):
    first, second, kind = MERGE[name]
    merged = chain(first, second)
    assert type(merged) is kind
    assert (merged.in_shape, merged.out_shape) == (first.in_shape, second.out_shape)
    truth = product(structured(second, seed), structured(first, seed + 100))
    assert distance_within(merged, truth)
    if kind is Chain:
        assert all(isinstance(part, Reshape | Dense) for part in merged.maps)


def structured(one, seed):
    """A true matrix of the map's own structure: its weights moved within their errors, equal ones equally."""
    if isinstance(one, Chain) or one.uncertainty() is None:
        return true_matrix(one, seed)
    if isinstance(one, Separable):
        stages = one.stages()
        result = exact(torch.eye(one.in_size, dtype=torch.float64))
        for stage in stages:
            error = stage.uncertainty()
            shift = exact(error.matrix()) if error is not None else None
            stored = exact(stage.matrix())
            moved = (
                stored
                if shift is None
                else [[a + e for a, e in zip(p, q, strict=True)] for p, q in zip(stored, shift, strict=True)]
            )
            result = product(moved, result)
        return result
    sign = random(1, seed=seed).sign().item()
    pairs = zip(exact(one.matrix()), exact(one.uncertainty().matrix()), strict=True)
    return [[x + int(sign) * e for x, e in zip(xs, es, strict=True)] for xs, es in pairs]


APART = {
    "diagonal varies over the lead": (diagonal((2, 1), (2, 3)), dense(4, 3, (2,))),
    "diagonal varies over the grid": (diagonal((1, 5), (2, 5)), conv(2, 2, (5,), (3,))),
    "permutation of a lead": (shapes.flip((2, 3), (0,)), dense(4, 3, (2,))),
    "reflection": (shapes.pad((2, 4), ((1, 2),), "reflect"), conv(1, 2, (7,), (3,))),
    "padded channels": (shapes.pad((1, 4), ((0, 1), (1, 1))), conv(1, 2, (6,), (3,))),
    "zeros inside a circle": (shapes.pad((2, 4), ((1, 1),)), conv(1, 2, (6,), (3,), padding=((1, 1),), circular=True)),
    "circle around zeros": (
        shapes.pad((2, 4), ((1, 1),), "circular"),
        conv(1, 2, (6,), (3,), padding=((1, 1),)),
    ),
    "strided pointwise first": (
        conv(2, 2, (5,), (1,), stride=(2,)),
        conv(2, 2, (3,), (2,)),
    ),
    "shifted zeros": (shapes.roll((2, 4), (1,), (1,)), conv(1, 2, (4,), (3,))),
    "conv conv": (conv(2, 2, (5,), (3,)), conv(2, 2, (3,), (2,))),
    "padded pointwise": (conv(2, 2, (5,), (1,), padding=((1, 1),)), conv(2, 2, (7,), (2,))),
    "padded pointwise after": (conv(2, 2, (5,), (3,)), conv(2, 2, (3,), (1,), padding=((1, 1),))),
    "crop wider than the padding": (
        conv(1, 2, (5,), (3,), padding=((1, 1),)),
        shapes.pad((1, 5), ((0, -2),)),
    ),
    "every second output": (conv(1, 2, (5,), (3,), padding=((2, 2),)), shapes.strided_slice((1, 7), 1, 0, None, 2)),
    "channels cut": (conv(2, 2, (5,), (3,)), shapes.strided_slice((2, 3), 0, 0, 1)),
    "channels cut off a transposed": (transposed(4, 6, (3,), (3,), 2), shapes.strided_slice((6, 5), 0, 1, 3)),
    "reshape dense": (Reshape((2, 3), (6,)), dense(2, 6)),
}
HUGE = Dense(torch.full((1, 1), 1e200, dtype=torch.float64))
APART["overflow"] = (HUGE, HUGE)


@pytest.mark.parametrize("name", APART)
def test_pairs_that_stay_apart(name):
    first, second = APART[name]
    assert merge(first, second) is None
    assert isinstance(chain(first, second), Chain)


def test_low_rank_factors_stay_factors_when_the_product_is_large(monkeypatch):
    monkeypatch.setattr(merging, "MODERATE_SIZE", 10)
    assert merge(dense(2, 10), dense(10, 2)) is None
    assert isinstance(merge(dense(10, 2), dense(2, 10)), Dense)
    monkeypatch.undo()
    assert isinstance(merge(dense(2, 10), dense(10, 2)), Dense)


def test_chains_merge_across_reshapes():
    batch_norm, flatten, linear = diagonal((2, 1, 1), (2, 2, 2)), Reshape((2, 2, 2), (8,)), dense(3, 8)
    merged = chain(batch_norm, flatten, linear)
    assert [type(part) for part in merged.maps] == [Reshape, Dense]
    assert distance_within(merged, product(structured(linear, 0), structured(batch_norm, 0)))
    back = chain(linear, Reshape((3,), (1, 3, 1)), diagonal((3, 1), (1, 3, 1)))
    assert [type(part) for part in back.maps] == [Dense, Reshape]
    both = chain(diagonal((2, 1), (2, 3)), Reshape((2, 3), (6,)), diagonal((6,), (6,)))
    assert [type(part) for part in both.maps] == [Diagonal, Reshape]


def test_leading_axes_of_size_one_do_not_matter():
    merged = chain(dense(4, 3, (1,)), Reshape((1, 4), (4,)), dense(2, 4, seed=1), Reshape((2,), (1, 2)))
    assert [type(part) for part in merged.maps] == [Reshape, Dense, Reshape]
    assert distance_within(merged, product(structured(dense(2, 4, seed=1), 0), structured(dense(4, 3), 0)))


def test_identities_vanish():
    one = Diagonal(torch.ones(3), (3,))
    assert is_identity(one)
    assert not is_identity(Diagonal(torch.ones(3), (3,), torch.full((3,), 1e-9)))
    assert isinstance(chain(one, Reshape((3,), (3,))), Reshape)
    assert isinstance(chain(dense(2, 3), Diagonal(torch.ones(2), (2,)), Separable((None,), (2,))), Dense)


def test_exact_merges_carry_no_error():
    weight = random(2, 3)
    assert chain(Diagonal(torch.tensor(2.0), (3,)), Dense(weight), shapes.flip((2,), (0,))).uncertainty() is None
    assert chain(shapes.permute((3, 1), (1, 0)), Reshape((1, 3), (3,)), Dense(weight)).uncertainty() is None


def test_nested_chains_are_opened():
    inner = Chain((Chain((dense(3, 3), dense(3, 3, seed=1))), dense(3, 3, seed=2)))
    assert isinstance(chain(inner), Dense)


def test_values_agree_for_every_pair_of_merged_maps():
    for first, second, _ in MERGE.values():
        x = random(2, *first.in_shape)
        torch.testing.assert_close(chain(first, second).apply(x), second.apply(first.apply(x)), rtol=1e-13, atol=1e-13)


def test_long_random_chains_keep_the_function():
    pool = [
        lambda s, k: diagonal((s[-1],), s, k) if len(s) == 1 else diagonal((s[0], *(1 for _ in s[1:])), s, k),
        lambda s, k: shapes.flip(s, (0,)),
        lambda s, k: Reshape(s, (int(torch.tensor(s).prod()),) if len(s) > 1 else (s[0], 1)),
        lambda s, k: dense(3, s[-1], s[:-1], k),
        lambda s, k: conv(2, s[0], s[1:], tuple(1 for _ in s[1:]), seed=k) if len(s) > 1 else dense(2, s[0], seed=k),
        lambda s, k: shapes.pad(s, ((1, 1),)),
    ]
    draw = python_random.Random(0)
    for seed in range(120):
        picks = [draw.randrange(len(pool)) for _ in range(5)]
        shape, maps = (2, 2), []
        for number, pick in enumerate(picks):
            maps.append(pool[pick](shape, seed + number))
            shape = maps[-1].out_shape
        merged, plain = chain(*maps), Chain(tuple(maps))
        torch.testing.assert_close(merged.matrix(), plain.matrix(), rtol=1e-11, atol=1e-11)


def test_links_are_checked():
    with pytest.raises(ModelError):
        chain(dense(2, 3), dense(2, 3))
