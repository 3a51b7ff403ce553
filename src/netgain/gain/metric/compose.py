"""The affine parts of a region composed into matrices between its nonlinear nodes."""

import dataclasses
import enum
import math
from collections.abc import Mapping
from typing import assert_never

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.metric.region import Region, sector, sorted_groups
from netgain.linear.base import AbstractLinearMap
from netgain.linear.reshape import Reshape
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Node, Opaque, Sum, Vector

_ENTRIES = 200_000_000  # of one composed matrix


class Rule(enum.StrEnum):
    """What is known of a nonlinear node."""

    SLOPES = "slopes"  # each difference quotient in [low, high]
    GAIN = "gain"  # ||y|| <= gain ||z||
    SORTED = "sorted"  # sums of groups are kept, their norms do not grow


@dataclasses.dataclass(frozen=True, eq=False)
class Relation:
    """A nonlinear node: its increments y are new variables, tied to z = (matrices) (earlier variables).

    Attributes:
        node: its name.
        rule: what is known.
        index: for slopes: which entries of the node the y are, flat; others are dead or linear.
        dead: for slopes: entries with a nonlinear slope whose z is zero.
        incoming: z as matrices by where they act: the start or an earlier relation's node.
        low: least slopes, or 0.
        high: greatest slopes, or the gain for all.
        groups: for sorted: the group of each y, numbered from 0 without gaps.
        owners: for sorted: the number of each of these groups among all groups of the node.
        count: for sorted: number of all groups.
    """

    node: str
    rule: Rule
    index: Int[Tensor, " live"]
    dead: Bool[Tensor, " size"]
    incoming: Mapping[str, Tensor]
    low: Float[Tensor, " live"]
    high: Float[Tensor, " live"]
    groups: Int[Tensor, " live"]
    owners: Int[Tensor, " groups"]
    count: int

    @property
    def size(self) -> int:
        """Number of new variables."""
        return self.index.numel()


@dataclasses.dataclass(frozen=True, eq=False)
class Composition:
    """A region as relations between its start and its stop.

    Attributes:
        region: the region.
        relations: in order.
        output: the increments at the stop, as matrices by where they act.
    """

    region: Region
    relations: tuple[Relation, ...]
    output: Mapping[str, Tensor]


_Value = dict[str, Tensor | None]  # a matrix by source; None is the identity


def nonlinear_size(region: Region) -> int:
    """How many variables the nonlinear nodes of a region have at most.

    Args:
        region: the region.
    """
    return sum(math.prod(node.shape) for node in region.nodes if isinstance(node.kind, Elementwise | Vector))


def compose(region: Region) -> Composition:
    """Compose the affine parts.

    Args:
        region: the region; its size is the caller's concern.

    Raises:
        NoSoundRuleError: for a node without a rule, an infinite slope or gain, or matrices beyond 1.6 GB.
    """
    start_shape = region.network.shapes()[region.start]
    sizes = {region.start: math.prod(start_shape)}
    values: dict[str, _Value] = {region.start: {region.start: None}}
    relations: list[Relation] = []
    for node in region.nodes:
        inputs = [values[name] for name in node.inputs]
        match node.kind:
            case Affine(map=linear_map):
                values[node.name] = _through(node, linear_map, inputs[0], sizes)
            case Elementwise() | Vector():
                relation, values[node.name] = _related(node, inputs[0], sizes)
                relations.append(relation)
                sizes[node.name] = relation.size
            case Sum(scales=scales):
                values[node.name] = _added(inputs, scales, sizes)
            case Concat(axis=axis):
                shapes = [region.network.shapes()[name] for name in node.inputs]
                values[node.name] = _joined(inputs, shapes, axis, sizes)
            case Bilinear() | Opaque():
                raise NoSoundRuleError(f"{node.source} has no quadratic rule")
            case _:
                assert_never(node.kind)
    output = {source: _dense(matrix, sizes[source]) for source, matrix in values[region.stop].items()}
    return _pruned(Composition(region, tuple(relations), output))


def _dense(matrix: Tensor | None, size: int) -> Tensor:
    """The matrix, the identity written out."""
    return torch.eye(size, dtype=torch.float64) if matrix is None else matrix


def _through(node: Node, linear_map: AbstractLinearMap, value: _Value, sizes: Mapping[str, int]) -> _Value:
    """The value behind a linear map.

    Raises:
        NoSoundRuleError: if the matrix would be too large.
    """
    if isinstance(linear_map, Reshape):
        return value
    found: _Value = {}
    for source, matrix in value.items():
        if linear_map.out_size * sizes[source] > _ENTRIES:
            raise NoSoundRuleError(f"{node.source} is too large for one dense form: {linear_map.out_size} rows")
        if matrix is None:
            found[source] = linear_map.matrix()
        else:
            image = linear_map.apply(matrix.T.reshape(-1, *linear_map.in_shape))
            found[source] = image.reshape(matrix.shape[1], -1).T.contiguous()
    return found


def _related(node: Node, value: _Value, sizes: Mapping[str, int]) -> tuple[Relation, _Value]:
    """The relation of a nonlinear node, and its value: linear entries stay linear, dead ones are zero.

    Raises:
        NoSoundRuleError: if a slope or gain is infinite.
    """
    rows = {source: _dense(matrix, sizes[source]) for source, matrix in value.items()}
    count = math.prod(node.shape)
    reached = torch.zeros(next(iter(rows.values())).shape[0] if rows else count, dtype=torch.bool)
    for matrix in rows.values():
        reached |= (matrix != 0).any(1)
    rule, low, high, groups = _rule(node)
    if not bool(torch.isfinite(low).all() & torch.isfinite(high).all()):
        raise NoSoundRuleError(f"{node.source} has no finite {'slope range' if rule is Rule.SLOPES else 'gain'}")
    bent, total = low < high, int(groups.max()) + 1
    if rule is Rule.GAIN:
        live = reached.any().expand(count)
    else:
        met = torch.zeros(total, dtype=torch.int64).index_add_(0, groups, reached.long())
        live = bent & (met[groups] > 0)
    index = live.nonzero().squeeze(1)
    z = rows if rule is Rule.GAIN else {source: matrix[index] for source, matrix in rows.items()}
    owners, group = groups[index].unique(return_inverse=True)
    relation = Relation(node.name, rule, index, bent & ~live, z, low[index], high[index], group, owners, total)
    if bool(live.all()):
        return relation, {node.name: None}
    place = torch.zeros(count, index.numel(), dtype=torch.float64)
    place[index, torch.arange(index.numel())] = 1.0
    linear = torch.where(bent, 0.0, low)
    kept: _Value = {}
    if bool((linear != 0).any()):
        kept.update({source: linear[:, None] * matrix for source, matrix in rows.items()})
    return relation, kept | ({node.name: place} if index.numel() else {})


def _rule(node: Node) -> tuple[Rule, Float[Tensor, " size"], Float[Tensor, " size"], Int[Tensor, " size"]]:
    """What is known of a nonlinear node: the rule, least and greatest slopes (or 0 and the gain), groups of entries.

    Raises:
        TypeError: if it is of another kind.
    """
    count = math.prod(node.shape)
    zero = torch.zeros(count, dtype=torch.float64)
    match node.kind:
        case Elementwise():
            centre, radius = sector(node)
            low = torch.where(radius > 0, centre - radius, centre)
            return Rule.SLOPES, low, torch.where(radius > 0, centre + radius, centre), torch.arange(count)
        case Vector(function=function):
            groups = sorted_groups(node)
            if groups is not None:
                numbers = torch.empty(count, dtype=torch.int64)
                numbers[groups.reshape(-1)] = torch.arange(groups.shape[0]).repeat_interleave(groups.shape[1])
                return Rule.SORTED, zero, zero + 1, numbers
            return Rule.GAIN, zero, zero + function.gain(Norm.L2), torch.zeros(count, dtype=torch.int64)
        case _:
            raise TypeError(f"{node.name} is not a nonlinear function")


def _added(inputs: list[_Value], scales: tuple[float, ...], sizes: Mapping[str, int]) -> _Value:
    """A weighted sum of values."""
    total: dict[str, Tensor] = {}
    for value, scale in zip(inputs, scales, strict=True):
        for source, matrix in value.items():
            part = scale * _dense(matrix, sizes[source])
            total[source] = total[source] + part if source in total else part
    return dict(total)


def _joined(inputs: list[_Value], shapes: list[tuple[int, ...]], axis: int, sizes: Mapping[str, int]) -> _Value:
    """Values joined along an axis."""
    found: _Value = {}
    for source in dict.fromkeys(source for value in inputs for source in value):
        parts: list[Tensor] = []
        for value, shape in zip(inputs, shapes, strict=True):
            if source in value:
                parts.append(_dense(value[source], sizes[source]).reshape(*shape, sizes[source]))
            else:
                parts.append(torch.zeros(*shape, sizes[source], dtype=torch.float64))
        found[source] = torch.cat(parts, axis).reshape(-1, sizes[source])
    return found


def _pruned(composition: Composition) -> Composition:
    """Without the variables that nothing reads; one that only such variables read is kept."""
    readers = [composition.output, *(relation.incoming for relation in composition.relations)]
    keep: dict[str, Tensor] = {}
    for relation in composition.relations:
        used = torch.zeros(relation.size, dtype=torch.bool)
        for reader in readers:
            if relation.node in reader:
                used |= (reader[relation.node] != 0).any(0)
        if relation.rule is Rule.SORTED:
            met = torch.zeros(relation.owners.numel(), dtype=torch.int64).index_add_(0, relation.groups, used.long())
            used = met[relation.groups] > 0
        keep[relation.node] = used
    relations = tuple(_cut(relation, keep) for relation in composition.relations)
    return dataclasses.replace(composition, relations=relations, output=_columns(composition.output, keep))


def _cut(relation: Relation, keep: Mapping[str, Tensor]) -> Relation:
    """A relation with the kept variables only."""
    kept = keep[relation.node]
    numbers, groups = relation.groups[kept].unique(return_inverse=True)
    rows = {
        source: matrix if relation.rule is Rule.GAIN else matrix[kept] for source, matrix in relation.incoming.items()
    }
    return dataclasses.replace(
        relation,
        index=relation.index[kept],
        incoming=_columns(rows, keep),
        low=relation.low[kept],
        high=relation.high[kept],
        groups=groups,
        owners=relation.owners[numbers],
    )


def _columns(matrices: Mapping[str, Tensor], keep: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices without the columns that are not kept."""
    found = {name: matrix[:, keep[name]] if name in keep else matrix for name, matrix in matrices.items()}
    return {name: matrix for name, matrix in found.items() if matrix.shape[1]}
