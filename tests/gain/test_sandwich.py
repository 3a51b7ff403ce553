"""No lower bound above any upper bound, none on the wrong side of the exact constant, over networks of all kinds."""

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.layers import layer_gains
from netgain.gain.lower import Ascent
from netgain.gain.methods import applicable
from netgain.network.fold import fold
from netgain.network.graph import Network, Vector
from tests.gain.oracle import exact
from tests.gain.zoo import FAMILIES, PIECEWISE, Builder

QUICK = Ascent(restarts=6, steps=12, rounds=1)
EFFORT = 0.1
SECONDS = 0.1  # for each upper bound; what it has proved by then must hold
FEW = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=70)
SEEDS = st.integers(0, 10**6)


def bounds(network: Network, norm: Norm) -> tuple[float, Mapping[str, float]]:
    """A proved lower bound, and the upper bound of each method that applies."""
    network = fold(network)
    layers = layer_gains(network, norm)
    uppers: dict[str, float] = {}
    for name, entry in applicable(network, norm):
        try:
            found = entry.make(EFFORT)(network, norm, layers, seconds=SECONDS)
        except NoSoundRuleError:
            continue
        uppers[name] = found.bound.value
        if found.claim is not None:
            assert found.claim.bound == found.bound.value
    return QUICK(network, norm).value, uppers


def check(network: Network, norm: Norm) -> tuple[float, Mapping[str, float]]:
    """The lower bound is below every upper bound, and what is never worse than another is not."""
    lower, uppers = bounds(network, norm)
    assert "product" in uppers
    for name, value in uppers.items():
        assert lower <= value, name
        assert value >= 0
    never_above(uppers, "absolute product", "product", norm is not Norm.L2)
    never_above(
        uppers, "centred product", "absolute product", not any(isinstance(n.kind, Vector) for n in network.nodes)
    )
    return lower, uppers


def never_above(uppers: Mapping[str, float], better: str, worse: str, claimed: bool) -> None:
    """One method's bound against another's, apart from rounding."""
    if claimed and better in uppers and worse in uppers:
        assert uppers[better] <= uppers[worse] * (1 + 1e-6)


def compare(build: Builder, seed: int, norm: Norm) -> None:
    """A tiny network against its exact constant."""
    network = build(seed)
    truth = exact(network)[norm]
    lower, uppers = check(network, norm)
    assert lower <= truth * (1 + 1e-9)
    for name, value in uppers.items():
        assert truth <= value * (1 + 1e-9), name


@given(st.sampled_from(FAMILIES), SEEDS, st.sampled_from(tuple(Norm)))
@FEW
def test_lower_below_upper(build: Builder, seed: int, norm: Norm):
    check(build(seed), norm)


@given(st.sampled_from(PIECEWISE), SEEDS, st.sampled_from(tuple(Norm)))
@FEW
def test_the_exact_constant_lies_between(build: Builder, seed: int, norm: Norm):
    compare(build, seed, norm)


@pytest.mark.slow
@pytest.mark.parametrize("norm", list(Norm))
@given(st.sampled_from(FAMILIES), SEEDS)
@MANY
def test_lower_below_upper_many(norm: Norm, build: Builder, seed: int):
    check(build(seed), norm)


@pytest.mark.slow
@given(st.sampled_from(PIECEWISE), SEEDS, st.sampled_from(tuple(Norm)))
@settings(MANY, max_examples=40)
def test_the_exact_constant_lies_between_many(build: Builder, seed: int, norm: Norm):
    compare(build, seed, norm)


@pytest.mark.parametrize("build", FAMILIES, ids=lambda build: build.__name__)
def test_every_family_in_l2(build: Builder):
    check(build(1), Norm.L2)


@pytest.mark.parametrize("seed", range(2))
def test_the_search_reaches_the_exact_constant_of_tiny_networks(seed: int):
    for build in PIECEWISE:
        network = build(seed)
        truth = exact(network)[Norm.L2]
        found = Ascent(steps=60)(fold(network), Norm.L2).value
        assert 0.999 * truth <= found <= truth * (1 + 1e-9)
