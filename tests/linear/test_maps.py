"""Known values and bad input of the single maps."""

import pytest
import torch

from netgain.core.errors import ModelError, NonFiniteWeightError
from netgain.linear.checks import stored, stored_error
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable

from .examples import random


def row(*values):
    return torch.tensor([values], dtype=torch.float64)


def test_known_values():
    assert Dense(row(1.0, 2.0)).apply(row(3.0, 4.0)).tolist() == [[11.0]]
    assert Diagonal(torch.tensor([2.0, -1.0]), (2,)).apply(row(3.0, 4.0)).tolist() == [[6.0, -4.0]]
    picked = Selection(torch.tensor([1, -1, 1]), (2,), (3,))
    assert picked.apply(row(3.0, 4.0)).tolist() == [[4.0, 0.0, 4.0]]
    assert picked.adjoint(row(1.0, 10.0, 100.0)).tolist() == [[0.0, 101.0]]
    assert picked.adjoint_terms == 2
    means = Separable((row(0.5, 0.5), None), (2, 1))
    assert means.apply(torch.tensor([[[1.0], [3.0]]])).tolist() == [[[2.0]]]


def test_selection_gives_zero_even_for_infinite_input():
    assert Selection(torch.tensor([-1]), (1,), (1,)).apply(row(float("inf"))).tolist() == [[0.0]]


def test_weights_are_converted_exactly():
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        weight = torch.randn(3, 4).to(dtype)
        dense = Dense(weight)
        assert dense.weight.dtype == torch.float64
        assert torch.equal(dense.weight, weight.double())
    assert not Dense(torch.ones(1, 1, requires_grad=True)).weight.requires_grad


def test_a_zero_error_is_no_error():
    assert Dense(random(2, 2), (), torch.zeros(2, 2)).error is None
    assert Separable((random(2, 2),), (2,), (torch.zeros(2, 2),)).uncertainty() is None


def build(weight):
    """A map of each class with that number in its weights."""
    pixel = torch.full((1, 1, 1, 1), weight)
    return {
        "Dense": lambda: Dense(torch.tensor([[weight]])),
        "Diagonal": lambda: Diagonal(torch.tensor([weight]), (1,)),
        "Separable": lambda: Separable((torch.tensor([[weight]]),), (1,)),
        "Conv": lambda: Conv(pixel, (1, 2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1)),
        "ConvTransposed": lambda: ConvTransposed(pixel, (1, 2, 2), (1, 1), ((0, 0), (0, 0)), (0, 0), (1, 1)),
    }


@pytest.mark.parametrize("name", build(1.0))
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(name, bad):
    build(1.0)[name]()
    with pytest.raises(NonFiniteWeightError, match=name):
        build(bad)[name]()


def conv(**changes):
    fields = {"weight": random(4, 1, 3), "in_shape": (2, 5), "stride": (1,), "padding": ((0, 0),), "dilation": (1,)}
    return Conv(**(fields | {"groups": 2} | changes))


def transposed(**changes):
    fields = {"weight": random(2, 1, 3), "in_shape": (2, 5), "stride": (1,), "padding": ((0, 0),), "dilation": (1,)}
    return ConvTransposed(**(fields | {"output_padding": (0,)} | changes))


BAD = {
    "sizes differ": lambda: Reshape((2, 3), (5,)),
    "empty axis": lambda: Reshape((0, 3), (0,)),
    "empty weight": lambda: Dense(random(0, 3)),
    "complex weight": lambda: stored(torch.ones(1, 1, dtype=torch.complex64), "weight"),
    "sparse weight": lambda: Dense(torch.eye(2).to_sparse()),
    "scale does not broadcast": lambda: Diagonal(random(3), (2, 4)),
    "scale has too many axes": lambda: Diagonal(random(1, 2), (2,)),
    "index too large": lambda: Selection(torch.tensor([2]), (2,), (1,)),
    "index too small": lambda: Selection(torch.tensor([-2]), (2,), (1,)),
    "index too short": lambda: Selection(torch.tensor([0]), (2,), (2,)),
    "matrix missing": lambda: Separable((None,), (2, 3)),
    "matrix does not fit": lambda: Separable((random(2, 3), None), (2, 3)),
    "identity with error": lambda: Separable((None,), (2,), (torch.ones(2, 2),)),
    "negative error": lambda: Dense(random(2, 2), (), -torch.ones(2, 2)),
    "error of another shape": lambda: stored_error(torch.ones(2, 1), random(2, 2), "weight"),
    "channels": lambda: conv(in_shape=(3, 5)),
    "groups": lambda: conv(weight=random(3, 1, 3)),
    "no grid": lambda: conv(in_shape=(2,)),
    "four axes": lambda: conv(in_shape=(2, 1, 1, 1, 1), weight=random(4, 1, 1, 1, 1, 1)),
    "kernel too large": lambda: conv(dilation=(3,)),
    "stride 0": lambda: conv(stride=(0,)),
    "two strides": lambda: conv(stride=(1, 1)),
    "negative padding": lambda: conv(padding=((-1, 0),)),
    "wide circular padding": lambda: conv(padding=((6, 0),), circular=True),
    "transposed channels": lambda: transposed(in_shape=(3, 5)),
    "transposed groups": lambda: transposed(weight=random(2, 1, 3), groups=3),
    "everything cut": lambda: transposed(padding=((4, 3),)),
    "negative output padding": lambda: transposed(output_padding=(-1,)),
}


def test_the_bad_cases_differ_from_good_ones():
    assert conv().out_shape == (4, 3)
    assert transposed().out_shape == (1, 7)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    with pytest.raises(ModelError):
        BAD[name]()


def test_integers_are_weights_too():
    assert stored(torch.tensor([3]), "weight").dtype == torch.float64


def test_diagonals_that_are_constant_along_axes():
    full = Diagonal(torch.tensor([[1.0, 1.0], [2.0, 2.0]]), (2, 2), torch.tensor([[0.25, 0.5], [0.25, 0.125]]))
    constant = full.constant_along((1,))
    assert constant is not None
    assert constant.scale.tolist() == [[1.0], [2.0]]
    assert constant.error.flatten().tolist() == [0.5, 0.25]  # the larger one: a bound for both
    assert full.constant_along((0,)) is None
    assert torch.equal(full.reshaped((4,)).matrix(), full.matrix())
    assert torch.equal(Diagonal(torch.tensor(2.0), (2, 2)).reshaped((4,)).matrix(), 2 * torch.eye(4).double())
