"""A region stacked into one form: its rows, its scale, its start, and its variables as multipliers."""

import math

import pytest
import torch
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.metric.barrier import solve
from netgain.gain.metric.program import feasible
from netgain.gain.metric.region import expanded, region
from netgain.gain.metric.stack import Stack, aimed, carried, piece, stack, variables
from netgain.gain.metric.start import closed_form
from netgain.network.fold import fold
from netgain.network.graph import Affine, Network, Sum, Vector
from netgain.vectors.extrema import GroupSort
from netgain.witness.prove import prove
from tests.gain.networks import (
    act,
    averaging,
    branches,
    chain,
    convolutional,
    linear,
    matrix_norm,
    mlp,
    node,
    normal,
    normalized,
    residual,
    sampled,
)


def stacked(network: Network) -> Stack:
    network = fold(network)
    return stack(region(network, network.input, network.output))


def optimum(one: Stack, rtol: float = 1e-9) -> tuple[Tensor, float]:
    solution = solve(one.program, closed_form(one), rtol=rtol)
    return solution.x, one.gain(solution.x)


def sorting(seed: int, size: int) -> Network:
    return chain(
        (5,),
        linear(normal(seed, 12, 5) / 2),
        Vector(GroupSort((12,), 0, size)),
        linear(normal(seed + 1, 12, 12) / 3),
        Vector(GroupSort((12,), 0, size)),
        linear(normal(seed + 2, 3, 12) / 3),
    )


def opposite(seed: int) -> Network:
    """MaxMin of (v, -v) is (|v|, -|v|): the sums of its groups are zero."""
    weight = normal(seed, 6, 4)
    pairs = torch.stack([weight, -weight], 1).reshape(12, 4)
    return chain((4,), linear(pairs), Vector(GroupSort((12,), 0, 2)), linear(normal(seed + 1, 3, 12)))


def dead() -> Network:
    """Units that read nothing, units that nothing reads, and one that only such a unit reads."""
    first, second, third = normal(0, 10, 6), normal(1, 8, 10), normal(2, 3, 8)
    first[3] = 0
    second[:, 5] = 0
    second[2] = 0
    third[:, 4] = 0
    second[:, 7] = 0
    second[4, 7] = 1.0
    return chain((6,), linear(first), act("relu"), linear(second), act("tanh"), linear(third))


NETWORKS = {
    "relu": lambda: mlp(0, 4, 8, 7, 3),
    "leaky": lambda: mlp(1, 4, 8, 7, 3, name="leaky_relu", negative_slope=0.4),
    "gelu": lambda: mlp(2, 4, 8, 7, 3, name="gelu"),
    "selu": lambda: mlp(2, 4, 8, 7, 3, name="selu"),
    "wide input": lambda: mlp(3, 200, 6, 5, 3),
    "residual": lambda: residual(1),
    "branches": lambda: branches(1),
    "layer norm": lambda: normalized(1),
    "maxmin": lambda: sorting(0, 2),
    "groups of three": lambda: sorting(3, 3),
    "sort": lambda: sorting(6, 12),
    "zero sums": lambda: opposite(0),
    "dead units": dead,
    "average": lambda: averaging(2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_optimum_is_proved_by_the_checker(name: str) -> None:
    network = fold(NETWORKS[name]())
    one = stacked(network)
    x, gain = optimum(one, 1e-7)
    for factor, slack in ((1.0, 1e-8), (1.05, 0.2)):
        moved = x.clone()
        moved[1:] *= factor
        if factor == 1.0 and name == "zero sums":  # too near the boundary for the large gamma that it has
            continue
        value = prove(network, [piece(one, moved)])
        assert sampled(network, Norm.L2) * (1 - 1e-12) <= value <= gain * (1 + slack)


@pytest.mark.parametrize("name", NETWORKS)
def test_multipliers_and_variables_say_the_same(name: str) -> None:
    one = stacked(NETWORKS[name]())
    start = closed_form(one)
    assert feasible(one.program, start)
    again = variables(one, piece(one, start))
    torch.testing.assert_close(again[1:], start[1:], rtol=1e-14, atol=0.0)
    assert feasible(one.program, again)
    assert float(again[0]) <= 1.2 * float(start[0])


def test_max_pooling_network() -> None:
    network = fold(convolutional(0))
    one = stacked(network)
    start = closed_form(one)
    value = prove(network, [piece(one, start)])
    assert sampled(network, Norm.L2) <= value <= one.gain(start)


def test_affine_network_is_its_norm() -> None:
    network = chain((5,), linear(normal(0, 4, 5)), Affine(linear(normal(1, 3, 4)).map))
    exact = matrix_norm(normal(1, 3, 4) @ normal(0, 4, 5), Norm.L2)
    assert optimum(stacked(network))[1] == pytest.approx(exact, rel=1e-9)


def test_absolute_value_of_one_neuron() -> None:
    """|x| + x as relu: slopes in [0, 1], output 2 relu(w x): L = 2 |w|, exactly the product."""
    network = chain((3,), linear(normal(0, 1, 3)), act("relu"), linear(torch.tensor([[2.0]], dtype=torch.float64)))
    assert optimum(stacked(network))[1] == pytest.approx(2 * float(normal(0, 1, 3).norm()), rel=1e-9)


def test_linear_slopes_are_merged() -> None:
    network = chain((3,), linear(normal(0, 6, 3)), act("leaky_relu", negative_slope=1.0), linear(normal(1, 2, 6)))
    one = stacked(network)
    assert not one.parts
    exact = matrix_norm(normal(1, 2, 6) @ normal(0, 6, 3), Norm.L2)
    assert optimum(one)[1] == pytest.approx(exact, rel=1e-9)


def test_the_start_is_reduced_to_what_is_read() -> None:
    assert stacked(mlp(0, 784, 10, 5)).size == 20
    assert stacked(mlp(0, 4, 10, 5)).size == 14


def test_dead_units_have_no_variable() -> None:
    one = stacked(dead())
    assert [part.relation.size for part in one.parts] == [8, 6]


@pytest.mark.parametrize("power", [-90, -10, 10, 90])
def test_any_scale(power: int) -> None:
    """A chain of homogeneous layers scaled by powers of two: the same program, the same relative accuracy."""
    sizes = (5, 7, 6, 7, 6, 3)
    weights = [normal(i, sizes[i + 1], sizes[i]) / 2 for i in range(5)]
    kinds = [part for weight in weights for part in (linear(weight), act("relu"))]
    powers = [power if i % 2 else power // 2 for i in range(5)]
    scaled = [part for w, p in zip(weights, powers, strict=True) for part in (linear(w * 2.0**p), act("relu"))]
    base, gain = optimum(stacked(chain((5,), *kinds[:-1])))
    other, moved = optimum(stacked(chain((5,), *scaled[:-1])))
    assert math.log2(moved / gain) == pytest.approx(sum(powers), abs=1e-12)
    torch.testing.assert_close(other, base)


def test_metrics_and_goals() -> None:
    network = mlp(0, 4, 8, 3)
    whole = region(fold(network), "x", fold(network).output)
    weights = torch.tensor([4.0, 1.0, 0.25, 2.0], dtype=torch.float64)
    seen = torch.tensor([3.0, 1.0, 0.5], dtype=torch.float64)
    scaled = chain(
        (4,),
        linear(torch.diag(weights.rsqrt())),
        *(one.kind for one in network.nodes),
        linear(torch.diag(seen)),
    )
    direct = optimum(stack(whole, metric=weights, goal=seen))[1]
    assert direct == pytest.approx(optimum(stacked(scaled))[1], rel=1e-8)
    row = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    pair = aimed(stack(whole), row[None])
    difference = chain((4,), *(one.kind for one in network.nodes), linear(row[None]))
    assert optimum(pair)[1] == pytest.approx(optimum(stacked(difference))[1], rel=1e-8)


def test_metric_of_channels() -> None:
    values = expanded(torch.tensor([1.0, 2.0], dtype=torch.float64), (2, 2, 2))
    assert values.tolist() == [1.0] * 4 + [2.0] * 4


def test_no_rule() -> None:
    with pytest.raises(NoSoundRuleError, match="finite"):
        stacked(chain((3,), linear(normal(0, 3, 3)), act("exp")))


def test_a_value_read_across_a_nonlinear_node() -> None:
    """relu(x) - x / 2 has slopes in [-1/2, 1/2]; factors along the graph give 3/2."""
    nodes = (node("a", act("relu"), ("x",), (3,)), node("b", Sum((1.0, -0.5)), ("a", "x"), (3,)))
    assert optimum(stacked(Network("x", (3,), nodes, "b")))[1] == pytest.approx(0.5, rel=1e-9)


def test_carried_to_a_pair_variables_stay_feasible() -> None:
    one = stacked(mlp(0, 4, 8, 7, 5))
    x, whole = optimum(one, 1e-2)
    for j in range(1, 5):
        row = torch.zeros(1, 5, dtype=torch.float64)
        row[0, 0], row[0, j] = 1.0, -1.0
        pair = aimed(one, row)
        start = carried(one, pair, x, row)
        assert feasible(pair.program, start)
        assert pair.gain(start) == pytest.approx(2**0.5 * whole, rel=1e-12)
        assert pair.gain(solve(pair.program, start, rtol=1e-6).x) <= 2**0.5 * whole
