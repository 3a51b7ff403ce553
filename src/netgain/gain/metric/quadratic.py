"""A quadratic form over the live variables of a backward sweep, kept factored for as long as that is cheaper.

The form is a sum of terms x -> ||left^-1 rows x||^2 and at most one symmetric matrix; x joins the increments of the
live variables end to end. A batch of forms, one for each output direction, shares the list of live variables.
"""

import dataclasses
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.gain.metric.symmetric import gram
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.network.graph import Affine, Concat, Node

Substitution = Callable[[Tensor], Mapping[str, Tensor]]
"""From rows on the increments of one node to rows on those of the nodes that it reads."""


@dataclasses.dataclass(frozen=True, eq=False)
class Spread:
    """Rows that are a diagonal matrix on one live variable.

    Attributes:
        name: the variable.
        scale: the diagonal, one for each form.
    """

    name: str
    scale: Float[Tensor, "batch size"]


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """x -> ||left^-1 rows x||^2.

    Attributes:
        rows: over all live variables, or diagonal on one.
        left: lower triangular, still to be solved with; None for the identity.
    """

    rows: Float[Tensor, "batch rows live"] | Spread
    left: Float[Tensor, "batch rows rows"] | None = None

    @property
    def rank(self) -> int:
        """Number of rows."""
        return self.rows.scale.shape[1] if isinstance(self.rows, Spread) else self.rows.shape[1]


@dataclasses.dataclass(frozen=True, eq=False)
class Quadratic:
    """The form.

    Attributes:
        live: sizes of the live variables in the order of their columns.
        terms: factored parts.
        dense: a symmetric part; None for zero.
        exponent: the form is 2^(2 exponent) times what the parts say, one exponent for each form.
    """

    live: Mapping[str, int]
    terms: tuple[Term, ...]
    dense: Float[Tensor, "batch live live"] | None
    exponent: Float[Tensor, " batch"]

    def columns(self, name: str) -> slice:
        """Where a live variable stands.

        Args:
            name: the variable.
        """
        first = 0
        for other, size in self.live.items():
            if other == name:
                break
            first += size
        return slice(first, first + self.live[name])

    def written(self, term: Term) -> Float[Tensor, "batch rows live"]:
        """left^-1 rows of one term.

        Args:
            term: one of the terms.
        """
        rows = self.spread(term.rows) if isinstance(term.rows, Spread) else term.rows
        return rows if term.left is None else torch.linalg.solve_triangular(term.left, rows, upper=False)

    def spread(self, rows: Spread) -> Float[Tensor, "batch rows live"]:
        """A diagonal written out over all live variables.

        Args:
            rows: the diagonal.
        """
        return self.placed(rows.name, torch.diag_embed(rows.scale))

    def placed(self, name: str, block: Float[Tensor, "batch rows size"]) -> Float[Tensor, "batch rows live"]:
        """Rows on one variable as rows on all.

        Args:
            name: the variable.
            block: rows on it.
        """
        if len(self.live) == 1:
            return block
        rows = block.new_zeros(*block.shape[:2], sum(self.live.values()))
        rows[:, :, self.columns(name)] = block
        return rows

    def factor(self) -> Float[Tensor, "batch rows live"] | None:
        """All terms as one factor F of F^T F; None if there are none."""
        parts = [self.written(term) for term in self.terms]
        return None if not parts else parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def matrix(self) -> Float[Tensor, "batch live live"]:
        """The form as one symmetric matrix, without its exponent."""
        total = self.dense
        plain: list[Term] = []
        diagonal: Tensor | None = None
        for term in self.terms:
            if isinstance(term.rows, Spread) and term.left is None:
                row = self.placed(term.rows.name, term.rows.scale.square().unsqueeze(1)).squeeze(1)
                diagonal = row if diagonal is None else diagonal + row
            else:
                plain.append(term)
        factor = dataclasses.replace(self, terms=tuple(plain)).factor()
        if factor is not None:
            product = gram(factor)
            total = product if total is None else total + product
        if diagonal is not None:
            total = torch.diag_embed(diagonal) if total is None else total + torch.diag_embed(diagonal)
        if total is None:
            size = sum(self.live.values())
            return torch.zeros(len(self.exponent), size, size, dtype=torch.float64)
        return total

    def times(self, x: Float[Tensor, "batch many live"]) -> Float[Tensor, "batch many live"]:
        """The matrix of the form, without its exponent, times vectors.

        Args:
            x: vectors in rows.
        """
        total = torch.zeros_like(x) if self.dense is None else x @ self.dense
        for term in self.terms:
            rows = term.rows
            if isinstance(rows, Spread):
                at = self.columns(rows.name)
                image = x[:, :, at] * rows.scale.unsqueeze(1)
                total[:, :, at] += _solved_twice(term.left, image) * rows.scale.unsqueeze(1)
            else:
                total += _solved_twice(term.left, x @ rows.mT) @ rows
        return total

    def rescaled(self, shift: Float[Tensor, " batch"]) -> "Quadratic":
        """The same form with its parts divided by 2^(2 shift).

        Args:
            shift: whole numbers, one for each form.
        """
        scale = torch.exp2(-shift).reshape(-1, 1, 1)
        terms = tuple(
            Term(
                Spread(term.rows.name, term.rows.scale * scale.squeeze(2))
                if isinstance(term.rows, Spread)
                else term.rows * scale,
                term.left,
            )
            for term in self.terms
        )
        dense = None if self.dense is None else self.dense * scale * scale
        return Quadratic(self.live, terms, dense, self.exponent + shift)


def _solved_twice(left: Tensor | None, x: Float[Tensor, "batch many rows"]) -> Float[Tensor, "batch many rows"]:
    """left^-T left^-1 applied to vectors in rows."""
    if left is None:
        return x
    inner = torch.linalg.solve_triangular(left, x.mT, upper=False)
    return torch.linalg.solve_triangular(left.mT, inner, upper=True).mT


def substituted(form: Quadratic, node: Node, substitution: Substitution, matrix: Tensor | None = None) -> Quadratic:
    """The form after a linear node: its increment is replaced by what it is of the increments it reads.

    Args:
        form: with the node live.
        node: the node.
        substitution: rows on the node to rows on what it reads.
        matrix: of an affine node, if known.
    """
    replaced = Replacement(form.live, node, substitution)
    after = Quadratic(replaced.live, (), None, form.exponent)
    terms: list[Term] = []
    for term in form.terms:
        if not isinstance(term.rows, Spread):
            terms.append(Term(replaced(term.rows), term.left))
        elif term.rows.name != node.name:
            terms.append(term)
        elif (moved := _moved(term, term.rows, node, substitution)) is not None:
            terms.extend(moved)
        elif matrix is not None:
            rows = after.placed(node.inputs[0], term.rows.scale.unsqueeze(2) * matrix)
            terms.append(Term(rows, term.left))
        else:
            terms.append(Term(replaced(form.spread(term.rows)), term.left))
    dense = None if form.dense is None else replaced.both(form.dense)
    return Quadratic(replaced.live, tuple(terms), dense, form.exponent)


def _moved(term: Term, rows: Spread, node: Node, substitution: Substitution) -> list[Term] | None:
    """A diagonal behind a node that scales or reshapes entries, or joins tensors, stays diagonal."""
    kind = node.kind
    scales = isinstance(kind, Affine) and isinstance(kind.map, Diagonal | Reshape)
    joins = isinstance(kind, Concat) and len(set(node.inputs)) == len(node.inputs) and term.left is None
    if not scales and not joins:
        return None
    parts = substitution(rows.scale.unsqueeze(1))
    return [Term(Spread(name, part.squeeze(1)), term.left) for name, part in parts.items()]


class Replacement:
    """Columns of rows on the live variables when one node is replaced by what it reads."""

    def __init__(self, live: Mapping[str, int], node: Node, substitution: Substitution):
        self._before = dict(live)
        self._name = node.name
        self._substitution = substitution
        probe = substitution(torch.zeros(1, 0, live[node.name], dtype=torch.float64))
        self.live = {name: size for name, size in live.items() if name != node.name}
        self.live.update({name: part.shape[2] for name, part in probe.items() if name not in self.live})

    def __call__(self, rows: Float[Tensor, "batch rows before"]) -> Float[Tensor, "batch rows after"]:
        """Rows over the live variables before as rows over those after."""
        blocks = dict(zip(self._before, rows.split(list(self._before.values()), 2), strict=True))
        for name, part in self._substitution(blocks.pop(self._name)).items():
            blocks[name] = blocks[name] + part if name in blocks else part
        parts = [blocks[name] for name in self.live]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 2)

    def both(self, matrix: Float[Tensor, "batch before before"]) -> Float[Tensor, "batch after after"]:
        """A symmetric matrix with rows and columns replaced."""
        return self(self(matrix).mT.contiguous())
