"""Matrices with rational entries, rounded to float64 with the bound of their rounding."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from netgain.network.read.onnx.build import product_error


def matrix(rows: Sequence[Mapping[int, Fraction]], columns: int) -> tuple[Tensor, Tensor | None]:
    """The matrix with these entries a row, and the entrywise bound of its rounding (None where it is exact).

    Args:
        rows: for each row its entries by column.
        columns: number of columns.
    """
    stored = torch.zeros(len(rows), columns, dtype=torch.float64)
    exact = True
    rounded: dict[Fraction, float] = {}
    for k, row in enumerate(rows):
        for column, value in row.items():
            if value not in rounded:
                rounded[value] = float(value)
                exact = exact and Fraction(rounded[value]) == value
            stored[k, column] = rounded[value]
    if exact:
        return stored, None
    error = product_error(stored, False)
    return stored, None if error is None else torch.where(stored == 0, 0.0, error)
