"""Forms a frequency against the unrolled network, and the conditions that make them true."""

import dataclasses

import pytest
import torch
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.gain.grid.geometry import geometry
from netgain.gain.grid.stage import Stage, block, frequencies, stage
from netgain.gain.grid.start import Layer, feasible_start
from netgain.gain.metric.program import assembled
from netgain.gain.metric.region import region
from netgain.linear.pooling import average_pool
from netgain.linear.reshape import Reshape
from netgain.network.graph import Affine, Concat, Network, Sum, Vector
from netgain.vectors.extrema import GroupSort
from netgain.vectors.pool import MaxPool
from netgain.witness.certificate import Grid
from tests.gain.grid.dense import factor
from tests.gain.networks import act, chain, conv, node, normal


def staged(network: Network, shift: float = 0.5, more: int = 0) -> Stage:
    found = geometry(region(network, network.input, network.output))
    sizes = tuple(n + more * step for n, step in zip(found.sizes, found.step, strict=True))
    return stage(found, Grid(sizes=sizes, shifts=(shift,) * len(sizes)))


def started(found: Stage) -> tuple[dict[str, Tensor], float]:
    """Multipliers of the closed form and the least rho on the grid."""
    none, count = torch.zeros(0, dtype=torch.int64), 1
    ties = {"rho": torch.zeros(1, dtype=torch.int64)}
    layers = [Layer(*found.rows[found.start], ties["rho"], none)]
    for key, size, positive in found.free:
        ties[key] = torch.arange(count, count + size)
        layers.append(Layer(*found.rows[key], ties[key][:positive], ties[key][positive:]))
        count += size
    x = torch.zeros(count, dtype=torch.float64)
    forms = block(found, *frequencies(found), ties, ("rho", None))
    feasible_start(forms, tuple(layers), x, margin=1.0)
    assert bool((torch.linalg.eigvalsh(assembled(forms, x)).amin(1) > -1e-9 * x[0]).all())
    return {key: x[ties[key]] for key, _, _ in found.free}, float(x[0])


def he_chain(seed: int, size: int, *channels: int) -> Network:
    kinds = []
    for i in range(len(channels) - 1):
        weight = normal(seed + i, channels[i + 1], channels[i], 3, 3) * (2 / (9 * channels[i])) ** 0.5
        kinds += [Affine(conv(weight, (channels[i], size, size), padding=1)), act("relu")]
    return chain((channels[0], size, size), *kinds[:-1])


def strided(seed: int) -> Network:
    return chain(
        (2, 7, 6),
        Affine(conv(normal(seed, 3, 2, 3, 3) / 3, (2, 7, 6), stride=2, padding=1)),
        act("leaky_relu", negative_slope=0.2),
        Affine(conv(normal(seed + 1, 2, 3, 2, 2) / 3, (3, 4, 3), stride=2, padding=1)),
        act("tanh"),
        Affine(conv(normal(seed + 2, 2, 2, 1, 1), (2, 3, 2))),
    )


def block_of(seed: int) -> Network:
    """A residual block of stride 2 with a 1x1 shortcut, behind a convolution that no activation follows."""
    return Network(
        "x",
        (1, 8, 8),
        (
            node("stem", Affine(conv(normal(seed, 2, 1, 3, 3) / 3, (1, 8, 8), padding=1)), ("x",), (2, 8, 8)),
            node("a", Affine(conv(normal(seed + 1, 3, 2, 3, 3) / 4, (2, 8, 8), 2, 1)), ("stem",), (3, 4, 4)),
            node("b", act("relu"), ("a",), (3, 4, 4)),
            node("c", Affine(conv(normal(seed + 2, 3, 3, 3, 3) / 5, (3, 4, 4), padding=1)), ("b",), (3, 4, 4)),
            node("s", Affine(conv(normal(seed + 3, 3, 2, 1, 1), (2, 8, 8), 2)), ("stem",), (3, 4, 4)),
            node("d", Sum((1.0, -0.5)), ("c", "s"), (3, 4, 4)),
            node("e", Concat(0), ("d", "b"), (6, 4, 4)),
        ),
        "e",
    )


def pooled(seed: int) -> Network:
    pool = MaxPool((3, 8, 8), (3, 3), (2, 2), (1, 1), (1, 1))
    return chain(
        (1, 8, 8),
        Affine(conv(normal(seed, 3, 1, 3, 3) / 3, (1, 8, 8), padding=1)),
        Vector(pool),
        Affine(conv(normal(seed + 1, 2, 3, 3, 3) / 5, (3, 4, 4), padding=1)),
        act("abs"),
        Affine(average_pool((2, 4, 4), (2, 2), (2, 2), ((0, 0), (0, 0)))),
        Affine(conv(normal(seed + 2, 2, 2, 2, 2), (2, 2, 2))),
    )


NETWORKS = [he_chain(0, 6, 1, 3, 2), strided(1), block_of(2), pooled(3)]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shift", [0.0, 0.5, 0.25])
@pytest.mark.parametrize("more", [0, 1])
def test_the_grid_is_never_below_the_unrolled_network(network: Network, shift: float, more: int):
    found = staged(network, shift, more)
    multipliers, rho = started(found)
    if found.absorbed is None:
        exact = factor(found.geometry.region, torch.ones(1), multipliers, torch.ones(1, dtype=torch.float64))
        assert exact <= rho * (1 + 1e-9)
        assert rho <= 3.0 * exact


def test_half_of_the_frequencies_stand_for_all():
    found = staged(strided(1))
    points, weights = frequencies(found)
    every = dataclasses.replace(found, grid=Grid(sizes=found.grid.sizes, shifts=(0.5, 0.5000001)))
    assert float(weights.sum()) == len(frequencies(every)[0])
    assert len(points) <= 0.75 * float(weights.sum())


def test_a_convolution_alone_has_its_norm_on_the_grid():
    weight = torch.tensor([[[1.0, 1.0, 1.0]]], dtype=torch.float64)
    network = chain((1, 5), Affine(conv(weight, (1, 5), padding=1)))
    _, rho = started(staged(network))
    exact = 1 + 2 * torch.cos(torch.tensor(torch.pi / 6, dtype=torch.float64))
    assert rho == pytest.approx(float(exact) ** 2, rel=1e-12)


def test_convolution_behind_convolution_is_masked():
    """Without the mask the grid says 0.01 for a network whose gain is 1."""
    low = act("leaky_relu", negative_slope=0.99)
    first = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]], dtype=torch.float64)
    second = torch.tensor([[[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]], dtype=torch.float64)
    network = chain((1, 8), Affine(conv(first, (1, 8), padding=1)), low, Affine(conv(second, (2, 8), padding=1)))
    _, rho = started(staged(network))
    assert rho >= 1.0
    direct = Network(
        "x",
        (1, 8),
        (
            node("a", Affine(conv(first, (1, 8), padding=1)), ("x",), (2, 8)),
            node("b", Affine(conv(second, (2, 8), padding=1)), ("a",), (1, 8)),
        ),
        "b",
    )
    found = staged(direct)
    assert found.geometry.masks == {"a"}
    assert started(found)[1] >= 1.0


def test_sorted_groups_of_channels_have_gain_one():
    network = chain(
        (4, 3, 3), Vector(GroupSort((4, 3, 3), 0, 2)), Affine(conv(torch.eye(4)[..., None, None], (4, 3, 3)))
    )
    _, rho = started(staged(network))
    assert 1.0 <= rho <= 2.0 + 1e-9


def test_what_has_no_grid_is_refused():
    network = chain((2, 3, 3), act("relu"), Affine(Reshape((2, 3, 3), (18,))))
    with pytest.raises(NoSoundRuleError, match="does not act on a grid"):
        geometry(region(network, "x", "n1"))
    with pytest.raises(NoSoundRuleError, match="has no grid"):
        geometry(region(network, "n1", "n1"))
