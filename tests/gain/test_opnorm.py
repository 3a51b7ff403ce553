import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from netgain.core.errors import ModelError, NonFiniteWeightError, UsageError
from netgain.core.norms import Norm
from netgain.gain.opnorm import opnorm
from netgain.linear.dense import Dense
from tests.gain.networks import matrix_norm, normal


def layer_matrix(layer: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    unit = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    with torch.no_grad():
        return (layer(unit) - layer(zero)).reshape(len(unit), -1).T


@pytest.mark.parametrize("norm", list(Norm))
def test_matrices(norm: Norm):
    matrix = normal(0, 5, 3)
    exact = matrix_norm(matrix, norm)
    for given in (matrix, matrix.numpy(), Dense(matrix), nn.Linear(3, 5).double()):
        if isinstance(given, nn.Linear):
            given.weight.data = matrix
        found = opnorm(given, norm=norm)
        assert exact * (1 - 2e-6) <= found.lower.value <= exact * (1 + 1e-14)
        assert exact * (1 - 1e-14) <= found.upper.value <= exact * (1 + 2e-6)


def test_norm_by_name_and_integers():
    assert opnorm(numpy.array([[3, 0], [0, 4]]), norm="linf").upper.value == pytest.approx(4)
    assert opnorm(torch.tensor([[3, 0], [0, 4]], dtype=torch.bfloat16), norm="l1").upper.value == pytest.approx(4)


LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv2d(2, 3, 3, padding=1), (2, 5, 5)),
    (nn.Conv1d(2, 4, 3, stride=2, groups=2), (2, 8)),
    (nn.ConvTranspose2d(2, 2, 2, stride=2), (2, 3, 3)),
    (nn.BatchNorm2d(3), (3, 2, 2)),
    (nn.AvgPool2d(2), (1, 4, 4)),
    (nn.Upsample(scale_factor=2), (1, 3, 3)),
    (parametrizations.spectral_norm(nn.Linear(4, 4)), (4,)),
    (parametrizations.weight_norm(nn.Linear(4, 4)), (4,)),
    (nn.Sequential(nn.Flatten(), nn.Linear(8, 3)), (2, 2, 2)),
    (nn.Identity(), (3,)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda one: type(one).__name__)
def test_layers_against_their_matrices(layer: nn.Module, shape: tuple[int, ...]):
    layer = layer.eval().double()
    matrix = layer_matrix(layer, shape)
    for norm in Norm:
        found = opnorm(layer, shape, norm)
        exact = matrix_norm(matrix, norm)
        assert found.lower.value <= exact * (1 + 1e-9)
        assert exact * (1 - 1e-12) <= found.upper.value <= exact * 1.02


def test_float32_weights_are_taken_as_they_are():
    layer = nn.Linear(3, 3)
    exact = float(torch.linalg.matrix_norm(layer.weight.detach().double(), 2))
    assert opnorm(layer).upper.value >= exact * (1 - 1e-15)


def test_bad_input():
    with pytest.raises(UsageError, match="input_shape"):
        opnorm(nn.Conv2d(1, 1, 3))
    with pytest.raises(UsageError, match="not linear"):
        opnorm(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), (2,))
    with pytest.raises(UsageError, match="two axes"):
        opnorm(torch.ones(3))
    for odd in (numpy.array([["a", "b"]]), torch.ones(2, 2, dtype=torch.complex64)):
        with pytest.raises(UsageError, match="real numbers"):
            opnorm(odd)
    with pytest.raises(UsageError, match="too large"):
        opnorm(torch.tensor([[2**53 + 1]]))
    with pytest.raises(UsageError, match="l1, l2, linf"):
        opnorm(torch.ones(2, 2), norm="fro")
    with pytest.raises(UsageError, match="rtol"):
        opnorm(torch.ones(2, 2), rtol=0.0)
    for broken in (math.nan, math.inf):
        with pytest.raises(NonFiniteWeightError):
            opnorm(torch.tensor([[1.0, broken]]))
    with pytest.raises(ModelError):
        opnorm(torch.ones(0, 2))
