"""Operations that are run and shown but have no bound: recurrent cells, steps, integers, unknown operators."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netgain.core.errors import DataDependentBranchError, ModelError
from netgain.network.graph import Opaque
from netgain.network.read.onnx.fold import run_node
from netgain.network.read.onnx.load import FLOATS
from netgain.network.read.onnx.lower import (
    Constant,
    DynamicOperandError,
    Lowering,
    Operation,
    Result,
    Signal,
    lowers,
    sample,
)

Shape = tuple[int, ...]

STEPS = [
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Equal",
    "Not",
    "And",
    "Or",
    "Xor",
    "Where",
    "ArgMax",
    "ArgMin",
    "TopK",
    "NonZero",
    "OneHot",
    "Hardmax",
    "IsInf",
    "IsNaN",
    "Unique",
    "Sign",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseNot",
    "BitwiseXor",
    "BitShift",
    "Mod",
]
QUANTIZED = [
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
]
# Their output's size depends on input values, so it cannot be known, or could be anything.
VALUE_SHAPED = [
    "Reshape",
    "Expand",
    "Tile",
    "Range",
    "ConstantOfShape",
    "Pad",
    "Resize",
    "Upsample",
    "NonZero",
    "Unique",
    "Compress",
    "Slice",
    "Loop",
    "Scan",
    "SequenceMap",
    "NonMaxSuppression",
    "StringSplit",
    "Col2Im",
]


_LRN = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}


def reason(op: Operation, why: str) -> tuple[str, str]:
    """The code and the sentence for an operation without a rule."""
    if op.type in ("Gather", "GatherElements", "GatherND"):
        return "NG013", f"{op.source} looks entries up at computed positions, which are integers"
    if op.type in QUANTIZED:
        return "NG011", f"{op.source} rounds to integers, which jumps"
    chosen = op.type == "Where" and isinstance(op.get(0), Constant)
    if (op.type in STEPS and not chosen) or op.type == "Cast":
        return "NG011", f"{op.source} jumps where its input crosses a threshold"
    detail = f": {why}" if why else ""
    return "NG010", f"no sound rule is known for {op.source}{detail}"


def opaque(lowering: Lowering, op: Operation, why: str = "") -> Result:
    """Any operation, run by the onnx package's reference implementation one sample at a time.

    Raises:
        ModelError: if the shape of its output cannot be known without running it.
    """
    shapes = output_shapes(lowering, op)
    signals = [value for value in op.inputs if isinstance(value, Signal)]
    if not signals:
        raise ModelError(f"{op.source} reads computed tensors only inside its body, which netgain does not read")
    runnable = op.proto.domain in ("", "ai.onnx") and op.type not in VALUE_SHAPED
    if not runnable:
        lowering.unrunnable.append(op.source)
    results: list[Signal | None] = []
    for index, found in enumerate(shapes):
        if found is None:
            results.append(None)
            continue
        shape, element = found
        lowering.guard(shape, op)
        run = _runner(op, index, shape) if runnable else _refusal(op)
        kind = Opaque(run, *reason(op, why))
        node = lowering.builder.add(kind, tuple(one.node for one in signals), op.source, sample(shape))
        results.append(Signal(node, shape, element))
    return tuple(results)


def _refusal(op: Operation) -> Callable[..., Tensor]:
    """A function that refuses to run."""

    def refuse(*_: Tensor) -> Tensor:
        raise ModelError(f"{op.source} cannot be evaluated by netgain")

    return refuse


def _runner(op: Operation, index: int, shape: Shape) -> Callable[..., Tensor]:
    """The operation on batches, row by row at a batch of one."""
    signals = [value for value in op.inputs if isinstance(value, Signal)]

    def run(*inputs: Tensor) -> Tensor:
        rows: list[Tensor] = []
        for row in zip(*inputs, strict=True):
            given = iter(as_array(value, signal) for value, signal in zip(row, signals, strict=True))
            arrays = [
                next(given) if isinstance(value, Signal) else wide(value.array)
                for value in op.inputs
                if value is not None
            ]
            result = np.asarray(run_node(op.proto, arrays, op)[index])
            rows.append(torch.from_numpy(np.array(result, dtype=np.float64)).reshape(sample(shape)))
        return torch.stack(rows).to(inputs[0].device, inputs[0].dtype)

    return run


def wide(array: np.ndarray) -> np.ndarray:
    """Real constants in float64, so that the whole operation is computed in it."""
    return array.astype(np.float64) if array.dtype.kind == "f" or "float" in array.dtype.name else array


def as_array(value: Tensor, signal: Signal) -> np.ndarray:
    """One sample as the array the operation expects; integers are rounded back to their type."""
    array = value.detach().to(torch.float64).numpy().reshape(signal.shape)
    if signal.floating or signal.element == 0:
        return array
    from onnx import helper

    return np.asarray(np.rint(array)).astype(helper.tensor_dtype_to_np_dtype(signal.element))


def output_shapes(lowering: Lowering, op: Operation) -> list[tuple[Shape, int] | None]:
    """Shape and element type of each output, by the onnx package's shape inference on this one node.

    Raises:
        DataDependentBranchError: if the shape depends on input values.
        ModelError: if it is not known.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph_inputs: list[Any] = []
    constants: list[Any] = []
    seen: set[str] = set()
    names = [name for name in op.proto.input if name]
    for name, value in zip(names, (value for value in op.inputs if value is not None), strict=True):
        if name in seen:
            continue
        seen.add(name)
        if isinstance(value, Signal):
            graph_inputs.append(helper.make_tensor_value_info(name, value.element or 1, value.shape))
        elif value.array.size <= 1024:
            constants.append(numpy_helper.from_array(np.ascontiguousarray(value.array), name))
        else:
            element = helper.np_dtype_to_tensor_dtype(value.array.dtype)
            graph_inputs.append(helper.make_tensor_value_info(name, element, value.array.shape))
    outputs = [helper.make_empty_tensor_value_info(name) for name in op.proto.output if name]
    graph = helper.make_graph([op.proto], "node", graph_inputs, outputs, constants)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in lowering.model.opsets.items()],
        ir_version=10,
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=True)
    except Exception as error:
        raise ModelError(
            f"the shape that {op.source} computes cannot be told: {' '.join(str(error).split())[:160]}"
        ) from error
    known = {value.name: value.type.tensor_type for value in inferred.graph.output}
    return [_known(lowering, op, name, known) if name else None for name in op.proto.output]


def _known(lowering: Lowering, op: Operation, name: str, known: dict[str, Any]) -> tuple[Shape, int]:
    """The inferred (or declared) shape of one output."""
    declared = known.get(name)
    dims = (
        [int(dim.dim_value) for dim in declared.shape.dim]
        if declared is not None and declared.HasField("shape")
        else None
    )
    element = int(declared.elem_type) if declared is not None else 0
    if dims is None or min(dims, default=1) < 1:
        port = next((port for port in lowering.model.outputs if port.name == name), None)
        if (
            port is not None
            and port.dims is not None
            and all(isinstance(size, int) or k == 0 for k, size in enumerate(port.dims))
        ):
            return tuple(size if isinstance(size, int) else 1 for size in port.dims), port.element
        if op.type in VALUE_SHAPED and op.proto.domain in ("", "ai.onnx"):
            raise DataDependentBranchError(f"the shape that {op.source} computes depends on the input's values")
        raise ModelError(f"the shape that {op.source} computes is not known: no rule, and the file does not say")
    return tuple(dims), element or 1


def stepwise(lowering: Lowering, op: Operation) -> Result:
    """A function that jumps."""
    return opaque(lowering, op)


@lowers("Cast", "CastLike")
def cast(lowering: Lowering, op: Operation) -> Result:
    """Between real types the identity; to integers a step; from integers the same numbers."""
    x = op.signal(0)
    target = int(op.attributes.get("to", 1))
    if op.type == "CastLike":
        other = op.need(1)
        from onnx import helper

        target = other.element if isinstance(other, Signal) else int(helper.np_dtype_to_tensor_dtype(other.array.dtype))
    if target in FLOATS or (not x.floating and target in (6, 7) and x.element in (2, 3, 4, 5, 6, 7, 9)):
        return Signal(x.node, x.shape, target)
    return opaque(lowering, op)


@lowers("Where")
def where(lowering: Lowering, op: Operation) -> Result:
    """With a constant condition a fixed choice of entries; with a computed one a jump."""
    from netgain.network.read.onnx.lower import broadcast_shape, real
    from netgain.network.read.onnx.ops.arithmetic import is_mask, plus
    from netgain.network.read.onnx.ops.linear import total

    condition, a, b = op.need(0), op.need(1), op.need(2)
    if not isinstance(condition, Constant):
        return opaque(lowering, op)
    shape = broadcast_shape(op, condition.shape, a.shape, b.shape)
    lowering.guard(shape, op)
    mask = np.broadcast_to(np.asarray(condition.array, dtype=bool), shape)
    parts: list[Signal] = []
    offset = np.zeros(shape)
    for value, keep in ((a, mask), (b, ~mask)):
        if isinstance(value, Signal):
            wide_value = lowering.broadcast(op, value, shape)
            parts.append(lowering.move(op, wide_value, lambda index, keep=keep: np.where(keep, index, -1)))
        else:
            chosen = np.broadcast_to(np.asarray(value.array, dtype=np.float64), shape)
            offset = offset + np.where(keep, chosen, 0.0)
    result = parts[0] if len(parts) == 1 else total(lowering, op, parts, [1.0] * len(parts), shape)
    if not offset.any():
        return result
    if is_mask(offset):
        raise DynamicOperandError("it fills in minus infinity (a mask)")
    constant = Constant(offset, f"the constant of {op.source}")
    real(constant, op)
    return plus(lowering, op, result, constant, 1.0)


@lowers("LRN")
def local_response_normalization(lowering: Lowering, op: Operation) -> Result:
    """x / (bias + alpha / size times the sum of squares of neighbouring channels)^beta."""
    x, size = op.signal(0), int(op.attributes.get("size", 1))
    alpha, beta, bias = (float(op.attributes.get(name, value)) for name, value in _LRN.items())
    if len(x.shape) < 2 or size < 1:
        raise ModelError(f"{op.source} has windows of {size} channels for the shape {x.shape}")
    before = min((size - 1) // 2, x.shape[1])
    after = min(size - 1 - (size - 1) // 2, x.shape[1])

    def run(value: Tensor) -> Tensor:
        rows = value.reshape(-1, x.shape[1], math.prod(x.shape[2:]))
        squares = torch.nn.functional.pad(rows * rows, (0, 0, before, after)).unfold(1, before + after + 1, 1).sum(-1)
        return (rows / (bias + alpha / size * squares) ** beta).reshape(value.shape)

    return lowering.opaque(op, (x,), x.shape, run, why=reason(op, ""))


@lowers("Einsum")
def einsum(lowering: Lowering, op: Operation) -> Result:
    """Read as opaque; the size of its output is worked out from the equation first."""
    equation = str(op.attributes.get("equation", "")).replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    shapes = [value.shape for value in op.inputs if value is not None]
    if not arrow or "." in equation or [len(term) for term in terms] != [len(shape) for shape in shapes]:
        raise ModelError(f"{op.source} has the equation {equation!r}, which netgain does not read")
    sizes = {
        letter: size
        for term, shape in zip(terms, shapes, strict=True)
        for letter, size in zip(term, shape, strict=True)
    }
    if any(letter not in sizes for letter in right):
        raise ModelError(f"{op.source} has the equation {equation!r} with an unknown index")
    lowering.guard(list(sizes.values()), op)
    shape = tuple(sizes[letter] for letter in right)
    signals = [value for value in op.inputs if isinstance(value, Signal)]
    node = lowering.builder.add(
        Opaque(_runner(op, 0, shape), *reason(op, "")), tuple(one.node for one in signals), op.source, sample(shape)
    )
    return Signal(node, shape)
