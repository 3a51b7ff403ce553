"""Jacobians at inputs: known values, exact arithmetic, kinks, ties, scales, and bad input."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from netgain.core.errors import DataError, DataMismatchError, NoSoundRuleError, UsageError
from netgain.core.norms import Norm
from netgain.gain.jacobian import Jacobian, jacobian
from netgain.network.graph import Affine, Elementwise, Network, Opaque, Sum
from tests.gain import zoo
from tests.gain.networks import act, chain, linear, matrix_norm, mlp, node, normal
from tests.gain.networks import jacobian as automatic
from tests.propagate.exact import rational


def exact(network: Network, x: Tensor) -> list[list[Fraction]]:
    """The Jacobian of a chain of Dense and ReLU nodes away from kinks, in rational arithmetic."""
    value = rational(x)
    found = [[Fraction(int(i == j)) for j in range(len(value))] for i in range(len(value))]
    for part in network.nodes:
        if isinstance(part.kind, Affine):
            weight = [rational(row) for row in part.kind.map.matrix()]
            bias = rational(torch.zeros(len(weight)) if part.kind.bias is None else part.kind.bias)
            value = [
                sum((a * b for a, b in zip(row, value, strict=True)), c) for row, c in zip(weight, bias, strict=True)
            ]
            columns = list(zip(*found, strict=True))
            found = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in weight]
        else:
            assert isinstance(part.kind, Elementwise)
            found = [row if z > 0 else [Fraction(0)] * len(row) for row, z in zip(found, value, strict=True)]
            value = [max(z, Fraction(0)) for z in value]
    return found


def holds(found: Jacobian, row: int, truth: list[list[Fraction]]) -> bool:
    """Whether the exact Jacobian lies within the stated error."""
    pairs = itertools.product(range(len(truth)), range(len(truth[0])))
    return all(
        abs(Fraction(float(found.matrix[row, i, j])) - truth[i][j]) <= Fraction(float(found.error[row, i, j]))
        for i, j in pairs
    )


def cancelling() -> Network:
    """relu(x) - relu(-x) - x, which is zero."""
    minus = linear(torch.tensor([[-1.0]], dtype=torch.float64))
    return Network(
        "x",
        (1,),
        (
            node("m", minus, ("x",), (1,)),
            node("a", act("relu"), ("x",), (1,)),
            node("b", act("relu"), ("m",), (1,)),
            node("s", Sum((1.0, -1.0, -1.0)), ("a", "b", "x"), (1,)),
        ),
        "s",
    )


def test_a_matrix_is_its_own_jacobian():
    weight = normal(0, 3, 4)
    found = jacobian(chain((4,), linear(weight, normal(1, 3))), normal(2, 2, 4))
    assert bool(((found.matrix - weight).abs() <= found.error).all())
    assert float(found.error.max()) <= 4e-15  # rounding of three products of at most 2
    assert found.norms[0].ratio < 1 + 1e-5


@pytest.mark.parametrize("scale", [1e-120, 1e-3, 1.0, 1e90])
def test_the_exact_jacobian_lies_within_the_error(scale: float):
    for seed in range(3):
        network = mlp(seed, 3, 5, 4, 2)
        first = network.nodes[0]
        assert isinstance(first.kind, Affine)
        scaled = linear(first.kind.map.matrix() * scale, first.kind.bias)
        network = Network("x", (3,), (node("n0", scaled, ("x",), (5,)), *network.nodes[1:]), network.output)
        x = normal(seed + 50, 2, 3)
        found = jacobian(network, x)
        for row in range(2):
            assert not found.open_units[row]
            assert holds(found, row, exact(network, x[row]))
            assert float(found.error[row].max()) <= 1e-12 * float(found.matrix[row].abs().max())


@pytest.mark.parametrize("family", [zoo.smooth, zoo.residual, zoo.skips, zoo.conv_chain, zoo.conv_residual, zoo.deep])
def test_it_agrees_with_automatic_differentiation_away_from_kinks(family: zoo.Builder):
    for seed in range(3):
        network = family(seed)
        x = normal(seed + 7, 2, *network.input_shape)
        found = jacobian(network, x)
        for row in range(2):
            reference = automatic(network, x[row])
            # torch differentiates hardsigmoid with a float32 slope, 3e-8 beside 1/6.
            gap = (found.matrix[row] - reference).abs() - found.error[row]
            assert found.open_units[row] or float(gap.max()) <= 1e-7 * float(reference.abs().max()) + 1e-300


@pytest.mark.parametrize("norm", list(Norm))
def test_the_norm_is_enclosed_and_the_product_is_above_it(norm: Norm):
    network = mlp(3, 4, 6, 6, 3, name="tanh")
    x = normal(9, 2, 4)
    found = jacobian(network, x, norm)
    for row in range(2):
        truth = matrix_norm(automatic(network, x[row]), norm)
        assert found.norms[row].lower.value <= truth * (1 + 1e-12)
        assert truth <= found.norms[row].upper.value * (1 + 1e-12)
        assert found.norms[row].ratio < 1 + 1e-5
        parts = found.factors(row)
        assert len(parts.layers) == 3
        assert parts.layers[0].product == pytest.approx(parts.product, rel=1e-15)
        assert parts.product >= truth * (1 - 1e-12)
        assert all(part.product >= part.behind.lower.value and part.loss >= 1.0 for part in parts.layers)


def test_the_factors_are_the_gated_matrices():
    network = mlp(5, 3, 6, 2)
    x = normal(6, 1, 3)
    first, last = jacobian(network, x).factors().layers
    one, other = network.nodes[0].kind, network.nodes[2].kind
    assert isinstance(one, Affine)
    assert isinstance(other, Affine)
    assert one.bias is not None
    on = (one.map.matrix() @ x[0] + one.bias > 0).double()
    truth = float(torch.linalg.matrix_norm(on[:, None] * one.map.matrix(), 2))
    assert first.factor.lower.value <= truth * (1 + 1e-12)
    assert truth <= first.factor.upper.value * (1 + 1e-12)
    assert first.active == (int(on.sum()), 6)
    assert last.active is None
    assert last.product == pytest.approx(last.factor.upper.value, rel=1e-15)


def test_a_kink_is_a_range_and_is_named():
    network = cancelling()
    assert float(automatic(network, torch.zeros(1, dtype=torch.float64))) == -1.0  # autograd is wrong here
    found = jacobian(network, torch.tensor([[0.0], [1.0]]))
    assert abs(float(found.matrix[0, 0, 0])) <= float(found.error[0, 0, 0]) <= 1.0 + 1e-12
    assert [unit.node for unit in found.open_units[0]] == ["a", "b"]
    assert found.norms[0].lower.value == 0.0
    assert "not differentiable here" in found.words(0)
    assert "net.py:12" in found.words(0)
    assert not found.open_units[1]
    assert float(found.norms[1].upper.value) <= 1e-15


def test_sensitivity_maps_have_the_shape_of_the_input():
    network = zoo.conv_chain(2)
    x = normal(1, 2, *network.input_shape)
    found = jacobian(network, x)
    winner = found.winners()
    assert found.sensitivity().shape == x.shape
    assert torch.equal(found.sensitivity()[1].reshape(-1), found.matrix[1, winner[1]])
    least, most = found.column_norms()
    truth = found.matrix.norm(dim=1).reshape(x.shape)
    assert bool(((least <= truth * (1 + 1e-12)) & (truth <= most * (1 + 1e-12))).all())


def test_one_input_may_come_without_its_batch_axis():
    found = jacobian(mlp(0, 3, 4, 2), torch.zeros(3))
    assert found.matrix.shape == (1, 2, 3)


def test_a_constant_network_has_jacobian_zero():
    network = chain((2,), linear(torch.zeros(3, 2, dtype=torch.float64), normal(0, 3)), act("tanh"))
    found = jacobian(network, normal(1, 1, 2))
    assert not bool(found.matrix.any() | found.error.any())
    assert found.norms[0].upper.value == 0.0


def test_an_infinite_slope_gives_an_infinite_error_not_a_guess():
    network = chain((1,), act("sqrt"), linear(torch.ones(1, 1, dtype=torch.float64)))
    found = jacobian(network, torch.zeros(1, 1))
    assert float(found.error[0, 0, 0]) == math.inf
    assert found.norms[0].upper.value == math.inf
    assert len(found.open_units[0]) == 1


def test_what_cannot_be_done_is_refused():
    network = mlp(0, 3, 4, 2)
    with pytest.raises(DataMismatchError, match=r"\(2, 4\)"):
        jacobian(network, torch.zeros(2, 4))
    with pytest.raises(DataError, match="finite"):
        jacobian(network, torch.tensor([[0.0, math.nan, 0.0]]))
    with pytest.raises(UsageError, match="l2"):
        jacobian(network, torch.zeros(1, 3), "l3")
    opaque = Opaque(lambda x: x, "NG010", "nobody knows")
    strange = Network("x", (3,), (node("n0", opaque, ("x",), (3,)),), "n0")
    with pytest.raises(NoSoundRuleError, match=r"test.opaque in net.n0"):
        jacobian(strange, torch.zeros(1, 3))
