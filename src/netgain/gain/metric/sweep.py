"""One backward sweep of a region under given multipliers: its gain, and how the gain depends on each multiplier.

The form at the stop is pulled back node by node in reverse order (docs/theory/metric_pullback.md). What is left at the
start is a form P with ||D stop||^2 <= P(D start), so log lambda_max(P) bounds the logarithm of the squared gain. Its
derivative by a multiplier needs no second sweep: the maximizers of the eliminations are the worst-case increments, run
forwards from the top eigenvector of P, and the derivative is the value of the multiplier's constraint there.

A vector node, or an elementwise one with slopes symmetric about 0, that alone is live seals the sweep: what is left
behind it is T alone, so T is scaled to the least feasible multiple of its given direction, the scale is a factor of the
bound, and the sweep goes on from T. So T there is given up to a constant.

Ordinary float64; nothing here is a proof.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.core.norms import Norm
from netgain.gain.metric.eliminate import Elimination, Response, elementwise, elimination, scaling, vector
from netgain.gain.metric.prepared import Prepared
from netgain.gain.metric.quadratic import Quadratic, Spread, Term, substituted
from netgain.gain.metric.region import expanded
from netgain.gain.metric.top import Top, direct, krylov, random_block
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Node, Opaque, Sum, Vector

# Sealed multipliers stay so far above the least feasible ones, relatively.
_MARGIN = 2.0**-30
_LOG2 = math.log(2.0)
# Up to so many products the eigenvalues of a batch of forms are taken from full decompositions.
_WRITTEN = 30_000_000
# Larger forms are not written out for an iteration.
_APPLIED = 512

Rule = Callable[[Elimination], Tensor]
"""Chooses the multipliers of an elementwise node from the form with the node live, both in the form's units."""

Logs = Mapping[str, Tensor]
"""Logarithms of multipliers by node: (batch or 1, numbers) with one number, one a channel or one an entry; for sorting
(batch or 1, 2, groups or 1), the logarithms of lambda and of lambda + size gamma. Relative to the next seal behind."""


@dataclasses.dataclass(frozen=True, eq=False)
class Seal:
    """Where a sweep starts anew: at a sealed node, or at the region's start.

    Attributes:
        name: the node, or the start.
        top: the largest eigenvalues, and what the increments there are for unit eigenvectors.
        exponent: of the form.
    """

    name: str
    top: Top
    exponent: Float[Tensor, " batch"]


@dataclasses.dataclass(frozen=True, eq=False)
class Swept:
    """What a sweep found.

    Attributes:
        prepared: the region.
        log_factor: logarithm of the factor, one a batch element; infinity where the multipliers are infeasible.
        logs: logarithms of all multipliers used, one an entry (sorting: two rows, one a group).
        behind: for each of them the logarithm of the scale of the seals behind it: multipliers are exp(logs + behind).
        responses: worst-case increments of the nodes.
        seals: the start and the sealed nodes, in the order of the sweep.
        blocks: vectors to start the next sweep's eigenvalue iterations from.
    """

    prepared: Prepared
    log_factor: Float[Tensor, " batch"]
    logs: dict[str, Tensor]
    behind: dict[str, Float[Tensor, " batch"]]
    responses: dict[str, Response]
    seals: tuple[Seal, ...]

    def multipliers(self, element: int = 0) -> dict[str, Tensor]:
        """The multipliers of one batch element as a certificate takes them.

        Args:
            element: of the batch.
        """
        found: dict[str, Tensor] = {}
        for name, logs in self.logs.items():
            value = (logs[min(element, len(logs) - 1)] + self.behind[name][element]).exp()
            if name in self.prepared.groups:
                size = self.prepared.groups[name].shape[1]
                value = torch.stack([value[0], (value[1] - value[0]) / size])
            found[name] = value
        return found

    def smooth(self, sharpness: float) -> Float[Tensor, " batch"]:
        """log_factor with each largest eigenvalue replaced by log sum exp(sharpness log value) / sharpness.

        Args:
            sharpness: larger is closer to the maximum.
        """
        total = self.log_factor
        for seal in self.seals:
            logs = seal.top.values.log()
            total = total + torch.logsumexp(sharpness * (logs - logs[:, :1]), 1) / sharpness
        return torch.where(torch.isfinite(self.log_factor), total, self.log_factor)


def sweep(
    prepared: Prepared,
    logs: Logs | Rule,
    *,
    many: int = 1,
    before: Swept | None = None,
) -> Swept:
    """Pull the form at the stop back to the start.

    Args:
        prepared: the region.
        logs: multipliers, or a rule that chooses those of elementwise nodes (vector nodes then take the least).
        many: eigenpairs wanted at the start and at seals.
        before: an earlier sweep with multipliers nearby, to start eigenvalue iterations from.

    Cost:
        For a chain about 2 n^3 multiplications a layer of width n, less where the form has low rank; a value alone
        costs as much as value and gradient.
    """
    return _Sweep(prepared, logs, many, before)()


class _Sweep:
    """The state of one backward sweep."""

    def __init__(self, prepared: Prepared, logs: Logs | Rule, many: int, before: Swept | None):
        self._prepared = prepared
        self._given = logs
        self._many = many
        self._blocks = {} if before is None else {seal.name: seal.top.vectors for seal in before.seals}
        self._form = prepared.stop_form()
        self._feasible = torch.ones(prepared.batch, dtype=torch.bool)
        self._sealed = torch.zeros(prepared.batch, dtype=torch.float64)
        self._seals: list[Seal] = []
        self._logs: dict[str, Tensor] = {}
        self._behind: dict[str, Tensor] = {}
        self._responses: dict[str, Response] = {}

    def __call__(self) -> Swept:
        prepared = self._prepared
        for node in reversed(prepared.region.nodes):
            if node.name not in self._form.live:
                continue
            match node.kind:
                case Affine() | Sum() | Concat():
                    matrix = prepared.matrix(node) if self._has_diagonal(node) else None
                    self._form = substituted(self._form, node, prepared.substitution(node), matrix)
                case Elementwise():
                    centred = not bool(prepared.sectors[node.name].centre.any())
                    (self._vector if centred and len(self._form.live) == 1 else self._elementwise)(node)
                case Vector():
                    self._vector(node)
                case Bilinear() | Opaque():
                    raise ValueError(f"{node.name} was not refused")
                case _:
                    assert_never(node.kind)
            if not bool(self._feasible.any()):
                break
        log_factor = torch.full_like(self._sealed, torch.inf)
        if bool(self._feasible.any()):
            log_factor = self._finish()
        return Swept(prepared, log_factor, self._logs, self._behind, self._responses, tuple(self._seals))

    def _has_diagonal(self, node: Node) -> bool:
        """Whether a term is diagonal on the node."""
        return any(isinstance(t.rows, Spread) and t.rows.name == node.name for t in self._form.terms)

    def _elementwise(self, node: Node) -> None:
        """Eliminate an elementwise node."""
        sector = self._prepared.sectors[node.name]
        plain = sector.plain and not callable(self._given)
        split = elimination(self._form, node, plain=plain)
        shift = scaling(split.pressure, self._form.exponent)
        if bool(shift.any()):
            self._form = self._form.rescaled(shift)
            split = elimination(self._form, node, plain=plain)
        exponent = self._form.exponent.unsqueeze(1)
        if callable(self._given):
            t = self._given(split)
            self._logs[node.name] = t.log() + 2 * _LOG2 * exponent
        else:
            logs = expanded(self._given[node.name], node.shape).expand(len(exponent), -1)
            self._logs[node.name] = logs
            t = (logs - 2 * _LOG2 * exponent).exp()
        self._behind[node.name] = self._sealed.clone()
        done = elementwise(split, t, sector)
        self._form, self._feasible = done.form, self._feasible & done.feasible
        self._responses[node.name] = done.response

    def _vector(self, node: Node) -> None:
        """Eliminate a vector node, or start anew where it alone is live."""
        split = elimination(self._form, node, dense=True)
        shift = scaling(split.pressure, self._form.exponent)
        if bool(shift.any()):
            self._form = self._form.rescaled(shift)
            split = elimination(self._form, node, dense=True)
        at = self._form.columns(node.name)
        pressure = split.parts[:, at, at]
        alone = len(self._form.live) == 1
        logs = self._vector_logs(node, pressure, alone)
        if alone:
            self._seal(node, pressure, logs)
            return
        t = VectorMetric(self._prepared, node, logs - 2 * _LOG2 * self._form.exponent.reshape(-1, 1, 1))
        self._behind[node.name] = self._sealed.clone()
        done = vector(split, t.matrix(), t.input_term())
        self._form, self._feasible = done.form, self._feasible & done.feasible
        self._responses[node.name] = done.response

    def _vector_logs(self, node: Node, pressure: Tensor, alone: bool) -> Tensor:
        """The logarithms of a vector node's multipliers, (batch, rows, groups)."""
        batch = len(pressure)
        if node.name in self._prepared.sectors:
            size = pressure.shape[2]
            given = None if callable(self._given) else expanded(self._given[node.name], node.shape)
            self._logs[node.name] = pressure.new_zeros(batch, size) if given is None else given.expand(batch, size)
            return self._logs[node.name]
        groups = self._prepared.groups.get(node.name)
        rows, columns = (1, 1) if groups is None else (2, len(groups))
        if not callable(self._given):
            given = self._given[node.name]
            given = given.reshape(given.shape[0], rows, -1).expand(batch, rows, columns)
        elif alone:
            given = torch.zeros(batch, rows, columns, dtype=torch.float64)
        else:
            top = self._pairs(node.name, pressure, 1).values[:, 0]
            logs = (2 * top).log() + 2 * _LOG2 * self._form.exponent
            given = logs.reshape(-1, 1, 1).expand(batch, rows, columns)
        self._logs[node.name] = given
        return given

    def _seal(self, node: Node, pressure: Tensor, logs: Tensor) -> None:
        """Scale the node's T to the form and go on from T."""
        metric = VectorMetric(self._prepared, node, logs)
        relative = metric.power(metric.power(pressure, -0.5).mT, -0.5)
        top = self._pairs(node.name, relative, self._many)
        top = Top(top.values * (1 + _MARGIN), metric.power(top.vectors, -0.5))
        self._seals.append(Seal(node.name, top, self._form.exponent))
        self._sealed = self._sealed + top.values[:, 0].log() + 2 * _LOG2 * self._form.exponent
        self._behind[node.name] = self._sealed.clone()
        zero = torch.zeros_like(self._sealed)
        live = {node.inputs[0]: self._prepared.sizes[node.inputs[0]]}
        self._form = Quadratic(live, (metric.input_term(),), None, zero)

    def _finish(self) -> Tensor:
        """The largest eigenvalue at the start."""
        prepared, form = self._prepared, self._form
        if not form.live:  # nothing depends on the start
            return torch.full_like(self._sealed, -torch.inf)
        weight = prepared.weight
        size = len(weight)
        if prepared.batch * size**3 <= _WRITTEN or size < 3 * self._many:
            top = direct(form.matrix() / (weight * weight.unsqueeze(1)), min(self._many, size))
        else:
            start = self._blocks.get(prepared.region.start)
            block = random_block(prepared.batch, self._many + 2 if start is None else 2, size)
            block = block if start is None else torch.cat([start * weight, block], 1)
            written = form.matrix() if size <= _APPLIED else None
            times = form.times if written is None else lambda x: x @ written
            top = krylov(lambda x: times(x / weight) / weight, block, self._many)
        self._seals.append(Seal(prepared.region.start, Top(top.values, top.vectors / weight), form.exponent))
        value = top.values[:, 0].log() + 2 * _LOG2 * form.exponent + self._sealed
        usable = self._feasible & ~torch.isnan(value)
        return torch.where(usable, value, torch.full_like(value, torch.inf))

    def _pairs(self, name: str, matrix: Tensor, many: int) -> Top:
        """Largest pairs of a matrix."""
        size = matrix.shape[2]
        if len(matrix) * size**3 <= _WRITTEN or size < 3 * many:
            return direct(matrix, min(many, size))
        return krylov(lambda x: x @ matrix, random_block(len(matrix), many + 3, size), many)


class VectorMetric:
    """The multipliers of a node as a matrix T: lambda I + gamma 1 1^T in each group, one number, or one an entry."""

    def __init__(self, prepared: Prepared, node: Node, logs: Float[Tensor, "batch ..."]):
        self._groups = prepared.groups.get(node.name)
        self._logs = logs
        self._size = prepared.sizes[node.name]
        self._node = node
        self._input = prepared.sizes[node.inputs[0]]
        self._sector = prepared.sectors.get(node.name)
        kind = node.kind
        self._gain = kind.function.gain(Norm.L2) if isinstance(kind, Vector) else 1.0

    def power(self, x: Float[Tensor, "batch many size"], exponent: float) -> Float[Tensor, "batch many size"]:
        """T^exponent applied to vectors in rows."""
        scale = (self._logs * exponent).exp()
        if self._sector is not None:
            return x * scale.unsqueeze(1)
        if self._groups is None:
            return x * scale[:, :, 0].unsqueeze(2)
        deviations, means = grouped(x, self._groups)
        parts = deviations * scale[:, 0, None, :, None] + means * scale[:, 1, None, :, None]
        return ungrouped(parts, self._groups)

    def matrix(self) -> Float[Tensor, "batch size size"]:
        """T."""
        return self.power(torch.eye(self._size, dtype=torch.float64).expand(len(self._logs), -1, -1), 1.0)

    def input_term(self) -> Term:
        """T at the node's input, times the square of its gain."""
        z = self._node.inputs[0]
        if self._sector is not None:
            return Term(Spread(z, self._sector.radius * (self._logs / 2).exp()))
        if self._groups is None:
            scale = self._gain * (self._logs[:, :, 0] / 2).exp()
            return Term(Spread(z, scale.expand(-1, self._input).contiguous()))
        return Term(self.power(torch.eye(self._size, dtype=torch.float64).expand(len(self._logs), -1, -1), 0.5))


def grouped(x: Float[Tensor, "batch many entries"], groups: Int[Tensor, "groups size"]) -> tuple[Tensor, Tensor]:
    """Deviations from the means of the groups, and the means, (batch, many, groups, entries or 1).

    Args:
        x: vectors in rows.
        groups: positions of each group's entries.
    """
    parts = x[:, :, groups]
    means = parts.mean(3, keepdim=True)
    return parts - means, means


def ungrouped(
    parts: Float[Tensor, "batch many groups size"], groups: Int[Tensor, "groups size"]
) -> Float[Tensor, "batch many entries"]:
    """Grouped entries at their positions.

    Args:
        parts: entries by group.
        groups: positions of each group's entries.
    """
    x = parts.new_zeros(*parts.shape[:2], groups.numel())
    x[:, :, groups.reshape(-1)] = parts.flatten(2)
    return x
