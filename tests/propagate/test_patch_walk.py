"""Boxes of single entries against dense backward relaxation and against samples."""

import math

import pytest
import torch
from torch import Tensor

from netgain.core.interval import Interval
from netgain.linear.pooling import adaptive_average_pool, average_pool
from netgain.linear.reshape import Reshape
from netgain.linear.shapes import strided_slice
from netgain.network.graph import Affine, Concat, Network, Sum
from netgain.propagate.backward import bounds
from netgain.propagate.patch_walk import entry_bounds, entry_work, grid_axes
from netgain.propagate.ranges import Ranges, interval_ranges
from netgain.propagate.region import Region, ball, box
from tests.gain.networks import act, chain, conv, linear, node, normal


def plain(seed: int, name: str = "relu") -> Network:
    """Three convolutions, one with a stride, then two matrices."""
    return chain(
        (2, 7, 7),
        Affine(conv(normal(seed, 3, 2, 3, 3) / 4, (2, 7, 7), padding=1), normal(seed + 1, 3, 7, 7)),
        act(name),
        Affine(conv(normal(seed + 2, 4, 3, 3, 3) / 5, (3, 7, 7), 2, 1), normal(seed + 3, 4, 1, 1).expand(4, 4, 4)),
        act(name),
        Affine(conv(normal(seed + 4, 3, 4, 2, 2) / 4, (4, 4, 4))),
        act(name),
        Affine(Reshape((3, 3, 3), (27,))),
        linear(normal(seed + 6, 4, 27) / 5, normal(seed + 7, 4)),
        act(name),
        linear(normal(seed + 8, 2, 4)),
    )


def residual(seed: int) -> Network:
    """A convolution, a residual block with a stride and a projection, a mean over the grid."""
    grid, half = (3, 6, 6), (4, 3, 3)
    nodes = (
        node(
            "a", Affine(conv(normal(seed, 3, 2, 3, 3) / 3, (2, 6, 6), padding=1), normal(seed + 1, *grid)), ("x",), grid
        ),
        node("b", act("relu"), ("a",), grid),
        node("c", Affine(conv(normal(seed + 2, 4, 3, 3, 3) / 4, grid, 2, 1)), ("b",), half),
        node("d", act("relu"), ("c",), half),
        node("e", Affine(conv(normal(seed + 3, 4, 4, 3, 3) / 5, half, padding=1)), ("d",), half),
        node("f", Affine(conv(normal(seed + 4, 4, 3, 1, 1) / 2, grid, 2)), ("b",), half),
        node("g", Sum((1.0, -0.7)), ("e", "f"), half),
        node("h", act("relu"), ("g",), half),
        node("i", Affine(adaptive_average_pool(half, (1, 1))), ("h",), (4, 1, 1)),
        node("j", Affine(Reshape((4, 1, 1), (4,))), ("i",), (4,)),
        node("k", linear(normal(seed + 5, 3, 4)), ("j",), (3,)),
    )
    return Network("x", (2, 6, 6), nodes, "k")


def joined(seed: int) -> Network:
    """Two branches joined along the channels, with average pooling, a maximum of neighbours, and a product."""
    grid, row = (3, 6, 6), (5, 3, 6)
    nodes = (
        node("a", Affine(conv(normal(seed, 3, 1, 3, 3), (1, 6, 6), padding=1)), ("x",), grid),
        node("b", act("tanh"), ("a",), grid),
        node("c", Affine(conv(normal(seed + 1, 2, 1, 1, 1), (1, 6, 6)), normal(seed + 2, 2, 6, 6)), ("x",), (2, 6, 6)),
        node("d", Concat(0), ("b", "c"), (5, 6, 6)),
        node("e", Affine(strided_slice((5, 6, 6), 1, 0, 6, 2)), ("d",), row),
        node("f", Affine(strided_slice((5, 6, 6), 1, 1, 6, 2)), ("d",), row),
        node("g", Sum((1.0, -1.0)), ("e", "f"), row),
        node("h", act("relu"), ("g",), row),
        node("i", Sum((1.0, 1.0)), ("f", "h"), row),
        node("j", Affine(conv(normal(seed + 3, 2, 5, 2, 2) / 3, row)), ("i",), (2, 2, 5)),
        node("k", act("relu"), ("j",), (2, 2, 5)),
        node("l", Affine(average_pool((2, 2, 5), (2, 2), (1, 1), ((0, 0), (0, 0)))), ("k",), (2, 1, 4)),
    )
    return Network("x", (1, 6, 6), nodes, "l")


def relaxed(network: Network, region: Region) -> Ranges:
    """The ranges that the walk gives for all entries of all nodes in turn."""
    boxes = dict(interval_ranges(network, region).boxes)
    known = Ranges(network, region, boxes)
    for one in network.nodes:
        every = torch.ones(boxes[one.name].lo.shape, dtype=torch.bool)
        boxes[one.name] = entry_bounds(Ranges(network, region, boxes), one.name, every)
    return known


def points(region: Region, count: int) -> Tensor:
    """Inputs of each region, most of them on its surface: (count, batch, *in)."""
    generator = torch.Generator().manual_seed(0)
    shape = tuple(region.centre.shape)
    radius = region.radius.reshape(-1, *[1] * (len(shape) - 1))
    step = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    match str(region.norm):
        case "l2":
            step = step / step.flatten(2).norm(dim=2).reshape(count, -1, *[1] * (len(shape) - 1))
        case "linf":
            step = step.sign()
        case _:
            flat = step.flatten(2)
            step = (flat.abs() == flat.abs().amax(2, keepdim=True)).double().mul(flat.sign()).reshape(step.shape)
    step = torch.where(radius == math.inf, step * 10, step * radius)
    return torch.minimum(torch.maximum(region.centre + step * (1 - 1e-12), region.low), region.high)


def holds(known: Ranges, x: Tensor) -> None:
    """Every value at the points lies in its box."""
    for one in x:
        for name, value in known.network.values(one):
            slack = 1e-13 * (1 + value.abs())
            assert bool((value >= known.boxes[name].lo - slack).all()), name
            assert bool((value <= known.boxes[name].hi + slack).all()), name


NETWORKS = {"plain": plain(0), "smooth": plain(20, "tanh"), "residual": residual(0), "joined": joined(0)}
REGIONS = {
    "l2": (0.05, "l2", None),
    "linf in a domain": (0.02, "linf", (-1.0, 1.0)),
    "l1": (0.2, "l1", None),
    "l2 in a domain": (0.3, "l2", (-1.0, 1.0)),
}


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_windows_give_what_dense_rows_give(name: str, region: str):
    network, (radius, norm, domain) = NETWORKS[name], REGIONS[region]
    centre = normal(9, 2, *network.input_shape).clamp(-1, 1)
    known = relaxed(network, ball(centre, radius, norm, domain))
    for one in network.nodes:
        # Dense rows of this node before it was tightened.
        given = interval_ranges(network, known.region).boxes[one.name]
        size = given.lo[0].numel()
        rows = torch.eye(size, dtype=torch.float64).reshape(1, size, *one.shape).repeat(2, 1, *[1] * len(one.shape))
        found = bounds(known, rows, one.name)
        low = torch.maximum(found.lo.reshape(given.lo.shape), given.lo)
        high = torch.minimum(found.hi.reshape(given.hi.shape), given.hi)
        scale = 1e-11 * (1 + given.lo.abs() + given.hi.abs())
        assert bool(((known.boxes[one.name].lo - low).abs() <= scale).all()), one.name
        assert bool(((known.boxes[one.name].hi - high).abs() <= scale).all()), one.name


@pytest.mark.parametrize("name", NETWORKS)
def test_no_input_of_the_region_leaves_a_box(name: str):
    network = NETWORKS[name]
    centre = normal(9, 3, *network.input_shape).clamp(-1, 1)
    for radius, norm, domain in REGIONS.values():
        radii = torch.tensor([0.0, radius, 10 * radius], dtype=torch.float64)
        region = ball(centre, radii, norm, domain)
        known = relaxed(network, region)
        holds(known, points(region, 12))
        for name_, given in interval_ranges(network, region).boxes.items():
            assert bool((known.boxes[name_].lo >= given.lo).all())
            assert bool((known.boxes[name_].hi <= given.hi).all())


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e140])
def test_tiny_and_huge_inputs(scale: float):
    shape = (1, 5, 5)
    network = chain(
        shape,
        Affine(conv(normal(0, 2, 1, 3, 3), shape, padding=1)),
        act("relu"),
        Affine(conv(normal(1, 2, 2, 3, 3), (2, 5, 5))),
        act("relu"),
        Affine(conv(normal(2, 1, 2, 2, 2), (2, 3, 3))),
    )
    region = ball(normal(3, 2, *shape) * scale, 0.3 * scale)
    known = relaxed(network, region)
    x = points(region, 8)
    for one in x:
        for name, value in network.values(one):
            assert bool((value >= known.boxes[name].lo - 1e-13 * scale).all())
            assert bool((value <= known.boxes[name].hi + 1e-13 * scale).all())
    width = known.boxes["n4"].hi - known.boxes["n4"].lo
    assert bool((width.isfinite() & (width < 30 * scale)).all())


def test_the_first_layer_is_exact():
    """Over an l2 ball the range of w . x + b is w . c + b and r ||w||."""
    shape, weight = (2, 6, 6), normal(0, 3, 2, 3, 3)
    first = conv(weight, shape)
    network = chain(shape, Affine(first, normal(1, *first.out_shape)), act("relu"))
    region = ball(normal(2, 2, *shape), 0.25)
    known = relaxed(network, region)
    value = first.apply(region.centre) + normal(1, *first.out_shape)
    spread = 0.25 * weight.flatten(1).norm(dim=1).reshape(-1, 1, 1)
    assert float((known.boxes["n0"].lo - (value - spread)).abs().max()) < 1e-12
    assert float((known.boxes["n0"].hi - (value + spread)).abs().max()) < 1e-12
    assert bool((known.boxes["n0"].hi >= value + spread - 1e-15).all())


def test_only_chosen_entries_change():
    network = plain(0)
    region = ball(normal(9, 2, 2, 7, 7), 0.05)
    given = interval_ranges(network, region)
    chosen = torch.zeros(2, 4, 4, 4, dtype=torch.bool)
    chosen[1, 2, 3] = True
    found = entry_bounds(given, "n2", chosen)
    assert torch.equal(found.lo[~chosen], given.boxes["n2"].lo[~chosen])
    assert bool((found.hi - found.lo < given.boxes["n2"].hi - given.boxes["n2"].lo)[chosen].all())
    assert entry_bounds(given, "n2", chosen & False) is given.boxes["n2"]


def test_infinite_boxes_are_survived():
    network = chain(
        (1, 4, 4),
        Affine(conv(normal(0, 2, 1, 2, 2), (1, 4, 4))),
        act("reciprocal"),
        Affine(conv(normal(1, 1, 2, 2, 2), (2, 3, 3))),
    )
    region = ball(normal(2, 1, 1, 4, 4), 0.05)
    known = relaxed(network, region)
    assert not any(bool((one.lo.isnan() | one.hi.isnan()).any()) for one in known.boxes.values())
    holds(known, points(region, 8))
    boxes = {**known.boxes, "n0": Interval(torch.full((1, 2, 3, 3), -math.inf), torch.full((1, 2, 3, 3), math.inf))}
    boxes["n0"] = Interval(boxes["n0"].lo.double(), boxes["n0"].hi.double())
    boxes["n2"] = boxes["n1"] = Interval(boxes["n0"].lo, boxes["n0"].hi)
    boxes["n2"] = Interval(torch.full((1, 1, 2, 2), -math.inf).double(), torch.full((1, 1, 2, 2), math.inf).double())
    every = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    found = entry_bounds(Ranges(network, region, boxes), "n2", every)
    assert bool((found.lo == -math.inf).all() & (found.hi == math.inf).all())


def test_a_box_as_region():
    network = residual(3)
    centre = normal(9, 2, *network.input_shape)
    region = box(centre - 0.01, centre + 0.02)
    holds(relaxed(network, region), points(region, 8))


def test_grids_and_work():
    network = plain(0)
    assert [grid_axes(network, one.name) for one in network.nodes] == [2, 2, 2, 2, 2, 2, 0, 0, 0, 0]
    assert grid_axes(network, "x") == 0
    given = interval_ranges(network, ball(normal(9, 1, 2, 7, 7), 0.1))
    works = [entry_work(given, one.name) for one in network.nodes]
    assert works == sorted(works)
    # The products of the second convolution alone: a window of 3 x 3 outputs of the first, 3 channels, 2 inputs.
    assert works[2] > 4 * 3 * 9 + 9 * 3 * 2 * 9
