import pytest
import torch

from netgain.activations.table import activation
from netgain.core.norms import Norm
from netgain.linear.dense import Dense
from netgain.linear.selection import Selection
from netgain.network.graph import Affine, Concat, Sum
from netgain.propagate.running import AffineRule, Running, concatenated, elementwise, settle, weighted_sum
from tests.gain.networks import normal


def known(value: torch.Tensor, error: float) -> Running:
    errors = torch.full_like(value, error)
    return settle(value, errors, errors.reshape(len(value), -1).norm(dim=1) * (1 + 1e-12))


def test_settle_takes_the_better_of_both_and_marks_what_is_not_finite():
    value = torch.tensor([[1.0, 2.0], [torch.inf, 0.0]], dtype=torch.float64)
    found = settle(value, torch.tensor([[5.0, 0.1], [0.0, 0.0]]).double(), torch.tensor([1.0, 0.0]).double())
    assert found.error.tolist() == [[1.0, pytest.approx(0.1)], [torch.inf, 0.0]]
    assert float(found.total[0]) == 1.0
    assert float(found.total[1]) == torch.inf


def test_affine_moves_errors_without_rounding():
    rule = AffineRule.of(Affine(Selection(torch.tensor([1, 1, -1]), (2,), (3,))), None)
    found = rule(known(torch.tensor([[1.0, 2.0]], dtype=torch.float64), 0.5))
    assert found.error[0].tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert found.value.tolist() == [[2.0, 2.0, 0.0]]


def test_a_proved_norm_replaces_the_schur_norm():
    weight = torch.linalg.qr(normal(0, 30, 30)).Q
    x = known(normal(1, 1, 30), 1e-3)
    loose = AffineRule.of(Affine(Dense(weight)), None)(x)
    tight = AffineRule.of(Affine(Dense(weight)), 1.0 + 1e-12)(x)
    assert float(tight.total) < float(loose.total)
    assert float(tight.total) >= 1e-3 * 30**0.5


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu"])
def test_elementwise_uses_the_slope_near_the_value(name: str):
    fact = activation(name)
    x = known(torch.tensor([[-8.0, 0.5]], dtype=torch.float64), 1e-3)
    found = elementwise(fact, x, fact.value(x.value))
    assert float(found.error[0, 0]) < 1e-5
    around = torch.linspace(-1e-3, 1e-3, 101, dtype=torch.float64) + 0.5
    off = (fact.value(around) - fact.value(x.value)[0, 1]).abs().max()
    assert float(off) <= float(found.error[0, 1]) * (1 + 1e-12)


def test_sums_and_concatenations():
    a, b = known(normal(0, 2, 3), 0.5), known(normal(1, 2, 3), 0.25)
    total = weighted_sum(Sum((2.0, -1.0)), [a, b], 2 * a.value - b.value)
    assert torch.allclose(total.error, torch.full((2, 3), 1.25, dtype=torch.float64), rtol=1e-12)
    assert bool((total.error >= 1.25).all())
    joined = concatenated(Concat(0), [a, b], torch.cat([a.value, b.value], 1))
    assert joined.error[0].tolist() == [0.5] * 3 + [0.25] * 3
    expected = Norm.L2.of(joined.error)
    assert torch.allclose(joined.total, expected)
