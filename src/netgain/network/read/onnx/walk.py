"""Walking the graph: each node is folded, lowered by its rule, or read as opaque."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from netgain.core.errors import DataDependentBranchError, ModelError, NetgainError, StatefulModelError, TooLargeError
from netgain.network.read.onnx.fold import RANDOM, fold
from netgain.network.read.onnx.load import read_tensor
from netgain.network.read.onnx.lower import (
    RULES,
    Constant,
    DynamicOperandError,
    Lowering,
    Operation,
    Signal,
    Value,
)
from netgain.network.read.onnx.ops.opaque import opaque
from netgain.network.read.onnx.order import in_order

# Rules that move entries or look at shapes; the others are about real numbers.
_ANY_TYPE = frozenset([
    "Identity",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Slice",
    "Split",
    "Gather",
    "GatherElements",
    "Concat",
    "Pad",
    "Expand",
    "Tile",
    "DepthToSpace",
    "SpaceToDepth",
    "Trilu",
    "ReverseSequence",
    "Cast",
    "CastLike",
    "Shape",
    "Size",
    "Where",
    "Dropout",
    "Einsum",
])
Environment = Mapping[str, Value]


def walk(lowering: Lowering, nodes: Iterable[Any], given: Environment, wanted: Iterable[str]) -> dict[str, Value]:
    """Lower the nodes that `wanted` needs.

    Args:
        lowering: the network under construction.
        nodes: node protos.
        given: values that are known.
        wanted: names that are asked for.

    Returns:
        The value of every name, the given ones included.
    """
    targets = list(wanted)
    values = dict(given)
    for proto in in_order(nodes, values, targets):
        for name, value in zip(proto.output, _step(lowering, proto, values), strict=False):
            if name and value is not None:
                values[name] = value
    return values


def _step(lowering: Lowering, proto: Any, values: dict[str, Value]) -> tuple[Value | None, ...]:
    """The outputs of one node."""
    if proto.op_type == "If" and proto.domain in ("", "ai.onnx"):
        return _branch(lowering, proto, values)
    try:
        inputs = tuple(values[name] if name else None for name in proto.input)
    except KeyError as error:
        raise ModelError(f"{proto.name or proto.op_type!r} reads {error}, an output that was left out") from error
    op = Operation(proto, inputs, _attributes(lowering, proto), lowering.model.opset)
    standard = proto.domain in ("", "ai.onnx")
    if standard and op.type == "Constant":
        return (_constant(op),)
    if standard and op.type in RANDOM:
        raise StatefulModelError(f"{op.source} draws random numbers")
    signals = [value for value in inputs if isinstance(value, Signal)]
    try:
        return _lowered(lowering, op, signals)
    except MemoryError as error:
        raise TooLargeError(f"reading {op.source} ran out of memory") from error
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        # Attributes of the wrong type or number, shapes of the wrong rank: the file breaks the operator's contract.
        raise ModelError(f"{op.source} is malformed ({' '.join(str(error).split())[:160]})") from error


def _lowered(lowering: Lowering, op: Operation, signals: list[Signal]) -> tuple[Value | None, ...]:
    """The outputs of an operation: folded, by its rule, or opaque."""
    if not signals and not _has_graphs(op.proto):
        return fold(op, lowering.allowance)
    standard = op.proto.domain in ("", "ai.onnx")
    result: Any
    if not standard or op.type not in RULES or _has_graphs(op.proto):
        result = opaque(lowering, op)
    elif op.type not in _ANY_TYPE and not all(one.floating for one in signals):
        result = opaque(lowering, op, "it computes with integers")
    else:
        try:
            result = RULES[op.type](lowering, op)
        except DynamicOperandError as dynamic:
            result = opaque(lowering, op, str(dynamic))
    return result if isinstance(result, tuple) else (result,)


def _has_graphs(proto: Any) -> bool:
    """Whether the node has a body."""
    return any(attribute.HasField("g") or attribute.graphs for attribute in proto.attribute)


def _attributes(lowering: Lowering, proto: Any) -> dict[str, Any]:
    """The attributes as Python values."""
    from onnx import helper

    found: dict[str, Any] = {}
    for attribute in proto.attribute:
        if attribute.ref_attr_name:
            raise ModelError(
                f"{proto.name or proto.op_type!r} refers to the function attribute {attribute.ref_attr_name!r}"
            )
        if attribute.HasField("t"):
            found[attribute.name] = read_tensor(attribute.t, lowering.model.path, lowering.allowance)
        elif attribute.HasField("sparse_tensor") or attribute.HasField("tp") or attribute.HasField("g"):
            continue
        else:
            try:
                value = helper.get_attribute_value(attribute)
            except (ValueError, AttributeError) as error:
                raise ModelError(
                    f"{proto.name or proto.op_type!r} has a malformed attribute {attribute.name!r}"
                ) from error
            found[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return found


_CONSTANT_TYPES = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def _constant(op: Operation) -> Constant:
    """The value of a Constant node."""
    name = next((name for name in op.proto.output if name), op.proto.name)
    if "value" in op.attributes and isinstance(op.attributes["value"], np.ndarray):
        return Constant(op.attributes["value"], name)
    for attribute, kind in _CONSTANT_TYPES.items():
        if attribute in op.attributes:
            return Constant(np.asarray(op.attributes[attribute], dtype=kind), name)
    raise ModelError(f"{op.source} holds no tensor of numbers (text and sparse constants are not read)")


def _branch(lowering: Lowering, proto: Any, values: dict[str, Value]) -> tuple[Value | None, ...]:
    """An If: the taken branch where the condition is known, otherwise both, joined by an opaque choice."""
    graphs = {attribute.name: attribute.g for attribute in proto.attribute if attribute.HasField("g")}
    condition = values.get(proto.input[0]) if proto.input else None
    if condition is None or set(graphs) != {"then_branch", "else_branch"}:
        raise ModelError(f"{proto.name or 'If'!r} lacks its condition or a branch")
    if isinstance(condition, Constant):
        taken = bool(np.asarray(condition.array).reshape(-1)[:1].any())
        return _body(lowering, graphs["then_branch" if taken else "else_branch"], values)
    op = Operation(proto, (condition,), {}, lowering.model.opset)
    results: dict[str, tuple[Value | None, ...]] = {}
    problems: dict[str, NetgainError] = {}
    for name, graph in graphs.items():
        try:
            results[name] = _body(lowering, graph, values)
        except NetgainError as error:
            problems[name] = error
    if not results:
        raise next(iter(problems.values()))
    return _choice(lowering, op, condition, (results.get("then_branch"), results.get("else_branch")), problems)


def _body(lowering: Lowering, graph: Any, values: dict[str, Value]) -> tuple[Value | None, ...]:
    """The outputs of a branch."""
    inside = {
        tensor.name: Constant(read_tensor(tensor, lowering.model.path, lowering.allowance), tensor.name)
        for tensor in graph.initializer
    }
    outputs = [value.name for value in graph.output]
    own = {name for node in graph.node for name in node.output}
    around = {name: value for name, value in values.items() if name not in own}
    found = walk(lowering, graph.node, {**around, **inside}, outputs)
    return tuple(found[name] for name in outputs)


def _choice(
    lowering: Lowering,
    op: Operation,
    condition: Signal,
    branches: tuple[tuple[Value | None, ...] | None, tuple[Value | None, ...] | None],
    problems: dict[str, NetgainError],
) -> tuple[Value | None, ...]:
    """One output of either branch, as an input value says. A branch that cannot be read cannot be taken."""
    import torch

    count = max(len(branch) for branch in branches if branch is not None)
    outputs: list[Value | None] = []
    for k in range(count):
        signals: list[Signal | None] = []
        for branch in branches:
            value = None if branch is None else branch[k]
            if isinstance(value, Constant):
                from netgain.network.read.onnx.lower import real

                value = lowering.constant(op, real(value, op), value.shape)
            signals.append(value)
        known = [signal for signal in signals if signal is not None]
        if any(signal.shape != known[0].shape for signal in known):
            raise DataDependentBranchError(f"{op.source} has branches of different shapes {[s.shape for s in known]}")

        def run(choice: torch.Tensor, *given: torch.Tensor, have: tuple[bool, ...]) -> torch.Tensor:
            taken = choice.reshape(choice.shape[0], *([1] * (given[0].ndim - 1))) != 0
            if len(given) == 2:
                return torch.where(taken, given[0], given[1])
            if bool((taken != have[0]).any()):
                raise next(iter(problems.values()))
            return given[0]

        have = tuple(signal is not None for signal in signals)
        from functools import partial

        outputs.append(
            lowering.opaque(
                op,
                (condition, *known),
                known[0].shape,
                partial(run, have=have),
                why=("NG003", f"{op.source} takes a branch that depends on the input"),
            )
        )
    return tuple(outputs)
