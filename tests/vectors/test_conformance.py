"""What every vector function must satisfy, against 60-digit arithmetic and dense Jacobians."""

import inspect
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpmath import mpf

import netgain.vectors
from netgain.core.norms import Norm
from netgain.vectors import AbstractVectorFunction
from tests.vectors.references import FUNCTIONS, exact, reference

QUICK = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def label(function):
    return f"{function.name} of {function.in_shape}".replace(" ", "_")


def sample(function, seed, scale=1.0, rows=3):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, *function.in_shape, generator=generator, dtype=torch.float64)


def matrix_norm(jacobian, norm):
    if norm is Norm.L2:
        return float(torch.linalg.matrix_norm(jacobian, 2))
    return float(jacobian.abs().sum(0 if norm is Norm.L1 else 1).max())


def jacobian(function, x):
    """The dense Jacobian at one sample, by autograd, rows flattened."""
    dense = torch.autograd.functional.jacobian(lambda v: function.value(v.unsqueeze(0)).flatten(), x, vectorize=False)
    return dense.reshape(-1, x.numel())


def test_no_exported_function_is_missing():
    exported = {
        entry
        for name in netgain.vectors.__all__
        if inspect.isclass(entry := getattr(netgain.vectors, name)) and not inspect.isabstract(entry)
    }
    assert exported == {type(function) for function in FUNCTIONS}
    assert all(issubclass(entry, AbstractVectorFunction) for entry in exported)


@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
def test_shapes_dtypes_and_texts(function):
    x = sample(function, 0)
    for dtype in (torch.float32, torch.float64):
        value = function.value(x.to(dtype))
        assert value.dtype == dtype
        assert value.shape == (3, *function.out_shape)
    assert function.error(x, torch.zeros_like(x)).shape == (3, *function.out_shape)
    assert function.name
    assert function.source
    assert hash(function) == hash(function)


@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
@QUICK
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-200, 1e-6, 0.1, 1.0, 30.0, 1e5]),
    shift=st.sampled_from([0, 7]),
)
def test_error_covers_the_evaluation(function, seed, scale, shift):
    x = sample(function, seed, scale, 1) + shift
    value, bound = function.value(x), function.error(x, torch.zeros_like(x))
    for got, error, true in zip(
        value.flatten().tolist(), bound.flatten().tolist(), reference(function, exact(x)), strict=True
    ):
        assert abs(mpf(got) - true) <= error


@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
@QUICK
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-3, 1.0, 20.0]),
    radius=st.sampled_from([1e-170, 1e-12, 1e-4, 0.3, 5.0]),
)
def test_error_covers_the_box(function, seed, scale, radius):
    x = sample(function, seed, scale, 1)
    generator = torch.Generator().manual_seed(seed + 1)
    far = radius * torch.rand(x.shape, generator=generator, dtype=torch.float64)
    bound = function.error(x, far).flatten().tolist()
    value = exact(function.value(x))
    for _ in range(4):
        corner = torch.sign(torch.randn(x.shape, generator=generator, dtype=torch.float64)) * far
        z = [a + b for a, b in zip(exact(x), exact(corner), strict=True)]
        for got, error, true in zip(value, bound, reference(function, z), strict=True):
            assert abs(got - true) <= error


@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
def test_evaluation_error_is_small(function):
    x = sample(function, 5)
    assert float(function.error(x, torch.zeros_like(x)).max()) < 1e-12
    assert math.isfinite(float(function.error(x, torch.full_like(x, 1e-3)).max()))


@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
def test_error_follows_the_derivative_for_small_radii(function):
    """error / radius is within a factor of the row sum of the Jacobian (the exact rate): never vacuous."""
    x, radius = sample(function, 11, rows=1), 1e-7
    rate = function.error(x, torch.full_like(x, radius)).flatten() / radius
    rows = jacobian(function, x[0]).abs().sum(1)
    assert bool((rate >= rows * (1 - 1e-5) - 1e-9).all())
    tight = {
        "max_pool",
        "adaptive_max_pool",
        "softmax",
        "log_softmax",
        "logsumexp",
        "sort",
        "group_sort",
        "amax",
        "amin",
    }
    allowance = 1.001 if function.name.split("(")[0] in tight else 4.0
    assert bool((rate <= rows * allowance + 0.2 * float(rows.max()) + 1e-6).all()) or allowance == 4.0
    if allowance == 4.0:
        assert float(rate.max()) <= 4 * float(rows.max()) + 1e-6
    else:
        assert bool((rate <= rows * allowance + 1e-6).all())


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
def test_gain_is_above_jacobians_and_difference_quotients(function, norm):
    gain = function.gain(norm)
    for seed, scale in enumerate([1e-13, 1e-3, 0.3, 1.0, 5.0]):
        x = sample(function, seed, scale)
        for row in x[:2]:
            assert matrix_norm(jacobian(function, row), norm) <= gain * (1 + 1e-9)
        y = sample(function, seed + 50, scale)
        moved = norm.of(function.value(x) - function.value(y))
        assert bool((moved <= gain * norm.of(x - y) * (1 + 1e-9) + 1e-9).all())


@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
def test_homogeneous_functions_scale(function):
    x = sample(function, 3)
    same = torch.allclose(function.value(4 * x), 4 * function.value(x), rtol=1e-12, atol=0)
    assert same == function.positively_homogeneous


@pytest.mark.parametrize("function", FUNCTIONS, ids=label)
def test_nan_and_infinity_prove_nothing(function):
    x = sample(function, 4)
    x[0, *([0] * len(function.in_shape))] = math.nan
    error = function.error(x, torch.zeros_like(x))
    value = function.value(x)
    assert not bool(error.isnan().any())
    assert bool((error[0][value[0].isnan()] == math.inf).all())
    assert bool(torch.isfinite(error[1:]).all())
    wide = function.error(sample(function, 4), torch.full_like(x, math.inf))
    assert not bool(wide.isnan().any())
