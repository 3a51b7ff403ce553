import random

import pytest
import torch

from netgain.core.errors import NoSoundRuleError
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.pooling import average_pool, mean
from netgain.linear.reshape import Reshape
from netgain.vectors.extrema import Sort
from netgain.vectors.pool import AdaptiveMaxPool, MaxPool
from netgain.witness.geometry import Taps, pooling, taps
from tests.witness.grids import any_node, normal, random_conv


def dense(one: Taps) -> torch.Tensor:
    """The matrix of taps on the true grids, entry by entry from the definition."""
    out, inner, _ = one.weight.shape
    grids = [
        torch.cartesian_prod(*(torch.arange(n) for n in grid)).reshape(-1, len(grid))
        for grid in (one.behind, one.before)
    ]
    read = grids[0][:, None] * torch.tensor(one.stride) + one.offsets
    hits = (read[:, :, None] == grids[1]).all(-1).double()
    return torch.einsum("oit,jtp->ojip", one.weight, hits).reshape(out * len(grids[0]), inner * len(grids[1]))


@pytest.mark.parametrize("seed", range(60))
def test_taps_are_the_convolution(seed):
    rng = random.Random(seed)
    shape = [(2, 7), (3, 4, 5), (2, 3, 2, 4), (6, 1), (4, 1, 6)][seed % 5]
    conv = random_conv(rng, shape, rng.choice([1, 2, 3, 6]), valid=seed % 4 == 0 and min(shape[1:]) > 3)
    (one,) = taps(any_node(), conv)
    assert torch.equal(dense(one), conv.matrix())
    assert one.inside or any(max(p) > 0 for p in conv.padding)


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding"),
    [((2, 8), 2, 2, 0), ((3, 6, 9), 3, 3, 0), ((1, 7, 6), 3, 2, 1), ((2, 4, 4), 3, 1, 1), ((1, 2, 2, 4), 2, 2, 0)],
)
def test_average_pooling_is_a_convolution(shape, kernel, stride, padding):
    axes = len(shape) - 1
    pool = average_pool(shape, (kernel,) * axes, (stride,) * axes, ((padding, padding),) * axes)
    (one,) = taps(any_node(), pool)
    assert (dense(one) - pool.matrix()).abs().max() <= 1e-16
    assert one.inside == (padding == 0)
    exact = 1 / kernel**axes
    assert bool(((one.weight - exact).abs() <= one.error + 1e-300)[one.weight != 0].all())
    assert one.stride == (stride,) * axes


def test_average_pooling_that_counts_only_inside_is_refused():
    pool = average_pool((2, 6, 6), (3, 3), (1, 1), ((1, 1), (1, 1)), divisor="inside")
    with pytest.raises(NoSoundRuleError, match=r"test\.op in net\.n \(net\.py:12\)"):
        taps(any_node(), pool)


def test_zero_taps_and_taps_in_the_padding_are_dropped():
    weight = torch.zeros(2, 2, 5, dtype=torch.float64)
    weight[:, :, 2:4] = normal(random.Random(0), 2, 2, 2)
    (one,) = taps(any_node(), Conv(weight, (2, 6), (1,), ((2, 2),), (1,)))
    assert one.offsets.flatten().tolist() == [0, 1]
    (one,) = taps(any_node(), Conv(normal(random.Random(0), 1, 1, 9), (1, 2), (1,), ((4, 4),), (1,)))
    assert one.offsets.flatten().tolist() == [-1, 0, 1]


def test_a_zero_tap_with_an_error_stays():
    weight, error = torch.zeros(1, 1, 3, dtype=torch.float64), torch.zeros(1, 1, 3, dtype=torch.float64)
    weight[..., 1], error[..., 0] = 1.0, 1e-9
    (one,) = taps(any_node(), Conv(weight, (1, 6), (1,), ((1, 1),), (1,), error=error))
    assert one.offsets.flatten().tolist() == [-1, 0]
    assert one.error.flatten().tolist() == [1e-9, 0.0]


def test_the_zero_map():
    (one,) = taps(any_node(), Conv(torch.zeros(2, 1, 3, dtype=torch.float64), (1, 6), (2,), ((1, 1),), (1,)))
    assert not bool(one.weight.any())
    assert one.weight.shape == (2, 1, 1)


def test_which_maps_read_what():
    pointwise = Conv(normal(random.Random(0), 2, 3, 1), (3, 6), (1,), ((0, 0),), (1,))
    halved = Conv(normal(random.Random(0), 2, 3, 1), (3, 6), (2,), ((0, 0),), (1,))
    valid = Conv(normal(random.Random(0), 2, 3, 3), (3, 6), (1,), ((0, 0),), (1,))
    padded = Conv(normal(random.Random(0), 2, 3, 3), (3, 6), (1,), ((1, 1),), (1,))
    shifted = Conv(normal(random.Random(0), 2, 3, 1), (3, 6), (1,), ((1, 1),), (1,))
    found = [taps(any_node(), conv)[0] for conv in (pointwise, halved, valid, padded, shifted)]
    assert [one.local for one in found] == [True, True, False, False, False]
    assert [one.inside for one in found] == [True, True, True, False, False]
    assert [one.least for one in found] == [(6,), (6,), (6,), (7,), (7,)]


@pytest.mark.parametrize(
    "one",
    [
        Dense(normal(random.Random(0), 3, 4), (2,)),
        Reshape((2, 8), (16,)),
        Diagonal(normal(random.Random(0), 2, 8), (2, 8)),
        ConvTransposed(normal(random.Random(0), 2, 1, 3), (2, 8), (2,), ((0, 0),), (0,), (1,)),
        Conv(normal(random.Random(0), 1, 2, 3), (2, 8), (1,), ((1, 1),), (1,), circular=True),
        Chain((Diagonal(torch.ones(1), (2, 8)), Reshape((2, 8), (16,)))),
        mean((2, 8), (0,), keepdim=True),
    ],
)
def test_other_maps_are_refused(one):
    with pytest.raises(NoSoundRuleError, match=r"net\.py:12"):
        taps(any_node(), one)


def test_strides_of_vector_functions():
    assert pooling(any_node(), MaxPool((2, 7, 8), (3, 2), (2, 2), (1, 0), (1, 1))) == (2, 2)
    assert pooling(any_node(), AdaptiveMaxPool((2, 6, 8), (3, 4))) == (2, 2)
    assert pooling(any_node(), Sort((4, 6), 0)) == (1,)
    for function in (AdaptiveMaxPool((2, 7), (3,)), MaxPool((2, 3, 8), (2,), (2,), (0,), (1,))):
        with pytest.raises(NoSoundRuleError):
            pooling(any_node(), function)
