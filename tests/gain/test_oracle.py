import numpy
import pytest
import torch

from netgain.core.norms import Norm
from netgain.network.graph import Network, Sum, Vector
from netgain.vectors.extrema import Extremum, GroupSort, Sort
from netgain.vectors.pool import MaxPool
from tests.gain.networks import act, chain, jacobian, linear, matrix_norm, mlp, node, normal, residual
from tests.gain.oracle import exact, jacobians


def test_a_linear_network_has_one_region():
    weight = normal(0, 3, 2)
    network = chain((2,), linear(weight, normal(1, 3)))
    assert len(list(jacobians(network))) == 1
    for norm, value in exact(network).items():
        assert value == pytest.approx(matrix_norm(weight, norm), rel=1e-14)


def test_regions_of_lines_in_general_position():
    # n lines in the plane cut it into 1 + n + n (n - 1) / 2 regions.
    network = chain((2,), linear(normal(0, 5, 2), normal(1, 5)), act("relu"))
    assert len(list(jacobians(network))) == 1 + 5 + 10


def test_patterns_that_no_input_has_do_not_count():
    # relu(x) - relu(x - 1): both units on has slope 0, the second alone cannot be on.
    network = chain((1,), linear(torch.ones(2, 1), torch.tensor([0.0, -1.0]).double()), act("relu"))
    network = chain((1,), *(n.kind for n in network.nodes), linear(torch.tensor([[1.0, -1.0]])))
    assert exact(network)[Norm.L2] == 1.0
    # relu(x) - relu(-x) - x is zero.
    nodes = (
        node("n", linear(torch.tensor([[-1.0]])), ("x",), (1,)),
        node("a", act("relu"), ("x",), (1,)),
        node("b", act("relu"), ("n",), (1,)),
        node("s", Sum((1.0, -1.0, -1.0)), ("a", "b", "x"), (1,)),
    )
    assert exact(Network("x", (1,), nodes, "s"))[Norm.L1] == 0.0


@pytest.mark.parametrize(
    ("network", "value"),
    [
        (chain((1,), act("abs"), linear(torch.tensor([[3.0]]))), 3.0),
        (chain((1,), act("leaky_relu", negative_slope=2.0), linear(torch.tensor([[3.0]]))), 6.0),
        (chain((1,), act("hardtanh"), linear(torch.tensor([[3.0]]))), 3.0),
        (chain((1,), act("relu6"), linear(torch.tensor([[3.0]]))), 3.0),
        (chain((2,), Vector(GroupSort((2,), 0, 2)), linear(torch.tensor([[1.0, -3.0]]))), 10**0.5),
        (chain((3,), Vector(Sort((3,), 0, True)), linear(torch.tensor([[1.0, 0.0, 0.0]]))), 1.0),
        (chain((2,), Vector(Extremum((2,), 0, True))), 1.0),
        (chain((1, 3), Vector(MaxPool((1, 3), (2,), (1,), (0,), (1,)))), 2**0.5),
    ],
)
def test_one_layer(network: Network, value: float):
    assert exact(network)[Norm.L2] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("build", [lambda s: mlp(s, 2, 5, 4, 2), lambda s: residual(s, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_every_sampled_jacobian_is_one_of_the_regions(build, seed: int):
    network = build(seed)
    known = numpy.stack(list(jacobians(network)))
    for i in range(200):
        found = jacobian(network, 3 * normal(i, *network.input_shape)).numpy()
        assert float(numpy.abs(known - found).max((1, 2)).min()) < 1e-9
