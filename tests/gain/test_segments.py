import torch

from netgain.gain.segments import segments
from netgain.linear.reshape import Reshape
from netgain.network.fold import fold
from netgain.network.graph import Affine, Network, Vector
from netgain.vectors.pool import AdaptiveMaxPool
from netgain.vectors.softmax import Softmax
from tests.gain.networks import (
    act,
    averaging,
    branches,
    chain,
    conv,
    convolutional,
    linear,
    mlp,
    node,
    normal,
    residual,
)


def names(network: Network) -> list[list[str]]:
    return [[one.name for one in segment.maps] for segment in segments(network)]


def test_chains_are_found_and_readers_break_them():
    assert names(mlp(0, 3, 4, 5, 2)) == [["n0", "n2", "n4"]]
    assert names(residual(0)) == [["a", "c"]]
    assert names(branches(0)) == []
    assert names(convolutional(0)) == [["n0", "n3"]]
    assert names(fold(convolutional(0))) == [["n0", "n3", "n5+n6"]]


def test_an_output_in_the_middle_ends_the_chain():
    network = mlp(0, 3, 4, 5, 2)
    assert names(Network("x", (3,), network.nodes, "n2")) == [["n0", "n2"]]
    side = node("side", linear(normal(0, 1, 4)), ("n1",), (1,))
    joined = node("m", linear(normal(0, 2, 2)), ("n4",), (2,))
    assert names(Network("x", (3,), (*network.nodes, side, joined), "m")) == [["n0", "n2", "n4", "m"]]


def test_softmax_breaks_a_chain():
    network = chain((3,), linear(normal(0, 4, 3)), Vector(Softmax((4,), 0)), linear(normal(1, 2, 4)))
    assert names(network) == []


def test_scales_stay_constant_in_a_channel_across_pooling_and_convolutions():
    found = segments(convolutional(0))[0]
    assert found.gaps[0].partition.unique().numel() == 3
    pooled = segments(averaging(0))
    assert pooled == ()
    network = chain(
        (2, 6, 6),
        Affine(conv(normal(0, 3, 2, 3, 3), (2, 6, 6))),
        Vector(AdaptiveMaxPool((3, 4, 4), (2, 2))),
        act("tanh"),
        Affine(conv(normal(1, 2, 3, 2, 2), (3, 2, 2))),
    )
    (gap,) = segments(network)[0].gaps
    scale = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)[gap.partition[:, 0, 0]][:, None, None].expand(3, 4, 4)
    assert gap.behind(scale).shape == (3, 2, 2)
    # The scale commutes with what lies between.
    pool = network.nodes[1].kind
    assert isinstance(pool, Vector)
    x = normal(3, 1, 3, 4, 4)
    assert torch.allclose(pool.function.value(x * scale), pool.function.value(x) * gap.behind(scale))


def test_flattening_keeps_channels_together():
    network = chain(
        (1, 3, 3),
        Affine(conv(normal(0, 2, 1, 2, 2), (1, 3, 3))),
        act("relu"),
        Affine(Reshape((2, 2, 2), (8,))),
        linear(normal(1, 3, 8)),
    )
    (segment,) = segments(fold(network))
    assert segment.gaps[0].partition.tolist() == [[[0, 0], [0, 0]], [[1, 1], [1, 1]]]
