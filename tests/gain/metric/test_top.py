import torch

from netgain.gain.metric.top import direct, krylov, largest, random_block
from tests.gain.networks import normal


def test_the_same_largest_pairs_both_ways():
    factor = normal(0, 3, 60, 150)
    matrix = factor.mT @ factor
    exact = direct(matrix, 3)
    found = krylov(lambda x: x @ matrix, random_block(3, 5, 150), 3)
    # A residual of 2e-5 leaves about its square over the relative distance to the next value.
    torch.testing.assert_close(found.values[:, 0], exact.values[:, 0], rtol=1e-7, atol=0)
    aligned = (found.vectors[:, 0] * exact.vectors[:, 0]).sum(1).abs()
    torch.testing.assert_close(aligned, torch.ones_like(aligned), rtol=0, atol=1e-6)
    torch.testing.assert_close(largest(matrix), exact.values[:, 0], rtol=1e-7, atol=0)
    torch.testing.assert_close(largest(matrix[:1]), exact.values[:1, 0], rtol=1e-7, atol=0)


def test_what_is_not_finite_is_infinite():
    matrix = torch.stack([torch.eye(4, dtype=torch.float64), torch.full((4, 4), torch.nan, dtype=torch.float64)])
    assert direct(matrix, 1).values[:, 0].tolist() == [1.0, torch.inf]
