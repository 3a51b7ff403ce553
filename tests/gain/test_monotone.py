"""Trends over regions, and norms of interval Jacobians."""

import pytest
import torch

from netgain.core.errors import DataMismatchError
from netgain.core.norms import Norm
from netgain.gain.monotone import Trend, monotonicity, norm_bounds, slopes_over
from netgain.network.graph import Network, Sum
from netgain.propagate.region import ball, box
from tests.gain import zoo
from tests.gain.networks import act, chain, jacobian, linear, matrix_norm, mlp, node, normal


def rising(seed: int, *sizes: int) -> Network:
    """Weights without a negative entry, except that the last input enters with a minus."""
    kinds = []
    for i in range(len(sizes) - 1):
        weight = normal(seed + i, sizes[i + 1], sizes[i]).abs()
        if i == 0:
            weight[:, -1] *= -1
        kinds += [linear(weight, normal(seed + 20 + i, sizes[i + 1])), act("relu" if i % 2 else "tanh")]
    return chain((sizes[0],), *kinds[:-1])


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e3])
def test_networks_that_rise_by_construction_are_proved_to(size: float):
    network = rising(0, 4, 12, 8, 3)
    found = monotonicity(network, ball(normal(1, 2, 4), size, "linf"))
    for row in range(2):
        for trends in found.trends(row):
            assert trends[-1] in {Trend.DECREASING, Trend.CONSTANT}
            assert all(trend in {Trend.INCREASING, Trend.CONSTANT} for trend in trends[:-1])


def test_constants_and_unknowns_are_told_apart():
    weight = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    network = chain((2,), linear(weight), act("abs"))
    found = monotonicity(network, box(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 1.0], [2.0, 1.0]])))
    assert found.trends(0) == ((Trend.UNKNOWN, Trend.CONSTANT),)
    assert found.trends(1) == ((Trend.INCREASING, Trend.CONSTANT),)
    assert "3 of 4" in repr(found)


def test_sampled_slopes_lie_inside():
    network = mlp(4, 3, 8, 8, 2)
    region = ball(normal(2, 1, 3), 0.2, "linf")
    found = monotonicity(network, region)
    step = torch.rand((40, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.4 - 0.2
    for x in region.centre + step:
        slopes = jacobian(network, x)
        assert bool(((found.lower[0] <= slopes + 1e-12) & (slopes <= found.upper[0] + 1e-12)).all())


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("family", [zoo.perceptron, zoo.residual, zoo.conv_chain])
def test_norms_over_a_region_are_above_every_sampled_one_and_sharp_at_a_point(norm: Norm, family: zoo.Builder):
    network = family(5)
    centre = normal(3, 1, *network.input_shape)
    for radius in (1e-7, 0.1):
        (bound,) = norm_bounds(slopes_over(network, ball(centre, radius, "linf")), norm).tolist()
        steps = torch.rand((10, *network.input_shape), generator=torch.Generator().manual_seed(1)).double() * 2 - 1
        truth = max(matrix_norm(jacobian(network, x), norm) for x in centre + radius * steps)
        assert truth <= bound * (1 + 1e-7)
        if radius == 1e-7:
            assert bound <= truth * 1.001 + 1e-300


def test_a_function_that_is_zero_has_a_slope_range_around_zero():
    minus = linear(torch.tensor([[-1.0]], dtype=torch.float64))
    nodes = (
        node("m", minus, ("x",), (1,)),
        node("a", act("relu"), ("x",), (1,)),
        node("b", act("relu"), ("m",), (1,)),
        node("s", Sum((1.0, -1.0, -1.0)), ("a", "b", "x"), (1,)),
    )
    found = monotonicity(Network("x", (1,), nodes, "s"), ball(torch.zeros(1, 1), 0.1))
    assert float(found.lower) <= 0.0 <= float(found.upper)
    assert found.trend(0, 0) is Trend.UNKNOWN


def test_what_cannot_be_done_is_refused():
    with pytest.raises(DataMismatchError, match=r"\(3,\)"):
        monotonicity(mlp(0, 2, 2), ball(torch.zeros(1, 3), 1.0))
