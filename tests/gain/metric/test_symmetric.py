import pytest
import torch

from netgain.gain.metric.symmetric import cholesky_of_rest, gram, outer
from tests.gain.networks import normal


@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 5, 7), (1, 300, 280), (1, 270, 290)])
def test_products_and_factors(shape: tuple[int, int, int]):
    factor = normal(0, *shape) / shape[1]
    torch.testing.assert_close(gram(factor), factor.mT @ factor, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(outer(factor), factor @ factor.mT, rtol=1e-12, atol=1e-14)
    left, exists = cholesky_of_rest(factor)
    assert bool(exists.all())
    rest = torch.eye(shape[1], dtype=torch.float64) - factor @ factor.mT
    torch.testing.assert_close(left @ left.mT, rest, rtol=1e-12, atol=1e-13)
    t = normal(1, shape[0], shape[2]).abs() + 1.0
    left, exists = cholesky_of_rest(factor, t)
    assert bool(exists.all())
    torch.testing.assert_close(left @ left.mT, torch.diag_embed(t) - factor.mT @ factor, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("size", [6, 300])
def test_a_factor_that_does_not_exist(size: int):
    factor = normal(0, 1, size, size)
    assert not bool(cholesky_of_rest(factor)[1].any())
    assert not bool(cholesky_of_rest(factor * torch.nan)[1].any())
