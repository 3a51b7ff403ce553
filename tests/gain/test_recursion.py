import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netgain.core.norms import Norm
from netgain.gain.recursion import ancestors, combine, elasticities, node_gains, shares, sum_weights
from netgain.linear.dense import Dense
from netgain.network.graph import Affine, Concat, Network, Sum
from tests.gain.networks import branches, chain, node, residual

ONE = Affine(Dense(torch.ones(1, 1)))


def scalars(count: int) -> Network:
    return chain((1,), *([ONE] * count))


def test_chain_multiplies_and_residual_sum_adds():
    factors = {"a": 2.0, "b": 1.0, "c": 3.0, "e": 5.0}
    gains = node_gains(residual(0), Norm.L2, factors)
    assert gains["d"] == pytest.approx(1 + 0.5 * 6, rel=1e-14)
    assert gains["e"] == pytest.approx(20, rel=1e-14)


@pytest.mark.parametrize(("norm", "expected"), [(Norm.L1, 7.0), (Norm.L2, 5.0), (Norm.LINF, 4.0)])
def test_concatenation_takes_the_norm(norm: Norm, expected: float):
    gains = node_gains(branches(0), norm, {"a": 3.0, "b": 1.0, "c": 4.0, "d": 1.0, "f": 1.0})
    assert expected <= gains["e"] <= expected * (1 + 1e-14)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=40))
def test_product_is_above_the_exact_product_by_rounding_only(factors: list[float]):
    network = scalars(len(factors))
    bound = node_gains(network, Norm.L2, {f"n{i}": factor for i, factor in enumerate(factors)})[network.output]
    exact = math.prod((Fraction(factor) for factor in factors), start=Fraction(1))
    assert exact <= Fraction(bound) <= exact * (1 + Fraction(1, 10**12))


@given(st.lists(st.just(0.0) | st.floats(1e-290, 1e300), min_size=1, max_size=6))
def test_combine_is_above_the_exact_euclidean_norm(gains: list[float]):
    exact = sum(Fraction(gain) ** 2 for gain in gains)
    found = combine(gains, Norm.L2)
    assert math.isinf(found) or exact <= Fraction(found) ** 2 <= exact * (1 + Fraction(1, 10**12))


def test_deep_contraction_stays_above_zero_and_deep_expansion_is_infinite():
    network = scalars(1000)
    small = node_gains(network, Norm.L2, {f"n{i}": 0.1 for i in range(1000)})[network.output]
    assert small >= 5e-324
    assert node_gains(network, Norm.L2, {f"n{i}": 10.0 for i in range(1000)})[network.output] == math.inf


def test_a_dead_layer_kills_even_an_overflow():
    network = scalars(1000)
    factors = {f"n{i}": 10.0 for i in range(999)} | {"n999": 0.0}
    assert node_gains(network, Norm.L2, factors)[network.output] == 0.0


def test_equal_inputs_of_a_sum_are_added_before_magnitudes():
    twice = node("s", Sum((1.0, -1.0, 0.5)), ("x", "x", "a"), (1,))
    network = Network("x", (1,), (node("a", ONE, ("x",), (1,)), twice), "s")
    assert sum_weights(twice) == {"x": 0.0, "a": 0.5}
    assert node_gains(network, Norm.L2, {"a": 1.0})["s"] == pytest.approx(0.5)
    third = node("s", Sum((0.1, 0.2)), ("x", "x"), (1,))
    assert Fraction(sum_weights(third)["x"]) >= Fraction(0.1) + Fraction(0.2)
    with pytest.raises(TypeError):
        sum_weights(node("a", ONE, ("x",), (1,)))


def test_nodes_that_the_output_does_not_need_are_left_out():
    network = residual(0)
    side = node("z", ONE, ("e",), (1,))
    assert [one.name for one in ancestors(Network("x", (4,), (*network.nodes, side), "e"))] == ["a", "b", "c", "d", "e"]


def test_elasticities_are_derivatives_of_the_logarithm():
    factors = {"a": 2.0, "b": 0.7, "c": 3.0, "e": 5.0}
    network = residual(0)
    pull = elasticities(network, Norm.L2, node_gains(network, Norm.L2, factors))
    base = math.log(node_gains(network, Norm.L2, factors)["e"])
    for name in factors:
        moved = math.log(node_gains(network, Norm.L2, factors | {name: factors[name] * 1.0001})["e"])
        assert (moved - base) / math.log(1.0001) == pytest.approx(pull[name], rel=1e-3)


@pytest.mark.parametrize("norm", list(Norm))
def test_shares_sum_to_one_and_contractions_have_none(norm: Norm):
    found = shares(branches(0), norm, {"a": 3.0, "b": 1.0, "c": 4.0, "d": 0.5, "f": 2.0})
    assert sum(found.values()) == pytest.approx(1)
    assert found["d"] == 0.0
    assert shares(scalars(2), norm, {"n0": 0.5, "n1": 1.0}) == {}
    assert shares(scalars(2), norm, {"n0": 0.0, "n1": 2.0}) == {}
    assert shares(scalars(2), norm, {"n0": 4.0, "n1": 2.0}) == pytest.approx({"n0": 2 / 3, "n1": 1 / 3})


def test_a_concatenation_of_one_input():
    network = Network("x", (1,), (node("c", Concat(0), ("x",), (1,)),), "c")
    assert node_gains(network, Norm.L2, {})["c"] == 1.0
