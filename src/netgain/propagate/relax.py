"""Ranges over a region by backward linear relaxation, node by node."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import DataMismatchError
from netgain.core.interval import Interval
from netgain.core.rounding import check_arithmetic
from netgain.network.graph import Affine, Bilinear, Elementwise, Network, Node, Vector
from netgain.propagate.backward import bounds
from netgain.propagate.ranges import Ranges, node_range
from netgain.propagate.region import Region


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much work relaxation may take; beyond it the interval box of a node stays.

    Attributes:
        functions: entries of one node that are bounded, at most so many for each input.
        products: multiplications for one node and one input.
    """

    functions: int = 4096
    products: float = 2e9


@torch.no_grad()
def ranges(network: Network, region: Region, *, effort: Effort = Effort()) -> Ranges:
    """Boxes by interval arithmetic, tightened by backward relaxation where a nonlinear node reads an open entry.

    An entry is open if the function that reads it is not linear on its box.

    Guarantee:
        As `interval_ranges`; no box is wider than there.

    Args:
        network: the network, expanded into primitives for best results.
        region: of inputs.
        effort: limits of work.

    Raises:
        NoSoundRuleError: for an operation without a rule.
        DataMismatchError: if the region is of another shape.

    Cost:
        For each open entry, two transposed evaluations of what is in front of it.
    """
    check_arithmetic()
    if tuple(region.centre.shape[1:]) != network.input_shape:
        raise DataMismatchError(
            f"a region of shape {tuple(region.centre.shape[1:])} given, the network takes {network.input_shape}"
        )
    boxes = {network.input: region.hull()}
    known = Ranges(network, region, boxes)
    readers = _readers(network)
    spent = 0.0
    for node in network.nodes:
        box = node_range(node, [boxes[name] for name in node.inputs])
        boxes[node.name] = box
        spent += products(node)
        if node.name in readers:
            entries = _open(box, readers[node.name])
            if 0 < len(entries) <= effort.functions and 2 * len(entries) * spent <= effort.products:
                boxes[node.name] = tightened(known, node.name, entries)
    return known


def tightened(known: Ranges, name: str, entries: Tensor) -> Interval:
    """The box of a value with some entries bounded by backward relaxation, never wider than before.

    Args:
        known: boxes of the value and of all before it.
        name: of the node.
        entries: flat indices of the entries to bound.
    """
    box = known.boxes[name]
    shape = box.lo.shape[1:]
    rows = torch.zeros(1, len(entries), math.prod(shape), dtype=torch.float64)
    rows[0, torch.arange(len(entries)), entries] = 1.0
    found = bounds(known, rows.reshape(1, len(entries), *shape), name)
    low, high = box.lo.flatten(1).clone(), box.hi.flatten(1).clone()
    low[:, entries] = torch.maximum(low[:, entries], found.lo)
    high[:, entries] = torch.minimum(high[:, entries], found.hi)
    return Interval(low.reshape(-1, *shape), high.reshape(-1, *shape))


def products(node: Node) -> float:
    """Multiplications of one evaluation of a node, roughly."""
    if isinstance(node.kind, Affine):
        return float(node.kind.map.terms * node.kind.map.out_size)
    return float(math.prod(node.shape))


def _readers(network: Network) -> dict[str, list[Node]]:
    """The nonlinear nodes that read each value that an affine map or a sum made."""
    readers: dict[str, list[Node]] = {}
    made = {node.name for node in network.nodes if not isinstance(node.kind, Elementwise | Vector)}
    for node in network.nodes:
        if isinstance(node.kind, Elementwise | Bilinear | Vector):
            for name in node.inputs:
                if name in made:
                    readers.setdefault(name, []).append(node)
    return readers


def _open(box: Interval, readers: list[Node]) -> Float[Tensor, " entries"]:
    """Flat indices of the entries on which a reader is not linear, for some row."""
    wide = box.lo < box.hi
    needed = torch.zeros_like(wide)
    for node in readers:
        if isinstance(node.kind, Elementwise):
            least, greatest = node.kind.activation.slope_range(box.lo, box.hi)
            needed = needed | (wide & (least < greatest))
        else:
            needed = needed | wide
    return needed.flatten(1).any(0).nonzero().squeeze(1)
