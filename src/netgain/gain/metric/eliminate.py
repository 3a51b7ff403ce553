"""Elimination of one nonlinear node from a quadratic form, and its worst-case increment.

With D z = z and D y = y the increments at a node's input and output and u those of the other live variables, each node
has multipliers T such that form(y, u) <= form(y, u) + T-term(z, y), the T-term being non-negative for all increments
that the node allows; the right side is then maximized over y in closed form. What is left is a form over (z, u); the
maximizer is the worst-case increment.
"""

import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.gain.metric.prepared import Sector
from netgain.gain.metric.quadratic import Quadratic, Replacement, Spread, Term
from netgain.gain.metric.symmetric import cholesky_of_rest, outer
from netgain.gain.metric.top import largest
from netgain.network.graph import Node

# The small side of a factored form is used below this part of the node's size.
_LOW = 0.8


@dataclasses.dataclass(frozen=True, eq=False)
class Pressure:
    """The form on one node alone, as far as rules that choose multipliers see it.

    Attributes:
        parts: F with F^T F the form where that is the small side, else the form itself.
        factored: which of the two.
    """

    parts: Float[Tensor, "batch rows size"]
    factored: bool

    def relative(self, scale: Float[Tensor, "batch size"]) -> Float[Tensor, "batch small small"]:
        """A matrix with the non-zero eigenvalues of scale^-1/2 Q scale^-1/2.

        Args:
            scale: positive.
        """
        root = scale.rsqrt()
        if self.factored:
            return outer(self.parts * root.unsqueeze(1))
        return self.parts * root.unsqueeze(1) * root.unsqueeze(2)

    def diagonal(self) -> Float[Tensor, "batch size"]:
        """The diagonal of the form."""
        return self.parts.square().sum(1) if self.factored else self.parts.diagonal(dim1=1, dim2=2)


@dataclasses.dataclass(frozen=True, eq=False)
class Response:
    """The worst-case increment y = base z + (at the bent entries) weight (left left^T)^-1 rows (z, u).

    Attributes:
        node: the node.
        live: the variables behind `rows`.
        exponent: of the form at the node.
        base: factor of z in y; None where y does not see z directly.
        bent: entries of y that respond; None for all.
        rows: rows, or a diagonal.
        left: lower triangular.
        weight: applied to the solution where it has other entries than y: T^-1 F^T.
    """

    node: Node
    live: dict[str, int]
    exponent: Float[Tensor, " batch"]
    base: Float[Tensor, " size"] | None
    bent: Int[Tensor, " bent"] | None
    rows: Float[Tensor, "batch rows live"] | Spread
    left: Float[Tensor, "batch rows rows"]
    weight: Float[Tensor, "batch bent rows"] | None = None

    def __call__(self, increments: dict[str, Tensor]) -> Float[Tensor, "batch many size"]:
        """The increment of the node's output.

        Args:
            increments: of the live variables, (batch, many, size).
        """
        if isinstance(self.rows, Spread):
            image = increments[self.rows.name] * self.rows.scale.unsqueeze(1)
        else:
            image = torch.cat([increments[name] for name in self.live], 2) @ self.rows.mT
        solved = torch.linalg.solve_triangular(self.left, image.mT, upper=False)
        answer = torch.linalg.solve_triangular(self.left.mT, solved, upper=True)
        if self.weight is not None:
            answer = self.weight @ answer
        answer = answer.mT
        if self.base is None:
            return answer
        y = increments[self.node.inputs[0]] * self.base
        if self.bent is None:
            return y + answer
        return y.index_add(2, self.bent, answer)


@dataclasses.dataclass(frozen=True, eq=False)
class Eliminated:
    """A form without the node, and how the node responds.

    Attributes:
        form: over what was live and the node's input.
        response: the worst-case increment.
        feasible: which forms of the batch admitted the multipliers.
    """

    form: Quadratic
    response: Response
    feasible: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Elimination:
    """A form split for the elimination of one node: the parts that touch it, in the cheaper of two shapes.

    Attributes:
        form: with the node live.
        node: the node.
        aside: terms that do not touch the node and stay factored.
        parts: a factor of the rest over all live variables where that is the small side, else the rest.
        factored: which of the two.
        large: whether `parts` is a factor although it is the large side: what only a Cholesky factor is needed of.
    """

    form: Quadratic
    node: Node
    aside: tuple[Term, ...]
    parts: Float[Tensor, "batch rows live"]
    factored: bool
    large: bool = False

    @property
    def pressure(self) -> Pressure:
        """The form on the node alone."""
        at = self.form.columns(self.node.name)
        return Pressure(self.parts[:, :, at] if self.factored else self.parts[:, at, at], self.factored)

    def others(self, sizes: Mapping[str, float]) -> Float[Tensor, " batch"]:
        """The largest value of the form where the node's increment is 0 and the others stay within given norms.

        At most that: for several others the sum of their squares over their norms' is bounded by their number.

        Args:
            sizes: largest norms of the other live variables.
        """
        parts = [(name, size) for name, size in self.form.live.items() if name != self.node.name]
        columns = torch.cat([torch.arange(c.start, c.stop) for name, _ in parts for c in [self.form.columns(name)]])
        scale = torch.cat([torch.full((size,), sizes[name], dtype=torch.float64) for name, size in parts])
        total = torch.zeros(len(self.form.exponent), dtype=torch.float64)
        if self.factored:
            total += largest(outer(self.parts[:, :, columns] * scale))
        else:
            total += largest(self.parts[:, columns][:, :, columns] * scale * scale.unsqueeze(1))
        for term in self.aside:
            if isinstance(term.rows, Spread):
                row = self.form.written(term) if term.left is not None else term.rows.scale.diag_embed()
                total += sizes[term.rows.name] ** 2 * row.square().sum(1).amax(1)
        return total * len(parts)


def elimination(form: Quadratic, node: Node, *, dense: bool = False, plain: bool = False) -> Elimination:
    """The form in the shape in which the node is eliminated.

    Args:
        form: with the node live.
        node: the node.
        dense: whether a matrix is wanted in any case.
        plain: whether nothing but a Cholesky factor is needed of the node's part where it alone is live.
    """
    touching = [t for t in form.terms if not isinstance(t.rows, Spread) or t.rows.name == node.name]
    aside = tuple(t for t in form.terms if isinstance(t.rows, Spread) and t.rows.name != node.name)
    rest = Quadratic(form.live, tuple(touching), form.dense, form.exponent)
    low = sum(t.rank for t in touching) < _LOW * form.live[node.name] and form.dense is None and bool(touching)
    if plain and not low and len(form.live) == 1 and form.dense is None and _all_rows(touching):
        factor = rest.factor()
        if factor is not None:
            return Elimination(form, node, aside, factor, True, True)
    factor = rest.factor() if low and not dense else None
    return Elimination(form, node, aside, rest.matrix() if factor is None else factor, factor is not None)


def _all_rows(terms: list[Term]) -> bool:
    """Whether no term is diagonal."""
    return not any(isinstance(term.rows, Spread) for term in terms)


def scaling(pressure: Pressure, exponent: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Whole numbers that bring a form far from 1 back to it; zeros while none is far.

    Args:
        pressure: the form on the node.
        exponent: the exponent so far.
    """
    size = pressure.diagonal().amax(1).sqrt()
    shift = torch.frexp(size).exponent.to(exponent)
    return torch.where(torch.isfinite(size) & (size > 0) & (shift.abs() > 64), shift, torch.zeros_like(shift))


def elementwise(split: Elimination, t: Float[Tensor, "batch size"], sector: Sector) -> Eliminated:
    """Eliminate an elementwise node with slopes in [a, b] under multipliers t > 0.

    Dense: substitute y = a z + w; then w (b - a) t z - t w^2 >= 0, and with S = T - Q_JJ > 0 over the entries J of
    positive radius r the new form is E^T Q E + G^T S^-1 G, E the substitution y = a z and G = Q_J: E + (r T on z).
    Factored, Q = F^T F: y = c z + w and K = I - F_J T^-1 F_J^T > 0 give (F C)^T K^-1 (F C) + (r T r on z).

    Args:
        split: the form.
        t: multipliers.
        sector: the slopes.
    """
    node, form = split.node, split.form
    z = node.inputs[0]
    at = form.columns(node.name)
    bent = None if bool(sector.bent.all()) else sector.bent.nonzero().squeeze(1)
    inside = t if bent is None else t[:, bent]
    if split.factored and not split.large:
        swap = Replacement(form.live, node, lambda rows: {z: rows * sector.centre})
        block = split.parts[:, :, at] if bent is None else split.parts[:, :, at][:, :, bent]
        left, feasible = cholesky_of_rest(block * inside.rsqrt().unsqueeze(1))
        rows = swap(split.parts)
        terms = (*split.aside, Term(rows, left), Term(Spread(z, sector.radius * t.sqrt())))
        after = Quadratic(swap.live, terms, None, form.exponent)
        weight = (block / inside.unsqueeze(1)).mT
        response = Response(node, dict(swap.live), form.exponent, sector.centre, bent, rows, left, weight)
        return Eliminated(after, response, feasible)
    swap = Replacement(form.live, node, lambda rows: {z: rows * sector.low})
    if split.large:
        left, feasible = cholesky_of_rest(split.parts, t)
        rows = Spread(z, sector.radius * t)
        after = Quadratic(swap.live, (*split.aside, Term(rows, left)), None, form.exponent)
        return Eliminated(after, Response(node, dict(swap.live), form.exponent, sector.low, None, rows, left), feasible)
    block = split.parts[:, at, :] if bent is None else split.parts[:, at, :][:, bent]
    within = block[:, :, at] if bent is None else block[:, :, at][:, :, bent]
    left, info = torch.linalg.cholesky_ex(torch.diag_embed(inside) - within)
    alone = sector.plain and len(form.live) == 1
    scale = sector.radius * t
    rows: Tensor | Spread
    if alone:
        rows, dense = Spread(z, scale), None
    else:
        rows = swap(block)
        column = torch.arange(form.live[node.name]) if bent is None else bent
        first = Quadratic(swap.live, (), None, form.exponent).columns(z).start
        rows[:, torch.arange(len(column)), column + first] += scale if bent is None else scale[:, bent]
        dense = swap.both(split.parts)
    after = Quadratic(swap.live, (*split.aside, Term(rows, left)), dense, form.exponent)
    response = Response(node, dict(swap.live), form.exponent, sector.low, bent, rows, left)
    return Eliminated(after, response, info == 0)


def vector(split: Elimination, t: Float[Tensor, "batch size size"], term: Term) -> Eliminated:
    """Eliminate a vector node whose multipliers are a matrix T at its output and a term at its input.

    With S = T - Q_yy > 0 the new form is Q_uu + Q_uy S^-1 Q_yu + (term on z).

    Args:
        split: the form as a matrix.
        t: T.
        term: on the node's input, (batch, rows, input), without columns for other variables.
    """
    node, form = split.node, split.form
    z = node.inputs[0]
    at = form.columns(node.name)
    size = term.rows.scale.shape[1] if isinstance(term.rows, Spread) else term.rows.shape[2]
    swap = Replacement(form.live, node, lambda rows: {z: rows.new_zeros(*rows.shape[:2], size)})
    left, info = torch.linalg.cholesky_ex(t - split.parts[:, at, at])
    rows = swap(split.parts[:, at, :])
    after = Quadratic(swap.live, (), swap.both(split.parts), form.exponent)
    on_input = term if isinstance(term.rows, Spread) else Term(after.placed(z, term.rows), term.left)
    after = dataclasses.replace(after, terms=(*split.aside, Term(rows, left), on_input))
    return Eliminated(after, Response(node, dict(swap.live), form.exponent, None, None, rows, left), info == 0)
