"""Sums, differences, products and quotients, with constants or of two computed tensors."""

import math
from fractions import Fraction

import numpy as np
import torch

from netgain.activations import activation
from netgain.core.errors import ModelError
from netgain.linear.diagonal import Diagonal
from netgain.network.graph import Bilinear, Concat, Form
from netgain.network.read.onnx.build import product_error
from netgain.network.read.onnx.lower import (
    Constant,
    DynamicOperandError,
    Lowering,
    Operation,
    Result,
    Signal,
    Value,
    against,
    broadcast_shape,
    lowers,
    real,
)
from netgain.network.read.onnx.ops.linear import total
from netgain.network.read.onnx.patterns import Term, match_product
from netgain.network.read.onnx.statistics import match_normalization, match_softmax, match_unit, note_centered
from netgain.vectors import Extremum

Shape = tuple[int, ...]


def scalar(constant: Constant) -> Fraction | None:
    """The constant's exact value where all its entries are the same finite number."""
    flat = np.asarray(constant.array).reshape(-1)
    if not flat.size or flat.dtype.kind == "c":
        return None
    value = float(flat[0])
    same = bool((flat == flat[0]).all()) and np.isfinite(value)
    return Fraction(value) if same else None


def apply(lowering: Lowering, op: Operation, x: Signal, name: str, **parameters: float | torch.Tensor) -> Signal:
    """An activation from the table, noted for the patterns."""
    result = lowering.elementwise(op, x, activation(name, **parameters))
    scalars = [value for value in parameters.values() if not isinstance(value, torch.Tensor)]
    if len(scalars) == len(parameters) and all(map(math.isfinite, scalars)):
        lowering.patterns[result.node] = Term(
            "apply", (x.node,), tuple(map(Fraction, scalars)), name, ",".join(parameters)
        )
    return result


def is_mask(array: np.ndarray) -> bool:
    """Whether an array holds minus infinity and otherwise zeros."""
    values = np.asarray(array, dtype=np.float64)
    closed = values == -np.inf
    return bool(closed.any() and (closed | (values == 0)).all())


@lowers("Add")
def add(lowering: Lowering, op: Operation) -> Result:
    """The sum of two tensors."""
    return plus(lowering, op, op.need(0), op.need(1), 1.0)


@lowers("Sub")
def subtract(lowering: Lowering, op: Operation) -> Result:
    """The difference of two tensors."""
    return plus(lowering, op, op.need(0), op.need(1), -1.0)


def plus(lowering: Lowering, op: Operation, a: Value, b: Value, sign: float) -> Signal:
    """a + sign b with broadcasting."""
    shape = broadcast_shape(op, a.shape, b.shape)
    if isinstance(a, Signal) and isinstance(b, Signal):
        wide = [lowering.broadcast(op, one, shape) for one in (a, b)]
        summed = total(lowering, op, wide, (1.0, sign), shape)
        lowering.patterns[summed.node] = Term("sum", (wide[0].node, wide[1].node), (Fraction(1), Fraction(sign)))
        if sign < 0:
            note_centered(lowering, summed, a, b)
        return summed
    signal, constant = (a, b) if isinstance(a, Signal) else (b, a)
    if not isinstance(signal, Signal) or not isinstance(constant, Constant):
        raise ModelError(f"{op.source} adds two constants that were not folded")
    if is_mask(constant.array):
        raise DynamicOperandError("it adds minus infinity (a mask)")
    value, factor = real(constant, op), 1.0
    if signal is a:
        value = sign * value
    else:
        factor = sign
    wide = lowering.broadcast(op, signal, shape)
    wide = wide if factor == 1.0 else scale(lowering, op, wide, Fraction(factor))
    same = scalar(constant)
    if same == 0:
        return wide
    result = lowering.shifted(op, wide, value)
    if same is not None and wide.shape == signal.shape:
        lowering.patterns[result.node] = Term("shift", (wide.node,), (same if signal is not a else same * int(sign),))
    return result


def scale(lowering: Lowering, op: Operation, x: Signal, factor: Fraction) -> Signal:
    """factor x; what float64 cannot hold of the factor is carried as the map's error."""
    if factor == 1:
        return x
    try:
        stored = float(factor)
    except OverflowError as problem:
        raise ModelError(f"{op.source} scales by a factor beyond float64") from problem
    value = torch.tensor(stored, dtype=torch.float64)
    linear_map = Diagonal(value, x_shape(lowering, x), product_error(value, Fraction(stored) == factor))
    result = lowering.affine(op, x, linear_map, x.shape)
    lowering.patterns[result.node] = Term("scale", (x.node,), (factor,))
    return result


def x_shape(lowering: Lowering, x: Signal) -> Shape:
    """The signal's sample shape."""
    return lowering.builder.shapes[x.node]


@lowers("Neg")
def negate(lowering: Lowering, op: Operation) -> Result:
    """The tensor times -1."""
    return scale(lowering, op, op.signal(0), Fraction(-1))


@lowers("Mul")
def multiply_op(lowering: Lowering, op: Operation) -> Result:
    """The entrywise product."""
    return multiply(lowering, op, op.need(0), op.need(1))


def multiply(lowering: Lowering, op: Operation, a: Value, b: Value) -> Signal:
    """The entrywise product with broadcasting."""
    shape = broadcast_shape(op, a.shape, b.shape)
    if isinstance(a, Signal) and isinstance(b, Signal):
        found = (
            match_product(lowering, op, a, b)
            or match_normalization(lowering, op, a, b, inverse=True)
            or match_normalization(lowering, op, b, a, inverse=True)
        )
        return found if found is not None else product(lowering, op, a, b, shape)
    signal, constant = (a, b) if isinstance(a, Signal) else (b, a)
    if not isinstance(signal, Signal) or not isinstance(constant, Constant):
        raise ModelError(f"{op.source} multiplies two constants that were not folded")
    wide = lowering.broadcast(op, signal, shape)
    value = real(constant, op)
    same = scalar(constant)
    if same is not None:
        return scale(lowering, op, wide, same)
    return lowering.affine(op, wide, Diagonal(against(value, shape), x_shape(lowering, wide)), shape)


def product(lowering: Lowering, op: Operation, a: Signal, b: Signal, shape: Shape) -> Signal:
    """The product of two computed tensors: no global bound, but a node."""
    lowering.guard(shape, op)
    if a.node == b.node:
        return lowering.squared(op, a)
    rank = len(shape)
    first, second = ((1,) * (rank - len(one.shape)) + one.shape for one in (a, b))
    if rank and first[0] == second[0] == 1:
        first, second = first[1:], second[1:]
    nodes = (lowering.view(a, first, op), lowering.view(b, second, op))
    result = lowering.signal(lowering.builder.add(Bilinear(Form.PRODUCT), nodes, op.source), shape, op)
    if a.shape == b.shape:
        lowering.patterns[result.node] = Term("product", (a.node, b.node), ())
    return result


@lowers("Div")
def divide(lowering: Lowering, op: Operation) -> Result:
    """The entrywise quotient."""
    a, b = op.need(0), op.need(1)
    shape = broadcast_shape(op, a.shape, b.shape)
    if isinstance(b, Constant):
        if not isinstance(a, Signal):
            raise ModelError(f"{op.source} divides two constants that were not folded")
        value = real(b, op)
        if bool((value == 0).any()):
            raise ModelError(f"{op.source} divides by zero ({b.name!r} has an entry that is 0)")
        wide, same = lowering.broadcast(op, a, shape), scalar(b)
        if same is not None:
            return scale(lowering, op, wide, 1 / same)
        inverse = against(1.0 / value, shape)
        error = product_error(inverse, False)
        return lowering.affine(op, wide, Diagonal(inverse, x_shape(lowering, wide), error), shape)
    if isinstance(a, Signal):
        found = (
            match_normalization(lowering, op, a, b, inverse=False)
            or match_softmax(lowering, op, a, b)
            or match_unit(lowering, op, a, b)
        )
        if found is not None:
            return found
    inverse = lowering.elementwise(op, b, activation("reciprocal"))
    lowering.patterns[inverse.node] = Term("apply", (b.node,), (), "reciprocal")
    return multiply(lowering, op, a, inverse)


@lowers("Sum")
def sum_op(lowering: Lowering, op: Operation) -> Result:
    """The sum of several tensors."""
    values = [value for value in op.inputs if value is not None]
    result: Value = values[0]
    for value in sorted(values[1:], key=lambda one: isinstance(one, Constant)):
        result = plus(lowering, op, result, value, 1.0)
    return result


@lowers("Mean")
def mean(lowering: Lowering, op: Operation) -> Result:
    """The mean of several tensors."""
    result = sum_op(lowering, op)
    if not isinstance(result, Signal):
        raise ModelError(f"{op.source} has no computed input")
    return scale(lowering, op, result, Fraction(1, len(op.inputs)))


def _limited(lowering: Lowering, op: Operation, x: Signal, limit: Constant, below: bool) -> Signal:
    """The signal kept above (or below) a constant; an infinite scalar is no limit."""
    flat = np.asarray(limit.array, dtype=np.float64).reshape(-1)
    if bool((flat == (-np.inf if below else np.inf)).all()):
        return x
    same, name = scalar(limit), "min" if below else "max"
    if same is None:
        value = against(real(limit, op), x.shape)
        return lowering.elementwise(op, x, activation("clamp", **{name: value}))
    return (
        apply(lowering, op, x, "relu")
        if below and same == 0
        else apply(lowering, op, x, "clamp", **{name: float(same)})
    )


@lowers("Max", "Min")
def extremum(lowering: Lowering, op: Operation) -> Result:
    """The largest or smallest of several tensors, entry by entry."""
    largest = op.type == "Max"
    values = [value for value in op.inputs if value is not None]
    shape = broadcast_shape(op, *(value.shape for value in values))
    signals = [lowering.broadcast(op, value, shape) for value in values if isinstance(value, Signal)]
    result = signals[0]
    if len(signals) > 1:
        inner = x_shape(lowering, result)
        lowering.guard((len(signals), *inner), op)
        nodes = tuple(lowering.builder.reshape(one.node, (1, *inner), op.source) for one in signals)
        joined = lowering.builder.add(Concat(0), nodes, op.source)
        stacked = Signal(joined, (len(signals), *inner))
        function = Extremum((len(signals), *inner), 0, False, largest)
        result = lowering.vector(op, stacked, function, shape)
    for value in values:
        if isinstance(value, Constant):
            result = _limited(lowering, op, result, value, largest)
    return result
