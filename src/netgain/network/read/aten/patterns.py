"""Activations and normalizations that models spell out in several operations."""

from netgain.activations.table import activation
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.network.graph import Affine, Elementwise, Kind, Vector
from netgain.network.read.lowering import Builder, Value
from netgain.vectors.normalize import Normalize

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
        if name == "tanh" and _elementwise(builder, inner) == ("softplus", value.name):
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
