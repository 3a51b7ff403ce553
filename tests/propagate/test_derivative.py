"""Interval Jacobians: sampled Jacobians and difference quotients lie inside, signs and zeros are exact."""

import math

import pytest
import torch
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.core.interval import Interval
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.pooling import average_pool
from netgain.linear.signs import signs
from netgain.network.graph import Bilinear, Form, Network, Vector
from netgain.propagate import cotangent
from netgain.propagate.derivative import derivatives, interval_jacobian
from netgain.propagate.ranges import interval_ranges
from netgain.propagate.region import Region, ball, box
from netgain.vectors.softmax import Softmax
from tests.gain import zoo
from tests.gain.networks import act, chain, jacobian, linear, mlp, node, normal

FAMILIES = (zoo.perceptron, zoo.residual, zoo.skips, zoo.reused, zoo.conv_chain, zoo.conv_residual, zoo.deep)


def inside(region: Region, seed: int, count: int) -> Tensor:
    """Random points of the first region's box, its corners among them."""
    hull = region.hull()
    t = torch.rand((count, *hull.lo.shape[1:]), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    t[: count // 2] = (t[: count // 2] > 0.5).double()
    return hull.lo + t * (hull.hi - hull.lo)


def contains(found: Interval, matrix: Tensor) -> bool:
    slack = 1e-7 * float(matrix.abs().max()) + 1e-300  # of automatic differentiation, as in test_jacobian
    return bool(((found.lo - slack <= matrix) & (matrix <= found.hi + slack)).all())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("radius", [0.0, 1e-8, 0.3])
def test_jacobians_and_quotients_of_the_region_lie_inside(family: zoo.Builder, radius: float):
    for seed in range(2):
        network = family(seed)
        region = ball(normal(seed, 1, *network.input_shape), radius, "linf")
        found = interval_jacobian(interval_ranges(network, region))
        assert found.lo.shape == (1, math.prod(network.output_shape), math.prod(network.input_shape))
        points = inside(region, seed, 8)
        if radius == 0.0:  # at a kink automatic differentiation need not be a slope of the function
            points = points[:1]
        for x in points:
            assert contains(found, jacobian(network, x))
        change, moved = points[0] - points[-1], network(points[:1]) - network(points[-1:])
        reach = (found.lo.abs().maximum(found.hi.abs())[0] @ change.reshape(-1).abs()).reshape(moved.shape)
        assert bool((moved.abs() <= reach + 1e-9 * (1 + reach)).all())


@pytest.mark.parametrize(("form", "shapes"), [(Form.PRODUCT, ((2, 3), (3,))), (Form.MATMUL, ((2, 3), (3, 2)))])
def test_products_of_two_values(form: Form, shapes: tuple[tuple[int, ...], tuple[int, ...]]):
    one, other = shapes
    out = (2, 3) if form is Form.PRODUCT else (2, 2)
    network = Network(
        "x",
        (2,),
        (
            node("a", linear(normal(0, 6, 2), normal(1, 6)), ("x",), (6,)),
            node("b", linear(normal(2, math.prod(other), 2)), ("x",), (math.prod(other),)),
            node("c", zoo.Affine(zoo.Reshape((6,), one)), ("a",), one),
            node("d", zoo.Affine(zoo.Reshape((math.prod(other),), other)), ("b",), other),
            node("e", act("tanh"), ("c",), one),
            node("f", Bilinear(form), ("e", "d"), out),
        ),
        "f",
    )
    region = ball(normal(3, 1, 2), 0.2, "linf")
    found = interval_jacobian(interval_ranges(network, region))
    for x in inside(region, 4, 12):
        assert contains(found, jacobian(network, x))
    point = interval_jacobian(interval_ranges(network, ball(region.centre, 0.0)))
    assert float((point.hi - point.lo).max()) < 1e-13


def test_a_square_is_a_product_with_itself():
    network = Network("x", (1,), (node("s", Bilinear(Form.PRODUCT), ("x", "x"), (1,)),), "s")
    found = interval_jacobian(interval_ranges(network, box(torch.tensor([[1.0]]), torch.tensor([[3.0]]))))
    assert float(found.lo) <= 2.0 <= 6.0 <= float(found.hi)
    assert float(found.lo) > 2 - 1e-12
    assert float(found.hi) < 6 + 1e-12


@pytest.mark.parametrize("scale", [1e-310, 1e-150, 1.0, 1e100])
def test_weights_without_a_negative_entry_keep_every_sign(scale: float):
    network = chain(
        (3,),
        linear(normal(0, 5, 3).abs() * scale, normal(1, 5)),
        act("relu"),
        linear(normal(2, 4, 5).abs(), normal(3, 4)),
        act("sigmoid"),
        linear(normal(4, 2, 4).abs() * torch.tensor([[1.0], [-1.0]])),
    )
    found = interval_jacobian(interval_ranges(network, ball(normal(5, 2, 3), 0.5)))
    assert bool((found.lo[:, 0] >= 0).all())
    assert bool((found.hi[:, 1] <= 0).all())


def test_without_signs_the_interval_is_only_wider():
    network = mlp(2, 3, 6, 6, 2)
    ranges = interval_ranges(network, ball(normal(5, 2, 3), 0.5))
    sharp, plain = interval_jacobian(ranges), interval_jacobian(ranges, signed=False)
    assert bool(((plain.lo <= sharp.lo) & (sharp.hi <= plain.hi)).all())


def test_what_does_not_reach_the_output_is_zero():
    network = Network("x", (2,), (node("a", act("relu"), ("x",), (2,)),), "x")
    found = interval_jacobian(interval_ranges(network, ball(torch.zeros(1, 2), 1.0)))
    assert torch.equal(found.lo[0], torch.eye(2, dtype=torch.float64))
    nothing = chain((2,), linear(torch.zeros(2, 2, dtype=torch.float64)), act("relu"))
    found = interval_jacobian(interval_ranges(nothing, ball(torch.zeros(1, 2), 1.0)))
    assert not bool(found.lo.any() | found.hi.any())


def test_every_node_has_a_derivative_and_the_input_comes_last():
    network = zoo.residual(1)
    ranges = interval_ranges(network, ball(normal(0, 1, *network.input_shape), 0.1))
    rows = torch.ones(1, 1, *network.output_shape, dtype=torch.float64)
    names = [name for name, _ in derivatives(ranges, rows)]
    assert names[0] == network.output
    assert names[-1] == "x"
    assert len(names) == len(network.nodes) + 1


def test_an_unbounded_slope_is_infinite_and_zero_times_it_is_zero():
    network = chain((2,), act("sqrt"), linear(torch.tensor([[1.0, 0.0]], dtype=torch.float64)))
    found = interval_jacobian(interval_ranges(network, box(torch.zeros(1, 2), torch.ones(1, 2))))
    assert float(found.hi[0, 0, 0]) == math.inf
    assert float(found.lo[0, 0, 1]) == float(found.hi[0, 0, 1]) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_interval_products_hold_what_they_should(seed: int):
    a, b = normal(seed, 2, 3, 4), normal(seed + 9, 2, 4, 2)
    wide, broad = normal(seed + 1, 2, 3, 4).abs(), normal(seed + 2, 2, 4, 2).abs()
    x, y = Interval(a - wide, a + wide), Interval(b - broad, b + broad)
    found = cotangent.product(x, y)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(40):
        s, t = (torch.where(torch.rand(end.lo.shape, generator=generator) > 0.5, end.lo, end.hi) for end in (x, y))
        assert bool(((found.lo <= s @ t) & (s @ t <= found.hi)).all())
    points = cotangent.times(Interval(a, a), Interval.exactly(-1.0))
    assert torch.equal(points.lo, -a)
    assert torch.equal(points.hi, -a)


def test_signs_of_maps():
    dense = Dense(
        torch.tensor([[1.0, -2.0], [0.0, 1e-320]], dtype=torch.float64), error=torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    )
    (found,) = signs(dense)
    assert found.negative is not None
    assert torch.equal(found.positive.matrix() > 0, torch.tensor([[True, True], [True, True]]))
    assert torch.equal(found.negative.matrix() > 0, torch.tensor([[False, True], [True, False]]))
    conv = Conv(normal(0, 2, 1, 3), (1, 6), (1,), ((1, 1),), (1,))
    stages = signs(Chain((conv, Diagonal(torch.tensor([[2.0], [-1.0]]), conv.out_shape))))
    assert len(stages) == 2
    pool = average_pool((1, 4, 4), (2, 2), (2, 2), ((0, 0), (0, 0)))
    assert all(stage.negative is None for stage in signs(pool))


def test_what_has_no_rule_is_refused_by_name():
    network = chain((3,), Vector(Softmax((3,), 0)))
    with pytest.raises(NoSoundRuleError, match=r"net\.n0"):
        interval_jacobian(interval_ranges(network, ball(torch.zeros(1, 3), 1.0)))


@pytest.mark.parametrize("signed", [False, True])
def test_ends_at_kinks_are_those_of_the_best_slopes(signed: bool):
    # sum of v_i relu(w_i x) around 0: any slopes in [0, 1] are hulls of generalized derivatives.
    inner, outer = normal(1, 7, 1), normal(2, 1, 7)
    network = chain((1,), linear(inner), act("relu"), linear(outer))
    found = interval_jacobian(interval_ranges(network, ball(torch.zeros(1, 1), 1.0)), signed=signed)
    parts = outer[0] * inner[:, 0]
    low, high = float(parts.clamp_max(0.0).sum()), float(parts.clamp_min(0.0).sum())
    assert low * (1 + 1e-12) <= float(found.lo) <= low * (1 - 1e-15)
    assert high * (1 - 1e-15) <= float(found.hi) <= high * (1 + 1e-12)


def test_a_matrix_product_with_a_known_factor_is_exact():
    low, right = normal(1, 3, 4), normal(2, 4, 5)
    found = cotangent.product(Interval(low, low + 0.5), Interval.exactly(right))
    reach = right.clamp_min(0.0).sum(0) / 2, right.clamp_max(0.0).sum(0) / 2
    for end, exact, sign in ((found.hi, low @ right + reach[0], 1.0), (found.lo, low @ right + reach[1], -1.0)):
        assert bool((sign * (end - exact) >= -1e-14).all())
        assert torch.allclose(end, exact, rtol=1e-12, atol=1e-12)
