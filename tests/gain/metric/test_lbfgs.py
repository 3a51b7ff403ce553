import math

import pytest
import torch

from netgain.core.norms import Norm
from netgain.gain.layers import layer_gains
from netgain.gain.metric.closed_form import ClosedForm
from netgain.gain.metric.lbfgs import LBFGS
from netgain.gain.metric.region import sector
from netgain.gain.result import GainBound, InterruptedSearchError
from netgain.network.fold import fold
from netgain.network.graph import Network, Vector
from netgain.vectors.extrema import GroupSort
from tests.gain.metric.dags import dag
from tests.gain.networks import REFERENCE, act, case, chain, linear, mlp, normal, residual, sampled

_OPTIMA = [
    path for path, entry in REFERENCE.items() if len(entry["input_shape"]) == 1 and entry["best_upper_is_optimum"]
]


def bound(network: Network, method: LBFGS | ClosedForm | None = None) -> GainBound:
    network = fold(network)
    return (method or LBFGS())(network, Norm.L2, layer_gains(network, Norm.L2))


@pytest.mark.slow
@pytest.mark.parametrize("path", _OPTIMA)
def test_reaches_the_optimum_of_public_networks(path: str):
    found = bound(case(path))
    best = REFERENCE[path]["best_upper"]
    # The reference is an interior-point solver's; descent stops where a few steps gain 1e-6 of the factor.
    assert best * (1 - 1e-8) <= found.bound.value <= best * (1 + 3e-5)
    assert found.steps > 10


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu"])
def test_tiny_networks_against_a_grid_of_multipliers(name: str):
    # Two units: the best of the convex problem by repeated grids in log T.
    network = fold(mlp(3, 2, 2, 1, name=name))
    first, last = (network.nodes[k].kind.map.matrix() for k in (0, 2))  # pyright: ignore
    centre, radius = (float(end[0]) for end in sector(network.nodes[1]))
    form = last.T @ last

    def factor(t: torch.Tensor) -> float:
        rest = torch.diag(t) - form
        if float(torch.linalg.eigvalsh(rest)[0]) <= 0:
            return math.inf
        inner = centre**2 * (form + form @ torch.linalg.inv(rest) @ form) + radius**2 * torch.diag(t)
        return float(torch.linalg.eigvalsh(first.T @ inner @ first)[-1])

    centre_log, width = torch.zeros(2, dtype=torch.float64), 8.0
    best = math.inf
    for _ in range(30):
        steps = torch.linspace(-width, width, 17, dtype=torch.float64)
        values = [(factor((centre_log + torch.stack([a, b])).exp()), a, b) for a in steps for b in steps]
        value, a, b = min(values, key=lambda one: one[0])
        if value <= best:
            best, centre_log = value, centre_log + torch.stack([a, b])
        width *= 0.6
    assert bound(network).bound.value == pytest.approx(math.sqrt(best), rel=2e-5)


def test_slopes_symmetric_about_zero_reach_the_constant():
    # One output and two units of |x|: the constant is the largest norm over the four sign patterns, and the bound's
    # infimum, at multipliers on the edge of the feasible ones, is as small.
    network = fold(mlp(3, 2, 2, 1, name="abs"))
    first, last = (network.nodes[k].kind.map.matrix() for k in (0, 2))  # pyright: ignore
    signs = [torch.tensor([1.0, s], dtype=torch.float64) for s in (1.0, -1.0)]
    exact = max(float(((last * s) @ first).norm()) for s in signs)
    assert exact <= bound(network).bound.value <= exact * (1 + 1e-6)


@pytest.mark.parametrize("network", [residual(1), residual(2, name="silu"), dag(3), dag(11)])
def test_between_jacobians_and_the_closed_form(network: Network):
    found = bound(network).bound.value
    assert sampled(network, Norm.L2, 40) <= found <= bound(network, ClosedForm()).bound.value * (1 + 1e-9)


@pytest.mark.slow
def test_sorted_groups_have_their_own_multipliers():
    kinds = [kind for k in range(3) for kind in (linear(normal(k, 6, 6)), Vector(GroupSort((6,), 0, 2)))]
    network = chain((6,), *kinds, linear(normal(9, 2, 6)))
    found = bound(network).bound.value
    assert sampled(network, Norm.L2) <= found <= 0.75 * bound(network, ClosedForm()).bound.value


def test_a_deep_contractive_chain_has_a_tiny_bound_that_holds():
    kinds = [kind for k in range(16) for kind in (linear(normal(k, 6, 6) / 40), act("relu"))]
    network = chain((6,), *kinds, linear(normal(99, 2, 6)))
    found = bound(network, LBFGS(evaluations=40)).bound.value
    assert sampled(network, Norm.L2) <= found < min(1e-14, bound(network, ClosedForm()).bound.value)


def test_ctrl_c_keeps_what_was_found():
    calls = 0

    def stop(what: str, done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        assert what.startswith("lbfgs: ")
        if calls == 12:
            raise KeyboardInterrupt

    network = fold(case("lipsdp_mnist_784-50-10.npz"))
    with pytest.raises(InterruptedSearchError) as caught:
        LBFGS()(network, Norm.L2, layer_gains(network, Norm.L2), progress=stop)
    found = caught.value.found.bound.value
    assert REFERENCE["lipsdp_mnist_784-50-10.npz"]["best_upper"] <= found <= 26.0


def test_a_time_limit_is_kept():
    network = fold(mlp(0, 30, 40, 40, 40, 40, 3))
    found = LBFGS()(network, Norm.L2, layer_gains(network, Norm.L2), seconds=0.2)
    assert found.bound.value <= bound(network, ClosedForm()).bound.value * (1 + 1e-9)
    assert found.steps < 300


def test_without_nonlinear_nodes():
    weight = normal(0, 3, 5)
    assert bound(chain((5,), linear(weight))).bound.value == pytest.approx(
        float(torch.linalg.matrix_norm(weight, 2)), rel=1e-8
    )
