"""A-priori bounds of the rounding of linear functions carried backwards through a network.

A linear function a . v of a value v with |v| <= X entry by entry, of which only the rounded coefficients are known,
errs by at most (rounding of the coefficients) . X. All such terms have the form |a| . w with a weight w >= 0 that
depends on the boxes alone, so one product with |a| a step covers them.
"""

import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from netgain.core.interval import Interval
from netgain.core.rounding import UNDERFLOW, UNIT_ROUNDOFF, gamma, tensor_down, tensor_up
from netgain.linear.base import AbstractLinearMap
from netgain.network.graph import Affine, Elementwise, Node
from netgain.propagate.lines import Slopes, lines
from netgain.propagate.magnitude import Part, inflate, parts_of

# A coefficient may carry the rounding of the product that made it, uncounted: 2^-53 of itself and this.
TINY = 2.0**-1074


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Vectors v of the extended reals, one a row of the region, ready for dot products with coefficients.

    Attributes:
        finite: the entries, 0 where infinite.
        infinite: 1 where an entry is infinite, None where none is.
    """

    finite: Float[Tensor, "batch *shape"]
    infinite: Float[Tensor, "batch *shape"] | None

    @classmethod
    def of(cls, v: Float[Tensor, "batch *shape"]) -> "Vectors":
        """Entries that are NaN count as infinite."""
        known = v.isfinite()
        if bool(known.all()):
            return cls(v, None)
        return cls(torch.where(known, v, 0.0), (~known).double())

    def dot(self, a: Float[Tensor, "rows k *shape"]) -> Float[Tensor, "batch k"]:
        """a . v in ordinary arithmetic for the finite entries alone."""
        return dot(a, self.finite)

    def unknown(self, a: Float[Tensor, "rows k *shape"]) -> Bool[Tensor, "batch k"] | None:
        """Where a coefficient a >= 0 (or a <= 0) meets an infinite entry; None where it cannot."""
        if self.infinite is None:
            return None
        return ~(dot((a != 0).double(), self.infinite) == 0)


def dot(a: Float[Tensor, "rows k *shape"], v: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch k"]:
    """The dot products of each row's functions with its vector; either may be shared by all rows (one row)."""
    if a.shape[0] == 1:
        return v.flatten(1) @ a[0].flatten(1).T
    if v.shape[0] == 1:
        return a.flatten(2) @ v.flatten()
    return torch.bmm(a.flatten(2), v.flatten(1).unsqueeze(2)).squeeze(2)


def certain(computed: Tensor) -> Tensor:
    """The computed number rounded down; -inf for inf, which is an overflow of something unknown."""
    return tensor_down(torch.where(computed == torch.inf, -torch.inf, computed))


@dataclasses.dataclass(frozen=True)
class Stage:
    """One sum of products of an affine node, seen backwards: a -> A^T a.

    Attributes:
        map: A.
        weight: |computed A^T a - true A^T a| . |x| <= |a| . weight + floor; None for zero.
        floor: one a row of the region.
    """

    map: AbstractLinearMap
    weight: Vectors | None
    floor: Float[Tensor, " batch"]


@dataclasses.dataclass(frozen=True)
class Ends:
    """Vectors low, high for the bound a . v >= sum of a+ low + a- high, rounding of the dot products included.

    Attributes:
        low: what meets positive coefficients.
        high: what meets negative ones.
        floor: to be subtracted, one a row of the region.
    """

    low: Vectors
    high: Vectors
    floor: Float[Tensor, " batch"]

    def least(self, positive: Tensor, negative: Tensor) -> Float[Tensor, "batch k"]:
        """The bound, -inf where an infinite end is met.

        Args:
            positive: max(a, 0).
            negative: min(a, 0).
        """
        total = certain(self.low.dot(positive) + self.high.dot(negative) - self.floor.unsqueeze(1))
        for ends, part in ((self.low, positive), (self.high, negative)):
            unknown = ends.unknown(part)
            total = total if unknown is None else torch.where(unknown, -torch.inf, total)
        return total


@dataclasses.dataclass(frozen=True)
class Step:
    """One elementwise node, seen backwards: the slopes of both lines, and their offsets.

    Attributes:
        lower: slopes of the line below.
        upper: slopes of the line above.
        ends: the offsets.
    """

    lower: Float[Tensor, "batch *shape"]
    upper: Float[Tensor, "batch *shape"]
    ends: Ends


class Apriori:
    """What rounding terms need to know of the boxes, computed when first asked for and kept."""

    def __init__(self, boxes: Mapping[str, Interval]):
        self._boxes = boxes
        self._sizes: dict[str, Tensor] = {}
        self._stages: dict[str, tuple[Stage, ...]] = {}
        self._steps: dict[str, Step] = {}
        self._constants: dict[str, Ends] = {}
        self._hulls: dict[str, Ends] = {}

    def size(self, name: str) -> Float[Tensor, "batch *shape"]:
        """X with |value| <= X."""
        if name not in self._sizes:
            box = self._boxes[name]
            self._sizes[name] = torch.maximum(box.lo.abs(), box.hi.abs()).nan_to_num(nan=torch.inf, posinf=torch.inf)
        return self._sizes[name]

    def made(self, name: str) -> Float[Tensor, "batch *shape"]:
        """The weight of the rounding that made a coefficient of the value: u X."""
        return tensor_up(self.size(name) * UNIT_ROUNDOFF)

    def floor(self, name: str) -> Float[Tensor, " batch"]:
        """What the underflow of the products that made the coefficients of a value can do, and of dot products."""
        size = self.size(name).flatten(1)
        return tensor_up(inflate(size.sum(1), size.shape[1]) * TINY) + 4 * UNDERFLOW

    def stages(self, node: Node, kind: Affine) -> tuple[Stage, ...]:
        """The stages of an affine node, last applied first; the bias is not in them."""
        if node.name not in self._stages:
            stages: list[Stage] = []
            size = self.size(node.inputs[0])
            for linear_map in parts_of(kind.map):
                stage, size = _stage(linear_map, size)
                stages.insert(0, stage)
            self._stages[node.name] = tuple(stages)
        return self._stages[node.name]

    def constant(self, node: Node, kind: Affine) -> Ends:
        """The bias of an affine node, and the rounding that made the coefficients of its value."""
        if node.name not in self._constants:
            bias = torch.zeros(node.shape, dtype=torch.float64) if kind.bias is None else kind.bias
            error = 0.0 if kind.bias_error is None else kind.bias_error
            low = tensor_down(bias - error) if kind.bias_error is not None else bias
            high = tensor_up(bias + error) if kind.bias_error is not None else bias
            self._constants[node.name] = self.ends(node.name, low.unsqueeze(0), high.unsqueeze(0))
        return self._constants[node.name]

    def box(self, name: str) -> Ends:
        """The box of a value, for functions that are not carried further."""
        if name not in self._hulls:
            self._hulls[name] = self.ends(name, self._boxes[name].lo, self._boxes[name].hi)
        return self._hulls[name]

    def step(self, node: Node, kind: Elementwise) -> Step:
        """An elementwise node with the slopes that `lines` chooses."""
        if node.name not in self._steps:
            made = lines(kind.activation, self._boxes[node.inputs[0]])
            ends = self.ends(node.name, made.lower_offset, made.upper_offset)
            self._steps[node.name] = Step(made.lower_slope, made.upper_slope, ends)
        return self._steps[node.name]

    def ends(self, name: str, low: Tensor, high: Tensor) -> Ends:
        """Ends widened by the rounding that made the coefficients and by that of the dot products with them.

        Args:
            name: of the value with the coefficients.
            low: lower ends, one vector a row of the region, or one for all.
            high: upper ends.
        """
        made = self.made(name)
        size = torch.maximum(low.abs(), high.abs()) + made
        factor = gamma(2 * made[0].numel() + 8)
        spread = tensor_up(made + size * factor)
        return Ends(Vectors.of(tensor_down(low - spread)), Vectors.of(tensor_up(high + spread)), self.floor(name))

    def chosen(self, node: Node, kind: Elementwise, slopes: Slopes) -> tuple[Slopes, Slopes]:
        """Slopes and widened offsets of an elementwise node for given slopes, with an axis of functions.

        Args:
            node: the node.
            kind: its kind.
            slopes: of the line below and above, (batch, k or 1, *shape).
        """
        box = self._boxes[node.inputs[0]]
        made = lines(kind.activation, Interval(box.lo.unsqueeze(1), box.hi.unsqueeze(1)), slopes)
        spread = self.made(node.name).unsqueeze(1)
        factor = gamma(2 * spread[0].numel() + 8)
        ends = []
        for offset, sign in ((made.lower_offset, -1.0), (made.upper_offset, 1.0)):
            wide = tensor_up(spread + (offset.abs() + spread) * factor)
            ends.append(tensor_up(sign * offset + wide) * sign)
        return (made.lower_slope, made.upper_slope), (ends[0], ends[1])


def _stage(linear_map: AbstractLinearMap, size: Tensor) -> tuple[Stage, Tensor]:
    """One map seen backwards, and what bounds the magnitude of its image."""
    part = Part.of(linear_map)
    image = part.apply(size).nan_to_num(nan=torch.inf, posinf=torch.inf)
    terms = linear_map.adjoint_terms
    flat = size.flatten(1)
    floor = tensor_up(inflate(flat.sum(1), flat.shape[1]) * (terms * TINY)) + UNDERFLOW
    if linear_map.moves and terms == 1:
        return Stage(linear_map, None, torch.zeros_like(floor)), image
    weight = tensor_up(image * gamma(terms))
    if part.uncertainty is not None:
        spread = inflate(part.uncertainty.apply(size), part.uncertainty.terms)
        weight = tensor_up(weight + spread)
    return Stage(linear_map, Vectors.of(weight), floor), image
