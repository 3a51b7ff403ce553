"""Newton on whole networks: reference optima, proofs, deep contractive nets, interruption, refusals."""

import math

import pytest
import torch

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.metric.newton import Newton
from netgain.gain.result import GainBound, InterruptedSearchError
from netgain.network.fold import fold
from netgain.network.graph import Network
from netgain.witness.prove import prove
from tests.gain.networks import REFERENCE, act, case, chain, linear, mlp, normal, residual, sampled


def bound(network: Network, seconds: float | None = None) -> GainBound:
    return Newton()(fold(network), Norm.L2, {}, seconds=seconds)


@pytest.mark.parametrize("name", [name for name, entry in REFERENCE.items() if entry.get("best_upper_is_optimum")])
def test_reference_optima(name: str) -> None:
    network = case(name)
    found = bound(network)
    reference = REFERENCE[name]["best_upper"]
    assert REFERENCE[name]["lower"] <= found.bound.value
    assert found.bound.value == pytest.approx(reference, rel=1e-7)
    assert found.claim is not None
    assert found.gap is not None
    assert found.claim.bound == found.bound.value
    assert found.gap.value < 1e-7
    assert prove(fold(network), found.claim.pieces) <= found.bound.value


def test_enclosure_closes_where_the_relaxation_is_exact() -> None:
    for name in ("eclipse_4-80-1.npz", "lipsdp_random_2-10-30-20-2.npz"):
        assert bound(case(name)).bound.value / REFERENCE[name]["lower"] < 1 + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_above_every_jacobian_and_below_the_product(seed: int) -> None:
    for network in (mlp(seed, 5, 12, 9, 4), mlp(seed, 5, 9, 4, name="silu"), residual(seed, 5)):
        found = bound(network)
        assert sampled(network, Norm.L2) <= found.bound.value * (1 + 1e-12)


def deep(depth: int, width: int, scale: float) -> Network:
    weights = [normal(i, width, width) * (scale / width**0.5) for i in range(depth)]
    kinds = [part for weight in weights for part in (linear(weight), act("relu"))]
    return chain((width,), *kinds[:-1])


@pytest.mark.slow
def test_deep_contractive_chain_keeps_relative_accuracy() -> None:
    """Layers scaled by 1/8 scale the bound by 8^-depth: 24 layers, L about 1e-21."""
    large, small = bound(deep(24, 8, 1.0)), bound(deep(24, 8, 0.125))
    assert small.bound.value < 1e-19
    assert math.log2(large.bound.value / small.bound.value) == pytest.approx(3 * 24, abs=1e-7)
    assert small.gap is not None
    assert small.gap.value < 1e-7


def test_stopped_by_time_it_still_proves_something() -> None:
    network = mlp(0, 6, 20, 20, 4)
    found = bound(network, seconds=1e-6)
    assert found.steps <= 2
    assert bound(network).bound.value <= found.bound.value < math.inf


def test_ctrl_c_returns_the_best_so_far() -> None:
    network = mlp(0, 6, 20, 20, 4)
    steps = 0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 12:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedSearchError) as raised:
        Newton()(fold(network), Norm.L2, {}, progress=progress)
    assert bound(network).bound.value <= raised.value.found.bound.value < math.inf


def test_refusals() -> None:
    network = fold(mlp(0, 6, 20, 20, 4))
    with pytest.raises(NoSoundRuleError, match="l2"):
        Newton()(network, Norm.LINF, {})
    with pytest.raises(NoSoundRuleError, match="40 nonlinear neurons"):
        Newton(limit=39)(network, Norm.L2, {})
    with pytest.raises(NoSoundRuleError, match="finite"):
        bound(chain((3,), linear(normal(0, 3, 3)), act("exp")))


def test_scaling_the_network_scales_the_bound() -> None:
    weights = (normal(0, 9, 4), normal(1, 3, 9))
    values = [
        bound(chain((4,), linear(weights[0] * scale), act("relu"), linear(weights[1]))).bound.value
        for scale in (1.0, 3.7)
    ]
    assert values[1] / values[0] == pytest.approx(3.7, rel=1e-7)
    assert torch.isfinite(torch.tensor(values)).all()
