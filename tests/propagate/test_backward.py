"""Backward relaxation and the ranges from it, against values at many points of each region."""

import math

import pytest
import torch
from torch import nn

from netgain.activations.table import ACTIVATIONS
from netgain.core.errors import DataError, DataMismatchError, UsageError
from netgain.core.norms import Norm
from netgain.network.fold import fold
from netgain.network.read.read import read
from netgain.propagate.backward import bounds, lower_bounds
from netgain.propagate.ranges import interval_ranges
from netgain.propagate.region import Region, ball, box
from netgain.propagate.relax import ranges
from tests.gain.networks import act, chain, linear, normal


class _Branches(nn.Module):
    """A sum, a concatenation and a product of computed values."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(12, 3)

    def forward(self, x):
        inner = self.first(x).tanh()
        return self.last(torch.cat([inner + self.second(inner).relu(), inner * self.second(inner)], 1))


def model(name: str):
    torch.manual_seed(3)
    match name:
        case "convolution":
            layers = nn.Sequential(
                nn.Conv2d(1, 3, 3, 2, 1), nn.BatchNorm2d(3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)
            )
            shape = (1, 7, 7)
        case "softmax":
            layers = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.SiLU(), nn.Linear(6, 4), nn.Softmax(1))
            shape = (4,)
        case _:
            layers, shape = _Branches(), (4,)
    return fold(read(layers.eval(), torch.zeros(2, *shape)))


def points(region: Region, row: int, count: int = 300):
    """Points of one region: random ones of its ball, corners of its box."""
    centre = region.centre[row]
    hull = region.hull()
    noise = normal(row, count, *centre.shape)
    if math.isfinite(float(region.radius[row])):
        noise = noise / region.norm.of(noise).reshape(-1, *[1] * centre.dim()) * region.radius[row] * (1 - 1e-12)
        noise[: count // 2] *= torch.rand(count // 2, *[1] * centre.dim(), dtype=torch.float64)
        found = (centre + noise).clamp(region.low[row], region.high[row])
    else:
        found = torch.where(noise > 0, hull.hi[row], hull.lo[row])
    return torch.cat([centre.unsqueeze(0), found])


def hold(network, region):
    """All ranges hold the values at the points; the relaxed ones are not wider than the intervals."""
    wide, tight = interval_ranges(network, region), ranges(network, region)
    for row in range(len(region)):
        for name, value in network.values(points(region, row)):
            size = value.abs().max() * 1e-13
            for found in (wide, tight):
                one = found.boxes[name]
                assert bool(((value >= one.lo[row] - size) & (value <= one.hi[row] + size)).all()), (
                    name,
                    found is wide,
                )
    for name, one in tight.boxes.items():
        loose = wide.boxes[name]
        size = torch.maximum(loose.lo.abs(), loose.hi.abs()).nan_to_num(posinf=0.0).amax() * 1e-12
        assert bool(((one.lo >= loose.lo - size) & (one.hi <= loose.hi + size)).all()), name


def margins(network, region, known):
    """Bounds of functions of the output hold their values at the points."""
    count = math.prod(network.output_shape)
    rows = normal(9, len(region), 5, *network.output_shape)
    found = bounds(known, rows, network.output)
    for row in range(len(region)):
        values = network(points(region, row)).reshape(-1, count) @ rows[row].reshape(5, count).T
        slack = values.abs().max() * 1e-12
        assert bool(((values >= found.lo[row] - slack) & (values <= found.hi[row] + slack)).all())
    return found


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation(name):
    needed = {"power": {"exponent": 3.0}, "prelu": {"weight": 0.3}, "threshold": {"threshold": 0.1, "value": 0.0}}
    phi = act(name, **needed.get(name, {}))
    first = linear(normal(1, 5, 3), normal(2, 5))
    # Softplus makes numbers positive, so that logarithms and roots have their domain.
    network = chain((3,), first, act("softplus"), linear(torch.eye(5).double()), phi, linear(normal(4, 2, 5)))
    for norm, radius in ((Norm.L2, 0.0), (Norm.LINF, 1e-6), (Norm.L1, 0.3), (Norm.L2, 2.0)):
        region = ball(normal(5, 3, 3), radius, norm)
        hold(network, region)


@pytest.mark.parametrize("name", ["convolution", "softmax", "branches"])
@pytest.mark.parametrize("norm", list(Norm))
def test_networks_of_all_kinds(name, norm):
    network = model(name)
    centre = torch.rand(3, *network.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for radius, domain in ((0.0, None), (0.05, None), (0.2, (0.0, 1.0)), (5.0, (0.0, 1.0))):
        region = ball(centre, radius, norm, domain)
        hold(network, region)
        margins(network, region, ranges(network, region))
    hold(network, box(centre - 0.1, centre + 0.2))


@pytest.mark.parametrize("scale", [1e-120, 1e-9, 1.0, 1e9, 1e120])
def test_scales(scale):
    network = chain((3,), linear(scale * normal(1, 6, 3), scale * normal(2, 6)), act("relu"), linear(normal(3, 2, 6)))
    region = ball(normal(4, 4, 3), 0.3, "l2")
    hold(network, region)
    found = margins(network, region, ranges(network, region))
    assert bool(((found.hi - found.lo) < 100 * scale).all())


def test_linear_networks_are_exact():
    weight, bias = normal(1, 3, 4), normal(2, 3)
    network = chain((4,), linear(weight, bias))
    centre = normal(3, 5, 4)
    for norm in Norm:
        rows = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
        found = bounds(ranges(network, ball(centre, 0.7, norm)), rows, network.output)
        reach = 0.7 * norm.dual.of(weight)
        exact = centre @ weight.T + bias
        assert torch.allclose(found.hi, exact + reach, rtol=1e-13, atol=1e-13)
        assert bool((found.hi >= exact + reach - 1e-14).all())


def test_interval_ends_are_attained_at_corners():
    weight, bias = normal(1, 4, 3), normal(2, 4)
    network = chain((3,), linear(weight, bias), act("tanh"))
    centre = normal(3, 5, 3)
    found = interval_ranges(network, ball(centre, 0.7, "linf"))
    for sign, box_, value in (
        (1.0, found.boxes["n0"].hi, lambda x: x),
        (-1.0, found.boxes["n0"].lo, lambda x: x),
        (1.0, found.boxes["n1"].hi, torch.tanh),
        (-1.0, found.boxes["n1"].lo, torch.tanh),
    ):
        exact = value(centre @ weight.T + bias + sign * 0.7 * weight.abs().sum(1))
        assert bool((sign * (box_ - exact) >= -1e-13 * exact.abs()).all())
        assert torch.allclose(box_, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "abs"])
def test_one_unit_is_exact_where_its_line_touches(name):
    # Where the line above is the chord of a convex piece, the least value of -phi over the interval is at an end of it.
    network = chain((1,), linear(torch.tensor([[2.0]]).double()), act(name))
    region = box(torch.tensor([[-1.5]]), torch.tensor([[-0.25 if name in {"tanh", "sigmoid"} else 1.0]]))
    ends = network(torch.stack([region.low[0], region.high[0]]))
    least = lower_bounds(ranges(network, region), -torch.ones(1, 1, 1).double(), network.output)
    assert -float(ends.max()) * (1 + 1e-12) - 1e-12 <= float(least) <= -float(ends.max()) + 1e-13


@pytest.mark.parametrize("norm", list(Norm))
def test_support_of_a_ball_in_a_domain_is_exact(norm):
    # Room 0.1 above in the first two entries, none limited in the others.
    centre = torch.tensor([[0.9, 0.9, 0.5, 0.5]] * 2, dtype=torch.float64)
    region = ball(centre, 0.3, norm, (0.0, 1.0))
    rows = torch.tensor([[[3.0, 2.0, 1.0, 1.0]]] * 2, dtype=torch.float64)
    room = 1.0 - 0.9
    step = {
        Norm.LINF: [room, room, 0.3, 0.3],
        Norm.L1: [room, room, 0.3 - 2 * room, 0.0],
        Norm.L2: [room, room, *[((0.09 - 2 * room**2) / 2) ** 0.5] * 2],
    }[norm]
    exact = float(rows[0, 0] @ torch.tensor(step, dtype=torch.float64))
    assert torch.allclose(region.greatest(rows), torch.full((2, 1), exact, dtype=torch.float64), rtol=1e-9)
    assert bool((region.greatest(rows) >= exact * (1 - 1e-14)).all())
    shared = float(region.greatest(rows[:1]).min())  # one row for all regions: the split is a coarser one
    assert exact * (1 - 1e-14) <= shared <= exact * 1.1
    corner = ball(centre, 10.0, norm, (0.0, 1.0)).greatest(rows)
    assert torch.allclose(corner, torch.full((2, 1), 5 * room + 1.0, dtype=torch.float64), rtol=1e-12)
    assert bool((corner >= (5 * room + 1.0) * (1 - 1e-14)).all())


def test_rows_may_be_shared_by_all_regions():
    network = chain((3,), linear(normal(1, 6, 3), normal(2, 6)), act("relu"), linear(normal(3, 2, 6)))
    known = ranges(network, ball(normal(4, 3, 3), 0.8))
    rows = normal(9, 1, 5, 2)
    shared, own = (lower_bounds(known, one, network.output) for one in (rows, rows.expand(3, 5, 2)))
    assert torch.allclose(shared, own, rtol=1e-12, atol=1e-12)


def test_a_ball_cut_by_a_domain_is_tighter_than_both():
    network = chain((4,), linear(torch.ones(1, 4, dtype=torch.float64)))
    centre = torch.full((1, 4), 0.9, dtype=torch.float64)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    cut = bounds(ranges(network, ball(centre, 0.4, "l2", (0.0, 1.0))), one, network.output)
    free = bounds(ranges(network, ball(centre, 0.4, "l2")), one, network.output)
    assert float(cut.hi) <= 4.0 + 1e-12  # the corner of the domain lies in the ball
    assert float(cut.lo) == pytest.approx(float(free.lo))


def test_any_slopes_are_valid():
    network = chain((3,), linear(normal(1, 6, 3), normal(2, 6)), act("relu"), linear(normal(3, 2, 6)))
    region = ball(normal(4, 3, 3), 0.8)
    known = ranges(network, region)
    name = next(node.name for node in network.nodes if node.name in known.boxes and "Elementwise" in repr(node))
    rows = normal(9, 3, 5, 2)
    for seed in range(5):
        slopes = {name: (normal(seed, 3, 5, 6), normal(seed + 50, 3, 1, 6))}
        found = lower_bounds(known, rows, network.output, slopes=slopes)
        for row in range(3):
            values = network(points(region, row)) @ rows[row].T
            assert bool((values >= found[row] - 1e-12).all())


def test_multipliers_need_the_sign_of_their_box():
    network = chain((2,), linear(torch.eye(2, dtype=torch.float64)), act("relu"), linear(torch.ones(1, 2).double()))
    known = ranges(network, ball(torch.zeros(1, 2, dtype=torch.float64), 1.0))
    rows = torch.ones(1, 1, 1, dtype=torch.float64)
    with pytest.raises(UsageError):
        lower_bounds(known, rows, network.output, multipliers={network.nodes[0].name: torch.ones(1, 1, 2).double()})
    with pytest.raises(DataMismatchError):
        lower_bounds(known, torch.ones(1, 1, 3, dtype=torch.float64), network.output)


def test_bad_regions():
    point = torch.zeros(2, 3)
    for radius in (-1.0, math.nan):
        with pytest.raises(UsageError):
            ball(point, radius)
    with pytest.raises(DataError):
        ball(torch.full((1, 3), math.nan), 1.0)
    with pytest.raises(DataError):
        ball(point + 2.0, 0.1, domain=(0.0, 1.0))
    with pytest.raises(DataMismatchError):
        ball(point, torch.ones(5))
    with pytest.raises(UsageError):
        box(point + 1, point)
