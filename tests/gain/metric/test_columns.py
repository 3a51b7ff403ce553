"""Products that skip zeros against dense ones."""

import torch

from netgain.gain.metric.columns import columns, ranges
from tests.gain.networks import normal


def test_products() -> None:
    for size, dtype in ((7, torch.float64), (9, torch.complex128)):
        matrix = normal(0, 2, size, 11).to(dtype)
        if dtype.is_complex:
            matrix = torch.complex(matrix.real, normal(1, 2, size, 11))
        matrix[:, :2, :5] = 0
        matrix[:, 2:5, :5] *= torch.eye(3, 5)
        matrix[:, [1, 3, 6], 5:] = 0
        structure = columns(matrix, [0, 5])
        x = normal(2, 2, 3, size).to(dtype) * (1 + 2j if dtype.is_complex else 1)
        torch.testing.assert_close(structure.behind(x), x @ matrix)
        torch.testing.assert_close(structure.adjoint(x.mH), matrix.mH @ x.mH)
        y = normal(3, 2, 11, 4).to(dtype)
        torch.testing.assert_close(structure.before(y), matrix @ y)


def test_ranges() -> None:
    ties = torch.tensor([0, 0, 3, 4, 1, 2, 2])
    assert ranges(ties, torch.tensor([0, 1, 3])) == [0, 2, 4]
