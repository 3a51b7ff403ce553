import pytest
import torch

from netgain.core.norms import Norm
from netgain.gain.absolute import AbsoluteProduct
from netgain.gain.layers import layer_gains
from netgain.gain.product import Product
from netgain.network.graph import Concat, Network, Sum, Vector
from netgain.vectors.pool import MaxPool
from netgain.vectors.softmax import Softmax
from tests.gain.networks import (
    REFERENCE,
    act,
    averaging,
    branches,
    case,
    chain,
    convolutional,
    jacobian,
    linear,
    matrix_norm,
    mlp,
    node,
    normal,
    normalized,
    residual,
    sampled,
)


def bound(network: Network, norm: Norm) -> float:
    return AbsoluteProduct()(network, norm, layer_gains(network, norm)).bound.value


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("seed", range(3))
def test_networks_of_non_negative_weights_are_exact(norm: Norm, seed: int):
    weights = [normal(seed + i, *shape).abs() for i, shape in enumerate([(6, 4), (5, 6), (3, 5)])]
    network = chain((4,), linear(weights[0]), act("relu"), linear(weights[1]), act("relu"), linear(weights[2]))
    exact = matrix_norm(weights[2] @ weights[1] @ weights[0], norm)
    assert exact * (1 - 1e-15) <= bound(network, norm) <= exact * (1 + 1e-9)


@pytest.mark.parametrize("norm", list(Norm))
def test_one_part_in_a_million_below_would_be_false(norm: Norm):
    weight = normal(0, 3, 4).abs()
    network = chain((4,), linear(weight), act("relu"))
    x = torch.ones(4, dtype=torch.float64)
    assert bound(network, norm) * (1 - 1e-6) < matrix_norm(jacobian(network, x), norm) <= bound(network, norm)


def test_power_method_started_orthogonally_to_nothing_it_needs():
    # The vector of ones is mapped to zero, the top singular vector is orthogonal to it.
    weight = torch.tensor([[5.0, -5.0], [1e-3, 1e-3]])
    assert bound(chain((2,), linear(weight)), Norm.L2) >= 50**0.5


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize(
    "build", [residual, branches, convolutional, averaging, normalized, lambda s: mlp(s, 3, 8, 8, 2)]
)
def test_above_sampled_jacobians(norm: Norm, build):
    for seed in (0, 1):
        network = build(seed)
        assert sampled(network, norm) <= bound(network, norm) * (1 + 1e-9)


def test_max_pooling_spike_is_attained():
    # One entry is in all four windows of size 2x2 around it.
    network = chain((1, 3, 3), Vector(MaxPool((1, 3, 3), (2, 2), (1, 1), (0, 0), (1, 1))))
    assert bound(network, Norm.L1) == pytest.approx(4)
    assert bound(network, Norm.L1) >= 4
    assert bound(network, Norm.L2) == pytest.approx(2)
    assert bound(network, Norm.L2) >= 2
    assert bound(network, Norm.LINF) == pytest.approx(1)


def test_softmax_at_equal_scores_is_attained_in_linf():
    network = chain((2,), linear(torch.tensor([[3.0, 0.0], [0.0, 3.0]])), Vector(Softmax((2,), 0)))
    assert 1.5 <= bound(network, Norm.LINF) <= 1.5 * (1 + 1e-9)
    assert matrix_norm(jacobian(network, torch.zeros(2, dtype=torch.float64)), Norm.LINF) == pytest.approx(1.5)


def test_sums_and_concatenations_meet_again_exactly():
    nodes = (
        node("a", linear(torch.tensor([[1.0, 2.0]])), ("x",), (1,)),
        node("b", linear(torch.tensor([[3.0, 1.0]])), ("x",), (1,)),
        node("c", Concat(0), ("a", "b"), (2,)),
        node("d", Sum((1.0, 0.5)), ("x", "c"), (2,)),
    )
    network = Network("x", (2,), nodes, "d")
    whole = torch.tensor([[1.5, 1.0], [1.5, 1.5]], dtype=torch.float64)
    for norm in Norm:
        exact = matrix_norm(whole, norm)
        assert exact * (1 - 1e-15) <= bound(network, norm) <= exact * (1 + 1e-9)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
@pytest.mark.parametrize("path", [path for path, entry in REFERENCE.items() if len(entry["input_shape"]) == 1])
def test_never_above_the_product_in_l1_and_linf(norm: Norm, path: str):
    network = case(path)
    layers = layer_gains(network, norm)
    assert bound(network, norm) <= Product()(network, norm, layers).bound.value * (1 + 1e-9)


def test_exact_constants_of_two_public_networks():
    for path in ("eclipse_4-80-1.npz", "lipsdp_random_2-10-30-20-2.npz"):
        value, exact = bound(case(path), Norm.L2), REFERENCE[path]["lower"]
        assert exact * (1 - 1e-12) <= value <= exact * (1 + 1e-9)


@pytest.mark.parametrize("norm", list(Norm))
def test_tail_bounds_every_pair_of_outputs(norm: Norm):
    network = mlp(3, 3, 6, 4)
    layers = layer_gains(network, norm)
    tail = AbsoluteProduct()(network, norm, layers).tail
    assert tail is not None
    last = normal(13, 4, 6) / 6**0.5
    for i in range(40):
        x = normal(i, 3) * 10.0 ** (i % 3 - 1)
        full = jacobian(network, x)
        for row in range(1, 4):
            slope = float(norm.dual.of((full[0] - full[row])[None]))
            weights = (last[0] - last[row]) / tail.scale
            assert slope <= float(norm.dual.of(weights[None])) * tail.gain * (1 + 1e-9)


def test_dead_and_deep_networks():
    dead = chain((2,), linear(torch.zeros(2, 2)), act("relu"), linear(normal(0, 2, 2)))
    assert bound(dead, Norm.LINF) <= 1e-280
    assert bound(dead, Norm.L2) <= 1e-140
    deep = chain((1,), *([linear(torch.tensor([[0.1]]))] * 350))
    for norm in Norm:
        assert bound(deep, norm) > 0
