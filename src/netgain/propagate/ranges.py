"""What is known of the value of each node over a region of inputs: a box a node."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import DataMismatchError, NoSoundRuleError, UsageError
from netgain.core.interval import Interval
from netgain.core.rounding import check_arithmetic, tensor_down, tensor_up
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Form, Network, Node, Opaque, Sum, Vector
from netgain.norms.evaluate import image, magnitude
from netgain.propagate.apriori import Apriori
from netgain.propagate.region import Region


@dataclasses.dataclass(frozen=True, repr=False)
class Ranges:
    """Boxes that hold the values of nodes for every input of a region (or, in a search, of a part of it).

    Attributes:
        network: the network that the names refer to.
        region: the inputs, a region a row.
        boxes: by node name, the input included: an interval of shape (rows, *node shape).
    """

    network: Network
    region: Region
    boxes: Mapping[str, Interval]

    def __len__(self) -> int:
        return len(self.region)

    def __getitem__(self, rows: Tensor | slice) -> "Ranges":
        """The ranges of some rows."""
        boxes = {name: Interval(one.lo[rows], one.hi[rows]) for name, one in self.boxes.items()}
        return Ranges(self.network, self.region[rows], boxes)

    @functools.cached_property
    def apriori(self) -> Apriori:
        """Rounding terms of functions carried backwards through the boxes."""
        return Apriori(self.boxes)

    def slopes(self, node: Node) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, "batch *shape"]]:
        """The least and greatest slope of each entry of an elementwise node between any two inputs of the region.

        Infinite where the function jumps inside, or its slope is unbounded.

        Args:
            node: a node of kind Elementwise.

        Raises:
            UsageError: for another kind.
        """
        if not isinstance(node.kind, Elementwise):
            raise UsageError(f"{node.name} is not elementwise")
        before = self.boxes[node.inputs[0]]
        low, high = node.kind.activation.slope_range(before.lo, before.hi)
        return low.expand_as(before.lo), high.expand_as(before.lo)


@torch.no_grad()
def interval_ranges(network: Network, region: Region) -> Ranges:
    """The boxes that interval arithmetic gives, node by node.

    Guarantee:
        Each value of the network in real numbers, at each input of the region, lies in its box, rounding and the
        uncertainty of weights included.

    Args:
        network: the network.
        region: of inputs.

    Raises:
        NoSoundRuleError: for an operation without a rule.
        DataMismatchError: if the region is of another shape.

    Cost:
        About five evaluations of the network.
    """
    check_arithmetic()
    if tuple(region.centre.shape[1:]) != network.input_shape:
        raise DataMismatchError(
            f"a region of shape {tuple(region.centre.shape[1:])} given, the network takes {network.input_shape}"
        )
    boxes = {network.input: region.hull()}
    for node in network.nodes:
        boxes[node.name] = node_range(node, [boxes[name] for name in node.inputs])
    return Ranges(network, region, boxes)


def node_range(node: Node, inputs: list[Interval]) -> Interval:
    """The box of one node from those of its inputs.

    Args:
        node: the node.
        inputs: boxes, one a node input.

    Raises:
        NoSoundRuleError: for an operation without a rule.
    """
    first = inputs[0]
    match node.kind:
        case Affine():
            return affine_range(node.kind, first)
        case Elementwise(activation=activation):
            low, high = activation.value_range(first.lo, first.hi)
            return Interval(low.expand_as(first.lo), high.expand_as(first.lo))
        case Vector(function=function):
            return function.range(first)
        case Bilinear(form=Form.PRODUCT):
            return first * inputs[1]
        case Bilinear():
            left = Interval(first.lo.unsqueeze(-1), first.hi.unsqueeze(-1))
            right = Interval(inputs[1].lo.unsqueeze(-3), inputs[1].hi.unsqueeze(-3))
            product = left * right
            return product.sum((product.lo.dim() - 2,))
        case Sum(scales=scales):
            total = first * scales[0]
            for scale, one in zip(scales[1:], inputs[1:], strict=True):
                total = total + one * scale
            return total
        case Concat(axis=axis):
            return Interval(
                torch.cat([one.lo for one in inputs], axis + 1), torch.cat([one.hi for one in inputs], axis + 1)
            )
        case Opaque(code=code, reason=reason):
            raise NoSoundRuleError(f"{node.source} has no range over a region: {reason}", code=code)
        case _:
            assert_never(node.kind)


def affine_range(kind: Affine, x: Interval) -> Interval:
    """The box of an affine image: A middle + b, and |A| spread around it."""
    middle, spread = x.halves()
    value, error = image(kind.map, middle)
    spread = tensor_up(magnitude(kind.map, spread) + error)
    if kind.bias is not None:
        value = value + kind.bias
        spread = tensor_up(spread + value.abs() * 2.0**-52)
    if kind.bias_error is not None:
        spread = tensor_up(spread + kind.bias_error)
    unknown = spread.isnan() | value.isnan()
    low, high = tensor_down(value - spread), tensor_up(value + spread)
    return Interval(torch.where(unknown, -torch.inf, low), torch.where(unknown, torch.inf, high))
