"""The Jacobian at one input layer by layer: each matrix gated by the slopes, and what the product of norms loses."""

import dataclasses
import math
from collections.abc import Iterator
from typing import assert_never

import torch

from netgain.core.errors import NoSoundRuleError
from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.core.results import Enclosure
from netgain.core.rounding import add_up, mul_up, sqrt_up
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Form, Node, Opaque, Sum, Vector
from netgain.norms.operator import operator_norm
from netgain.propagate import cotangent
from netgain.propagate.derivative import derivatives, slopes, unit_rows
from netgain.propagate.ranges import Ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatedLayer:
    """One matrix of a network with the slopes behind it, at one input.

    Attributes:
        name: of the affine node, joined with the activation's.
        operation: the framework's names, of the matrix and of the activation.
        active: units with a slope other than 0, and all units; None where no activation follows.
        factor: the norm of D W, the matrix with its rows multiplied by the slopes.
        product: the factors from here to the output multiplied (branches add), an upper bound of `behind`, rounded up.
        behind: the norm of the Jacobian of the output with respect to what this layer reads, through this layer.
    """

    name: str
    operation: str
    active: tuple[int, int] | None
    factor: Enclosure
    product: float
    behind: Enclosure

    @property
    def loss(self) -> float:
        """How many times the product is above the norm that it bounds, from above: 1 is nothing lost."""
        return _quotient(self.product, self.behind.lower.value)


@dataclasses.dataclass(frozen=True)
class Factors:
    """The Jacobian at one input taken apart, J = W_L D_L ... D_1 W_1.

    Attributes:
        layers: the gated matrices in the order of the network.
        product: of their norms (branches add), an upper bound of the norm of J, rounded up.
    """

    layers: tuple[GatedLayer, ...]
    product: float


@torch.no_grad()
def factors(ranges: Ranges, row: int, norm: Norm) -> Factors:
    """The factors of the Jacobian at one input.

    Guarantee:
        Norms proved on both sides, products rounded up.

    Args:
        ranges: boxes of single points.
        row: which of them.
        norm: of inputs and outputs.

    Raises:
        NoSoundRuleError: if an operation has no proved rule.

    Cost:
        One operator norm a layer, and one of an (outputs x width) matrix a layer.
    """
    one = ranges[row : row + 1]
    network = one.network
    gates = _gates(one)
    matrices = {node.name for node in network.nodes if isinstance(node.kind, Affine)}
    found = {name: value for name, value in derivatives(one, unit_rows(one), signed=False) if name in matrices}
    products = {network.output: 1.0}
    layers: list[GatedLayer] = []
    for node in reversed(network.nodes):
        if node.name not in products:
            continue
        after, gate = products[node.name], gates.get(node.name)
        if isinstance(node.kind, Affine):
            factor = operator_norm(_gated(node.kind.map, gate, one), norm)
            passed = [(node.inputs[0], factor.upper.value)]
            if not node.kind.map.moves:
                behind = matrix_norm(cotangent.adjoint(node.kind.map, found[node.name], signed=False), norm)
                layers.append(_layer(node, gate, one, (factor, mul_up(factor.upper.value, after), behind)))
        elif node in gates.values():
            passed = [(node.inputs[0], 1.0)]  # its slopes belong to the matrix in front of it
        else:
            passed = list(_passed(node, one, norm))
        for name, size in passed:
            products[name] = add_up(products.get(name, 0.0), mul_up(size, after))
    return Factors(tuple(reversed(layers)), products.get(network.input, 0.0))


def matrix_norm(derivative: Interval, norm: Norm) -> Enclosure:
    """The operator norm of one interval Jacobian of shape (1, rows, *shape); 0 to infinity where it is not bounded.

    Args:
        derivative: the interval.
        norm: of inputs and outputs.
    """
    matrix, error = (part[0].flatten(1) for part in derivative.halves())
    if bool(error.isfinite().all()):
        return operator_norm(Dense(matrix, error=error), norm)
    zero = operator_norm(Dense(torch.zeros_like(matrix)), norm)
    return Enclosure(zero.lower, dataclasses.replace(zero.upper, value=math.inf))


def _gates(ranges: Ranges) -> dict[str, Node]:
    """For affine nodes that an activation alone reads: that activation, by the affine node's name."""
    network = ranges.network
    consumers = network.consumers()
    gates: dict[str, Node] = {}
    for node in network.nodes:
        if isinstance(node.kind, Elementwise) and len(consumers[node.inputs[0]]) == 1:
            gates[node.inputs[0]] = node
    affine = {node.name for node in network.nodes if isinstance(node.kind, Affine)} - {network.output}
    return {name: node for name, node in gates.items() if name in affine}


def _gated(linear_map: AbstractLinearMap, gate: Node | None, ranges: Ranges) -> AbstractLinearMap:
    """D W, or W where no activation follows."""
    if gate is None:
        return linear_map
    middle, spread = slopes(ranges, gate).halves()
    if not bool(spread.isfinite().all()):
        raise NoSoundRuleError(f"{gate.source}: the slope at this input is not bounded")
    return Chain((linear_map, Diagonal(middle[0], gate.shape, spread[0])))


def _layer(node: Node, gate: Node | None, ranges: Ranges, numbers: tuple[Enclosure, float, Enclosure]) -> GatedLayer:
    """The entry of one matrix."""
    factor, product, behind = numbers
    if gate is None:
        return GatedLayer(
            name=node.name, operation=node.source.operation, active=None, factor=factor, product=product, behind=behind
        )
    slope = slopes(ranges, gate)
    count = int(((slope.lo != 0) | (slope.hi != 0)).sum())
    return GatedLayer(
        name=f"{node.name}+{gate.name}",
        operation=f"{node.source.operation} + {gate.source.operation}",
        active=(count, math.prod(gate.shape)),
        factor=factor,
        product=product,
        behind=behind,
    )


def _passed(node: Node, ranges: Ranges, norm: Norm) -> Iterator[tuple[str, float]]:
    """For each input of a node other than a matrix, the norm of the node's derivative with respect to it."""
    match node.kind:
        case Affine():
            return
        case Elementwise():
            slope = slopes(ranges, node).abs()
            yield node.inputs[0], float(slope.hi.max())
        case Sum(scales=scales):
            for name, scale in zip(node.inputs, scales, strict=True):
                yield name, abs(scale)
        case Concat():
            for name in node.inputs:
                yield name, 1.0
        case Bilinear(form=form):
            left, right = node.inputs
            shapes = ranges.network.shapes()
            for name, other in ((left, right), (right, left)):
                yield name, _bilinear(form, shapes[name], ranges.boxes[other], node.shape, norm, left=name == left)
        case Vector(function=function):
            raise NoSoundRuleError(f"{node.source}: {function.name} has no rule for its derivative")
        case Opaque(code=code, reason=reason):
            raise NoSoundRuleError(f"{node.source} has no derivative: {reason}", code=code)
        case _:
            assert_never(node.kind)


def _quotient(a: float, b: float) -> float:
    """a / b, rounded up; 1 where both are zero."""
    if a == b:
        return 1.0
    return math.inf if b == 0 else math.nextafter(a / b, math.inf)


def _bilinear(
    form: Form, shape: tuple[int, ...], other: Interval, out: tuple[int, ...], norm: Norm, *, left: bool
) -> float:
    """The norm of x -> x y or y -> x y for a factor in a box, broadcasting included."""
    size = Interval(other.lo[0], other.hi[0])
    if form is Form.PRODUCT:
        return mul_up(float(size.abs().hi.max()), _copies(math.prod(out) // max(1, math.prod(shape)), norm))
    middle, spread = size.halves()
    # vec(X Y) is (I (x) Y^T) vec X and (X (x) I) vec Y: one matrix for all rows, or all columns.
    heads, errors = (
        (part.mT if left else part).reshape(-1, *((part.mT if left else part).shape[-2:])) for part in (middle, spread)
    )
    if not bool(errors.isfinite().all()):
        return math.inf
    steepest = max(operator_norm(Dense(m, error=e), norm).upper.value for m, e in zip(heads, errors, strict=True))
    own, joint = math.prod(shape[:-2]), math.prod(out[:-2])
    return mul_up(steepest, _copies(joint // max(1, own), norm))


def _copies(count: int, norm: Norm) -> float:
    """The norm of repeating a vector so many times."""
    match norm:
        case Norm.LINF:
            return 1.0
        case Norm.L1:
            return float(count)
        case Norm.L2:
            return 1.0 if count == 1 else sqrt_up(float(count))
