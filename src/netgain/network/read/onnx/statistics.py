"""Recognizing normalizations, softmax and l2 norms that a file spells out in means, squares, roots and quotients.

(x - mean) / sqrt(variance + eps) has a global Lipschitz constant, the quotient of two computed tensors has none. A
statistic reaches the place where it is used through reshapes and repetitions; a match asks that each entry meets the
statistic of its own row, position by position, and that all constants are exactly those of the function.
"""

import dataclasses
import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch

from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.network.graph import Affine, Concat
from netgain.network.read.onnx.lower import Signal, along, sample
from netgain.network.read.onnx.patterns import MOST_STEPS, Term, applied
from netgain.vectors import L2Pool, Normalize, Softmax

if TYPE_CHECKING:
    from netgain.network.read.onnx.lower import Lowering, Operation

Shape = tuple[int, ...]


@dataclasses.dataclass
class Trail:
    """A walk from a node towards its origin through moves and factors.

    Attributes:
        node: where the walk stands.
        index: for each entry of the start the flat position in `node` it copies; None for the same position.
        factor: exact factor of the start relative to `node`.
        scale: further factor for each entry of the start, at most one; None for 1.
    """

    node: str
    index: np.ndarray | None = None
    factor: Fraction = Fraction(1)
    scale: np.ndarray | None = None


def origin(lowering: "Lowering", trail: Trail) -> Trail:
    """The walk continued through reshapes, repetitions and factors until it meets another operation."""
    for _ in range(MOST_STEPS):
        term = lowering.patterns.get(trail.node)
        if term is not None and term.kind != "scale":
            break
        kind = lowering.builder.kind(trail.node)
        if not isinstance(kind, Affine) or kind.bias is not None:
            break
        parent = lowering.builder.reads(trail.node)[0]
        if term is not None:
            trail = dataclasses.replace(trail, node=parent, factor=trail.factor * term.numbers[0])
        elif isinstance(kind.map, Reshape):
            trail = dataclasses.replace(trail, node=parent)
        elif isinstance(kind.map, Selection) and int(kind.map.index.min()) >= 0:
            moved = kind.map.index.numpy()
            trail = dataclasses.replace(trail, node=parent, index=moved if trail.index is None else moved[trail.index])
        elif isinstance(kind.map, Diagonal) and kind.map.error is None and trail.scale is None:
            full = kind.map.scale.expand(kind.map.shape).reshape(-1).numpy()
            trail = dataclasses.replace(trail, node=parent, scale=full if trail.index is None else full[trail.index])
        else:
            break
    return trail


def onward(trail: Trail, term: Term) -> Trail:
    """The walk's next step, to the operand of an entrywise operation (a scale must stay outside of it)."""
    return dataclasses.replace(trail, node=term.parents[0])


@dataclasses.dataclass(frozen=True)
class Statistic:
    """factor times the mean of x^power over axes (counted from the end), as it is seen at the start of the walk."""

    root: str
    power: int
    axes: Shape
    factor: Fraction
    index: np.ndarray | None


def statistic(lowering: "Lowering", trail: Trail) -> Statistic | None:
    """The statistic that the walk leads to, or None."""
    trail = origin(lowering, trail)
    term = lowering.patterns.get(trail.node)
    if term is None or term.kind != "mean" or trail.scale is not None:
        return None
    axes = tuple(int(axis) for axis in term.numbers[1:])
    factor, root, power = trail.factor * term.numbers[0], term.parents[0], 1
    inner = lowering.patterns.get(root)
    if inner is not None and inner.kind == "power" and inner.numbers[0] == 2:
        root, power = inner.parents[0], 2
    return Statistic(root, power, axes, factor, trail.index)


def from_end(axes: Shape, shape: Shape) -> tuple[Fraction, ...]:
    """Axes for a term: counted from the end, those of size 1 left out.

    A node is known under several ONNX shapes, with and without leading axes of size 1; only this count is common.
    """
    return tuple(Fraction(axis - len(shape)) for axis in sorted(axes) if shape[axis] > 1)


def from_front(axes: Shape, shape: Shape) -> Shape:
    """Axes counted from the front again."""
    return tuple(axis + len(shape) for axis in axes)


def aligned(index: np.ndarray | None, given: Shape, axes: Shape, shape: Shape) -> bool:
    """Whether a statistic over `axes`, seen under the shape `given`, meets its own row in a tensor of shape `shape`.

    Axes are counted from the end.
    """
    if any(axis < -len(shape) for axis in axes):
        return False
    kept = tuple(1 if k - len(shape) in axes else size for k, size in enumerate(shape))
    size = math.prod(given)
    seen = (np.arange(size) if index is None else index).reshape(given)
    try:
        return bool(
            np.array_equal(
                np.broadcast_to(seen, shape), np.broadcast_to(np.arange(math.prod(kept)).reshape(kept), shape)
            )
        )
    except ValueError:
        return False


def note_centered(lowering: "Lowering", result: Signal, a: Signal, b: Signal) -> None:
    """Note that result = a - b where b is a's mean over some axes."""
    found = statistic(lowering, Trail(b.node))
    if found is None or (found.root, found.power, found.factor) != (a.node, 1, 1) or result.shape != a.shape:
        return
    if aligned(found.index, b.shape, found.axes, a.shape):
        lowering.patterns[result.node] = Term("centered", (a.node,), tuple(map(Fraction, found.axes)))


@dataclasses.dataclass(frozen=True)
class Spread:
    """The mean square of `node` (or, with `centered`, the variance of `node`) over axes."""

    node: str
    axes: Shape
    index: np.ndarray | None
    centered: bool


def spread(lowering: "Lowering", trail: Trail) -> Spread | None:
    """The mean square or variance that the walk leads to; cutting it at 0 changes nothing."""
    for _ in range(3):
        trail = origin(lowering, trail)
        cut = applied(lowering.patterns, trail.node, "relu")
        if cut is None or trail.factor < 0:
            break
        trail = onward(trail, cut)
    found = statistic(lowering, trail)
    if found is not None:
        return Spread(found.root, found.axes, found.index, False) if (found.power, found.factor) == (2, 1) else None
    term = lowering.patterns.get(trail.node)
    if term is None or term.kind != "sum" or term.numbers != (1, -1) or trail.factor != 1 or trail.scale is not None:
        return None
    # E[x^2] - E[x]^2
    square = statistic(lowering, Trail(term.parents[0]))
    power = lowering.patterns.get(term.parents[1])
    mean = (
        None
        if power is None or power.kind != "power" or power.numbers[0] != 2
        else statistic(lowering, Trail(power.parents[0]))
    )
    if square is None or mean is None or (square.power, mean.power, square.factor, mean.factor) != (2, 1, 1, 1):
        return None
    same = (square.root, square.axes) == (mean.root, mean.axes) and square.index is None and mean.index is None
    return Spread(square.root, square.axes, trail.index, True) if same else None


def deviation(lowering: "Lowering", trail: Trail, inverse: bool) -> tuple[Spread, float, Trail] | None:
    """sqrt(spread + eps) (or its inverse) that the walk leads to: the spread, eps, and the factors outside the root."""
    outer = origin(lowering, trail)
    term = lowering.patterns.get(outer.node)
    step = outer
    if inverse:
        if applied(lowering.patterns, outer.node, "reciprocal") is not None and term is not None:
            step = origin(lowering, Trail(term.parents[0], outer.index))
            if step.factor != 1 or step.scale is not None:
                return None
            term = applied(lowering.patterns, step.node, "sqrt")
        else:
            term = applied(lowering.patterns, outer.node, "rsqrt")
    else:
        term = applied(lowering.patterns, outer.node, "sqrt")
    if term is None:
        return None
    inner = origin(lowering, Trail(term.parents[0], step.index))
    shift = lowering.patterns.get(inner.node)
    if shift is None or shift.kind != "shift" or inner.factor != 1 or inner.scale is not None or shift.numbers[0] <= 0:
        return None
    found = spread(lowering, Trail(shift.parents[0], inner.index))
    return None if found is None else (found, float(shift.numbers[0]), outer)


def match_normalization(lowering: "Lowering", op: "Operation", a: Signal, b: Signal, inverse: bool) -> Signal | None:
    """a / b or a b as layer or RMS normalization of a's origin, or None."""
    from netgain.network.read.onnx.ops import arithmetic, normalization

    found = deviation(lowering, Trail(b.node), inverse)
    if found is None:
        return None
    what, eps, outer = found
    if not inverse and (outer.scale is not None or outer.factor <= 0):
        return None
    if not aligned(what.index, b.shape, what.axes, a.shape) and not _fits(what, a, b):
        return None
    middle = lowering.patterns.get(a.node)
    axes = None if middle is None or middle.kind != "centered" else tuple(int(axis) for axis in middle.numbers)
    if axes == what.axes and middle is not None and what.node == (middle.parents[0] if what.centered else a.node):
        x, uncentered = dataclasses.replace(a, node=middle.parents[0]), False
    elif not what.centered and what.node == a.node:
        x, uncentered = a, True
    else:
        return None
    shape = tuple(np.broadcast_shapes(a.shape, b.shape))
    if shape != a.shape:
        return None
    result = normalization.over(lowering, op, x, from_front(what.axes, a.shape), eps, uncentered)
    if outer.scale is not None:
        factors = torch.from_numpy(np.array(outer.scale)).reshape(b.shape)
        result = normalization.rescaled(lowering, op, result, factors, None)
    return arithmetic.scale(lowering, op, result, outer.factor if inverse else 1 / outer.factor)


def _fits(what: Spread, a: Signal, b: Signal) -> bool:
    """Whether a statistic already repeated to the full shape meets its own row."""
    return b.shape == a.shape and aligned(what.index, a.shape, what.axes, a.shape)


def match_softmax(lowering: "Lowering", op: "Operation", a: Signal, b: Signal) -> Signal | None:
    """exp(x - c) / sum of exp(x - c) as the softmax of x, c constant along the axis."""
    power = applied(lowering.patterns, a.node, "exp")
    found = statistic(lowering, Trail(b.node))
    if power is None or found is None or (found.root, found.power) != (a.node, 1) or len(found.axes) != 1:
        return None
    (axis,) = from_front(found.axes, a.shape)
    if found.factor != a.shape[axis] or not aligned(found.index, b.shape, found.axes, a.shape):
        return None
    x = dataclasses.replace(a, node=power.parents[0])
    term = lowering.patterns.get(x.node)
    if term is not None and term.kind == "sum" and term.numbers == (1, -1):
        walk = origin(lowering, Trail(term.parents[1]))
        if walk.index is not None and walk.scale is None:
            places = walk.index.reshape(a.shape)
            if bool((places == places.take([0], axis=axis)).all()):
                x = dataclasses.replace(x, node=term.parents[0])
    shape, (place,) = along(x, (axis,))
    return lowering.vector(op, x, Softmax(shape, place), a.shape)


def match_unit(lowering: "Lowering", op: "Operation", a: Signal, b: Signal) -> Signal | None:
    """a / max(|a|_2, eps) along one axis, or None."""
    limit = origin(lowering, Trail(b.node))
    cut = applied(lowering.patterns, limit.node, "clamp")
    if cut is None or cut.limit != "min" or len(cut.numbers) != 1 or cut.numbers[0] <= 0:
        return None
    if limit.factor != 1 or limit.scale is not None:
        return None
    walk = origin(lowering, Trail(cut.parents[0], limit.index))
    norm = lowering.patterns.get(walk.node)
    if norm is None or norm.kind != "l2" or norm.parents != (a.node,) or walk.factor != 1 or walk.scale is not None:
        return None
    axes = tuple(int(axis) for axis in norm.numbers)
    if len(axes) != 1 or not aligned(walk.index, b.shape, axes, a.shape):
        return None
    shape, (place,) = along(a, from_front(axes, a.shape))
    return lowering.vector(op, a, Normalize(shape, place, float(cut.numbers[0])), a.shape)


def l2_norm(lowering: "Lowering", op: "Operation", x: Signal, axes: Shape, eps: float, shape: Shape) -> Signal:
    """sqrt(eps + sum of squares over axes), read under `shape`."""
    rest = [k for k in range(len(x.shape)) if k not in axes]
    turned = lowering.transpose(op, x, (*rest, *axes))
    count = math.prod(x.shape[k] for k in axes)
    function = L2Pool((math.prod(x.shape[k] for k in rest), count), (count,), (count,), eps)
    result = lowering.vector(op, turned, function, shape)
    lowering.patterns[result.node] = Term("l2" if eps == 0 else "l2_shifted", (x.node,), from_end(axes, x.shape))
    return result


def match_root(lowering: "Lowering", op: "Operation", x: Signal, shapes: dict[str, Shape]) -> Signal | None:
    """sqrt of a sum of squares (plus eps) as an l2 norm, or None.

    Args:
        lowering: the network under construction.
        op: the operation.
        x: what stands under the root.
        shapes: ONNX shapes of nodes that were squared.
    """
    patterns, eps, node = lowering.patterns, Fraction(0), x.node
    term = patterns.get(node)
    if term is not None and term.kind == "shift" and term.numbers[0] > 0:
        eps, node = term.numbers[0], term.parents[0]
        term = patterns.get(node)
    if term is not None and term.kind == "sum" and term.numbers == (1, 1):
        return _pair(lowering, op, x, term, float(eps))
    found = statistic(lowering, Trail(node))
    if found is None or found.power != 2 or found.root not in shapes or found.index is not None:
        return None
    inner = Signal(found.root, shapes[found.root], x.element)
    axes = from_front(found.axes, inner.shape)
    if found.factor != math.prod(inner.shape[axis] for axis in axes):
        return None
    return l2_norm(lowering, op, inner, axes, float(eps), x.shape)


def _pair(lowering: "Lowering", op: "Operation", x: Signal, term: Term, eps: float) -> Signal | None:
    """sqrt(a^2 + b^2 + eps) entry by entry: the l2 norm of pairs."""
    roots: list[str] = []
    for parent in term.parents:
        square = lowering.patterns.get(parent)
        if square is None or square.kind != "power" or square.numbers[0] != 2:
            return None
        roots.append(square.parents[0])
    shape = sample(x.shape)
    lowering.guard((*shape, 2), op)
    nodes = tuple(lowering.builder.reshape(root, (*shape, 1), op.source) for root in roots)
    joined = lowering.builder.add(Concat(len(shape)), nodes, op.source)
    pairs = Signal(joined, (math.prod(shape), 2), x.element)
    flat = lowering.builder.reshape(joined, (math.prod(shape), 2), op.source)
    function = L2Pool((math.prod(shape), 2), (2,), (2,), eps)
    return lowering.vector(op, dataclasses.replace(pairs, node=flat), function, x.shape)
