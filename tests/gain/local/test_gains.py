"""Local gains of many regions: nothing found in a region exceeds them, and they are exact where no unit bends."""

import math

import pytest
import torch
from torch import Tensor

from netgain.core.norms import Norm
from netgain.gain.local.gains import local_gains, region_gains
from netgain.network.graph import Network
from netgain.propagate.ranges import interval_ranges
from netgain.propagate.region import Region, ball, box
from tests.gain.networks import act, chain, linear, mlp, normal, residual

NORMS = tuple(Norm)


def points(region: Region, count: int, seed: int) -> Tensor:
    """Points of each region, (count, batch, *in): at random, and on its rim."""
    shape = (count, *region.centre.shape)
    v = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    size = torch.stack([region.norm.of(one) for one in v]).reshape(*shape[:2], *[1] * (len(shape) - 2))
    part = torch.linspace(0, 1, count, dtype=torch.float64).reshape(-1, *[1] * (len(shape) - 1))
    radius = region.radius.reshape(-1, *[1] * (len(shape) - 2))
    inside = region.centre + v / size * radius.clamp_max(1e3) * part
    return torch.minimum(torch.maximum(inside, region.low), region.high)


def stretches(network: Network, region: Region, rows: Tensor, norm: Norm, seed: int = 0) -> Tensor:
    """The greatest difference quotient and dual norm of a gradient found in each region, for each row."""
    found = torch.zeros(rows.shape[:2], dtype=torch.float64)
    inside = points(region, 60, seed)
    for b in range(len(region)):
        x = inside[:, b].clone().requires_grad_()
        values = network(x).flatten(1) @ rows[b].flatten(1).T
        for k in range(rows.shape[1]):
            (gradient,) = torch.autograd.grad(values[:, k].sum(), x, retain_graph=True)
            found[b, k] = norm.dual.of(gradient).max()
        apart = norm.of(x.detach()[1:] - x.detach()[:-1]).clamp_min(1e-300)
        quotient = (values[1:] - values[:-1]).detach().abs() / apart.unsqueeze(1)
        found[b] = torch.maximum(found[b], torch.where(apart.unsqueeze(1) > 1e-9, quotient, 0.0).amax(0))
    return found


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("radius", [1e-6, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("name", ["relu", "tanh", "hardtanh", "abs"])
def test_nothing_in_the_region_is_steeper(norm: Norm, radius: float, name: str):
    network = mlp(3, 5, 9, 8, 4, name=name)
    region = ball(normal(1, 3, 5), radius, norm)
    rows = normal(2, 3, 2, 4)
    bound = local_gains(interval_ranges(network, region), rows)
    assert bool((stretches(network, region, rows, norm) <= bound * (1 + 1e-9)).all())
    assert bool(bound.isfinite().all())


@pytest.mark.parametrize("norm", NORMS)
def test_equal_to_the_gradient_where_no_unit_bends(norm: Norm):
    network = mlp(3, 5, 9, 8, 4)
    x = normal(7, 4, 5)
    rows = normal(2, 4, 3, 4)
    found = local_gains(interval_ranges(network, ball(x, 1e-6, norm)), rows)
    exact = stretches(network, ball(x, 0.0, norm), rows, norm)
    assert torch.allclose(found, exact, rtol=1e-3)
    assert bool((found >= exact * (1 - 1e-12)).all())


def test_a_box_with_fixed_inputs_moves_only_the_others():
    weight = torch.tensor([[3.0, 100.0], [4.0, -50.0]], dtype=torch.float64)
    network = chain((2,), linear(weight))
    region = box(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 1.0]]))
    found = region_gains(interval_ranges(network, region), Norm.L2)
    assert 5.0 <= float(found) <= 5.0 * (1 + 1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_residual_networks(norm: Norm):
    network = residual(4)
    region = ball(normal(1, 2, 4), 0.5, norm)
    rows = normal(2, 2, 2, *network.output_shape)
    bound = local_gains(interval_ranges(network, region), rows)
    assert bool((stretches(network, region, rows, norm) <= bound * (1 + 1e-9)).all())


def test_one_kink_exactly():
    # |x| on a ball that holds 0: slopes in [-1, 1]; x + |x| has 2.
    network = chain((1,), act("abs"))
    region = ball(torch.zeros(1, 1), 1.0)
    rows = torch.ones(1, 1, 1, dtype=torch.float64)
    assert 1.0 <= float(local_gains(interval_ranges(network, region), rows)) <= 1.001
    network = chain((1,), act("relu"))
    assert 1.0 <= float(local_gains(interval_ranges(network, region), rows)) <= 1.001
    away = ball(torch.full((1, 1), -3.0), 1.0)
    assert float(local_gains(interval_ranges(network, away), rows)) <= 1e-6
    assert math.isfinite(float(local_gains(interval_ranges(network, away), rows, Norm.LINF)))
