"""A region made ready for sweeps: matrices, slopes, groups, and a start that is no larger than what reads it."""

import dataclasses
import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.gain.metric.quadratic import Quadratic, Spread, Substitution, Term
from netgain.gain.metric.region import Region, sector, sorted_groups
from netgain.linear.base import AbstractLinearMap
from netgain.linear.dense import Dense
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Node, Opaque, Sum, Vector

# No live variable, and no form, may have more entries; no matrix more numbers.
_LARGEST, _NUMBERS = 5000, 50_000_000
# A structured map is applied as such where its matrix would take so many times its products.
_STRUCTURED = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Sector:
    """Slopes of an elementwise node: every difference quotient of entry i is in [low_i, low_i + 2 radius_i].

    Attributes:
        low: a.
        radius: r.
        bent: where r > 0.
        plain: whether a = 0 and r > 0 everywhere.
    """

    low: Float[Tensor, " size"]
    radius: Float[Tensor, " size"]
    bent: Bool[Tensor, " size"]
    plain: bool

    @property
    def centre(self) -> Float[Tensor, " size"]:
        """c = a + r."""
        return self.low + self.radius


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """What a sweep needs to know of a region.

    Attributes:
        region: the nodes.
        sizes: entries of each node and of the start.
        matrices: of affine nodes that are applied by their matrix.
        written: of the other affine nodes, for rows that are diagonal.
        sectors: of elementwise nodes.
        groups: for each sorting node the entries of each group.
        goals: rows (one set a batch element) on the stop whose squares are summed: the form at the stop.
        weight: square root of the start's metric, one a entry of the (reduced) start.
    """

    region: Region
    sizes: Mapping[str, int]
    matrices: Mapping[str, Tensor]
    written: Mapping[str, Tensor]
    sectors: Mapping[str, Sector]
    groups: Mapping[str, Tensor]
    goals: Float[Tensor, "batch rows stop"] | Float[Tensor, "batch stop"]
    weight: Float[Tensor, " start"]

    @property
    def batch(self) -> int:
        """Number of forms swept at once."""
        return self.goals.shape[0]

    def stop_form(self) -> Quadratic:
        """The form at the stop."""
        live = {self.region.stop: self.sizes[self.region.stop]}
        term = Term(Spread(self.region.stop, self.goals) if self.goals.dim() == 2 else self.goals)
        return Quadratic(live, (term,), None, torch.zeros(self.batch, dtype=torch.float64))

    def aimed(self, goals: Float[Tensor, "batch rows stop"]) -> "Prepared":
        """The same region with other goals.

        Args:
            goals: as `prepare` takes them.
        """
        return dataclasses.replace(self, goals=goals.double())

    def tunable(self) -> tuple[str, ...]:
        """The nodes that have multipliers, in order."""
        return tuple(node.name for node in self.region.nodes if isinstance(node.kind, Elementwise | Vector))

    def substitution(self, node: Node) -> Substitution:
        """Rows on a linear node as rows on what it reads.

        Args:
            node: an affine node, a sum or a concatenation.

        Raises:
            NoSoundRuleError: for another kind.
        """
        kind = node.kind
        match kind:
            case Affine(map=linear_map):
                matrix = self.matrices.get(node.name)
                if matrix is not None:
                    return lambda rows: {node.inputs[0]: rows @ matrix}
                return lambda rows: {node.inputs[0]: _adjoint(linear_map, rows)}
            case Sum(scales=scales):
                return lambda rows: _gathered([(n, s * rows) for n, s in zip(node.inputs, scales, strict=True)])
            case Concat():
                pieces = self._pieces(node)
                return lambda rows: _gathered([(n, rows[:, :, at]) for n, at in pieces])
            case _:
                raise NoSoundRuleError(f"{node.source} is not linear")

    def image(self, node: Node, inputs: list[Tensor]) -> Float[Tensor, "rows out"]:
        """The increment of a linear node.

        Args:
            node: an affine node, a sum or a concatenation.
            inputs: increments of what it reads, flat.

        Raises:
            NoSoundRuleError: for another kind.
        """
        kind = node.kind
        match kind:
            case Affine(map=linear_map):
                matrix = self.matrices.get(node.name)
                if matrix is not None:
                    return inputs[0] @ matrix.T
                return linear_map.apply(inputs[0].reshape(-1, *linear_map.in_shape)).flatten(1)
            case Sum(scales=scales):
                return torch.stack([s * x for s, x in zip(scales, inputs, strict=True)]).sum(0)
            case Concat():
                joined = inputs[0].new_zeros(inputs[0].shape[0], self.sizes[node.name])
                for x, (_, at) in zip(inputs, self._pieces(node), strict=True):
                    joined[:, at] = x
                return joined
            case _:
                raise NoSoundRuleError(f"{node.source} is not linear")

    def matrix(self, node: Node) -> Float[Tensor, "out in"] | None:
        """The matrix of an affine node; None for other nodes.

        Args:
            node: any node.
        """
        if not isinstance(node.kind, Affine):
            return None
        known = self.matrices.get(node.name)
        return self.written.get(node.name) if known is None else known

    def _pieces(self, node: Node) -> list[tuple[str, Int[Tensor, " part"]]]:
        """For each input of a concatenation the flat positions of its entries in the output."""
        shapes = self.region.network.shapes()
        axis = node.kind.axis if isinstance(node.kind, Concat) else 0
        lengths = [shapes[name][axis] for name in node.inputs]
        positions = torch.arange(math.prod(node.shape)).reshape(node.shape).split(lengths, axis)
        return [(name, part.reshape(-1)) for name, part in zip(node.inputs, positions, strict=True)]


def prepare(
    region: Region,
    *,
    metric: Float[Tensor, " start"] | None = None,
    goals: Float[Tensor, "batch rows stop"] | Float[Tensor, "batch stop"] | None = None,
) -> Prepared:
    """Matrices, slopes and groups of a region, with a start no larger than what reads it.

    Where only affine nodes read the start and have together fewer outputs than it has entries, A = R Q with Q of
    orthonormal rows, and the start is replaced by Q times it: the greatest gain is the same.

    Args:
        region: the nodes between two cuts.
        metric: positive weights at the start, one an entry; None for 1.
        goals: rows on the stop for each batch element, (batch, rows, stop) or (batch, stop) for diagonal rows; None
            for the identity.

    Raises:
        NoSoundRuleError: if an operation has no multipliers, or the forms would be too large.

    Cost:
        The matrices: images of unit vectors where they are not stored.
    """
    sizes = {name: math.prod(shape) for name, shape in region.network.shapes().items()}
    sectors = {node.name: _sector(node) for node in region.nodes if isinstance(node.kind, Elementwise)}
    groups = {node.name: g for node in region.nodes if (g := sorted_groups(node)) is not None}
    for node in region.nodes:
        _refuse(node)
    everything = {node.name: matrix_of(node.kind.map) for node in region.nodes if isinstance(node.kind, Affine)}
    matrices = {
        node.name: everything.pop(node.name)
        for node in region.nodes
        if isinstance(node.kind, Affine) and _by_matrix(node.kind.map)
    }
    weight = torch.ones(1, dtype=torch.float64) if metric is None else metric.double().sqrt()
    weight = weight.expand(sizes[region.start])
    if goals is None:
        goals = torch.ones(1, sizes[region.stop], dtype=torch.float64)
    prepared = Prepared(region, sizes, matrices, everything, sectors, groups, goals.double(), weight)
    prepared = _reduced(prepared)
    for node in region.nodes:
        if prepared.sizes[node.name] > _LARGEST and node.name != region.stop:
            raise NoSoundRuleError(f"{node.source}: {prepared.sizes[node.name]} entries are too many for one form")
    if prepared.sizes[region.start] > _LARGEST:
        raise NoSoundRuleError(f"{prepared.sizes[region.start]} entries of {region.start} are too many for one form")
    return prepared


def _reduced(prepared: Prepared) -> Prepared:
    """The start replaced by coordinates on the row space of what reads it, where that is smaller."""
    region = prepared.region
    readers = [node for node in region.nodes if region.start in node.inputs]
    affine = [node for node in readers if isinstance(node.kind, Affine)]
    outputs = sum(prepared.sizes[node.name] for node in affine)
    if len(affine) < len(readers) or not readers or outputs >= prepared.sizes[region.start]:
        return prepared
    if region.start == region.stop:
        return prepared
    blocks = [m for node in affine if (m := prepared.matrix(node)) is not None]
    lower = torch.linalg.qr((torch.cat(blocks) / prepared.weight).T, mode="r").R.T
    parts = lower.split([len(block) for block in blocks])
    matrices = dict(prepared.matrices) | {n.name: part.contiguous() for n, part in zip(affine, parts, strict=True)}
    sizes = dict(prepared.sizes) | {region.start: lower.shape[1]}
    weight = torch.ones(lower.shape[1], dtype=torch.float64)
    return dataclasses.replace(prepared, matrices=matrices, sizes=sizes, weight=weight)


def matrix_of(linear_map: AbstractLinearMap) -> Float[Tensor, "out in"]:
    """The matrix of a map, from the smaller side.

    Args:
        linear_map: the map.

    Raises:
        NoSoundRuleError: if it has too many entries.
    """
    if isinstance(linear_map, Dense) and not linear_map.lead:
        return linear_map.weight
    if linear_map.in_size * linear_map.out_size > _NUMBERS:
        raise NoSoundRuleError(f"a matrix of {linear_map.out_size} x {linear_map.in_size} is too large for one form")
    if linear_map.in_size <= linear_map.out_size:
        return linear_map.matrix().contiguous()
    unit = torch.eye(linear_map.out_size, dtype=torch.float64)
    parts = [linear_map.adjoint(u.reshape(-1, *linear_map.out_shape)).flatten(1) for u in unit.split(1024)]
    return torch.cat(parts)


def _by_matrix(linear_map: AbstractLinearMap) -> bool:
    """Whether products with the matrix are cheaper than with the structured map."""
    return not linear_map.moves and linear_map.in_size <= _STRUCTURED * linear_map.terms


def _adjoint(linear_map: AbstractLinearMap, rows: Float[Tensor, "batch rows out"]) -> Float[Tensor, "batch rows in"]:
    """The transposed map on rows."""
    if rows.shape[1] == 0:
        return rows.new_zeros(*rows.shape[:2], linear_map.in_size)
    flat = rows.reshape(-1, *linear_map.out_shape)
    return linear_map.adjoint(flat).reshape(*rows.shape[:2], linear_map.in_size)


def _gathered(parts: list[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Contributions to the same variable added up."""
    total: dict[str, Tensor] = {}
    for name, part in parts:
        total[name] = total[name] + part if name in total else part
    return total


def _sector(node: Node) -> Sector:
    """The slopes of an elementwise node."""
    centre, radius = sector(node)
    if not bool(torch.isfinite(centre).all() & torch.isfinite(radius).all()):
        raise NoSoundRuleError(f"{node.source} has no finite slopes")
    low, bent = centre - radius, radius > 0
    return Sector(low, radius, bent, bool(bent.all()) and not bool(low.any()))


def _refuse(node: Node) -> None:
    """Raise for a node without multipliers."""
    if isinstance(node.kind, Bilinear | Opaque):
        raise NoSoundRuleError(f"{node.source} has no global gain")
    if isinstance(node.kind, Vector) and not math.isfinite(node.kind.function.gain(Norm.L2)):
        raise NoSoundRuleError(f"{node.source}: {node.kind.function.name} has no global gain in l2")
