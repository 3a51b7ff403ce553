"""Matrices of rational numbers, rounded to float64 with the error of each entry."""

from collections.abc import Sequence
from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import TooLargeError
from netgain.core.rounding import UNIT_ROUNDOFF, up

LARGEST_MATRIX = 2**25
Matrix = Float[Tensor, "_ _"]
Row = Sequence[tuple[int, Fraction]]


def rounded(value: Fraction) -> tuple[float, float]:
    """The nearest float64 and a bound of its distance, 0 where it is exact.

    A normal float64 x is within u |x| of every number that rounds to it (u = 2^-53), since half an ulp is at most that;
    the step up covers subnormal numbers, where half an ulp is half the smallest of them.

    Args:
        value: a rational number.
    """
    nearest = float(value)
    if Fraction(nearest) == value:
        return nearest, 0.0
    return nearest, up(abs(nearest) * UNIT_ROUNDOFF)


def rational_matrix(rows: Sequence[Row], columns: int) -> tuple[Matrix, Matrix | None]:
    """A sparse rational matrix as float64 with an entrywise error bound (None where it is exact).

    Args:
        rows: for each row the (column, value) pairs; values of one column add up, exactly.
        columns: number of columns.

    Raises:
        TooLargeError: if it would have more than 2^25 entries.
    """
    if len(rows) * columns > LARGEST_MATRIX:
        raise TooLargeError(f"a resampling matrix of {len(rows)} x {columns} entries is over the limit of 2^25")
    places: list[tuple[int, int]] = []
    pairs: list[tuple[float, float]] = []
    known: dict[Fraction, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        exact: dict[int, Fraction] = {}
        for column, value in row:
            exact[column] = exact[column] + value if column in exact else value
        for column, value in exact.items():
            if value not in known:
                known[value] = rounded(value)
            places.append((number, column))
            pairs.append(known[value])
    index = torch.tensor(places, dtype=torch.int64).reshape(-1, 2).T
    entries = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2).T
    filled = torch.zeros(2, len(rows), columns, dtype=torch.float64)
    filled[:, index[0], index[1]] = entries
    return filled[0], filled[1] if bool(filled[1].any()) else None
