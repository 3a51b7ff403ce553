import dataclasses
import math
import random

import pytest
import torch

from netgain.activations.table import activation
from netgain.core.errors import NoSoundRuleError, RefusedCertificateError
from netgain.linear.convolution import Conv
from netgain.linear.dense import Dense
from netgain.linear.pooling import average_pool
from netgain.linear.reshape import Reshape
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Form, Network, Sum, Vector
from netgain.vectors.extrema import GroupSort
from netgain.vectors.normalize import LayerNorm
from netgain.vectors.pool import MaxPool
from netgain.witness.certificate import Grid, Piece, Proof
from netgain.witness.factor import Factor
from netgain.witness.grid import grid_factor
from tests.gain.networks import act, chain, node
from tests.witness.attacks import attack
from tests.witness.grids import normal, on_pixels, random_piece

ONE = torch.ones(1, dtype=torch.float64)


def number(found: Factor) -> float:
    return math.ldexp(found.value, found.exponent)


def proved(network, multipliers, sizes, shifts=None, stop_metric=ONE, metric=ONE) -> float:
    given = {name: torch.as_tensor(t, dtype=torch.float64).reshape(-1) for name, t in multipliers.items()}
    grid = Grid(sizes=tuple(sizes), shifts=tuple(shifts or (0.5,) * len(sizes)))
    piece = Piece(start="x", stop=network.output, proof=Proof.GRID, metric=metric, multipliers=given, grid=grid)
    return number(grid_factor(network, piece, stop_metric))


def conv1(weight, n, padding=(1, 1), stride=1):
    return Conv(torch.as_tensor(weight, dtype=torch.float64), (len(weight[0]), n), (stride,), (padding,), (1,))


# --- Known values. ----------------------------------------------------------------------------------------------------


def test_the_factor_of_a_convolution_is_the_square_of_its_norm():
    network = chain((1, 7), Affine(conv1([[[1.0, 1.0, 1.0]]], 7)))
    exact = (1 + 2 * math.cos(math.pi / 8)) ** 2
    assert exact <= proved(network, {}, (8,)) <= exact * (1 + 1e-12)


def test_one_relu_between_two_scales_is_the_closed_form():
    scale = [Affine(Conv(torch.tensor([[[s]]]), (1, 4), (1,), ((0, 0),), (1,))) for s in (3.0, 2.0)]
    network = chain((1, 4), scale[0], act("relu"), scale[1])
    # Q = 4, T = 8: 9 (1/4) (4 + 16/4 + 8) = 36, the square of the gain.
    assert 36 <= proved(network, {"n1": 8.0}, (4,)) <= 36 * (1 + 1e-12)


def test_max_pooling_takes_its_gain_at_the_end_and_within():
    pool = Vector(MaxPool((2, 6), (2,), (2,), (0,), (1,)))
    assert 4.0 <= proved(chain((2, 6), pool), {"n0": [4.0, 3.0]}, (6,), stop_metric=ONE * 3) <= 4.0 * (1 + 1e-12)
    weight = torch.diag(torch.tensor([2.0, 3.0])).unsqueeze(2)
    scaled = Affine(Conv(weight, (2, 3), (1,), ((0, 0),), (1,)))
    found = proved(chain((2, 6), pool, scaled), {"n0": [4.0001, 9.0001]}, (6,))
    assert 9 <= found <= 9.001


def test_sorting_channels_keeps_sums():
    mixed = Affine(Conv(torch.tensor([[[1.0], [1.0]]]), (2, 5), (1,), ((0, 0),), (1,)))
    network = chain((2, 5), Vector(GroupSort((2, 5), 0, 2)), mixed)
    piece = Piece(
        start="x",
        stop="n1",
        proof=Proof.GRID,
        multipliers={"n0": torch.tensor([[1e-6], [1.0]], dtype=torch.float64)},
        grid=Grid(sizes=(5,), shifts=(0.0,)),
    )
    # T = 1 1^T is all that y1 + y2 needs: |z1 + z2|^2 <= 2 |z|^2.
    assert 2.0 <= number(grid_factor(network, piece, ONE)) <= 2.0 * (1 + 1e-5)


# --- The three conditions. --------------------------------------------------------------------------------------------


def shifts_that_cancel(low: float) -> Network:
    """One dimension, n = 8: on a circulant grid the two branches cancel, on the true grid the ends stay."""
    spread = conv1([[[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]]], 8)
    joined = conv1([[[1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]], 8)
    return chain((1, 8), Affine(spread), act("leaky_relu", negative_slope=low), Affine(joined))


def test_slopes_are_taken_with_the_zero_outside():
    network = shifts_that_cancel(0.99)
    assert attack(network, (ONE, ONE), 0) >= 1 - 1e-12
    for multiplier in (2.0001, 2.5, 4.0, 40.0):
        for size in (9, 10, 16):
            assert proved(network, {"n1": multiplier}, (size,)) >= 1.0


def test_a_value_that_is_not_zero_outside_needs_a_mask():
    """The same maps with nothing between them, through a scale that keeps them apart."""
    parts = shifts_that_cancel(0.5).nodes
    scale = node("s", Affine(Conv(torch.eye(2).double().unsqueeze(2), (2, 8), (1,), ((0, 0),), (1,))), ("n0",), (2, 8))
    network = Network("x", (1, 8), (parts[0], scale, dataclasses.replace(parts[2], inputs=("s",))), "n2")
    with pytest.raises(RefusedCertificateError, match=r"test\.affine in net\.n2 .* no mask:s"):
        proved(network, {}, (16,))
    for multiplier in (2.0001, 4.0):
        assert proved(network, {"mask:s": multiplier}, (9,)) >= 1.0


def test_multipliers_of_nothing_are_refused():
    network = shifts_that_cancel(0.5)
    for extra in ("mask:nothing", "mask:n7", "n0", "n7"):
        with pytest.raises(RefusedCertificateError, match=extra):
            proved(network, {"n1": 4.0, extra: 4.0}, (9,))


def test_a_mask_that_is_not_needed_does_no_harm():
    network = shifts_that_cancel(0.0)
    assert proved(network, {"n1": 4.0, "mask:n1": 4.0, "mask:x": 0.1}, (9,)) == proved(network, {"n1": 4.0}, (9,))


def test_a_grid_that_is_too_small_is_refused():
    kernel = conv1([[[1.0, 0.0, 2.0]]], 5)
    network = chain((1, 5), Affine(kernel))
    exact = float(torch.linalg.matrix_norm(kernel.matrix(), 2)) ** 2
    with pytest.raises(RefusedCertificateError, match=r"\(5,\) points is too small for test\.affine"):
        proved(network, {}, (5,))
    assert proved(network, {}, (6,)) >= exact
    with pytest.raises(RefusedCertificateError, match="too small"):
        proved(chain((1, 5), act("relu")), {"n0": 4.0}, (4,))


def test_the_size_counts_at_each_resolution():
    first, second = conv1([[[1.0, 1.0, 1.0]]], 8, stride=2), conv1([[[1.0, 1.0, 1.0]]], 4)
    network = chain((1, 8), Affine(first), act("relu"), Affine(second))
    with pytest.raises(RefusedCertificateError, match="too small"):
        proved(network, {"n1": 30.0}, (8,))
    with pytest.raises(RefusedCertificateError, match="does not fit the strides"):
        proved(network, {"n1": 30.0}, (11,))
    assert proved(network, {"n1": 30.0}, (10,)) > 0


def test_a_wide_output_asks_for_room():
    network = chain((1, 2), Affine(conv1([[[1.0, 0.0, 0.0, 0.0, 1.0]]], 2, padding=(4, 4))))
    assert network.output_shape == (1, 6)
    with pytest.raises(RefusedCertificateError, match="too small"):
        proved(network, {}, (5,))
    assert proved(network, {}, (6,)) >= 2.0


@pytest.mark.parametrize(
    "grid",
    [
        Grid(sizes=(9, 9), shifts=(0.5, 0.5)),
        Grid(sizes=(9,), shifts=(1.0,)),
        Grid(sizes=(9,), shifts=(-0.1,)),
        Grid(sizes=(9,), shifts=(math.nan,)),
        Grid(sizes=(0,), shifts=(0.5,)),
        Grid(sizes=(-9,), shifts=(0.5,)),
        Grid(sizes=(2**25,), shifts=(0.5,)),
        None,
    ],
)
def test_grids_that_are_none_are_refused(grid):
    network = shifts_that_cancel(0.0)
    piece = Piece(start="x", stop="n2", proof=Proof.GRID, multipliers={"n1": ONE * 4}, grid=grid)
    with pytest.raises(RefusedCertificateError):
        grid_factor(network, piece, ONE)


# --- Multipliers and metrics. -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [[0.0], [-1.0], [math.nan], [math.inf], [1.9], [4.0, 4.0, 4.0], []])
def test_multipliers_that_prove_nothing_are_refused(given):
    with pytest.raises(RefusedCertificateError):
        proved(shifts_that_cancel(0.0), {"n1": given}, (9,))


def test_missing_multipliers_are_refused():
    with pytest.raises(RefusedCertificateError, match="no multipliers of n1"):
        proved(shifts_that_cancel(0.0), {}, (9,))


@pytest.mark.parametrize("metric", [[0.0], [-1.0], [math.nan], [1.0] * 7 + [2.0], []])
def test_metrics_that_are_none_are_refused(metric):
    weights = torch.tensor(metric, dtype=torch.float64)
    for name in ("metric", "stop_metric"):
        with pytest.raises(RefusedCertificateError, match="metric"):
            proved(shifts_that_cancel(0.0), {"n1": 4.0}, (9,), **{name: weights})


def test_a_last_pooling_needs_multipliers_above_the_metric():
    network = chain((2, 6), Vector(MaxPool((2, 6), (2,), (2,), (0,), (1,))))
    with pytest.raises(RefusedCertificateError, match="do not exceed"):
        proved(network, {"n0": [1.0, 0.9999999]}, (6,))


def test_metrics_scale_the_factor():
    network = chain((2, 5), Affine(Conv(torch.eye(2).double().unsqueeze(2), (2, 5), (1,), ((0, 0),), (1,))))
    found = proved(
        network, {}, (5,), metric=torch.tensor([2.0, 8.0]).double(), stop_metric=torch.tensor([3.0, 4.0]).double()
    )
    assert 1.5 <= found <= 1.5 * (1 + 1e-12)


def test_sorted_groups_need_a_positive_form():
    network = chain((4, 3), Vector(GroupSort((4, 3), 0, 2)))
    grid = Grid(sizes=(3,), shifts=(0.0,))
    for rows in ([[2.0], [-1.1]], [[-2.0], [3.0]], [[2.0, 2.0, 2.0], [0.0, 0.0, 0.0]], [[math.nan], [0.0]]):
        given = torch.tensor(rows, dtype=torch.float64)
        piece = Piece(start="x", stop="n0", proof=Proof.GRID, multipliers={"n0": given}, grid=grid)
        with pytest.raises(RefusedCertificateError):
            grid_factor(network, piece, ONE)
    piece = Piece(start="x", stop="n0", proof=Proof.GRID, multipliers={"n0": ONE * 1.5}, grid=grid)
    assert 1.5 <= number(grid_factor(network, piece, ONE)) <= 1.5 * (1 + 1e-12)


# --- What has no rule. ------------------------------------------------------------------------------------------------


def test_other_nodes_are_refused_by_name():
    x = node("a", act("relu"), ("x",), (2, 4))
    others = [
        node("b", Affine(Dense(normal(random.Random(0), 4, 4), (2,))), ("a",), (2, 4)),
        node("b", Affine(Reshape((2, 4), (8,))), ("a",), (8,)),
        node("b", Bilinear(Form.PRODUCT), ("a", "a"), (2, 4)),
        node("b", Concat(1), ("a", "a"), (2, 8)),
        node("b", Elementwise(activation("sign")), ("a",), (2, 4)),
        node("b", Vector(LayerNorm((2, 4), 1, 0.0)), ("a",), (2, 4)),
    ]
    for other in others:
        network = Network("x", (2, 4), (x, other), "b")
        with pytest.raises(NoSoundRuleError, match=r"test\..* in net\.b \(net\.py:12\)"):
            proved(network, {"a": 4.0, "b": 4.0}, (6,))
    with pytest.raises(NoSoundRuleError, match="shape"):
        proved(chain((4,), act("relu")), {"n0": 4.0}, ())


def test_sums_of_different_grids_are_refused():
    halved = node("a", Affine(conv1([[[1.0]]], 4, padding=(0, 0), stride=2)), ("x",), (1, 2))
    shorter = node("b", Affine(conv1([[[1.0, 1.0, 1.0]]], 4, padding=(0, 0))), ("x",), (1, 2))
    network = Network("x", (1, 4), (halved, shorter, node("c", Sum((1.0, 1.0)), ("a", "b"), (1, 2))), "c")
    with pytest.raises(NoSoundRuleError, match="different grids"):
        proved(network, {}, (8,))


def test_a_start_that_does_not_cut_is_refused():
    first = node("a", act("relu"), ("x",), (1, 4))
    network = Network("x", (1, 4), (first, node("b", Sum((1.0, 1.0)), ("a", "x"), (1, 4))), "b")
    piece = Piece(start="a", stop="b", proof=Proof.GRID, grid=Grid(sizes=(4,), shifts=(0.0,)))
    with pytest.raises(RefusedCertificateError, match="separate"):
        grid_factor(network, piece, ONE)


# --- Attacks. ---------------------------------------------------------------------------------------------------------

SHAPES = [(2, 6), (1, 5), (2, 8), (2, 3, 4), (1, 4, 4), (2, 2, 3, 2)]


def attacked(seed: int) -> None:
    """Not below the computed factor, the one on pixels, and the gain that ascent finds; hardly above the first."""
    network, piece, stop_metric, computed = random_piece(seed, SHAPES[seed % len(SHAPES)], 1 + seed % 3)
    found = number(grid_factor(network, piece, stop_metric))
    assert found >= computed * (1 - 1e-12)
    assert found <= computed * (1 + 1e-9) + 1e-100
    assert found >= on_pixels(network, piece, stop_metric) * (1 - 1e-12)
    assert found >= attack(network, (piece.metric, stop_metric), seed) * (1 - 1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_random_pieces(seed):
    attacked(seed)


@pytest.mark.slow
def test_many_random_pieces():
    for seed in range(1000, 1120):
        attacked(seed)


def test_weight_errors_are_in_the_factor():
    weight = normal(random.Random(0), 2, 2, 3)
    for scale in (1e-6, 1e-3):
        error = torch.full_like(weight, scale)
        conv = Conv(weight, (2, 6), (1,), ((1, 1),), (1,), error=error)
        found = proved(chain((2, 6), Affine(conv)), {}, (8,))
        for seed in range(20):
            true = dataclasses.replace(conv, weight=weight + error * normal(random.Random(seed), 2, 2, 3).sign())
            assert found >= float(torch.linalg.matrix_norm(true.matrix(), 2)) ** 2
        exact = proved(chain((2, 6), Affine(dataclasses.replace(conv, error=None))), {}, (8,))
        assert exact < found < exact * (1 + 40 * scale)


def test_average_pooling_vanishes_at_a_frequency_and_proves_what_it_should():
    """With shift 0 and even N the symbol at half a turn is all rounding, which must not spread."""
    mean = Affine(average_pool((2, 8), (2,), (2,), ((0, 0),)))
    mix = Affine(conv1([[[1.0], [2.0]], [[-1.0], [3.0]]], 4, padding=(0, 0)))
    network = chain((2, 8), act("relu"), mean, mix)
    for shift in (0.0, 0.5):
        found = proved(network, {"n0": 20.0}, (8,), (shift,))
        # The largest eigenvalue of M^T M / 2, M^T M of trace 15 and determinant 25.
        top = (7.5 + math.sqrt(7.5**2 - 25)) / 2
        assert found == pytest.approx(0.25 * (top + top**2 / (20 - top) + 20), rel=1e-11)


def test_a_sum_is_zero_outside_only_if_all_its_terms_are():
    parts = (
        node("a", Affine(conv1([[[1.0, 2.0, 3.0]]], 6)), ("x",), (1, 6)),
        node("b", Sum((1.0, 1.0)), ("x", "a"), (1, 6)),
        node("c", Affine(conv1([[[1.0, 2.0, 3.0]]], 6)), ("b",), (1, 6)),
    )
    network = Network("x", (1, 6), parts, "c")
    with pytest.raises(RefusedCertificateError, match="no mask:b"):
        proved(network, {}, (9,))
    assert proved(network, {"mask:b": 40.0}, (9,)) >= attack(network, (ONE, ONE), 0)


def test_functions_that_mix_channels_have_one_multiplier():
    norm = Vector(LayerNorm((2, 4), 1, 1.0))
    network = chain((2, 4), norm, Affine(conv1([[[1.0], [2.0]]], 4, padding=(0, 0))))
    assert proved(network, {"n0": 6.0}, (4,)) > 0
    with pytest.raises(RefusedCertificateError, match="2 numbers do not fit"):
        proved(network, {"n0": [6.0, 6.0]}, (4,))


def test_symmetric_blocks_are_proved_tightly():
    """The top eigenvector of these blocks is orthogonal to any smooth start of a power iteration."""
    network, piece, stop_metric, computed = random_piece(10334, (1, 4, 4), 3)
    found = number(grid_factor(network, piece, stop_metric))
    assert computed * (1 - 1e-12) <= found <= computed * (1 + 1e-9)
