"""Ranges and gains of vector functions over boxes: sound by sampling and attack, sharp where extremes are known."""

import math

import pytest
import torch

from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.vectors import LayerNorm, LogSoftmax, LogSumExp, Normalize, RMSNorm, Softmax, Sort
from tests.vectors.references import FUNCTIONS
from tests.vectors.test_conformance import jacobian, label, matrix_norm, sample


def tensor(*entries):
    return torch.tensor([entries], dtype=torch.float64)


def box_around(x, radius, seed):
    """A box with widths from nothing to the radius, the point somewhere inside."""
    generator = torch.Generator().manual_seed(seed)
    below, above = (
        radius * torch.rand(x.shape, generator=generator, dtype=torch.float64).round(decimals=1) for _ in "ab"
    )
    return Interval(x - below, x + above)


def inside(box, seed, count=40):
    """Points of a box of one row: corners, faces and random ones."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(count, *box.lo.shape[1:], generator=generator, dtype=torch.float64)
    weights = torch.where(torch.rand(weights.shape, generator=generator) < 0.6, weights.round(), weights)
    low, high = (end.clamp(-1e6, 1e6) for end in (box.lo, box.hi))
    return torch.minimum(torch.maximum(low + weights * (high - low), box.lo), box.hi)


def assert_inside(function, box, points):
    image, value = function.range(box), function.value(points)
    slack = function.error(points, torch.zeros_like(points)).nan_to_num(nan=math.inf)
    assert image.lo.shape == (1, *function.out_shape)
    known = value.isfinite()
    assert bool(((value >= image.lo - slack) | ~known).all())
    assert bool(((value <= image.hi + slack) | ~known).all())


@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
@pytest.mark.parametrize("scale", [1e-7, 1.0, 40.0, 1e5])
@pytest.mark.parametrize("radius", [0.0, 1e-9, 0.3, 2.0, 1e3])
def test_every_value_over_the_box_is_in_the_range(function, scale, radius):
    box = box_around(sample(function, 3, scale, 1), radius * scale, 5)
    assert_inside(function, box, inside(box, 7))


@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_ends_may_be_infinite(function, share):
    box = box_around(sample(function, 11, 1.0, 1), 1.0, 2)
    generator = torch.Generator().manual_seed(3)
    open_low, open_high = (torch.rand(box.lo.shape, generator=generator) < share for _ in "ab")
    box = Interval(torch.where(open_low, -math.inf, box.lo), torch.where(open_high, math.inf, box.hi))
    assert_inside(function, box, inside(box, 7))


@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
def test_nan_ends_prove_nothing(function):
    x = sample(function, 0, 1.0, 1)
    broken = torch.where(torch.arange(x.numel()).reshape(x.shape) == 0, math.nan, x)
    image = function.range(Interval(x, broken))
    assert bool((image.lo == -math.inf).all())
    assert bool((image.hi == math.inf).all())


def test_over_all_inputs_softmax_and_normalizations_are_bounded():
    everything = Interval(torch.full((1, 9), -math.inf).double(), torch.full((1, 9), math.inf).double())
    for function, most in (
        (Softmax((9,), 0), 1.0),
        (LayerNorm((9,), 1), math.sqrt(8)),
        (RMSNorm((9,), 1, 1e-6), 3.0),
        (Normalize((9,), 0), 1.0),
    ):
        image = function.range(everything)
        assert float(image.hi.max()) == pytest.approx(most, rel=1e-12)
        assert float(image.hi.min()) >= most
    assert float(LayerNorm((9,), 1, 0.0).range(everything).hi.max()) == math.inf
    assert float(LogSoftmax((9,), 0).range(everything).hi.max()) == 0.0


def test_softmax_ends_are_attained():
    box = Interval(tensor(-1.0, 0.0, 2.0), tensor(1.0, 3.0, 2.5))
    image = Softmax((3,), 0).range(box)
    powers = [[math.exp(end) for end in ends[0].tolist()] for ends in (box.lo, box.hi)]
    for i in range(3):
        rest = [sum(p for j, p in enumerate(ends) if j != i) for ends in powers]
        assert float(image.hi[0, i]) == pytest.approx(powers[1][i] / (powers[1][i] + rest[0]), rel=1e-12)
        assert float(image.lo[0, i]) == pytest.approx(powers[0][i] / (powers[0][i] + rest[1]), rel=1e-12)


def test_softmax_of_distant_scores_keeps_its_digits():
    box = Interval(tensor(0.0, -900.0, 700.0), tensor(0.0, -900.0, 705.0))
    image, log_image = Softmax((3,), 0).range(box), LogSoftmax((3,), 0).range(box)
    assert 0 < float(image.lo[0, 0]) <= math.exp(-705)
    assert float(image.hi[0, 0]) == pytest.approx(math.exp(-700), rel=1e-9)
    assert float(log_image.lo[0, 1]) == pytest.approx(-1605, rel=1e-12)
    assert float(log_image.hi[0, 1]) == pytest.approx(-1600, rel=1e-12)


def test_masked_scores_get_no_weight():
    box = Interval(tensor(0.0, -math.inf, 1.0), tensor(1.0, -math.inf, 2.0))
    image = Softmax((3,), 0).range(box)
    assert float(image.hi[0, 1]) < 1e-300
    assert float(image.lo[0, 0]) == pytest.approx(1 / (1 + math.exp(2)), rel=1e-12)


def test_log_sum_exp_ends_are_attained():
    image = LogSumExp((2,), 0).range(Interval(tensor(0.0, -math.inf), tensor(800.0, 800.0)))
    assert float(image.lo) == pytest.approx(0.0, abs=1e-14)
    assert float(image.hi) == pytest.approx(800 + math.log(2), rel=1e-14)


def test_rms_norm_and_normalize_are_exact():
    box = Interval(tensor(1.0, -2.0, 0.5), tensor(3.0, 1.0, 0.5))
    image = RMSNorm((3,), 1, 0.25).range(box)
    assert float(image.hi[0, 0]) == pytest.approx(3 / math.sqrt((9 + 0 + 0.25) / 3 + 0.25), rel=1e-12)
    assert float(image.lo[0, 0]) == pytest.approx(1 / math.sqrt((1 + 4 + 0.25) / 3 + 0.25), rel=1e-12)
    assert float(image.lo[0, 1]) == pytest.approx(-2 / math.sqrt((4 + 1 + 0.25) / 3 + 0.25), rel=1e-12)
    unit = Normalize((3,), 0, 1e-12).range(box)
    assert float(unit.hi[0, 1]) == pytest.approx(1 / math.sqrt(1 + 1 + 0.25), rel=1e-12)


def test_layer_norm_follows_small_boxes():
    x = sample(LayerNorm((8,), 1), 1, 1.0, 1)
    function, radius = LayerNorm((8,), 1), 1e-6
    image = function.range(Interval(x - radius, x + radius))
    rows = jacobian(function, x[0]).abs().sum(1)
    assert bool(((image.hi - image.lo)[0] / (2 * radius) <= 2.5 * rows).all())


def test_a_constant_input_crosses_from_side_to_side():
    image = LayerNorm((4,), 1, 1e-5).range(Interval(torch.ones(1, 4).double(), torch.full((1, 4), 1.001).double()))
    assert float(image.hi.max()) < 0.25
    assert float(image.lo.min()) > -0.25


def test_sorted_boxes_are_sorted():
    image = Sort((3,), 0).range(Interval(tensor(0.0, -math.inf, 5.0), tensor(9.0, 1.0, 6.0)))
    assert image.lo.tolist() == [[-math.inf, 0.0, 5.0]]
    assert image.hi.tolist() == [[1.0, 6.0, 9.0]]


SMOOTH = [f for f in FUNCTIONS if math.prod(f.in_shape) <= 40]


@pytest.mark.parametrize("function", SMOOTH, ids=label)
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("radius", [1e-6, 0.2, 3.0])
def test_local_gain_is_above_jacobians_in_the_box(function, norm, radius):
    box = box_around(sample(function, 21, 1.0, 1), radius, 4)
    bound = float(function.local_gain(box, norm))
    assert bound <= function.gain(norm)
    for point in inside(box, 9, 6):
        assert matrix_norm(jacobian(function, point), norm) <= bound * (1 + 1e-12)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize(
    "function", [Softmax((5,), 0), LogSoftmax((5,), 0), LayerNorm((6,), 1), RMSNorm((6,), 1, 1e-5)], ids=label
)
def test_local_gain_is_far_below_the_global_one_where_that_is_loose(function, norm):
    x = sample(function, 2, 1.0, 1)
    x[0, 0] += 6
    point = Interval(x - 1e-9, x + 1e-9)
    sharp = matrix_norm(jacobian(function, x[0]), norm)
    assert sharp <= float(function.local_gain(point, norm)) <= 3 * sharp


def test_layer_norm_of_two_entries_is_exact():
    # Of (a, b) with d = (a - b) / 2 it is d / sqrt(d^2 + eps) and its negative: extreme at corners.
    box = Interval(tensor(0.0, -1.0), tensor(2.0, 0.5))
    image = LayerNorm((2,), 1, 0.3).range(box)
    most, least = 1.5 / math.sqrt(1.5**2 + 0.3), -0.25 / math.sqrt(0.25**2 + 0.3)
    assert float(image.hi[0, 0]) >= most * (1 - 1e-14)
    assert float(image.lo[0, 0]) <= least * (1 - 1e-14)
    assert float(image.lo[0, 1]) <= -most * (1 - 1e-14)
    assert float(image.hi[0, 0]) <= most * (1 + 0.2)


@pytest.mark.parametrize("norm", list(Norm))
def test_local_gains_are_attained_by_two_entries(norm):
    # p = (1 + t) / 2: softmax has 2 p (1 - p) in every norm, greatest at equal entries.
    for low, high, exact in ((1.0, 3.0, None), (-1.0, 2.0, 0.5)):
        p = 1 / (1 + math.exp(-low))
        truth = 2 * p * (1 - p) if exact is None else exact
        found = float(Softmax((2,), 0).local_gain(Interval(tensor(low, 0.0), tensor(high, 0.0)), norm))
        assert truth * (1 - 1e-14) <= found <= truth * (1 + 1e-9)


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (LayerNorm((2,), 1, 0.5), tensor(0.4, 0.4)),
        (RMSNorm((2,), 1, 0.5), tensor(0.0, 0.0)),
        (Normalize((2,), 0), tensor(0.3, -0.4)),
        (LogSoftmax((2,), 0), tensor(0.2, -0.7)),
    ],
    ids=lambda one: label(one) if hasattr(one, "in_shape") else "",
)
def test_local_gains_in_l2_are_attained_at_a_point(function, x):
    sharp = matrix_norm(jacobian(function, x[0]), Norm.L2)
    found = float(function.local_gain(Interval(x, x), Norm.L2))
    assert sharp * (1 - 1e-12) <= found
    assert found <= sharp * (1 + 1e-9) or isinstance(function, LogSoftmax)
