"""Windows of coefficients against dense matrices."""

import itertools
import math

import pytest
import torch

from netgain.core.errors import UsageError
from netgain.linear.base import AbstractLinearMap
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.pooling import adaptive_average_pool, average_pool
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable
from netgain.linear.shapes import channel_shuffle, flip, pad, permute, pixel_unshuffle, strided_slice, take
from netgain.propagate.magnitude import parts_of
from netgain.propagate.patch_maps import adjoint, band, slide
from netgain.propagate.patches import Entries, Patches
from tests.gain.networks import normal


def units(shape: tuple[int, ...], axes: int, batch: int = 1) -> tuple[Patches, list[int]]:
    """All entries of a node in one piece, and their flat positions in the order of the rows."""
    entries = Entries.where(torch.ones(batch, *shape, dtype=torch.bool), axes)
    cells = math.prod(shape[len(shape) - axes :])
    order = (entries.channel * cells + entries.position.unsqueeze(1)).flatten().tolist()
    return entries.patches(), order


def conv2(
    seed: int, out: int, shape: tuple[int, ...], *, kernel=3, stride=1, padding=(1, 1), dilation=1, groups=1
) -> Conv:
    axes = len(shape) - 1
    weight = normal(seed, out, shape[0] // groups, *[kernel] * axes)
    return Conv(weight, shape, (stride,) * axes, (padding,) * axes, (dilation,) * axes, groups)


def average(shape: tuple[int, ...], window: int, stride: int, padding: int = 0) -> AbstractLinearMap:
    axes = len(shape) - 1
    return average_pool(shape, (window,) * axes, (stride,) * axes, ((padding, padding),) * axes)


def rows_of(maps: list[AbstractLinearMap], axes: int = 2) -> tuple[torch.Tensor, torch.Tensor, Patches]:
    """The rows of the product by windows, the product of the matrices, and the windows at the input."""
    parts = [part for one in maps for part in parts_of(one)]
    rows, order = units(parts[-1].out_shape, axes)
    for part in reversed(parts):
        rows = adjoint(part, rows)
    flat = rows.flat()
    want = torch.eye(parts[-1].out_size, dtype=torch.float64)
    for part in reversed(parts):
        want = want @ part.matrix()
    return flat.values.reshape(len(order), -1), want[order], rows


STACKS = {
    "two convolutions": [conv2(0, 3, (2, 9, 9)), conv2(1, 4, (3, 9, 9))],
    "strides": [conv2(0, 3, (2, 13, 12), stride=2), conv2(1, 4, (3, 7, 6), stride=3, padding=(0, 2))],
    "dilation": [conv2(0, 3, (2, 11, 9), dilation=2), conv2(1, 2, (3, 9, 7), kernel=2, dilation=3, padding=(2, 1))],
    "groups": [conv2(0, 4, (2, 8, 8), groups=2), conv2(1, 6, (4, 8, 8), groups=2), conv2(2, 6, (6, 8, 8), groups=6)],
    "wide padding": [conv2(0, 2, (1, 6, 6), kernel=2, padding=(3, 4)), conv2(1, 2, (2, 12, 12), stride=2)],
    "even kernel": [conv2(0, 2, (1, 8, 8), kernel=4, stride=2), conv2(1, 2, (2, 4, 4), kernel=2, padding=(0, 1))],
    "average pooling": [conv2(0, 3, (2, 8, 8)), average((3, 8, 8), 2, 2), conv2(1, 2, (3, 4, 4))],
    "overlapping pooling": [average((2, 9, 9), 3, 2, 1), conv2(1, 2, (2, 5, 5), padding=(0, 0))],
    "global pooling": [conv2(0, 3, (2, 6, 6)), adaptive_average_pool((3, 6, 6), (1, 1))],
    "diagonal": [conv2(0, 3, (2, 9, 9)), Diagonal(normal(3, 3, 1, 1), (3, 9, 9)), conv2(1, 2, (3, 9, 9))],
    "full diagonal": [conv2(0, 3, (2, 9, 9)), Diagonal(normal(3, 3, 9, 9), (3, 9, 9)), conv2(1, 2, (3, 9, 9))],
    "slices": [conv2(0, 3, (2, 9, 9)), strided_slice((3, 9, 9), 1, 1, 9, 2), strided_slice((3, 4, 9), 2, 0, 9, 3)],
    "channels": [conv2(0, 4, (2, 9, 9)), channel_shuffle((4, 9, 9), 2), take((4, 9, 9), 0, [0, 0, 2])],
    "pixels": [conv2(0, 2, (1, 8, 8)), pixel_unshuffle((2, 8, 8), 2), conv2(1, 3, (8, 4, 4))],
    "padding": [conv2(0, 2, (1, 8, 8)), pad((2, 8, 8), ((1, 2), (0, 1))), conv2(1, 2, (2, 11, 9), padding=(0, 0))],
    "reshape": [conv2(0, 4, (2, 9, 9)), Reshape((4, 9, 9), (2, 2, 9, 9))],
    "mirrored": [conv2(0, 2, (1, 6, 6)), flip((2, 6, 6), (1,)), conv2(1, 2, (2, 6, 6))],
    "turned": [conv2(0, 2, (1, 6, 6)), permute((2, 6, 6), (0, 2, 1)), conv2(1, 2, (2, 6, 6))],
    "mirrored padding": [pad((1, 6, 6), ((1, 1), (1, 1)), "reflect"), conv2(1, 2, (1, 8, 8), padding=(0, 0))],
    "upwards": [ConvTransposed(normal(5, 2, 3, 2, 2), (2, 4, 4), (2, 2), ((0, 0), (0, 0)), (0, 0), (1, 1))],
    "circular": [Conv(normal(5, 2, 2, 3, 3), (2, 5, 5), (1, 1), ((1, 1), (1, 1)), (1, 1), circular=True)],
    "mixed axes": [Separable((normal(4, 3, 2), None, None), (2, 5, 5)), conv2(1, 2, (3, 5, 5))],
}


@pytest.mark.parametrize("name", STACKS)
def test_rows_of_a_product_are_those_of_the_matrices(name: str):
    got, want, _ = rows_of(STACKS[name])
    assert float((got - want).abs().max()) <= 1e-12 * max(1.0, float(want.abs().max()))


@pytest.mark.parametrize("axes", [1, 3])
def test_other_numbers_of_axes(axes: int):
    shape = (2, *[7] * axes)
    first = conv2(0, 2, shape, stride=2)
    got, want, rows = rows_of([first, average(first.out_shape, 2, 2), conv2(1, 3, (2, *[2] * axes))], axes)
    assert float((got - want).abs().max()) <= 1e-12
    assert rows.axes in {0, axes}


def test_windows_stay_small():
    _, _, rows = rows_of([conv2(0, 2, (1, 20, 20)), average((2, 20, 20), 2, 2), conv2(1, 2, (2, 10, 10))])
    assert rows.window == (8, 8)
    _, _, rows = rows_of([strided_slice((2, 20, 20), 1, 1, 20, 2), strided_slice((2, 10, 20), 2, 0, 20, 2)])
    assert rows.window == (1, 1)


@pytest.mark.parametrize("seed", range(12))
def test_random_stacks(seed: int):
    generator = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    shape, maps = (2, pick(7, 12), pick(7, 12)), list[AbstractLinearMap]()
    for k in range(3):
        maps.append(
            conv2(
                seed + k,
                2 * pick(1, 2),
                shape,
                kernel=pick(1, 3),
                stride=pick(1, 2),
                padding=(pick(0, 2), pick(0, 2)),
                dilation=pick(1, 2),
                groups=pick(1, 2),
            )
            if min(shape[1:]) > 4
            else conv2(seed + k, 2, shape, kernel=2)
        )
        shape = maps[-1].out_shape
    got, want, _ = rows_of(maps)
    assert float((got - want).abs().max()) <= 1e-12 * max(1.0, float(want.abs().max()))


def test_sums_of_windows():
    inner, outer = conv2(0, 2, (2, 8, 8)), conv2(1, 2, (2, 8, 8))
    short = conv2(2, 2, (2, 8, 8), kernel=1, padding=(0, 0))
    rows, order = units((2, 8, 8), 2)
    total = adjoint(inner, adjoint(outer, rows)) + adjoint(short, rows)
    assert total.window == (5, 5)
    want = (outer.matrix() @ inner.matrix() + short.matrix())[order]
    assert float((total.flat().values.reshape(len(order), -1) - want).abs().max()) < 1e-12
    # A window and its flat form, in both orders.
    for one, other in itertools.permutations((adjoint(outer, rows), adjoint(short, rows).flat())):
        want = (outer.matrix() + short.matrix())[order]
        assert float(((one + other).values.reshape(len(order), -1) - want).abs().max()) < 1e-12
    # Rows that leave the common window at different distances.
    apart = Patches(rows.values, rows.corner.flip(0), rows.image, rows.shape)
    assert torch.equal((rows + apart).values, rows.flat().values + apart.flat().values)


def test_gathered_windows_read_zero_outside():
    full = normal(0, 2, 3, 5, 4)
    corner = torch.tensor([[-2, -1], [3, 2], [1, 1], [7, 9]])
    image = torch.tensor([0, 1, 1, 0])
    rows = Patches(torch.ones(4, 1, 3, 3, 3, dtype=torch.float64), corner, image, (3, 5, 4), inside=False)
    got = rows.gathered(full).reshape(4, 3, 3, 3)
    clean = rows.clean().values[:, 0]
    for k, (i, j) in enumerate(corner.tolist()):
        for a, b in itertools.product(range(3), range(3)):
            within = 0 <= i + a < 5 and 0 <= j + b < 4
            want = full[image[k], :, i + a, j + b] if within else torch.zeros(3, dtype=torch.float64)
            assert torch.equal(got[k, :, a, b], want)
            assert torch.equal(clean[k, :, a, b], torch.full((3,), float(within), dtype=torch.float64))
    flat = rows.flat().values[:, 0]
    assert float(((flat * full[image].flatten(1)).sum(1) - got.flatten(1).sum(1)).abs().max()) < 1e-12
    assert float(flat[3].abs().max()) == 0.0


@pytest.mark.parametrize("axes", [0, 1, 2])
def test_chosen_entries_come_back_where_they_were(axes: int):
    shape = (3, 4, 5)
    chosen = torch.rand(2, *shape, generator=torch.Generator().manual_seed(axes)) < 0.3
    entries = Entries.where(chosen, axes)
    values, found = normal(1, 2, *shape), torch.zeros(2, *shape, dtype=torch.float64)
    for piece in entries.chunks(7, 100):
        rows = piece.patches()
        got = torch.bmm(rows.values.flatten(2), rows.gathered(values).unsqueeze(2)).squeeze(2)
        piece.scatter(got, found)
    assert torch.equal(found, torch.where(chosen, values, 0.0))
    assert len(Entries.where(torch.zeros(2, *shape, dtype=torch.bool), axes)) == 0


def test_a_node_without_channels_has_no_grid():
    with pytest.raises(UsageError, match="no grid"):
        Entries.where(torch.ones(1, 4, 4, dtype=torch.bool), 2)


def test_kernels_that_slide_are_recognized():
    matrix = torch.zeros(4, 8, dtype=torch.float64)
    for i in range(4):
        for t, value in enumerate((1.0, 2.0, 3.0)):
            if 0 <= 2 * i + t - 1 < 8:
                matrix[i, 2 * i + t - 1] = value
    found = band(matrix)
    assert found is not None
    assert (found.stride, found.before, found.kernel.tolist()) == (2, 1, [1.0, 2.0, 3.0])
    assert band(normal(0, 3, 4).clamp_min(0.0) * (torch.eye(3, 4, dtype=torch.float64) == 0)) is None
    assert band(torch.eye(4, dtype=torch.float64).flip(0)) is None
    assert band(torch.zeros(2, 3, dtype=torch.float64)) is None


def test_slices_are_recognized():
    part = strided_slice((3, 9, 9), 1, 1, 9, 2)
    assert isinstance(part, Selection)
    found = slide(part, 2)
    assert found is not None
    assert found.stride == (2, 1)
    assert found.offset.tolist() == [[1, 0]] * 3
    mixed = torch.randperm(75, generator=torch.Generator().manual_seed(0))
    assert slide(Selection(mixed, (3, 5, 5), (3, 5, 5)), 2) is None
    assert slide(Selection(torch.tensor([0, -1]), (2,), (2,)), 2) is None


def test_matrices_take_rows_written_out():
    rows, order = units((4,), 0)
    flatten = Reshape((2, 3, 3), (18,))
    dense = Dense(normal(0, 4, 18))
    got = adjoint(conv2(1, 2, (1, 3, 3)), adjoint(flatten, adjoint(dense, rows)))
    want = (dense.matrix() @ conv2(1, 2, (1, 3, 3)).matrix())[order]
    assert float((got.values.reshape(4, -1) - want).abs().max()) < 1e-12
