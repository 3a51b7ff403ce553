import pytest
import torch

from netgain.core.norms import Norm
from netgain.gain.layers import layer_gains
from netgain.gain.product import Product
from netgain.gain.rescaled import Rescaled
from netgain.network.fold import fold
from netgain.network.graph import Network
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
    normal,
    normalized,
    residual,
    sampled,
)


def bounds(network: Network, norm: Norm = Norm.L2) -> tuple[float, float]:
    layers = layer_gains(network, norm)
    return Rescaled()(network, norm, layers).bound.value, Product()(network, norm, layers).bound.value


def test_badly_scaled_layers_are_balanced():
    # W2 W1 with W1 = D W, W2 = W D^-1: the product bound pays for D, the rescaled one does not.
    scale = torch.diag(torch.tensor([100.0, 1.0, 0.01], dtype=torch.float64))
    turn = torch.linalg.qr(normal(0, 3, 3)).Q
    network = chain((3,), linear(scale @ turn), act("relu"), linear(turn @ scale.inverse()))
    found, product = bounds(network)
    assert product > 9999
    assert found * (1 + 1e-12) >= 1.0
    assert found < 1.5


@pytest.mark.parametrize("path", [path for path, entry in REFERENCE.items() if len(entry["input_shape"]) == 1])
def test_public_networks_lie_between_reference_and_product(path: str):
    found, product = bounds(case(path))
    assert REFERENCE[path]["lower"] * (1 - 1e-9) <= found <= product
    assert found < 0.9 * product


def test_exact_for_one_output():
    # Scales as good as the exact constant exist for non-negative weights.
    weights = normal(0, 6, 4).abs(), normal(1, 1, 6).abs()
    found, _ = bounds(chain((4,), linear(weights[0]), act("relu"), linear(weights[1])))
    exact = matrix_norm(weights[1] @ weights[0], Norm.L2)
    assert exact * (1 - 1e-15) <= found <= exact * 1.001


@pytest.mark.parametrize(
    "build", [residual, branches, convolutional, averaging, normalized, lambda s: mlp(s, 3, 8, 8, 2)]
)
def test_above_sampled_jacobians_and_never_above_the_product(build):
    for seed in (0, 1):
        network = fold(build(seed))
        found, product = bounds(network)
        assert sampled(network, Norm.L2) <= found * (1 + 1e-9)
        assert found <= product


def test_activations_that_are_not_homogeneous_commute_with_scales_too():
    network = mlp(0, 3, 12, 2, name="gelu")
    found, product = bounds(network)
    assert sampled(network, Norm.L2) <= found < product


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
def test_product_in_the_other_norms(norm: Norm):
    found, product = bounds(mlp(0, 3, 5, 2), norm)
    assert found == product


def test_tail_in_scaled_coordinates_bounds_every_pair():
    network = mlp(3, 3, 10, 10, 4)
    tail = Rescaled()(network, Norm.L2, layer_gains(network, Norm.L2)).tail
    assert tail is not None
    assert tail.scale.unique().numel() > 1
    last = normal(23, 4, 10) / 10**0.5
    for i in range(60):
        full = jacobian(network, normal(i, 3) * 10.0 ** (i % 3 - 1))
        for row in range(1, 4):
            weights = (last[0] - last[row]) / tail.scale
            assert float((full[0] - full[row]).norm()) <= float(weights.norm()) * tail.gain * (1 + 1e-9)


def test_no_work_allowed_means_the_product(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("netgain.gain.rescaled._WORK", 1.0)
    found, product = bounds(mlp(0, 3, 12, 2))
    assert found == product
    assert bounds(chain((2,), linear(torch.zeros(2, 2)), act("relu"), linear(normal(0, 2, 2))))[0] <= 1e-200


def test_a_search_that_overflows_leaves_the_factors():
    network = mlp(0, 3, 3, 3)
    layers = layer_gains(network, Norm.L2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.linalg, "eigh", _no_convergence)
        assert Rescaled()(network, Norm.L2, layers).bound.value == Product()(network, Norm.L2, layers).bound.value


def _no_convergence(matrix: torch.Tensor) -> None:
    raise torch.linalg.LinAlgError(f"eigh of {tuple(matrix.shape)}: no convergence")
