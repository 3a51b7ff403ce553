"""Evaluating operations whose inputs are all known, in the model's own type, after their size was checked."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from netgain.core.errors import ModelError, StatefulModelError, TooLargeError
from netgain.network.read.onnx.load import Allowance
from netgain.network.read.onnx.lower import Constant, Operation, axis_of, broadcast_shape

Shape = tuple[int, ...]
MOST_PRODUCTS = 2**34  # multiplications in one folded matrix product

_SAME = [
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "CumSum",
    "DequantizeLinear",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "EyeLike",
    "Flatten",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "Neg",
    "Not",
    "QuantizeLinear",
    "Reciprocal",
    "Relu",
    "Reshape",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Size",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "Split",
    "Sqrt",
    "Squeeze",
    "Tan",
    "Tanh",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "ArgMax",
    "ArgMin",
    "TopK",
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
    "LayerNormalization",
    "LpNormalization",
    "Unique",
    "Compress",
]
_BROADCAST = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Mod",
    "Max",
    "Min",
    "Sum",
    "Mean",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "And",
    "Or",
    "Xor",
    "Where",
    "PRelu",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "BitShift",
]
RANDOM = ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"]


def _ints(op: Operation, index: int) -> list[int]:
    """A constant integer input as Python numbers."""
    array = op.array(index)
    return [] if array is None else [int(entry) for entry in array.reshape(-1)]


def _shape(op: Operation, index: int = 0) -> Shape:
    """Shape of an input."""
    return op.need(index).shape


def _same(op: Operation) -> Shape:
    """No larger than the first input (for the operations filed under it)."""
    return _shape(op) if op.inputs else ()


def _all(op: Operation) -> Shape:
    """All inputs broadcast."""
    return broadcast_shape(op, *(value.shape for value in op.inputs if value is not None))


def _range(op: Operation) -> Shape:
    """Number of steps of a range."""
    start, limit, delta = (float(op.need(k).array.reshape(-1)[0]) for k in range(3))  # type: ignore[union-attr]
    if delta == 0 or not all(map(math.isfinite, (start, limit, delta))):
        raise ModelError(f"{op.source} has the step {delta} from {start} to {limit}")
    return (max(0, math.ceil((limit - start) / delta)),)


def _expand(op: Operation) -> Shape:
    """The expanded shape."""
    return broadcast_shape(op, _shape(op), tuple(_ints(op, 1)))


def _tile(op: Operation) -> Shape:
    """The tiled shape."""
    return tuple(size * count for size, count in zip(_shape(op), _ints(op, 1), strict=False))


def _concat(op: Operation) -> Shape:
    """All inputs' entries, end to end."""
    return (sum(math.prod(value.shape) for value in op.inputs if value is not None),)


def _gather(op: Operation) -> Shape:
    """Rows of the first input at the positions of the second."""
    shape = _shape(op)
    axis = axis_of(int(op.attributes.get("axis", 0)), len(shape), op)
    return (*shape[:axis], *_shape(op, 1), *shape[axis + 1 :])


def _gather_nd(op: Operation) -> Shape:
    """At most one slice a position."""
    return (math.prod(_shape(op, 1)), math.prod(_shape(op)) or 1) if op.type == "GatherND" else _shape(op, 1)


def _pad(op: Operation) -> Shape:
    """The padded shape, at most."""
    widths = op.ints(1, "pads") or []
    grown = sum(abs(width) for width in widths)
    return tuple(size + grown for size in _shape(op)) if len(_shape(op)) < 2 else _padded(op, widths)


def _padded(op: Operation, widths: list[int]) -> Shape:
    """The padded shape when every axis has its widths; otherwise the cautious sum."""
    shape = _shape(op)
    if len(widths) == 2 * len(shape):
        pairs = zip(shape, widths[: len(shape)], widths[len(shape) :], strict=True)
        return tuple(size + max(0, before) + max(0, after) for size, before, after in pairs)
    return tuple(size + sum(abs(width) for width in widths) for size in shape)


def _product(op: Operation) -> Shape:
    """The shape of a matrix product; refused when it takes too many multiplications."""
    a, b = _shape(op), _shape(op, 1)
    if min(len(a), len(b)) < 1:
        raise ModelError(f"{op.source} multiplies scalars as matrices")
    if op.type == "Gemm":
        a = a[::-1] if op.attributes.get("transA", 0) else a
        b = b[::-1] if op.attributes.get("transB", 0) else b
    a, b = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    shape = (*broadcast_shape(op, a[:-2], b[:-2]), a[-2], b[-1])
    if math.prod(shape) * a[-1] > MOST_PRODUCTS:
        raise TooLargeError(f"{op.source} multiplies two constants of shapes {_shape(op)} and {_shape(op, 1)}")
    return shape


def _one_hot(op: Operation) -> Shape:
    """One row a position."""
    return (*_shape(op), max(_ints(op, 1), default=0))


_SIZES: dict[str, Callable[[Operation], Shape]] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_BROADCAST, _all),
    "ConstantOfShape": lambda op: tuple(_ints(op, 0)),
    "Range": _range,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Gather": _gather,
    "GatherElements": _gather_nd,
    "GatherND": _gather_nd,
    "Pad": _pad,
    "MatMul": _product,
    "Gemm": _product,
    "OneHot": _one_hot,
    "NonZero": lambda op: (len(_shape(op)) or 1, math.prod(_shape(op))),
}


def fold(op: Operation, allowance: Allowance) -> tuple[Constant | None, ...]:
    """The outputs of an operation on constants.

    Args:
        op: the operation; all its inputs are constants.
        allowance: bytes that may still be allocated.

    Returns:
        One constant an output.

    Raises:
        ModelError: if the operation is not one that is evaluated while reading.
        StatefulModelError: if it draws random numbers.
    """
    if op.type in RANDOM:
        raise StatefulModelError(f"{op.source} draws random numbers")
    if op.type not in _SIZES or op.proto.domain not in ("", "ai.onnx"):
        raise ModelError(f"{op.source} computes a constant in a way that netgain does not evaluate while reading")
    allowance.spend(_SIZES[op.type](op), 8, f"the value of {op.source}")
    if op.type == "ConstantOfShape":
        value = np.asarray(op.attributes.get("value", np.zeros(1, np.float32))).reshape(-1)
        results: Sequence[Any] = (np.full(tuple(_ints(op, 0)), value[0], dtype=value.dtype),)
    else:
        results = run_node(op.proto, [value.array for value in known(op)], op)
    outputs = [Constant(np.asarray(array), f"{op.source} output {k}") for k, array in enumerate(results)]
    if len(outputs) == 1:
        first = op.need(0).name if op.type in ("Identity", "Transpose", "Reshape", "Unsqueeze", "Squeeze") else ""  # type: ignore[union-attr]
        outputs = [Constant(outputs[0].array, first or f"the value of {op.source}")]
    return tuple(outputs)


def known(op: Operation) -> list[Constant]:
    """The inputs that are given, all constants."""
    return [value for value in op.inputs if isinstance(value, Constant)]


def run_node(proto: Any, arrays: Sequence[np.ndarray], op: Operation) -> list[np.ndarray]:
    """Run one node by the reference implementation of the onnx package.

    Args:
        proto: the node.
        arrays: its given inputs, in order.
        op: the operation, for messages and the operator set.

    Raises:
        ModelError: if the reference implementation refuses it.
        TooLargeError: if it runs out of memory.
    """
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    names = [name for name in proto.input if name]
    empty = helper.make_tensor_value_info
    outputs = [name for name in proto.output if name]
    graph = helper.make_graph(
        [proto],
        "node",
        [empty(name, 0, None) for name in dict.fromkeys(names)],
        [empty(name, 0, None) for name in outputs],
    )
    # The reference implementation has no earlier version of these two; the later one reads the same nodes.
    version = max(op.opset, 19) if op.type in ("QuantizeLinear", "DequantizeLinear") else op.opset
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=10)
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True)))
    except MemoryError as error:
        raise TooLargeError(f"evaluating {op.source} ran out of memory") from error
    except Exception as error:  # the reference implementation raises whatever its numpy code meets
        raise ModelError(f"{op.source} cannot be evaluated: {' '.join(str(error).split())[:200]}") from error
    return [np.asarray(array) for array in results]
