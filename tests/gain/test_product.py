from fractions import Fraction

import pytest
import torch

from netgain.core.norms import Norm
from netgain.gain.layers import layer_gains
from netgain.gain.product import Product
from netgain.network.graph import Network, Vector
from netgain.vectors.softmax import Softmax
from tests.gain.networks import REFERENCE, act, case, chain, linear, mlp, normal, residual


@pytest.mark.parametrize("path", [path for path, entry in REFERENCE.items() if len(entry["input_shape"]) == 1])
def test_public_networks(path: str):
    network = case(path)
    bound = Product()(network, Norm.L2, layer_gains(network, Norm.L2)).bound.value
    exact = REFERENCE[path]["product"]
    assert exact * (1 - 1e-12) <= bound <= exact * (1 + 2e-3)


@pytest.mark.parametrize("norm", list(Norm))
def test_diagonal_layers_are_exact(norm: Norm):
    network = chain((2,), linear(torch.diag(torch.tensor([3.0, 1.0]))), linear(torch.diag(torch.tensor([0.7, 0.1]))))
    bound = Product()(network, norm, layer_gains(network, norm)).bound.value
    exact = 3 * float(torch.tensor(0.7))
    assert Fraction(exact) <= Fraction(bound) <= Fraction(exact * (1 + 3e-6))


@pytest.mark.parametrize("norm", list(Norm))
def test_tail_is_the_gain_in_front_of_the_last_affine_node(norm: Norm):
    network = mlp(0, 3, 5, 2)
    layers = layer_gains(network, norm)
    tail = Product()(network, norm, layers).tail
    assert tail is not None
    assert tail.node == "n2"
    assert tail.scale.tolist() == [1.0] * 5
    assert tail.gain == pytest.approx(layers["n0"].factor * layers["n1"].factor)


def test_no_tail_behind_a_softmax_or_for_the_identity():
    network = chain((3,), linear(normal(0, 4, 3)), Vector(Softmax((4,), 0)))
    assert Product()(network, Norm.L2, layer_gains(network, Norm.L2)).tail is None
    identity = Network("x", (3,), (), "x")
    bound = Product()(identity, Norm.L2, {})
    assert bound.bound.value == 1.0
    assert bound.tail is None


def test_residual_is_one_plus_the_branch():
    network = residual(1)
    layers = layer_gains(network, Norm.L2)
    bound = Product()(network, Norm.L2, layers).bound.value
    branch = layers["a"].factor * layers["c"].factor
    assert bound == pytest.approx((1 + 0.5 * branch) * layers["e"].factor)


def test_slope_above_one_counts():
    network = chain((1,), linear(torch.ones(1, 1)), act("leaky_relu", negative_slope=2.0))
    assert Product()(network, Norm.L2, layer_gains(network, Norm.L2)).bound.value >= 2.0
