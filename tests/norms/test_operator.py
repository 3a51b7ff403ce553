"""operator_norm: closed forms by kind of map, then every kind against its written-out matrix."""

import math

import pytest
import torch

from netgain.core.norms import Norm
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable
from netgain.norms.operator import operator_norm

ORDER = {Norm.L1: 1, Norm.L2: 2, Norm.LINF: math.inf}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps():
    dense = Dense(random(5, 6))
    conv = Conv(random(4, 3, 3, 3), (3, 5, 6), (1, 2), ((1, 1), (0, 1)), (1, 1))
    return {
        "dense": dense,
        "lead": Dense(random(5, 6), lead=(3,)),
        "diagonal": Diagonal(random(3, 1), (3, 4)),
        "selection": Selection(torch.tensor([0, 0, 2, -1, 2, 2]), (4,), (6,)),
        "reshape": Reshape((2, 3), (6,)),
        "separable": Separable((random(3, 4), None, random(2, 5)), (4, 2, 5)),
        "conv": conv,
        "grouped": Conv(random(4, 1, 3), (2, 6), (1,), ((1, 1),), (2,), 2),
        "circular": Conv(random(2, 2, 3), (2, 2), (1,), ((2, 2),), (1,), circular=True),
        "transposed": ConvTransposed(random(3, 2, 2, 3), (3, 3, 4), (2, 1), ((0, 1), (1, 0)), (1, 0), (1, 1)),
        "chain": Chain((conv, Reshape(conv.out_shape, (conv.out_size,)), Dense(random(7, conv.out_size, seed=3)))),
        "one part": Chain((Reshape((2, 3), (6,)), dense)),
    }


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", list(maps()))
def test_encloses_the_norm_of_the_written_out_matrix(name, norm):
    linear_map = maps()[name]
    exact = float(torch.linalg.matrix_norm(linear_map.matrix(), ORDER[norm]))
    found = operator_norm(linear_map, norm)
    assert found.lower.value <= exact * (1 + 1e-12)
    assert exact * (1 - 1e-12) <= found.upper.value
    assert found.upper.quantity == "operator norm"
    assert found.upper.norm is norm
    if norm is not Norm.L2 or "conv" not in found.upper.method:
        assert found.ratio <= 1 + 1e-6
