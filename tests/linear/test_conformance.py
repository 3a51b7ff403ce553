"""What every linear map promises, checked on an example of every class."""

import dataclasses
import importlib
import pkgutil

import pytest
import torch

import netgain.linear
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain, ChainUncertainty
from netgain.linear.separable import Separable

from .examples import examples, random

MAPS = examples()
each = pytest.mark.parametrize("name", MAPS)


def test_every_final_class_has_an_example():
    for module in pkgutil.iter_modules(netgain.linear.__path__):
        importlib.import_module(f"netgain.linear.{module.name}")
    assert set(AbstractLinearMap.__subclasses__()) == {type(one) for one in MAPS.values()}
    for kind in AbstractLinearMap.__subclasses__():
        assert not kind.__subclasses__(), f"{kind.__name__} is final"
        assert dataclasses.fields(kind)


@each
def test_fields_are_frozen(name):
    with pytest.raises(dataclasses.FrozenInstanceError):
        MAPS[name].in_shape = (1,)


@each
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_shapes(name, batch):
    one = MAPS[name]
    assert one.apply(random(batch, *one.in_shape)).shape == (batch, *one.out_shape)
    assert one.adjoint(random(batch, *one.out_shape)).shape == (batch, *one.in_shape)


@each
def test_the_matrix_is_the_map_and_its_transpose_the_adjoint(name):
    one = MAPS[name]
    matrix = one.matrix(chunk=5)
    assert matrix.shape == (one.out_size, one.in_size)
    x, y = random(3, *one.in_shape), random(3, *one.out_shape, seed=1)
    torch.testing.assert_close(one.apply(x).flatten(1), x.flatten(1) @ matrix.T, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(one.adjoint(y).flatten(1), y.flatten(1) @ matrix, rtol=1e-13, atol=1e-13)


@each
def test_linear(name):
    one = MAPS[name]
    x, y = random(2, *one.in_shape), random(2, *one.in_shape, seed=1)
    torch.testing.assert_close(one.apply(3 * x - y), 3 * one.apply(x) - one.apply(y), rtol=1e-12, atol=1e-12)


@each
def test_abs_dominates_and_is_equal_where_nothing_is_summed(name):
    one = MAPS[name]
    matrix, magnitudes = one.matrix(), one.abs().matrix()
    if isinstance(one, Chain | ChainUncertainty):
        assert bool((magnitudes * (1 + 1e-15) >= matrix.abs()).all())
    else:
        # Circular padding can sum two taps in one entry; no other map does.
        assert bool((magnitudes >= matrix.abs()).all())
        assert torch.equal(magnitudes, matrix.abs()) or name == "conv circular"
    assert one.abs().uncertainty() is None


@each
def test_no_more_products_than_terms(name):
    one = MAPS[name]
    used = one.abs().matrix() != 0
    if not isinstance(one, Chain | ChainUncertainty | Separable):
        assert int(used.sum(1).max()) <= one.terms
        assert int(used.sum(0).max()) <= one.adjoint_terms
    assert one.terms >= 1
    assert one.adjoint_terms >= 1


@each
def test_exact_moves(name):
    one = MAPS[name]
    if one.moves:
        matrix = one.matrix()
        assert bool(((matrix == 0) | (matrix == 1)).all())
        assert int(matrix.sum(1).max()) <= 1
        assert one.uncertainty() is None


@each
def test_the_argument_decides_the_dtype(name):
    one = MAPS[name]
    x, y = random(2, *one.in_shape), random(2, *one.out_shape)
    for value, reference in ((one.apply(x.float()), one.apply(x)), (one.adjoint(y.float()), one.adjoint(y))):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), reference, rtol=1e-4, atol=1e-4)


@each
def test_the_gradient_of_apply_is_the_adjoint(name):
    one = MAPS[name]
    x, y = random(2, *one.in_shape).requires_grad_(), random(2, *one.out_shape).requires_grad_()
    (gradient,) = torch.autograd.grad(one.apply(x), x, y.detach())
    torch.testing.assert_close(gradient, one.adjoint(y.detach()), rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(one.adjoint(y), y, x.detach())
    torch.testing.assert_close(gradient, one.apply(x.detach()), rtol=1e-12, atol=1e-12)


@each
def test_uncertainty_is_a_non_negative_map_of_the_same_shapes(name):
    one = MAPS[name]
    uncertainty = one.uncertainty()
    assert (uncertainty is not None) == (
        name in {"chain", "conv 1d", "conv transposed 1d", "diagonal scalar", "dense with lead and error"}
        or name in {"separable", "separable with one error"}
    )
    if uncertainty is not None:
        assert (uncertainty.in_shape, uncertainty.out_shape) == (one.in_shape, one.out_shape)
        assert bool((uncertainty.matrix() >= 0).all())
        assert uncertainty.uncertainty() is None
