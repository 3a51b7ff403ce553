"""Local gains of many regions: nothing found in a region exceeds them, and they are exact where no unit bends."""

import math

import pytest
import torch
from torch import Tensor

from netgain.core.norms import Norm
from netgain.gain.layers import layer_gains
from netgain.gain.local.gains import local_gains, region_gains
from netgain.gain.methods import METHODS
from netgain.linear.chain import Chain
from netgain.linear.dense import Dense
from netgain.linear.reshape import Reshape
from netgain.network.graph import Affine, Bilinear, Form, Network
from netgain.propagate.ranges import interval_ranges
from netgain.propagate.region import Region, ball, box
from netgain.propagate.restrict import localized, restricted
from netgain.witness.condensed import condense
from netgain.witness.slack import holds, pencils
from tests.gain.networks import act, chain, linear, mlp, node, normal, residual

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


def upper(network: Network, norm: Norm, method: str) -> float:
    """What a method for all inputs proves of a network."""
    return METHODS[method].make(1.0)(network, norm, layer_gains(network, norm)).bound.value


def test_a_level_a_millionth_above_the_truth_is_never_proved():
    # |x| on a ball that holds 0 has the constant 1: for the output 1 x level 1 is the best, whatever the multiplier.
    network, region = chain((1,), act("abs")), ball(torch.zeros(1, 1), 1.0)
    pencil = pencils(condense(localized(interval_ranges(network, region))), torch.ones(1, 1, 1, 1).double())

    def proved(tau: float, level: float) -> bool:
        return bool(holds(pencil, torch.full((1, 1), tau).double(), torch.full((1,), level).double()))

    assert proved(1 - 1e-7, 1 - 1e-6)
    for tau in (*torch.linspace(0.01, 3.0, 300).tolist(), 1.0, 1 + 1e-6, 1 + 1e-7, 1 - 1e-7):
        assert not proved(tau, 1 + 1e-6)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
def test_entries_of_bent_units_are_not_undercut(norm: Norm):
    # Both units of relu(x), relu(-x) bend at 0; slopes 1 and -1 are attained on either side.
    weight = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    network, region = chain((1,), linear(weight), act("relu")), ball(torch.zeros(1, 1), 1.0, norm)
    rows = torch.tensor([[[1.0, 0.0], [3.0, 0.0]]], dtype=torch.float64)
    found = local_gains(interval_ranges(network, region), rows)[0]
    assert found.tolist() == pytest.approx([1.0, 3.0], rel=1e-12)
    assert bool((found >= torch.tensor([1.0, 3.0]).double() * (1 - 1e-15)).all())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["relu", "tanh", "hardtanh"])
def test_methods_for_all_inputs_bound_the_restricted_network(norm: Norm, name: str):
    network = mlp(3, 4, 7, 6, 3, name=name)
    region = ball(normal(1, 2, 4), 0.4, norm)
    known = interval_ranges(network, region)
    rows = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    found = stretches(network, region, rows, norm).amax(1)
    for row in range(2):
        for method in ("product", "absolute product", *(("newton",) if norm is Norm.L2 else ())):
            assert float(found[row]) <= upper(restricted(known, row), norm, method) * (1 + 1e-9)


def test_the_restricted_network_is_exact_where_nothing_bends():
    weight = normal(4, 3, 2)
    network = chain((2,), linear(weight), act("relu"))
    known = interval_ranges(network, ball(normal(5, 1, 2), 1e-9))
    alive = (known.boxes["n0"].lo[0] > 0).double().unsqueeze(1)
    exact = float(torch.linalg.matrix_norm(alive * weight, 2))
    found = upper(restricted(known), Norm.L2, "product")
    assert exact * (1 - 1e-14) <= found <= exact * (1 + 1e-5)


@pytest.mark.parametrize("form", list(Form))
def test_products_of_computed_values_are_taken_apart(form: Form):
    # f(x) = (A x) (B x), entry by entry or as a matrix product: steepest where both factors are largest.
    shape = (3,) if form is Form.PRODUCT else (2, 2)
    size = math.prod(shape)
    first, second = normal(1, size, 3), normal(2, size, 3)
    nodes = (
        node("a", Affine(Chain((Dense(first), Reshape((size,), shape)))), ("x",), shape),
        node("b", Affine(Chain((Dense(second), Reshape((size,), shape)))), ("x",), shape),
        node("c", Bilinear(form), ("a", "b"), shape),
        node("d", Affine(Reshape(shape, (size,))), ("c",), (size,)),
    )
    network = Network("x", (3,), nodes, "d")
    rows = torch.eye(size, dtype=torch.float64).expand(2, size, size)
    for radius in (1e-7, 0.5):
        region = ball(normal(3, 2, 3), radius)
        known = interval_ranges(network, region)
        found, bound = stretches(network, region, rows, Norm.L2), local_gains(known, rows)
        assert bool((found <= bound * (1 + 1e-9)).all())
        if radius < 1e-6:
            assert bool((bound <= found * 1.001).all())
            assert bool((found >= bound * (1 - 1e-3)).all())


def test_a_square_is_as_steep_as_its_end():
    nodes = (node("c", Bilinear(Form.PRODUCT), ("x", "x"), (1,)),)
    region = box(torch.tensor([[1.0]]), torch.tensor([[3.0]]))
    found = float(region_gains(interval_ranges(Network("x", (1,), nodes, "c"), region), Norm.LINF))
    assert 6.0 * (1 - 1e-14) <= found <= 6.0 * (1 + 1e-12)
