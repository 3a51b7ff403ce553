"""A network restricted to a region: its increments there are those of a network with smaller slopes, everywhere.

For two inputs of a convex region every pre-activation lies in its proved box, so that an activation takes there only
the difference quotients of the box. A product of two values has x1 y1 - x2 y2 = y' (x1 - x2) + x' (y1 - y2) with
midpoints x', y', which lie in the boxes: the sum of two elementwise maps. So whatever bounds the gain of a network by
the slopes of its elementwise nodes alone bounds the gain over the region, if it is given the network made here.
"""

import dataclasses
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.activations.base import Activation
from netgain.core.errors import DiscontinuousError, NoSoundRuleError, UnboundedError
from netgain.core.interval import Interval
from netgain.linear.chain import Chain
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.network.fold import fold
from netgain.network.graph import Affine, Bilinear, Elementwise, Form, Network, Node, Sum
from netgain.propagate.ranges import Ranges

# Products of entries that a matrix product of two computed values may be written out as.
_PRODUCTS = 1 << 20

Slopes = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True, repr=False)
class Localized:
    """A network with the slopes that its elementwise nodes take over each region of a batch.

    Attributes:
        network: without bilinear nodes; only its increments mean something, not its values.
        slopes: by name of each elementwise node the least and greatest slopes, (rows, *shape), finite.
    """

    network: Network
    slopes: Mapping[str, tuple[Float[Tensor, "rows *shape"], Float[Tensor, "rows *shape"]]]

    def __getitem__(self, rows: Tensor | slice) -> "Localized":
        """The slopes of some rows."""
        return Localized(self.network, {name: (low[rows], high[rows]) for name, (low, high) in self.slopes.items()})


def localized(ranges: Ranges) -> Localized:
    """The slopes of every node over the regions, bilinear nodes taken apart.

    Guarantee:
        For any two inputs of a row's region, the increments of all nodes are those of the returned network for some
        slopes within `slopes`: those of nodes that keep their names are the increments in the original network.

    Args:
        ranges: of a network, folded and best expanded before.

    Raises:
        DiscontinuousError: if an activation jumps within its box.
        UnboundedError: if its slope is unbounded there.
        NoSoundRuleError: if a matrix product of computed values is too large to be taken apart.
    """
    slopes: dict[str, Slopes] = {}
    nodes: list[Node] = []
    shapes = ranges.network.shapes()
    for node in ranges.network.nodes:
        if isinstance(node.kind, Elementwise):
            slopes[node.name] = _finite(node, ranges.slopes(node), ranges)
            nodes.append(node)
        elif isinstance(node.kind, Bilinear):
            for one, box in _taken_apart(node, node.kind.form, ranges, shapes):
                nodes.append(one)
                if box is not None:
                    slopes[one.name] = _finite(one, (box.lo, box.hi), ranges)
        else:
            nodes.append(node)
    return Localized(dataclasses.replace(ranges.network, nodes=tuple(nodes)), slopes)


def restricted(ranges: Ranges, row: int = 0) -> Network:
    """The network of one region, for methods that bound the gain of a network over all inputs.

    Units with one slope are linear: where a whole layer has such, it is merged with its neighbours; columns of units
    that do not move are dropped from the matrices in front of them.

    Guarantee:
        The gain of the network over the region is at most the global gain that is proved of the result from the slopes
        of its activations and the gains of its vector functions. Values of the result mean nothing.

    Args:
        ranges: of a network, folded and best expanded before.
        row: which region.

    Raises:
        DiscontinuousError: if an activation jumps within its box.
        UnboundedError: if its slope is unbounded there.
        NoSoundRuleError: if a matrix product of computed values is too large to be taken apart.
    """
    return _at(localized(ranges), row)


def _at(local: Localized, row: int) -> Network:
    """The network of one row with constant slopes."""
    nodes: list[Node] = []
    for node in local.network.nodes:
        if not isinstance(node.kind, Elementwise):
            nodes.append(node)
            continue
        low, high = (end[row] for end in local.slopes[node.name])
        if bool((low == high).all()):
            nodes.append(dataclasses.replace(node, kind=Affine(Diagonal(low, node.shape))))
            continue
        dead, inputs = (low == 0) & (high == 0), node.inputs
        if bool(dead.any()):
            masked = dataclasses.replace(
                node, name=f"{node.name}:moving", kind=Affine(Diagonal((~dead).double(), node.shape))
            )
            nodes.append(masked)
            inputs = (masked.name,)
        kind = Elementwise(_constant(node.kind.activation, low, high))
        nodes.append(dataclasses.replace(node, kind=kind, inputs=inputs))
    return fold(dataclasses.replace(local.network, nodes=tuple(nodes)))


def _constant(activation: Activation, low: Tensor, high: Tensor) -> Activation:
    """The activation as it is known on a region: by its slopes there, whatever the ends it is asked about."""
    return dataclasses.replace(
        activation,
        name=f"{activation.name} on the region",
        slope_range=lambda lo, hi: (low, high),
        positively_homogeneous=False,
        continuous=True,
        source="difference quotients over the proved range of the argument",
    )


def _finite(node: Node, slopes: Slopes, ranges: Ranges) -> Slopes:
    """The slopes, if they are finite.

    Raises:
        DiscontinuousError: if not, for a function that jumps.
        UnboundedError: if not, for others.
    """
    if bool(slopes[0].isfinite().all() & slopes[1].isfinite().all()):
        return slopes
    region = ranges.region.words()
    if isinstance(node.kind, Elementwise) and not node.kind.activation.continuous:
        raise DiscontinuousError(
            f"{node.source}: {node.kind.activation.name} jumps within the region ({region}), so there is no constant"
        )
    what = f"the slope of {node.kind.activation.name}" if isinstance(node.kind, Elementwise) else "a factor"
    raise UnboundedError(f"{node.source}: {what} is not known to be bounded over the region ({region})")


Part = tuple[Node, Interval | None]


def _taken_apart(node: Node, form: Form, ranges: Ranges, shapes: Mapping[str, tuple[int, ...]]) -> list[Part]:
    """A bilinear node as a sum of two elementwise ones, each with the box of the other factor as its slopes."""
    names = (f"{node.name}:left", f"{node.name}:right")
    if form is Form.PRODUCT:
        wide = node.shape
        places = [torch.arange(math.prod(shapes[name])).reshape(shapes[name]).expand(wide) for name in node.inputs]
    else:
        wide, places = _pairs(node, [shapes[name] for name in node.inputs])
    boxes = [_spread(ranges.boxes[name], place) for name, place in zip(node.inputs, places, strict=True)]
    parts: list[Part] = []
    for name, source, place, other in zip(names, node.inputs, places, reversed(boxes), strict=True):
        inputs = (source,)
        if shapes[source] != wide:
            spread = Affine(Selection(place.reshape(-1), shapes[source], wide))
            parts.append((Node(f"{name}:spread", spread, inputs, wide, node.source), None))
            inputs = (f"{name}:spread",)
        parts.append((Node(name, Elementwise(_FACTOR), inputs, wide, node.source), other))
    total = node.name if wide == node.shape else f"{node.name}:products"
    parts.append((Node(total, Sum((1.0, 1.0)), names, wide, node.source), None))
    if wide != node.shape:
        summed = Dense(torch.ones(1, wide[-1], dtype=torch.float64), wide[:-1])
        kind = Affine(Chain((summed, Reshape((*wide[:-1], 1), node.shape))))
        parts.append((Node(node.name, kind, (total,), node.shape, node.source), None))
    return parts


def _pairs(node: Node, shapes: list[tuple[int, ...]]) -> tuple[tuple[int, ...], list[Tensor]]:
    """The shape (*lead, n, m, k) of all products of entries in a matrix product, and the places of both factors.

    Raises:
        NoSoundRuleError: if there are too many.
    """
    first, second = (torch.arange(math.prod(shape)).reshape(shape) for shape in shapes)
    left, right = first.unsqueeze(-2), second.transpose(-1, -2).unsqueeze(-3)
    wide = tuple(torch.broadcast_shapes(left.shape, right.shape))
    if math.prod(wide) > _PRODUCTS:
        raise NoSoundRuleError(f"{node.source}: {math.prod(wide):,} products of computed values are too many")
    return wide, [left.expand(wide), right.expand(wide)]


def _spread(box: Interval, places: Tensor) -> Interval:
    """The entries of a box at places."""
    return Interval(*(end.flatten(1)[:, places.reshape(-1)].reshape(-1, *places.shape) for end in (box.lo, box.hi)))


def _unbounded(lo: Tensor, hi: Tensor) -> Slopes:
    """Nothing is known of a factor without a region."""
    return torch.full_like(lo, -math.inf), torch.full_like(hi, math.inf)


_FACTOR = Activation(
    name="product with a computed value",
    value=lambda x: x,
    value_error=torch.zeros_like,
    slope_range=_unbounded,
    value_range=_unbounded,
    source="x1 y1 - x2 y2 = y' (x1 - x2) + x' (y1 - y2) with the midpoints x', y'",
)
