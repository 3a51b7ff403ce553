import pytest
import torch

from netgain.core.norms import Norm
from netgain.gain.coordinates import Coordinates
from netgain.gain.patterns import Flips
from netgain.gain.search import power
from tests.gain.networks import act, chain, jacobian, linear, matrix_norm, mlp, normal, residual


@pytest.mark.parametrize("norm", list(Norm))
def test_one_flip_turns_a_unit_on(norm: Norm):
    # Two units on separate inputs; the second, three times as steep, is off at the start.
    network = chain((2,), linear(torch.eye(2)), act("relu"), linear(torch.tensor([[1.0, 3.0]])))
    x = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    v = torch.tensor([[1.0, 0.1]], dtype=torch.float64)
    found = Flips()(network, norm, x, v)
    assert float(found.x[0, 1]) > 0
    assert float(found.stretch[0]) == pytest.approx({Norm.L1: 3.0, Norm.L2: 10**0.5, Norm.LINF: 4.0}[norm])


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("build", [lambda s: mlp(s, 3, 9, 7, 2), lambda s: mlp(s, 9, 6, 5, 2), residual])
def test_flips_never_lose_and_measure_the_true_jacobian(norm: Norm, build):
    network = build(3)
    place = Coordinates.of(network)
    for seed in range(3):
        x, v = normal(seed, 1, *network.input_shape), normal(seed + 50, 1, *network.input_shape)
        start = power(network, norm, x, v, 5)
        found = Flips()(network, norm, x, v, place)
        assert float(found.stretch[0]) >= float(start.stretch[0])
        assert float(found.stretch[0]) <= matrix_norm(jacobian(network, found.x[0]), norm) * (1 + 1e-9)


def test_networks_without_kinks_stay():
    x, v = normal(0, 1, 3), normal(1, 1, 3)
    for network in (mlp(0, 3, 4, 2, name="tanh"), chain((3,), linear(normal(2, 2, 3)))):
        assert torch.equal(Flips()(network, Norm.L2, x, v).x, x)


def test_units_that_no_finite_move_flips_stay():
    # Moving the input to the kink takes a step beyond the range of float64.
    network = chain((1,), linear(torch.tensor([[1e-200]]), torch.tensor([1e200])), act("relu"))
    x = torch.ones(1, 1, dtype=torch.float64)
    found = Flips()(network, Norm.L2, x, x)
    assert bool((found.x == x).all())


def test_a_time_limit_stops_the_flips():
    x, v = normal(0, 1, 3), normal(1, 1, 3)
    assert torch.equal(Flips(seconds=-1.0)(mlp(0, 3, 9, 2), Norm.L2, x, v).x, x)
