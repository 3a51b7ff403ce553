"""Reading CSV tables: numeric columns, one of them the class."""

import csv
from pathlib import Path

import numpy as np

from netgain.core.errors import DataError

LABELS = ("label", "y", "target", "class")


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels of a table with a header.

    The label column is named label, y, target or class; if none is, it is the last one.

    Args:
        path: a comma-separated file whose first line names the columns.

    Raises:
        DataError: if the file is missing, ragged, or a cell is not a number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a readable CSV file: {error}") from error
    if not rows:
        return np.zeros((0, 0)), np.zeros(0)
    header, body = [name.strip().lower() for name in rows[0]], rows[1:]
    if all(_is_number(cell) for cell in rows[0]):
        raise DataError(f"{path} has no header line; its first line must name the columns")
    label = next((header.index(name) for name in LABELS if name in header), len(header) - 1)
    values = np.empty((len(body), len(header)))
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise DataError(f"{path} line {number} has {len(row)} cells, the header has {len(header)}")
        for column, cell in enumerate(row):
            if not _is_number(cell):
                raise DataError(f"{path} line {number}, column {header[column]!r}: {cell!r} is not a number")
            values[number - 2, column] = float(cell)
    return np.delete(values, label, axis=1), values[:, label]


def _is_number(cell: str) -> bool:
    """Whether a cell is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
