from fractions import Fraction

import pytest
import torch
from torch import Tensor

from netgain.gain.scaling import by_axes, finest, input_partition, join, kept_axes, output_partition, rescaled, scalable
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable
from tests.gain.networks import conv, normal

MAPS: list[AbstractLinearMap] = [
    Dense(normal(0, 3, 4)),
    Dense(normal(0, 3, 4), lead=(2,)),
    Dense(normal(0, 3, 4), error=normal(1, 3, 4).abs() * 1e-9),
    conv(normal(0, 3, 2, 2, 2), (2, 4, 4), padding=1),
    Conv(normal(0, 4, 2, 3), (4, 5), (2,), ((1, 0),), (1,), 2, normal(1, 4, 2, 3).abs() * 1e-9),
    ConvTransposed(normal(0, 4, 3, 2), (4, 5), (2,), ((0, 0),), (0,), (1,), 2),
    Chain((Reshape((2, 2), (4,)), Dense(normal(0, 3, 4)))),
    Chain((Dense(normal(0, 6, 4)), Reshape((6,), (2, 3)))),
]


def scale_of(partition: Tensor, seed: int) -> Tensor:
    return normal(seed, int(partition.max()) + 1).exp()[partition]


@pytest.mark.parametrize("linear_map", MAPS, ids=lambda one: type(one).__name__)
def test_rescaled_matrix_lies_within_the_stated_error_of_the_exact_one(linear_map: AbstractLinearMap):
    assert scalable(linear_map)
    before, after = scale_of(input_partition(linear_map), 5), scale_of(output_partition(linear_map), 6)
    scaled = rescaled(linear_map, before, after)
    uncertainty = scaled.uncertainty()
    assert uncertainty is not None
    weights, errors, stored = scaled.matrix(), uncertainty.matrix(), linear_map.matrix()
    own = linear_map.uncertainty()
    slack = torch.zeros_like(stored) if own is None else own.matrix()
    rows, columns = after.reshape(-1), before.reshape(-1)
    for i in range(stored.shape[0]):
        for k in range(stored.shape[1]):
            ratio = Fraction(float(rows[i])) / Fraction(float(columns[k]))
            off = abs(Fraction(float(weights[i, k])) - Fraction(float(stored[i, k])) * ratio)
            assert off + Fraction(float(slack[i, k])) * ratio <= Fraction(float(errors[i, k]))
    assert float(errors.max()) <= 1e-7 * float(weights.abs().max())


def test_underflow_of_a_scaled_entry_is_in_the_error():
    scaled = rescaled(Dense(torch.tensor([[1e-308]], dtype=torch.float64)), torch.ones(1) * 1e6, torch.ones(1) * 1e-6)
    uncertainty = scaled.uncertainty()
    assert uncertainty is not None
    assert float(uncertainty.matrix()) >= 1e-320


def test_partitions():
    assert finest((2, 2)).tolist() == [[0, 1], [2, 3]]
    assert by_axes((2, 3), (0,)).tolist() == [[0, 0, 0], [1, 1, 1]]
    assert by_axes((2, 2), ()).tolist() == [[0, 0], [0, 0]]
    joined = join(torch.tensor([0, 0, 1, 2, 3]), torch.tensor([0, 1, 1, 2, 2]))
    assert joined.tolist() == [0, 0, 0, 1, 1]
    assert join(finest((3,)), finest((3,))).unique().numel() == 3


def test_what_is_not_scalable():
    mean = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    pool = Separable((None, mean), (2, 3))
    assert not scalable(pool)
    assert kept_axes(pool) == (0,)
    assert kept_axes(Diagonal(torch.ones(2, 3), (2, 3))) == (0, 1)
    assert kept_axes(Selection(torch.tensor([0]), (1,), (1,))) is None
    assert not scalable(Chain((Dense(normal(0, 3, 3)), Dense(normal(0, 3, 3)))))
    with pytest.raises(TypeError):
        rescaled(pool, torch.ones(2, 3), torch.ones(2, 1))
