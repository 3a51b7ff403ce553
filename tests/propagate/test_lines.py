"""Lines below and above every activation, attacked from inside their intervals."""

import math

import pytest
import torch
from torch import Tensor

from netgain.activations.base import Activation
from netgain.activations.table import ACTIVATIONS, activation
from netgain.core.interval import Interval
from netgain.propagate.envelope import envelopes
from netgain.propagate.lines import Lines, lines
from tests.gain.networks import normal

PARAMETERS: dict[str, dict[str, float]] = {
    "prelu": {"weight": -0.3},
    "clamp": {"min": -1.0, "max": 2.0},
    "threshold": {"threshold": 0.3, "value": 0.1},
    "power": {"exponent": 3.0},
}
POSITIVE = {"log", "sqrt", "rsqrt"}
NAMES = sorted(ACTIVATIONS)


def facts(name: str) -> Activation:
    return activation(name, **PARAMETERS.get(name, {}))


def boxes(name: str, count: int = 120) -> Interval:
    """Boxes of all widths and places, points, edges at kinks and 0 among them."""
    generator = torch.Generator().manual_seed(5)
    middle = normal(1, count) * 10.0 ** torch.randint(-2, 2, (count,), generator=generator)
    width = 10.0 ** torch.empty(count, dtype=torch.float64).uniform_(-12, 1.7, generator=generator)
    width[::11] = 0.0
    low, high = middle - width, middle + width
    low[1::13] = torch.minimum(torch.zeros(()).double(), high[1::13])
    high[2::13] = torch.maximum(torch.zeros(()).double(), low[2::13])
    if name in POSITIVE:
        low, high = low.abs(), low.abs() + 2 * width
        low[5::17] = 0.0
    return Interval(low[None], high[None])


def inside(x: Interval, count: int = 400) -> Tensor:
    """Points of the boxes on a new leading axis: both ends, an even grid, and near the ends."""
    part = torch.linspace(0, 1, count, dtype=torch.float64)
    part = torch.cat([part, 10.0 ** torch.linspace(-15, -3, 25, dtype=torch.float64)])
    part = torch.cat([part, 1 - part]).reshape(-1, *[1] * x.lo.dim())
    return torch.minimum(torch.maximum(x.lo + part * (x.hi - x.lo), x.lo), x.hi)


def violation(phi: Activation, found: Lines, z: Tensor) -> float:
    """How far the function leaves the lines at points of the boxes, beyond the rounding of this very comparison."""
    value, error = phi.value(z), phi.value_error(z)
    worst = 0.0
    for slope, offset, sign in (
        (found.lower_slope, found.lower_offset, 1.0),
        (found.upper_slope, found.upper_offset, -1.0),
    ):
        gap = sign * (value - (slope * z + offset))
        noise = error + 4e-16 * (value.abs() + (slope * z).abs() + offset.abs()) + 1e-300
        worst = max(worst, float((-(gap + noise)).nan_to_num(nan=0.0, posinf=0.0).max()))
    return worst


@pytest.mark.parametrize("name", NAMES)
def test_lines_hold_on_all_boxes(name: str) -> None:
    phi, x = facts(name), boxes(name)
    assert violation(phi, lines(phi, x), inside(x)) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_any_slope_is_made_to_hold(name: str) -> None:
    phi, x = facts(name), boxes(name)
    slopes = (normal(2, 1, 3, x.lo.shape[1]) * 2, normal(3, 1, 3, x.lo.shape[1]))
    found = lines(phi, x, slopes)
    assert torch.equal(found.lower_slope, slopes[0])
    assert found.upper_offset.shape == (1, 3, x.lo.shape[1])
    z = inside(Interval(x.lo[:, None], x.hi[:, None]))
    assert violation(phi, found, z) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_lines_hold_on_endless_boxes(name: str) -> None:
    phi = facts(name)
    ends = torch.tensor([[0.0, 0.5, 3.0, 1e5]], dtype=torch.float64)
    if name not in POSITIVE:
        ends = torch.cat([-ends, ends], 1)
    far = 10.0 ** torch.linspace(-3, 12, 200, dtype=torch.float64).reshape(-1, 1, 1)
    right = lines(phi, Interval(ends, torch.full_like(ends, math.inf)))
    assert violation(phi, right, torch.cat([ends + far, ends[None]])) == 0.0
    if name in POSITIVE:
        return
    left = lines(phi, Interval(torch.full_like(ends, -math.inf), ends))
    assert violation(phi, left, torch.cat([ends - far, ends[None]])) == 0.0
    both = lines(phi, Interval(torch.full_like(ends, -math.inf), torch.full_like(ends, math.inf)))
    assert violation(phi, both, torch.cat([far, -far, 0 * far]).expand(-1, 1, ends.shape[1])) == 0.0


def test_relu_has_the_lines_of_crown() -> None:
    x = Interval(
        torch.tensor([[-1.0, -3.0, 0.5, -2.0, 0.0]]).double(), torch.tensor([[3.0, 1.0, 2.0, -1.0, 0.0]]).double()
    )
    found = lines(activation("relu"), x)
    assert found.lower_slope.tolist() == [[1.0, 0.0, 1.0, 0.0, 0.0]]
    assert found.lower_offset.tolist() == [[0.0] * 5]
    assert found.upper_slope.tolist() == [[0.75, 0.25, 1.0, 0.0, 0.0]]
    assert found.upper_offset[0].tolist() == pytest.approx([0.75, 0.75, 0.0, 0.0, 0.0], abs=1e-15)
    assert bool((found.upper_offset >= torch.tensor([0.75, 0.75, 0.0, 0.0, 0.0])).all())


def test_stable_pieces_of_broken_lines_are_exact() -> None:
    x = Interval(torch.tensor([[1.0, -7.0]]).double(), torch.tensor([[5.0, -2.0]]).double())
    found = lines(activation("leaky_relu", negative_slope=0.25), x)
    for slope in (found.lower_slope, found.upper_slope):
        assert slope.tolist() == [[1.0, 0.25]]
    assert float((found.upper_offset - found.lower_offset).max()) < 1e-14


@pytest.mark.parametrize("name", ["tanh", "gelu", "exp", "square", "softplus", "sin"])
def test_gap_shrinks_with_the_square_of_the_width(name: str) -> None:
    phi = facts(name)
    middle = torch.linspace(-2, 2, 9, dtype=torch.float64)[None]
    heights: list[Tensor] = []
    for width in (0.1, 0.05):
        found = lines(phi, Interval(middle - width, middle + width))
        slope = found.upper_slope - found.lower_slope
        heights.append(slope * middle + found.upper_offset - found.lower_offset)
    assert float((heights[0] - heights[1] * 3.0).min()) > 0.0
    assert float(heights[1].max()) < 0.05


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "silu", "sin", "tanhshrink", "mish"])
def test_lines_are_near_the_convex_hull(name: str) -> None:
    """The height at the middle is at most 15 % above that of the hull of a fine sample."""
    phi = facts(name)
    low, high = (
        torch.tensor([[-3.0, -1.0, -2.0, -0.3, 1.0]]).double(),
        torch.tensor([[3.0, 2.0, 0.5, 0.4, 4.0]]).double(),
    )
    found = lines(phi, Interval(low, high))
    middle = (low + high) / 2
    z = inside(Interval(low, high), 1000)
    value = phi.value(z)
    heights = found.upper_slope * middle + found.upper_offset - found.lower_slope * middle - found.lower_offset
    for k in range(low.shape[1]):
        best = hull_height(z[:, 0, k], value[:, 0, k], float(middle[0, k]))
        assert best - 1e-9 <= float(heights[0, k]) <= 1.15 * best + 1e-6


def hull_height(z: Tensor, value: Tensor, middle: float) -> float:
    """The height of the convex hull of points at one place, by trying all chords."""
    left, right = z <= middle, z >= middle
    part = (middle - z[left])[:, None] / (z[right][None] - z[left][:, None]).clamp_min(1e-300)
    chord = value[left][:, None] * (1 - part) + value[right][None] * part
    return float(chord.max() - chord.min())


def test_slopes_of_an_envelope_differentiate() -> None:
    x = Interval(torch.tensor([[-1.0]]).double(), torch.tensor([[2.0]]).double())
    slope = torch.tensor([[0.3]]).double().requires_grad_()
    _, above = envelopes(activation("relu"), x)
    above.roughly(slope).sum().backward()
    assert slope.grad is not None
    assert slope.grad.tolist() == [[-2.0]]
    with torch.no_grad():
        assert float(above.offset(slope)) == pytest.approx(1.4)


def test_parameters_by_channel() -> None:
    phi = activation("prelu", weight=torch.tensor([[0.1], [-0.5]]))
    x = Interval(-normal(1, 3, 2, 4).abs(), normal(2, 3, 2, 4).abs())
    assert violation(phi, lines(phi, x), inside(x)) == 0.0
    slopes = (normal(3, 3, 5, 2, 4), normal(4, 1, 5, 2, 4))
    found = lines(phi, x, slopes)
    assert violation(phi, found, inside(Interval(x.lo[:, None], x.hi[:, None]))) == 0.0
