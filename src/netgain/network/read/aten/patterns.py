"""Activations, normalizations and sortings that models spell out in several operations."""

import dataclasses
import math

from netgain.activations.table import activation
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Kind, Vector
from netgain.network.read.lowering import Builder, Value
from netgain.vectors.extrema import Extremum
from netgain.vectors.normalize import Normalize
from netgain.vectors.pool import L2Pool


@dataclasses.dataclass(frozen=True)
class SortedPair:
    """Two parts that are the smaller and the larger of the same entries.

    Attributes:
        sources: the one node that holds both along an axis of size two, or the two nodes that are compared.
        shape: shape of one source.
        descending: whether the larger part comes first.
    """

    sources: tuple[str, ...]
    shape: tuple[int, ...]
    descending: bool


Match = tuple[Kind, Value] | None


def _elementwise(builder: Builder, name: str) -> tuple[str, str] | None:
    """Activation name and input of a node, None where it is not an activation."""
    node = builder.nodes.get(name)
    if node is None or not isinstance(node.kind, Elementwise):
        return None
    return node.kind.activation.name, node.inputs[0]


def product_pattern(builder: Builder, left: Value, right: Value) -> Match:
    """x * sigmoid(x), x * sigmoid(1.702 x) and x * tanh(softplus(x)): silu, quick_gelu, mish."""
    for value, gate in ((left, right), (right, left)):
        found = _elementwise(builder, gate.name)
        if found is None or gate.shape != value.shape:
            continue
        name, inner = found
        if name == "sigmoid" and inner == value.name:
            return Elementwise(activation("silu")), value
        if name == "sigmoid" and _scaled_by(builder, inner, value.name, 1.702):
            return Elementwise(activation("quick_gelu")), value
        if name == "tanh" and _elementwise(builder, inner) == ("softplus(1)", value.name):
            return Elementwise(activation("mish")), value
    return None


def sum_pattern(builder: Builder, left: Value, right: Value, factor: float) -> Match:
    """x - tanh(x)."""
    if factor == -1 and _elementwise(builder, right.name) == ("tanh", left.name):
        return Elementwise(activation("tanhshrink")), left
    return None


def quotient_pattern(builder: Builder, left: Value, right: Value) -> Match:
    """x / (1 + |x|) and x / max(||x||, eps): softsign and normalization."""
    if _is_one_plus_abs(builder, right.name, left.name):
        return Elementwise(activation("softsign")), left
    return _normalization(builder, left, right)


def _scaled_by(builder: Builder, name: str, of: str, factor: float) -> bool:
    """Whether a node is factor times another."""
    node = builder.nodes.get(name)
    if node is None or node.inputs != (of,) or not isinstance(node.kind, Affine) or node.kind.bias is not None:
        return False
    scale = node.kind.map
    return isinstance(scale, Diagonal) and scale.error is None and bool((scale.scale == factor).all())


def _is_one_plus_abs(builder: Builder, name: str, of: str) -> bool:
    """Whether a node is 1 + |x| for x = `of`."""
    node = builder.nodes.get(name)
    if node is None or not isinstance(node.kind, Affine) or not isinstance(node.kind.map, Reshape):
        return False
    bias = node.kind.bias
    plus_one = bias is not None and bool((bias == 1).all())
    return plus_one and _elementwise(builder, node.inputs[0]) == ("abs", of)


def _normalization(builder: Builder, left: Value, right: Value) -> Match:
    """x divided by its own clamped Euclidean norm along one axis."""
    spread = builder.nodes.get(right.name)
    if spread is None or not isinstance(spread.kind, Affine) or not isinstance(spread.kind.map, Selection):
        return None
    clamp = builder.nodes.get(spread.inputs[0])
    if clamp is None or clamp.name not in builder.clamped_norms:
        return None
    of, axis, eps = builder.clamped_norms[clamp.name]
    if of != left.name or clamp.shape[axis] != 1:
        return None
    return Vector(Normalize(left.shape, axis, eps)), left


def sorted_pair(builder: Builder, parts: list[Value], axis: int) -> SortedPair | None:
    """cat(min, max) of the same entries (MaxMin, GroupSort2), written by min and max or by minimum and maximum."""
    if len(parts) != 2 or parts[0].shape != parts[1].shape:
        return None
    found = [_extremum(builder, part) for part in parts]
    if found[0] is None or found[1] is None or found[0][1].largest == found[1][1].largest:
        return None
    (first, one), (second, other) = found[0], found[1]
    if one.axis != other.axis or one.in_shape != other.in_shape or one.in_shape[one.axis] != 2:
        return None
    kept = (*one.in_shape[:axis], 1, *one.in_shape[axis + 1 :])
    if first == second and one.axis == axis and parts[0].shape == kept:
        return SortedPair((first,), one.in_shape, one.largest)
    pairs = [_compared(builder, first), _compared(builder, second)]
    if pairs[0] is None or pairs[0] != pairs[1] or one.axis != 0 or parts[0].shape != one.in_shape[1:]:
        return None
    sources = [builder.nodes[name].shape for name in pairs[0] if name in builder.nodes]
    if any(shape != parts[0].shape for shape in sources):
        return None
    return SortedPair(pairs[0], parts[0].shape, one.largest)


def _extremum(builder: Builder, value: Value) -> tuple[str, Extremum] | None:
    """Input and function of the extremum that a value is, reshaping apart."""
    node = builder.nodes.get(_unshaped(builder, value.name))
    if node is None or not isinstance(node.kind, Vector) or not isinstance(node.kind.function, Extremum):
        return None
    return node.inputs[0], node.kind.function


def _compared(builder: Builder, name: str) -> tuple[str, ...] | None:
    """The two nodes that a node stacks along a new first axis."""
    node = builder.nodes.get(name)
    if node is None or node.kind != Concat(0) or len(node.inputs) != 2:
        return None
    inputs = [builder.nodes.get(part) for part in node.inputs]
    raised = [part for part in inputs if part is not None and isinstance(part.kind, Affine)]
    if len(raised) != 2 or not all(
        isinstance(part.kind.map, Reshape) for part in raised if isinstance(part.kind, Affine)
    ):
        return None
    return tuple(part.inputs[0] for part in raised)


def _unshaped(builder: Builder, name: str) -> str:
    """The node behind reshapings."""
    node = builder.nodes.get(name)
    while node is not None and isinstance(node.kind, Affine) and isinstance(node.kind.map, Reshape):
        if node.kind.bias is not None:
            break
        name = node.inputs[0]
        node = builder.nodes.get(name)
    return name


def l2_pool_pattern(builder: Builder, value: Value) -> Match:
    """(k sign(m) relu(|m|))^(1/2) for the mean m of k squares: the lengths of windows (LPPool with p = 2)."""
    scaled = builder.nodes.get(value.name)
    product = builder.nodes.get(scaled.inputs[0]) if scaled is not None else None
    if scaled is None or product is None or not isinstance(product.kind, Bilinear):
        return None
    signed, clipped = (_elementwise(builder, name) for name in product.inputs)
    if signed is None or clipped is None or signed[0] != "sign" or clipped[0] != "relu":
        return None
    mean = signed[1]
    if _elementwise(builder, clipped[1]) != ("abs", mean) or mean not in builder.windows:
        return None
    kernel, stride = builder.windows[mean]
    squared = _elementwise(builder, builder.nodes[mean].inputs[0])
    if (
        squared is None
        or squared[0] != "square"
        or not _scaled_by(builder, value.name, product.name, float(math.prod(kernel)))
    ):
        return None
    inner = squared[1]
    shape = builder.nodes[builder.nodes[mean].inputs[0]].shape
    return Vector(L2Pool(shape, kernel, stride)), Value(inner, shape, value.layout, value.dtype)
