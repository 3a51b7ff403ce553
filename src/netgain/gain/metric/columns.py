"""Matrices most of whose entries are zero by construction, column group by column group: products that skip them."""

import dataclasses

import torch
from jaxtyping import Int
from torch import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class _Group:
    """The columns first .. last - 1: a dense part on few rows, and rows with a single entry.

    Attributes:
        first: first column.
        last: one behind the last column.
        rows: rows of the dense part: a range where they are neighbours.
        dense: (batch, rows, columns).
    """

    first: int
    last: int
    rows: slice | Tensor
    dense: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Columns:
    """A batch of matrices V of one zero pattern, (batch, size, count).

    Attributes:
        size: rows.
        count: columns.
        groups: the dense parts.
        row: row of each single entry.
        column: its column.
        entry: its value, (batch, singles).
    """

    size: int
    count: int
    groups: tuple[_Group, ...]
    row: Int[Tensor, " singles"]
    column: Int[Tensor, " singles"]
    entry: Tensor

    def behind(self, x: Tensor) -> Tensor:
        """X V.

        Args:
            x: (batch, rows, size).
        """
        out = x.new_zeros(*x.shape[:-1], self.count)
        out.index_add_(-1, self.column, x[..., self.row] * self.entry.unsqueeze(-2))
        for group in self.groups:
            out[..., group.first : group.last] += x[..., group.rows] @ group.dense
        return out

    def adjoint(self, x: Tensor) -> Tensor:
        """V^H X.

        Args:
            x: (batch, size, columns).
        """
        out = x.new_zeros(*x.shape[:-2], self.count, x.shape[-1])
        out.index_add_(-2, self.column, x[..., self.row, :] * self.entry.conj().unsqueeze(-1))
        for group in self.groups:
            out[..., group.first : group.last, :] += group.dense.mH @ x[..., group.rows, :]
        return out

    def before(self, x: Tensor) -> Tensor:
        """V X.

        Args:
            x: (batch, count, columns).
        """
        out = x.new_zeros(*x.shape[:-2], self.size, x.shape[-1])
        out.index_add_(-2, self.row, x[..., self.column, :] * self.entry.unsqueeze(-1))
        for group in self.groups:
            out[..., group.rows, :] += group.dense @ x[..., group.first : group.last, :]
        return out


def columns(matrix: Tensor, starts: list[int]) -> Columns:
    """The structure of a batch of matrices, found from their zeros.

    Args:
        matrix: (batch, size, count).
        starts: first column of each group of columns that are alike, increasing, from 0.
    """
    count = matrix.shape[-1]
    groups: list[_Group] = []
    row: list[Tensor] = []
    column: list[Tensor] = []
    for first, last in zip(starts, [*starts[1:], count], strict=True):
        part = matrix[..., first:last]
        pattern = (part != 0).any(0)
        entries = pattern.sum(1)
        single = (entries == 1).nonzero().squeeze(1)
        many = (entries > 1).nonzero().squeeze(1)
        row.append(single)
        column.append(pattern[single].to(torch.uint8).argmax(1) + first)
        if many.numel():
            rows = _rows(many)
            groups.append(_Group(first, last, rows, part[:, rows].contiguous()))
    rows, cols = torch.cat(row), torch.cat(column)
    return Columns(matrix.shape[-2], count, tuple(groups), rows, cols, matrix[:, rows, cols])


def _rows(many: Int[Tensor, " rows"]) -> slice | Tensor:
    """A range where the rows are neighbours: it needs no copy."""
    first, last = int(many[0]), int(many[-1]) + 1
    return slice(first, last) if last - first == many.numel() else many


def ranges(ties: Int[Tensor, " terms"], bounds: Int[Tensor, " parts"]) -> list[int]:
    """First column of each run of terms whose variables belong together.

    Args:
        ties: the variable of each term.
        bounds: first variable of each part, increasing.
    """
    part = torch.bucketize(ties, bounds, right=True)
    changes = (part[1:] != part[:-1]).nonzero().squeeze(1) + 1
    return [0, *changes.tolist()]
