"""The convolutional method: proved bounds above what is met, joint programs, and where it does not apply."""

import pytest
import torch

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.grid.method import Convolutional
from netgain.gain.grid.plan import Choice, plan
from netgain.gain.grid.search import search
from netgain.gain.grid.warm import whole
from netgain.gain.layers import layer_gains
from netgain.gain.result import GainBound
from netgain.linear.pooling import mean
from netgain.linear.reshape import Reshape
from netgain.network.fold import fold
from netgain.network.graph import Affine, Network, Node, Sum, Vector
from netgain.vectors.pool import MaxPool
from netgain.vectors.softmax import Softmax
from netgain.witness.certificate import Proof
from netgain.witness.prove import prove
from tests.gain.grid.test_stage import he_chain, strided
from tests.gain.networks import act, averaging, chain, conv, convolutional, linear, mlp, node, normal, sampled


def bounded(network: Network, **settings: float) -> tuple[GainBound, float]:
    """The bound, and the product bound."""
    network = fold(network)
    layers = layer_gains(network, Norm.L2)
    product = 1.0
    for layer in layers.values():
        product *= layer.factor
    return Convolutional(**{"rtol": 1e-2, **settings})(network, Norm.L2, layers), product


def residual(seed: int) -> Network:
    """A stem, two residual blocks (the second of stride 2), the mean over the grid and a matrix."""
    nodes: list[Node] = []

    def add(name: str, kind: object, *inputs: str) -> None:
        shape = nodes[-1].shape if nodes else (1, 8, 8)
        if isinstance(kind, Affine):
            shape = kind.map.out_shape
        nodes.append(node(name, kind, inputs, shape))

    add("stem", Affine(conv(normal(seed, 3, 1, 3, 3) * 0.4, (1, 8, 8), padding=1)), "x")
    add("r", act("relu"), "stem")
    add("a1", Affine(conv(normal(seed + 1, 3, 3, 3, 3) * 0.3, (3, 8, 8), padding=1)), "r")
    add("a2", act("relu"), "a1")
    add("a3", Affine(conv(normal(seed + 2, 3, 3, 3, 3) * 0.3, (3, 8, 8), padding=1)), "a2")
    add("a4", Sum((1.0, 1.0)), "a3", "r")
    add("a5", act("relu"), "a4")
    add("b1", Affine(conv(normal(seed + 3, 4, 3, 3, 3) * 0.3, (3, 8, 8), 2, 1)), "a5")
    add("b2", act("relu"), "b1")
    add("b3", Affine(conv(normal(seed + 4, 4, 4, 3, 3) * 0.3, (4, 4, 4), padding=1)), "b2")
    add("b4", Affine(conv(normal(seed + 5, 4, 3, 1, 1) * 0.5, (3, 8, 8), 2)), "a5")
    add("b5", Sum((1.0, 1.0)), "b3", "b4")
    add("b6", act("relu"), "b5")
    add("m", Affine(mean((4, 4, 4), (1, 2))), "b6")
    add("f", linear(normal(seed + 6, 3, 4)), "m")
    return Network("x", (1, 8, 8), tuple(nodes), "f")


@pytest.mark.parametrize(
    "network",
    [he_chain(0, 8, 1, 3, 2), strided(1), convolutional(1), averaging(1), residual(2)],
    ids=["chain", "strided", "max-pooling", "mean", "residual"],
)
def test_bounds_lie_between_what_is_met_and_the_product(network: Network):
    found, product = bounded(network)
    assert found.claim is not None
    assert (
        sampled(network, Norm.L2, 20) <= found.bound.value <= product * 1.2
    )  # on few pixels a grid's norms are larger
    assert found.claim.bound == found.bound.value
    assert prove(fold(network), found.claim.pieces) <= found.bound.value
    assert found.gap is not None
    assert found.gap.value < 0.03


def test_a_joint_program_is_never_worse_than_stage_times_stage():
    network = fold(he_chain(3, 7, 1, 4, 4, 3))
    factors = {name: layer.factor for name, layer in layer_gains(network, Norm.L2).items()}
    whole = search(plan(network, factors, Choice(rows=96)), work=1e9, rtol=1e-4)
    cut = search(plan(network, factors, Choice(rows=1)), work=1e9, rtol=1e-4)
    assert len(whole.joint.parts) == 1 < len(cut.joint.parts)
    apart = 1.0
    for part in cut.joint.parts:
        inner = tuple(one for one in part.geometry.region.nodes)
        alone = Network(part.start, network.shapes()[part.start], inner, part.stop)
        apart *= search(plan(alone, factors, Choice(rows=96)), work=1e9, rtol=1e-4).square
    assert whole.lower <= cut.square * (1 + 1e-6)
    assert cut.lower <= apart * (1 + 1e-6)


def test_an_exact_constant_is_met():
    """One channel, one convolution and a ReLU: the constant is the norm of the convolution."""
    weight = torch.tensor([[[1.0, 1.0, 1.0]]], dtype=torch.float64)
    found, _ = bounded(chain((1, 5), Affine(conv(weight, (1, 5), padding=1)), act("relu")))
    exact = 1 + 2 * float(torch.cos(torch.tensor(torch.pi / 6, dtype=torch.float64)))
    assert exact <= found.bound.value <= exact * (1 + 1e-2)


def test_what_has_no_grid_uses_its_gain():
    """A view in front, and a dense end that is no plain stack of elementwise nodes."""
    network = chain(
        (16,),
        Affine(Reshape((16,), (1, 4, 4))),
        act("relu"),
        Affine(conv(normal(0, 2, 1, 3, 3), (1, 4, 4), padding=1)),
        act("tanh"),
        Affine(Reshape((2, 4, 4), (32,))),
        linear(normal(1, 6, 32) / 6),
        Vector(Softmax((6,), 0)),
        linear(normal(2, 2, 6)),
    )
    found, product = bounded(network)
    assert found.claim is not None
    assert found.claim.pieces[0].proof is Proof.PRODUCT
    assert sampled(network, Norm.L2, 20) <= found.bound.value <= product * 1.2


@pytest.mark.slow
def test_dead_and_nearly_dead_channels_do_no_harm():
    weight = normal(4, 4, 1, 3, 3)
    weight[1], weight[2] = 0.0, 1e-5 * weight[2]
    behind = normal(5, 2, 4, 3, 3)
    behind[:, 3] = 0.0
    network = chain(
        (1, 6, 6),
        Affine(conv(weight, (1, 6, 6), padding=1)),
        act("relu"),
        Vector(MaxPool((4, 6, 6), (2, 2), (2, 2), (0, 0), (1, 1))),
        Affine(conv(behind, (4, 3, 3), padding=1)),
        act("relu"),
        Affine(mean((2, 3, 3), (1, 2))),
    )
    found, product = bounded(network)
    assert sampled(network, Norm.L2, 20) <= found.bound.value < product * 1.2


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_does_not_matter(scale: float):
    found, _ = bounded(he_chain(6, 6, 1, 2, 2))
    network = he_chain(6, 6, 1, 2, 2)
    nodes = tuple(
        node(
            one.name, Affine(conv(one.kind.map.weight * scale, one.kind.map.in_shape, padding=1)), one.inputs, one.shape
        )
        if isinstance(one.kind, Affine)
        else one
        for one in network.nodes
    )
    moved, _ = bounded(Network("x", network.input_shape, nodes, network.output))
    assert moved.bound.value == pytest.approx(found.bound.value * scale**2, rel=3e-2)


def test_where_it_does_not_apply():
    network = fold(mlp(0, 4, 3, 2))
    layers = layer_gains(network, Norm.L2)
    with pytest.raises(NoSoundRuleError, match="grid"):
        Convolutional()(network, Norm.L2, layers)
    with pytest.raises(NoSoundRuleError, match="l2"):
        Convolutional()(fold(he_chain(0, 4, 1, 2)), Norm.LINF, layers)


@pytest.mark.slow
@pytest.mark.parametrize("network", [he_chain(0, 6, 1, 3, 2), strided(1), convolutional(1), residual(2)])
def test_the_same_multipliers_prove_no_more_on_the_unrolled_network(network: Network):
    network = fold(network)
    found, _ = bounded(network)
    assert found.claim is not None
    dense = prove(network, [whole(network, found.claim.pieces)])
    pools = any(isinstance(one.kind, Vector) for one in network.nodes)
    assert sampled(network, Norm.L2, 10) <= dense <= found.bound.value * (10.0 if pools else 1 + 1e-8)
