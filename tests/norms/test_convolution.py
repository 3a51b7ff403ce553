import math

import pytest
import torch

from netgain.linear.convolution import Conv
from netgain.norms.convolution import conv_norm, norm


@pytest.fixture
def no_matrix(monkeypatch):
    """Keep small operators from being written out, so that the Fourier methods are what is tested."""
    monkeypatch.setattr(norm, "matrix_work", lambda conv: math.inf)


def ones(size: int) -> Conv:
    weight = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    return Conv(weight, (1, size, size), (1, 1), ((1, 1), (1, 1)), (1, 1))


@pytest.mark.parametrize("size", [3, 7, 56])
def test_all_ones_is_the_square_of_a_tridiagonal_toeplitz_matrix(size, no_matrix):
    true = (1 + 2 * math.cos(math.pi / (size + 1))) ** 2
    found = conv_norm(ones(size))
    assert found.lower.value <= true <= found.upper.value
    assert found.ratio <= 1 + 1e-3


def test_zero_padding_exceeds_the_circular_norm(no_matrix):
    weight = torch.tensor([[[0.0, 1.0, -1.0]]], dtype=torch.float64)
    zero = conv_norm(Conv(weight, (1, 3), (1,), ((1, 1),), (1,)))
    circular = conv_norm(Conv(weight, (1, 3), (1,), ((1, 1),), (1,), circular=True))
    assert 2 * math.cos(math.pi / 7) <= zero.upper.value <= 2 * math.cos(math.pi / 7) * 1.3
    assert math.sqrt(3) <= circular.upper.value <= math.sqrt(3) * (1 + 1e-3)
