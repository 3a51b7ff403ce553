import pytest
import torch

from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.network import describe
from netgain.network.graph import Affine, Bilinear, Concat, Form, Node, Opaque, Source, Sum


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float64)


CONV = Conv(zeros(8, 2, 3, 3), (4, 9, 9), (2, 2), ((1, 1), (1, 1)), (1, 1), groups=2)
UP = ConvTransposed(zeros(4, 2, 3), (4, 9), (3,), ((0, 0),), (0,), (1,))


@pytest.mark.parametrize(
    ("linear_map", "words", "weights"),
    [
        (Dense(zeros(3, 4)), "linear, 4 to 3", 12),
        (CONV, "conv 3x3, 4 to 8, stride 2, 2 groups", 144),
        (UP, "transposed conv 3, 4 to 2, stride 3", 24),
        (Diagonal(zeros(4, 1), (4, 2)), "scale", 4),
        (Reshape((2, 3), (6,)), "reshape", 0),
        (Chain((Reshape((2, 2), (4,)), Dense(zeros(3, 4)))), "linear, 4 to 3", 12),
        (Chain((Diagonal(zeros(4), (4,)), Dense(zeros(3, 4)))), "scale, then linear, 4 to 3", 16),
    ],
)
def test_linear_maps(linear_map, words, weights):
    assert describe.linear(linear_map) == words
    assert describe.parameters(linear_map) == weights
    node = Node("n", Affine(linear_map), ("x",), linear_map.out_shape, Source("aten.op"))
    assert describe.operation(node) == words


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Bilinear(Form.PRODUCT), "entrywise product"),
        (Bilinear(Form.MATMUL), "matrix product"),
        (Sum((1.0, 1.0)), "sum"),
        (Concat(0), "concat, axis 0"),
        (Opaque(run=torch.sort, code="NG010", reason="r"), "aten.op"),
    ],
)
def test_other_kinds(kind, words):
    assert describe.operation(Node("n", kind, ("x", "y"), (2,), Source("aten.op"))) == words
