"""A network over a region, condensed to what its bent units do to each other, for many inputs at once.

A unit whose difference quotients over the region lie in c +- r, r > 0, is *bent*; all others are linear there. With the
deviations w_k = D y_k - c_k D z_k of the bent units every increment is linear in that of the start and in w:

    D out = C D start + G w,    D z_k = B_k D start + L_k w,    |w_k| <= r_k |D z_k|,

where L is strictly triangular in the order of the nodes. The matrices come from one pass through the network, with a
bound for the error of every entry. So a network with few bent units is small, however wide and deep it is.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import assert_never

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.core.rounding import UNIT_ROUNDOFF, gamma, tensor_up
from netgain.linear.base import AbstractLinearMap
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Network, Node, Opaque, Sum, Vector
from netgain.norms.evaluate import fits, image, magnitude, materialized
from netgain.propagate.restrict import Localized
from netgain.witness.form import sector

# Numbers in one value with all its columns.
_LARGEST = 1 << 28
_TINY = 2.0**-960


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """Matrices with entrywise bounds of their errors.

    Attributes:
        value: as computed.
        error: of each entry, not negative.
    """

    value: Float[Tensor, "batch rows columns"]
    error: Float[Tensor, "batch rows columns"]

    @property
    def magnitude(self) -> Float[Tensor, "batch rows columns"]:
        """Upper bounds of the magnitudes of the true entries."""
        return tensor_up(self.value.abs() + self.error)

    def times(self, other: "Known") -> "Known":
        """The product of two, of the true entries up to the error."""
        value, size = self.value @ other.value, self.magnitude
        factor = gamma(self.value.shape[-1] + 4)
        error = size @ (other.error + factor * other.magnitude) + self.error @ other.magnitude
        return Known(value, error * (1 + 4 * factor) + _TINY)

    def __getitem__(self, rows: Tensor | slice) -> "Known":
        """Some elements of the batch."""
        return Known(self.value[rows], self.error[rows])


@dataclasses.dataclass(frozen=True, eq=False)
class Condensed:
    """The condensed form of a batch of regions; see the module. Rows: the outputs, then the bent units in order.

    Elements have as many bent units as the one with the most; for those that an element lacks, `used` is False and
    rows and columns are 0.

    Attributes:
        outer: [C; B], one column an entry of the start.
        inner: [G; L], one column a bent unit.
        radius: r of each bent unit, exact; 1 where unused.
        used: whether an element has the unit.
        groups: for each elementwise node with bent units its columns.
        places: for each of them the flat entries that the columns stand for.
        front: the matrix of the map from the network's input to the start, with its error; None for the identity.
        outputs: number of output rows.
    """

    outer: Known
    inner: Known
    radius: Float[Tensor, "batch units"]
    used: Bool[Tensor, "batch units"]
    groups: Mapping[str, slice]
    places: Mapping[str, Int[Tensor, "batch _"]]
    front: Known | None
    outputs: int

    @property
    def units(self) -> int:
        """Columns of bent units."""
        return self.radius.shape[1]


def condense(local: Localized, frozen: Bool[Tensor, "batch *in"] | None = None) -> Condensed:
    """The condensed form of every region of a batch.

    Guarantee:
        For any two inputs of a region the increments satisfy the module's equations for matrices within the errors.

    Args:
        local: the network with the slopes of each region.
        frozen: inputs that are the same all over a region; None for none.

    Raises:
        NoSoundRuleError: for a node that is neither linear nor elementwise, or if matrices would be too large.

    Cost:
        About four evaluations of the network for each column of each element.
    """
    network = local.network
    for node in network.nodes:
        if isinstance(node.kind, Vector | Bilinear | Opaque):
            raise NoSoundRuleError(f"{node.source} is neither linear nor elementwise")
    first = _front(network) if frozen is None or not bool(frozen.any()) else None
    name = network.input if first is None else first.name
    builder = _Builder(local, name, frozen)
    for node in network.nodes:
        if node is not first:
            builder.add(node)
    return builder.finish(network.output, None if first is None else _matrix(first))


class _Builder:
    """Values so far: (batch, columns, *shape) for the columns of the start, then of the bent units so far."""

    def __init__(self, local: Localized, start: str, frozen: Tensor | None):
        self.local = local
        shapes = local.network.shapes()
        self.batch = next((len(low) for low, _ in local.slopes.values()), 1 if frozen is None else len(frozen))
        size = math.prod(shapes[start])
        eye = torch.eye(size, dtype=torch.float64).expand(self.batch, -1, -1)
        if frozen is not None and start == local.network.input:
            eye = eye * (~frozen.reshape(self.batch, 1, size)).double()
        eye = eye.reshape(self.batch, size, *shapes[start])
        self.start, self.columns = size, size
        self.values = {start: (eye, torch.zeros_like(eye))}
        self.rows: list[tuple[Tensor, Tensor]] = []
        self.radius: list[Tensor] = []
        self.used: list[Tensor] = []
        self.groups: dict[str, slice] = {}
        self.places: dict[str, Tensor] = {}

    def add(self, node: Node) -> None:
        """The value of one node; its inputs may have fewer columns."""
        if self.batch * self.columns * math.prod(node.shape) > _LARGEST:
            raise NoSoundRuleError(f"{node.source}: the matrices of its increments are too large")
        parts = [_longer(self.values[name], self.columns) for name in node.inputs]
        value, error = parts[0]
        match node.kind:
            case Affine(map=linear_map):
                self.values[node.name] = self._affine(linear_map, value, error)
            case Elementwise():
                self.values[node.name] = self._bent(node, value, error)
            case Sum(scales=scales):
                self.values[node.name] = _total(scales, parts)
            case Concat(axis=axis):
                joined = [torch.cat([part[k] for part in parts], axis + 2) for k in (0, 1)]
                self.values[node.name] = joined[0], joined[1]
            case Vector() | Bilinear() | Opaque():
                raise NoSoundRuleError(f"{node.source} is neither linear nor elementwise")
            case _:
                assert_never(node.kind)

    def finish(self, output: str, front: Known | None) -> Condensed:
        """The condensed form once all nodes are there."""
        value, error = _longer(self.values[output], self.columns)
        out = value[0, 0].numel()
        rows = [(value.flatten(2), error.flatten(2)), *(_longer(row, self.columns) for row in self.rows)]
        full = [torch.cat([row[k] for row in rows], 2).mT for k in (0, 1)]
        outer = Known(full[0][:, :, : self.start], full[1][:, :, : self.start])
        inner = Known(full[0][:, :, self.start :].contiguous(), full[1][:, :, self.start :].contiguous())
        empty = torch.zeros(self.batch, 0, dtype=torch.float64)
        radius = torch.cat([empty, *self.radius], 1)
        used = torch.cat([empty.bool(), *self.used], 1)
        return Condensed(outer, inner, radius, used, self.groups, self.places, front, out)

    def _affine(self, linear_map: AbstractLinearMap, value: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """A value behind an affine map."""
        image_value, rounding = image(linear_map, value.flatten(0, 1))
        spread = rounding
        if bool(error.any()):
            spread = tensor_up(rounding + magnitude(linear_map, error.flatten(0, 1)))
        shape = (self.batch, self.columns, *linear_map.out_shape)
        return image_value.reshape(shape), spread.reshape(shape)

    def _bent(self, node: Node, value: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """A value behind an elementwise node, with new columns for its bent units."""
        low, high = (end.reshape(self.batch, -1).contiguous() for end in self.local.slopes[node.name])
        centre, radius = sector(low, high)
        bent = radius > 0
        count = int(bent.sum(1).max())
        places = bent.long().argsort(dim=1, descending=True, stable=True)[:, :count]
        used = bent.gather(1, places)
        at = places.unsqueeze(1).expand(-1, self.columns, -1)
        gate = used.unsqueeze(1).double()
        flat, wrong = value.flatten(2), error.flatten(2)
        if count:
            self.rows.append((flat.gather(2, at) * gate, wrong.gather(2, at) * gate))
            self.radius.append(torch.where(used, radius.gather(1, places), 1.0))
            self.used.append(used)
            first = self.columns - self.start
            self.groups[node.name] = slice(first, first + count)
            self.places[node.name] = places
        c = centre.unsqueeze(1)
        behind = c * flat
        spread = tensor_up(tensor_up(c.abs() * wrong) + behind.abs() * UNIT_ROUNDOFF)
        spread = torch.where((c != 0) & (flat != 0), tensor_up(spread + _TINY), spread)
        own = torch.zeros(self.batch, count, flat.shape[2], dtype=torch.float64)
        own.scatter_(2, places.unsqueeze(2), used.unsqueeze(2).double())
        self.columns += count
        shape = (self.batch, self.columns, *node.shape)
        return torch.cat([behind, own], 1).reshape(shape), torch.cat([spread, torch.zeros_like(own)], 1).reshape(shape)


def _front(network: Network) -> Node | None:
    """The affine node that alone reads the input, if its image is not larger and it can be written out."""
    readers = [node for node in network.nodes if network.input in node.inputs]
    if len(readers) != 1 or network.output == network.input or not isinstance(readers[0].kind, Affine):
        return None
    linear_map = readers[0].kind.map
    return readers[0] if linear_map.out_size <= linear_map.in_size and fits(linear_map) else None


def _matrix(node: Node) -> Known:
    """The matrix of an affine node with its error, as a batch of one.

    Raises:
        TypeError: for another kind.
        NoSoundRuleError: if its entries overflow.
    """
    if not isinstance(node.kind, Affine):
        raise TypeError(f"{node.name} is not affine")
    value, error = materialized(node.kind.map)
    error = torch.zeros_like(value) if error is None else error
    if not bool(error.isfinite().all()):
        raise NoSoundRuleError(f"{node.source}: the entries of its matrix overflow")
    return Known(value.unsqueeze(0), error.unsqueeze(0))


def _longer(value: tuple[Tensor, Tensor], columns: int) -> tuple[Tensor, Tensor]:
    """Zero columns appended, in the second axis."""
    missing = columns - value[0].shape[1]
    if missing == 0:
        return value
    zero = value[0].new_zeros(len(value[0]), missing, *value[0].shape[2:])
    return torch.cat([value[0], zero], 1), torch.cat([value[1], zero], 1)


def _total(scales: tuple[float, ...], parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The scaled sum of values."""
    total, spread = torch.zeros_like(parts[0][0]), torch.zeros_like(parts[0][1])
    for scale, (value, error) in zip(scales, parts, strict=True):
        term = scale * value
        total = total + term
        rounding = (term.abs() + total.abs()) * (2 * UNIT_ROUNDOFF)
        spread = tensor_up(tensor_up(spread + abs(scale) * error * (1 + 4 * UNIT_ROUNDOFF)) + rounding)
    return total, spread
