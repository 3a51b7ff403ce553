"""A region as one program over its stacked increments, and its variables as multipliers."""

import dataclasses
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.gain.metric.compose import Composition, Relation, Rule, compose
from netgain.gain.metric.program import Block, Program, raised
from netgain.gain.metric.region import Region, expanded
from netgain.witness.certificate import Piece, Proof

_HARMLESS = 2.0**30  # how far the multiplier of a unit that does not matter is from those that do
_STIFF = 2.0**18  # gamma / lambda where no gamma is too large
_NO_SUM = 1e-13  # below which the sum of a group's rows counts as zero, relative


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """The variables of one relation: rows first .. last - 1 of the form; y is `scale`, powers of two, times these."""

    relation: Relation
    first: int
    last: int
    scale: Float[Tensor, " live"]
    silent: Int[Tensor, " groups"]  # sorted groups whose sum is always zero: their gamma goes with lambda

    @property
    def group_scale(self) -> Float[Tensor, " groups"]:
        """The scale of each sorted group."""
        count = self.relation.owners.numel()
        return torch.ones(count, dtype=torch.float64).scatter(0, self.relation.groups, self.scale)


@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """A region as a program of one real form.

    Attributes:
        region: the region.
        program: the program, scaled.
        output: the increments at the stop as a matrix on the stacked ones, scaled by 1 / `unit`.
        unit: a power of two; the gain of the piece is sqrt(rho) * unit.
        metric: the weights at the start, as given.
        parts: the relations that have variables, in order.
        relations: all relations.
    """

    region: Region
    program: Program
    output: Float[Tensor, "out size"]
    unit: float
    metric: Float[Tensor, " weights"]
    parts: tuple[_Part, ...]
    relations: tuple[Relation, ...]

    @property
    def size(self) -> int:
        """Rows of the form."""
        return self.output.shape[1]

    def gain(self, x: Float[Tensor, " variables"]) -> float:
        """The gain that the variables stand for, in ordinary arithmetic.

        Args:
            x: the variables.
        """
        return math.sqrt(float(x[0])) * self.unit


def stack(
    region: Region,
    *,
    metric: Float[Tensor, " weights"] | None = None,
    goal: Float[Tensor, "rows out"] | Float[Tensor, " out"] | None = None,
) -> Stack:
    """The program of a region.

    The start's increments are first reduced to the space that the rows behind it read; each variable is scaled by a
    power of two to an incoming row of norm about 1.

    Args:
        region: the region.
        metric: weights at the start: one number, one a channel or one an entry; None for 1.
        goal: what is bounded of the stop's increments: a matrix, or the square roots of the stop's weights; None for
            all of them.

    Raises:
        NoSoundRuleError: for a node without a rule.
    """
    composition = compose(region)
    weights = torch.ones(1, dtype=torch.float64) if metric is None else metric
    matrices, start = _start_reduced(composition, expanded(weights, region.network.shapes()[region.start]))
    first = {region.start: 0}
    size = start
    for relation in composition.relations:
        first[relation.node], size = size, size + relation.size
    scale = torch.ones(size, dtype=torch.float64)
    builder = _Builder(size, start)
    parts: list[_Part] = []
    for relation, incoming in zip(composition.relations, matrices[:-1], strict=True):
        if not relation.size:
            continue
        rows = _wide(incoming, first, size) * scale
        begin, end = first[relation.node], first[relation.node] + relation.size
        scale[begin:end] = units = _units(relation, rows)
        silent = builder.add(relation, begin, rows / (units[:1] if relation.rule is Rule.GAIN else units)[:, None])
        parts.append(_Part(relation, begin, end, units, silent))
    output = _wide(matrices[-1], first, size) * scale
    program = Program(blocks=(builder.block(),), names=tuple(builder.names), positive=torch.tensor(builder.positive))
    return aimed(Stack(region, program, output, 1.0, weights, tuple(parts), composition.relations), goal)


def aimed(stacked: Stack, goal: Float[Tensor, "rows out"] | Float[Tensor, " out"] | None) -> Stack:
    """The same region with another goal, such as one row of the output or a difference of two.

    Args:
        stacked: a stack.
        goal: what is bounded of the stop's increments: a matrix, or weights' square roots; None for all.
    """
    seen = stacked.output
    if goal is not None:
        seen = goal[:, None] * seen if goal.dim() == 1 else goal @ seen
    unit = 2.0 ** int(torch.frexp(seen.abs().max()).exponent) if bool((seen != 0).any()) else 1.0
    seen = seen / unit
    block = dataclasses.replace(stacked.program.blocks[0], constant=-(seen.T @ seen).unsqueeze(0))
    return dataclasses.replace(stacked, program=dataclasses.replace(stacked.program, blocks=(block,)), unit=unit)


def carried(
    source: Stack, target: Stack, x: Float[Tensor, " variables"], goal: Float[Tensor, "rows out"]
) -> Float[Tensor, " variables"]:
    """Variables of the whole output as a strictly feasible start for another goal: times ||goal||^2.

    A point early on the path of `source` (gap about a tenth) is a better start than its optimum, which lies at the
    boundary.

    Args:
        source: bounds the whole output.
        target: `aimed(source, goal)`.
        x: strictly feasible for `source`.
        goal: a matrix on the output.
    """
    return x * (float(torch.linalg.matrix_norm(goal, 2)) * source.unit / target.unit) ** 2


class _Builder:
    """Collects terms."""

    def __init__(self, size: int, start: int):
        self._size = size
        self.left: list[Tensor] = [torch.eye(size, start, dtype=torch.float64)]
        self.right: list[Tensor] = list(self.left)
        self.ties: list[Tensor] = [torch.zeros(start, dtype=torch.int64)]
        self.names: list[tuple[str, int, int]] = [("rho", 0, 1)]
        self.positive: list[bool] = [True]

    def add(self, relation: Relation, first: int, z: Float[Tensor, "rows size"]) -> Int[Tensor, " groups"]:
        """The terms of a relation; returns the sorted groups without a gamma of their own."""
        unit = torch.zeros(self._size, relation.size, dtype=torch.float64)
        unit[torch.arange(first, first + relation.size), torch.arange(relation.size)] = 1.0
        silent = torch.zeros(0, dtype=torch.int64)
        begin = len(self.positive)
        if relation.rule is Rule.SLOPES:
            ties = torch.arange(begin, begin + relation.size)
            self._terms(unit - z.T * relation.low, unit - z.T * relation.high, ties)
            self.positive += [True] * relation.size
        elif relation.rule is Rule.GAIN:
            scaled = z.T * relation.high[0]
            self._terms(scaled, -scaled, torch.full((z.shape[0],), begin))
            self._terms(unit, unit, torch.full((relation.size,), begin))
            self.positive.append(True)
        else:
            count = relation.owners.numel()
            ties = begin + relation.groups
            self._terms(z.T, -z.T, ties)
            self._terms(unit, unit, ties)
            sums = torch.zeros(self._size, count, dtype=torch.float64)
            y, x = (sums.index_add(1, relation.groups, side) for side in (unit, z.T))
            quiet = torch.linalg.vector_norm(x, dim=0) <= _NO_SUM
            silent, loud = quiet.nonzero().squeeze(1), (~quiet).nonzero().squeeze(1)
            self.positive += [True] * count + [False] * loud.numel()
            self._terms((y - x)[:, loud], (y + x)[:, loud], begin + count + torch.arange(loud.numel()))
            self._terms(y[:, silent] * _STIFF, y[:, silent], begin + silent)
        self.names.append((relation.node, begin, len(self.positive)))
        return silent

    def _terms(self, left: Tensor, right: Tensor, ties: Tensor) -> None:
        """Add columns."""
        self.left.append(left)
        self.right.append(right)
        self.ties.append(ties)

    def block(self) -> Block:
        """The form, its constant still zero."""
        left, right = (torch.cat(side, 1).unsqueeze(0) for side in (self.left, self.right))
        constant = torch.zeros(1, self._size, self._size, dtype=torch.float64)
        one = torch.ones(1, dtype=torch.float64)
        return Block(constant=constant, left=left, right=right, ties=torch.cat(self.ties), weights=one)


def _start_reduced(composition: Composition, weights: Float[Tensor, " entries"]) -> tuple[list[dict[str, Tensor]], int]:
    """All matrices, the output's last, with the start in coordinates of metric 1 that something reads; their number."""
    name = composition.region.start
    found = [dict(relation.incoming) for relation in composition.relations] + [dict(composition.output)]
    reading = [matrices for matrices in found if name in matrices]
    if not reading:
        return found, 1
    for matrices in reading:
        matrices[name] = matrices[name] * weights.rsqrt()
    together = torch.cat([matrices[name] for matrices in reading])
    rows = (together != 0).any(1)
    live = together[rows]
    if live.shape[0] < live.shape[1]:
        # A^T = Q R: A xi = R^T (Q^T xi), and the part of xi outside the range of Q changes nothing but its norm.
        reduced = torch.zeros(together.shape[0], live.shape[0], dtype=torch.float64)
        reduced[rows] = torch.linalg.qr(live.T, mode="r").R.T if live.shape[0] else reduced[rows]
        together = reduced if live.shape[0] else torch.zeros(together.shape[0], 1, dtype=torch.float64)
    pieces = together.split([matrices[name].shape[0] for matrices in reading])
    for matrices, piece in zip(reading, pieces, strict=True):
        matrices[name] = piece
    return found, together.shape[1]


def _wide(matrices: Mapping[str, Tensor], first: Mapping[str, int], size: int) -> Float[Tensor, "rows size"]:
    """The matrices in their places side by side."""
    count = next(iter(matrices.values())).shape[0] if matrices else 0
    wide = torch.zeros(count, size, dtype=torch.float64)
    for name, matrix in matrices.items():
        wide[:, first[name] : first[name] + matrix.shape[1]] = matrix
    return wide


def _units(relation: Relation, rows: Float[Tensor, "rows size"]) -> Float[Tensor, " live"]:
    """A power of two for each variable: the norm of its incoming row, or the largest of its group."""
    largest = rows.abs().amax(1).clamp_min(1e-300)
    rough = torch.frexp(largest).exponent
    norms = torch.linalg.vector_norm(torch.ldexp(rows, -rough[:, None]), dim=1)
    exponent = rough + torch.frexp(norms).exponent - 1
    if relation.rule is Rule.GAIN:
        exponent = exponent.max().expand(relation.size)
    elif relation.rule is Rule.SORTED:
        exponent = exponent.new_full((relation.owners.numel(),), -(2**20)).scatter_reduce(
            0, relation.groups, exponent, "amax"
        )[relation.groups]
    return torch.ldexp(torch.ones(relation.size, dtype=torch.float64), exponent)


def piece(stacked: Stack, x: Float[Tensor, " variables"]) -> Piece:
    """The multipliers that variables stand for, in the network's own scale.

    A unit that reads nothing gets a large multiplier, one that nothing reads a small one: neither matters.

    Args:
        stacked: the stack.
        x: the variables.
    """
    values = {
        part.relation.node: _raw(part, x[begin:end] * stacked.unit**2)
        for part, (_, begin, end) in zip(stacked.parts, stacked.program.names[1:], strict=True)
    }
    firsts = torch.cat([value[0] for value in values.values()]) if values else torch.ones(1, dtype=torch.float64)
    multipliers: dict[str, Tensor] = {}
    for relation in stacked.relations:
        value = values.get(relation.node, torch.zeros(2, 0, dtype=torch.float64))
        small = float(firsts.min()) / _HARMLESS
        if relation.rule is Rule.SLOPES:
            large = float((value[0] if value.numel() else firsts).max()) * _HARMLESS
            multipliers[relation.node] = torch.full(relation.dead.shape, small, dtype=torch.float64)
            multipliers[relation.node][relation.dead] = large
            multipliers[relation.node][relation.index] = value[0]
        elif relation.rule is Rule.GAIN:
            multipliers[relation.node] = value[0, :1] if value.numel() else firsts.min().reshape(1) / _HARMLESS
        else:
            full = torch.zeros(2, relation.count, dtype=torch.float64)
            full[0] = small
            full[:, relation.owners] = value
            multipliers[relation.node] = full
    region = stacked.region
    return Piece(
        start=region.start, stop=region.stop, proof=Proof.DENSE, metric=stacked.metric, multipliers=multipliers
    )


def variables(stacked: Stack, given: Piece) -> Float[Tensor, " variables"]:
    """The variables that multipliers stand for, with a rho that makes them strictly feasible where one exists.

    Args:
        stacked: the stack of the piece's region, with its metric.
        given: the piece; its multipliers must satisfy the conditions in front of the start strictly.
    """
    x = torch.zeros(stacked.program.positive.numel(), dtype=torch.float64)
    square = stacked.unit**2
    for part, (name, begin, end) in zip(stacked.parts, stacked.program.names[1:], strict=True):
        relation, value = part.relation, given.multipliers[name]
        if relation.rule is Rule.SLOPES:
            x[begin:end] = expanded(value.reshape(-1), (relation.dead.numel(),))[relation.index] * part.scale.square()
        elif relation.rule is Rule.GAIN:
            x[begin] = value.reshape(-1)[0] * part.scale[0].square()
        else:
            both = value.reshape(2, -1).expand(2, relation.count)[:, relation.owners] * part.group_scale.square()
            loud = torch.ones(relation.owners.numel(), dtype=torch.bool)
            loud[part.silent] = False
            x[begin:end] = torch.cat([both[0], both[1][loud]])
    x /= square
    x[0] = 1e-3 * float(x[1:].abs().max()) if x.numel() > 1 else 1e-6
    return raised(stacked.program, x)


def _raw(part: _Part, values: Float[Tensor, " variables"]) -> Float[Tensor, "2 multipliers"]:
    """Multipliers of a relation in the network's scale: T, tau or lambda in the first row, gamma in the second."""
    relation = part.relation
    if relation.rule is not Rule.SORTED:
        scale = part.scale[: values.numel()]
        return torch.stack([values / scale.square(), torch.zeros_like(values)])
    count = relation.owners.numel()
    gamma = torch.zeros(count, dtype=torch.float64)
    loud = torch.ones(count, dtype=torch.bool)
    loud[part.silent] = False
    gamma[loud] = values[count:]
    gamma[part.silent] = values[:count][part.silent] * _STIFF
    return torch.stack([values[:count], gamma]) / part.group_scale.square()
