import time

import pytest
import torch

from netgain.core.norms import Norm
from netgain.gain.search import Climb, direction, stretched
from netgain.network.graph import Bilinear, Form, Network
from tests.gain.networks import (
    averaging,
    branches,
    convolutional,
    jacobian,
    matrix_norm,
    mlp,
    node,
    normal,
    normalized,
    residual,
)


@pytest.mark.parametrize(
    "build", [residual, branches, convolutional, averaging, normalized, lambda s: mlp(s, 3, 8, 2, name="softplus")]
)
def test_unsmoothed_stretch_is_the_jacobian_times_the_direction(build):
    network = build(0)
    x, v = normal(1, 2, *network.input_shape), normal(2, 2, *network.input_shape)
    found = stretched(network, x, v, 1e-6)
    for row in range(2):
        assert torch.allclose(
            found[row].reshape(-1), jacobian(network, x[row]) @ v[row].reshape(-1), rtol=1e-4, atol=1e-6
        )


def test_products_follow_the_product_rule():
    network = Network("x", (3,), (node("p", Bilinear(Form.PRODUCT), ("x", "x"), (3,)),), "p")
    x, v = normal(1, 1, 3), normal(2, 1, 3)
    assert torch.allclose(stretched(network, x, v, 1e-6), 2 * x * v)


@pytest.mark.parametrize("norm", list(Norm))
def test_direction_has_norm_one_and_attains_the_dual_norm(norm: Norm):
    gradient = normal(0, 5, 2, 3)
    v = direction(gradient, norm)
    assert torch.allclose(norm.of(v), torch.ones(5, dtype=torch.float64))
    assert torch.allclose((v * gradient).sum((1, 2)), norm.dual.of(gradient))


@pytest.mark.parametrize("norm", list(Norm))
def test_smoothing_lets_the_gradient_see_the_other_side_of_a_kink(norm: Norm):
    network = mlp(4, 3, 8, 2)
    x, v = normal(1, 4, 3), direction(normal(2, 4, 3), norm)
    start = max(matrix_norm(jacobian(network, one), norm) for one in x)
    found = Climb(steps=80)(network, norm, x, v)
    assert bool((found.stretch[:-1] >= found.stretch[1:]).all())
    assert float(found.stretch[0]) >= start
    assert float(found.stretch[0]) <= max(matrix_norm(jacobian(network, one), norm) for one in found.x) * (1 + 1e-5)


def test_a_time_limit_stops_the_ascent_early():
    network = mlp(4, 3, 8, 2)
    x = normal(1, 2, 3)
    begun = time.monotonic()
    found = Climb(steps=10**6, polish=2, seconds=0.05)(network, Norm.L2, x, direction(x, Norm.L2))
    assert time.monotonic() - begun < 5
    assert found.x.shape == (2, 3)
