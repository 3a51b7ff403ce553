import itertools
from collections.abc import Callable

import numpy
import pytest
import torch
from torch import nn

from netgain.core.errors import UnboundedError, UsageError
from netgain.core.norms import Norm
from netgain.gain.lipschitz import Effort, analyse, checked, lipschitz
from netgain.gain.lower import Ascent, difference_quotients
from netgain.network.fold import fold
from netgain.network.graph import Network, Vector
from netgain.network.read.read import read
from netgain.vectors.pool import MaxPool
from netgain.vectors.softmax import Softmax
from tests.gain.networks import (
    CASES,
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

ACTIVATIONS = [
    "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "gelu_tanh", "quick_gelu", "silu", "mish", "softplus",
    "sigmoid", "log_sigmoid", "tanh", "hardtanh", "hardsigmoid", "hardswish", "softsign", "tanhshrink", "softshrink",
    "abs", "erf", "sin", "cos",
]  # fmt: skip
BUILDS: list[Callable[[int], Network]] = [residual, branches, convolutional, averaging, normalized]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """A small search, so that many networks can be tried; soundness does not depend on it."""
    if "slow" not in request.keywords:
        monkeypatch.setattr("netgain.gain.lower._WORK", 2e5)
        monkeypatch.setattr("netgain.gain.rescaled._WORK", 3e4)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_sandwich_for_each_activation(name: str):
    norm = list(Norm)[ACTIVATIONS.index(name) % 3]
    network = mlp(1, 2, 6, 5, 2, name=name)
    found = lipschitz(network, norm)
    assert found.lower.value <= found.upper.value
    assert sampled(network, norm, 9) <= found.upper.value * (1 + 1e-9)
    assert found.lower.value > 0


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("build", BUILDS)
def test_sandwich_for_each_architecture(build: Callable[[int], Network], norm: Norm):
    for seed in (3,):
        network = build(seed)
        found = lipschitz(network, norm, seed=seed)
        assert 0 < found.lower.value <= found.upper.value
        assert sampled(network, norm, 9) <= found.upper.value * (1 + 1e-9)


@pytest.mark.parametrize("norm", list(Norm))
def test_lower_is_below_the_exact_constant_of_small_relu_networks(norm: Norm):
    for seed in range(2):
        network = mlp(seed, 2, 3, 2, bias=False)
        first, last = (network.nodes[i].kind.map.matrix() for i in (0, 2))  # pyright: ignore
        # Without biases, activation patterns are those of the directions of the plane.
        angles = torch.linspace(0, 2 * torch.pi, 1001, dtype=torch.float64)
        patterns = {
            tuple((first @ torch.tensor([torch.cos(a), torch.sin(a)], dtype=torch.float64) > 0).tolist())
            for a in angles
        }
        exact = max(matrix_norm(last @ torch.diag(torch.tensor(p).double()) @ first, norm) for p in patterns)
        found = lipschitz(network, norm)
        assert found.lower.value <= exact * (1 + 1e-12)
        assert exact <= found.upper.value


@pytest.mark.parametrize("norm", list(Norm))
def test_linear_chains_are_exact_and_a_millionth_below_would_be_false(norm: Norm):
    a, b = normal(0, 4, 3), normal(1, 2, 4)
    found = lipschitz(chain((3,), linear(a, normal(2, 4)), linear(b)), norm)
    exact = matrix_norm(b @ a, norm)
    assert found.lower.value <= exact * (1 + 1e-14)
    assert exact * (1 - 1e-14) <= found.upper.value <= exact * (1 + 3e-6)
    assert found.lower.value >= exact * (1 - 1e-6)


@pytest.mark.parametrize("norm", list(Norm))
def test_attained_pooling_and_softmax(norm: Norm):
    spread = {Norm.L1: 4.0, Norm.L2: 2.0, Norm.LINF: 1.0}[norm]
    pool = chain((1, 3, 3), Vector(MaxPool((1, 3, 3), (2, 2), (1, 1), (0, 0), (1, 1))))
    spike = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    spike[..., 1, 1] = 1.0
    attained = float(difference_quotients(pool, norm, spike, torch.zeros_like(spike)))
    assert attained == pytest.approx(spread)
    assert attained <= lipschitz(pool, norm).upper.value <= spread * (1 + 1e-9)
    soft = chain((2,), Vector(Softmax((2,), 0)))
    tie = torch.zeros(1, 2, dtype=torch.float64)
    step = torch.tensor([[1e-4, -1e-4]], dtype=torch.float64)
    assert float(difference_quotients(soft, norm, tie + step, tie - step)) == pytest.approx(0.5)
    assert 0.5 <= lipschitz(soft, norm).upper.value <= 0.5 * (1 + 1e-9)


@pytest.mark.parametrize("norm", list(Norm))
def test_power_iteration_trap(norm: Norm):
    # All ones, the usual start, is an eigenvector of a small eigenvalue; the greatest is orthogonal to it.
    weight = 0.1 * torch.ones(4, 4, dtype=torch.float64) + 5 * (torch.eye(4, dtype=torch.float64) - 0.25)
    assert lipschitz(chain((4,), linear(weight)), norm).upper.value >= matrix_norm(weight, norm)


def test_weights_of_extreme_size():
    for scale in (1e-150, 1e150):
        network = chain((2,), linear(normal(0, 3, 2) * scale), act("relu"), linear(normal(1, 2, 3) * scale))
        unit = chain((2,), linear(normal(0, 3, 2)), act("relu"), linear(normal(1, 2, 3)))
        found, plain = lipschitz(network), lipschitz(unit)
        assert found.lower.value <= plain.upper.value * scale * scale * (1 + 1e-6) + 1e-280
        assert found.upper.value >= plain.lower.value * scale * scale * (1 - 1e-6)


def test_dead_network_and_identity():
    dead = lipschitz(chain((2,), linear(torch.zeros(2, 2)), act("relu"), linear(normal(0, 2, 2), normal(1, 2))))
    assert dead.lower.value == 0.0
    assert dead.upper.value <= 1e-140
    identity = lipschitz(Network("x", (2,), (), "x"))
    assert identity.upper.value == 1.0
    assert identity.lower.value >= 1 - 1e-12


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


class ScaledSigmoid(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 5 * self.second(torch.sigmoid(self.first(x)))


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.relu(self.layer(torch.relu(self.layer(x)))))


class OddOrder(nn.Module):
    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Linear(6, 2), nn.Linear(3, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)))


def batch_normalized() -> nn.Module:
    norm = nn.BatchNorm1d(6)
    with torch.no_grad():
        norm.running_var.copy_(torch.linspace(0.01, 0.1, 6))
        norm.weight.copy_(torch.linspace(-2, 3, 6))
    return nn.Sequential(nn.Linear(3, 6), norm, nn.ReLU(), nn.Linear(6, 2))


def tiny() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e-12)
    return model


PROBES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 4), nn.ReLU(), nn.Linear(4, 2)
        ),
        (1, 5, 5),
    ),
    "batch norm": (batch_normalized, (3,)),
    "gelu": (lambda: nn.Sequential(nn.Linear(1, 1), nn.GELU(), nn.Linear(1, 1)), (1,)),
    "silu": (lambda: nn.Sequential(nn.Linear(1, 1), nn.SiLU(), nn.Linear(1, 1)), (1,)),
    "steep leaky relu": (lambda: nn.Sequential(nn.Linear(1, 1), nn.LeakyReLU(2.0), nn.Linear(1, 1)), (1,)),
    "residual": (Residual, (3,)),
    "scaled sigmoid": (ScaledSigmoid, (3,)),
    "layer norm first": (lambda: nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (3,)),
    "no bias": (
        lambda: nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)),
        (3,),
    ),
    "single layer": (lambda: nn.Linear(3, 2), (3,)),
    "one layer used three times": (Reused, (3,)),
    "weights of 1e-12": (tiny, (3,)),
    "plain": (lambda: nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)), (3,)),
    "odd registration order": (OddOrder, (3,)),
}


@pytest.mark.parametrize("probe", list(PROBES))
def test_models_on_which_a_public_estimator_is_unsound_or_crashes(probe: str):
    build, shape = PROBES[probe]
    torch.manual_seed(0)
    model = build().eval().double()
    network = read(model, torch.zeros(2, *shape, dtype=torch.float64))
    scales = 1e-3 if probe == "layer norm first" else 1.0
    for norm in Norm:
        found = lipschitz(network, norm)
        steepest = max(
            matrix_norm(
                torch.autograd.functional.jacobian(  # pyright: ignore
                    lambda z: model(z[None])[0], normal(i, *shape) * scales * 10.0 ** (i % 3 - 1)
                ).reshape(-1, numpy.prod(shape)),
                norm,
            )
            for i in range(9)
        )
        assert 0 <= found.lower.value <= found.upper.value
        assert steepest <= found.upper.value * (1 + 1e-9)
        assert found.lower.value > 0.2 * steepest


@pytest.mark.slow
@pytest.mark.parametrize("path", list(REFERENCE))
def test_public_networks(path: str):
    entry = REFERENCE[path]
    found = analyse(case(path), effort=Effort(seconds=20.0 if "conv" in path else None))
    upper, lower = found.enclosure.upper.value, found.enclosure.lower.value
    assert entry["lower"] * (1 - 1e-9) <= upper
    assert lower <= entry["best_upper"] * (1 + 1e-9)
    assert lower >= 0.9 * entry["lower"]
    product = next(b.bound.value for b in found.bounds if b.bound.method == "product")
    assert entry["product"] * (1 - 1e-12) <= product <= entry["product"] * (1 + 5e-3)
    assert upper <= product
    exact = {"eclipse_4-80-1.npz": 0.737256981, "lipsdp_random_2-10-30-20-2.npz": 36.482229}.get(path)
    assert exact is None or (upper >= exact and upper <= exact * (1 + 1e-6))
    point = torch.as_tensor(numpy.load(CASES / "lower_bound_points.npz")[path.rsplit(".", 1)[0]]).double()
    at_point = matrix_norm(jacobian(case(path), point.reshape(entry["input_shape"])), Norm.L2)
    assert at_point == pytest.approx(entry["lower"], rel=1e-6)


def test_analysis_holds_all_methods_tightest_first_and_the_folded_network():
    network = convolutional(0)
    found = analyse(network, "l2")
    values = [bound.bound.value for bound in found.bounds]
    assert values == sorted(values)
    assert {"product", "newton"} <= {bound.bound.method for bound in found.bounds}
    assert {run.name for run in found.runs if run.bound is not None} == {b.bound.method for b in found.bounds}
    assert found.enclosure.upper.value == values[0]
    assert [node.name for node in found.network.nodes] == [node.name for node in fold(network).nodes]
    assert set(found.layers) == {node.name for node in found.network.nodes}
    assert all(bound.tail is None or bound.tail.node == found.network.output for bound in found.bounds)


def test_progress_shows_the_bound_falling():
    told: list[str] = []
    lipschitz(mlp(0, 2, 3, 2), progress=lambda what, done, total: told.append(what))
    tasks = [key for key, _ in itertools.groupby(what.partition(":")[0] for what in told)]
    assert tasks[:3] == ["layer norms", "lower bound", "upper bounds"]
    shown = [float(what.partition(":")[2]) for what in told if what.startswith("upper bounds:")]
    assert shown == sorted(shown, reverse=True)


def test_same_seed_same_enclosure():
    network = mlp(0, 2, 6, 2)
    assert lipschitz(network, seed=5) == lipschitz(network, seed=5)


def test_a_search_that_finds_nothing_still_gives_an_enclosure():
    network = mlp(0, 2, 6, 2)
    assert Ascent(restarts=1, steps=1, seconds=1e-9)(network, Norm.L2).value >= 0
    assert lipschitz(network, seconds=0.01).upper.value > 0


def test_bad_input():
    for given, message in ((nn.Linear(2, 2), r"netgain\.read"), ("model.onnx", "Network")):
        with pytest.raises(UsageError, match=message):
            checked(given, Norm.L2, None)
    with pytest.raises(UsageError, match="l1, l2, linf"):
        lipschitz(mlp(0, 2, 2), "l3")
    with pytest.raises(UsageError, match="seconds"):
        lipschitz(mlp(0, 2, 2), seconds=-1.0)
    with pytest.raises(UnboundedError, match=r"net\.py:12"):
        lipschitz(chain((2,), linear(normal(0, 2, 2)), act("exp")))
