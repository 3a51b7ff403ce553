"""Ranges over a region by backward linear relaxation, node by node."""

import dataclasses

import torch
from jaxtyping import Bool
from torch import Tensor

from netgain.core.errors import DataMismatchError
from netgain.core.interval import Interval
from netgain.core.rounding import check_arithmetic
from netgain.network.graph import Bilinear, Elementwise, Network, Node, Vector
from netgain.propagate.patch_walk import entry_bounds, entry_work
from netgain.propagate.ranges import Ranges, node_range
from netgain.propagate.region import Region


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much work relaxation may take; beyond it the interval box of a node stays.

    Attributes:
        functions: entries of one node that are bounded, at most so many for each input.
        products: multiplications for one node and one input; 0 for the boxes of interval arithmetic.
    """

    functions: int = 1 << 20
    products: float = 2e10


@torch.no_grad()
def ranges(network: Network, region: Region, *, effort: Effort = Effort()) -> Ranges:
    """Boxes by interval arithmetic, tightened by backward relaxation where a nonlinear node reads an open entry.

    An entry is open if the function that reads it is not linear on its box.

    Guarantee:
        As `interval_ranges`; no box is wider than there by more than rounding.

    Args:
        network: the network, expanded into primitives for best results.
        region: of inputs.
        effort: limits of work.

    Raises:
        NoSoundRuleError: for an operation without a rule.
        DataMismatchError: if the region is of another shape.

    Cost:
        For each open entry, two transposed evaluations of what is in front of it, on the window that the entry reads.
    """
    check_arithmetic()
    if tuple(region.centre.shape[1:]) != network.input_shape:
        raise DataMismatchError(
            f"a region of shape {tuple(region.centre.shape[1:])} given, the network takes {network.input_shape}"
        )
    boxes = {network.input: region.hull()}
    known = Ranges(network, region, boxes)
    readers = _readers(network)
    for node in network.nodes:
        box = node_range(node, [boxes[name] for name in node.inputs])
        boxes[node.name] = box
        if node.name in readers:
            chosen = _open(box, readers[node.name])
            count = int(chosen.flatten(1).sum(1).max())
            if (
                effort.products > 0
                and 0 < count <= effort.functions
                and (2 * count * entry_work(known, node.name) <= effort.products)
            ):
                boxes[node.name] = entry_bounds(known, node.name, chosen)
    return known


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


def _open(box: Interval, readers: list[Node]) -> Bool[Tensor, "batch *shape"]:
    """The entries on which a reader is not linear."""
    wide = box.lo < box.hi
    needed = torch.zeros_like(wide)
    for node in readers:
        if isinstance(node.kind, Elementwise):
            least, greatest = node.kind.activation.slope_range(box.lo, box.hi)
            needed = needed | (wide & (least < greatest))
        else:
            needed = needed | wide
    return needed
