import math

import pytest
import torch
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.layers import layer_gains
from netgain.gain.metric.closed_form import ClosedForm
from netgain.gain.product import Product
from netgain.gain.result import GainBound
from netgain.network.fold import fold
from netgain.network.graph import Network, Sum
from netgain.witness.prove import prove
from tests.gain.metric.dags import dag
from tests.gain.networks import REFERENCE, act, case, chain, linear, mlp, node, normal, sampled

_DENSE = [path for path, entry in REFERENCE.items() if len(entry["input_shape"]) == 1]


def bound(network: Network, norm: Norm = Norm.L2) -> GainBound:
    network = fold(network)
    return ClosedForm()(network, norm, layer_gains(network, norm))


def product(network: Network) -> float:
    network = fold(network)
    return Product()(network, Norm.L2, layer_gains(network, Norm.L2)).bound.value


def forwards(weights: list[Tensor]) -> float:
    """ECLipsE-Fast for slopes [0, 1]: R -> S (S - R / 4)^-1 S with S = lambda_max(R) / 2 from the input on."""
    shape = torch.eye(weights[0].shape[1], dtype=torch.float64)
    for weight in weights[:-1]:
        shape = weight @ shape @ weight.T
        size = shape.shape[0]
        s = float(torch.linalg.eigvalsh(shape)[-1]) / 2
        shape = s * s * torch.linalg.inv(s * torch.eye(size, dtype=torch.float64) - shape / 4)
    return math.sqrt(float(torch.linalg.eigvalsh(weights[-1] @ shape @ weights[-1].T)[-1]))


@pytest.mark.parametrize("path", _DENSE)
def test_public_networks(path: str):
    found = bound(case(path)).bound.value
    # The closed form in the reference is ECLipsE-Fast's; 1e-9 allows for the proof.
    assert REFERENCE[path]["lower"] <= found <= REFERENCE[path]["closed_form"] * (1 + 1e-9)


@pytest.mark.parametrize("depth", [2, 5, 20])
def test_never_above_the_forward_closed_form(depth: int):
    weights = [normal(k, 12 if k < depth - 1 else 3, 12) / 6**0.5 for k in range(depth)]
    kinds = [kind for w in weights for kind in (linear(w), act("relu"))][:-1]
    assert bound(chain((12,), *kinds)).bound.value <= forwards(weights) * (1 + 1e-9)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "tanh", "gelu", "silu", "abs", "sin", "softplus"])
@pytest.mark.parametrize("seed", range(3))
def test_between_jacobians_and_the_product(name: str, seed: int):
    network = mlp(seed, 5, 8, 7, 6, 3, name=name)
    found = bound(network).bound.value
    # 2e-6: multipliers of slopes that are symmetric about 0 stay 1e-6 above the largest eigenvalue.
    assert sampled(network, Norm.L2) <= found <= product(network) * (1 + 4e-6)


@pytest.mark.parametrize("seed", range(15))
def test_residual_block_is_never_above_one_plus_the_product(seed: int):
    size = 5
    second = normal(seed + 50, size, 7) * 10.0 ** (seed % 5 - 2)
    nodes = (
        node("a", linear(normal(seed, 7, size)), ("x",), (7,)),
        node("b", act("relu"), ("a",), (7,)),
        node("c", linear(second), ("b",), (size,)),
        node("d", Sum((1.0, 1.0)), ("x", "c"), (size,)),
    )
    network = Network("x", (size,), nodes, "d")
    assert bound(network).bound.value <= product(network) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_graphs_of_all_kinds(seed: int):
    network = dag(seed)
    found = bound(network)
    assert sampled(network, Norm.L2, 30) <= found.bound.value < math.inf
    assert found.claim is not None
    assert prove(fold(network), found.claim.pieces) <= found.bound.value


def test_only_l2():
    with pytest.raises(NoSoundRuleError, match="l2"):
        bound(mlp(0, 3, 4, 2), Norm.LINF)
