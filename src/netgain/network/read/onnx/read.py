"""The entry point: open, lower, check."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from netgain.core.errors import ModelError, NonFiniteWeightError, UsageError
from netgain.linear.selection import Selection
from netgain.network.graph import Affine, Concat, Network, Opaque, Source
from netgain.network.read.onnx import ops
from netgain.network.read.onnx.build import Builder
from netgain.network.read.onnx.load import FLOATS, Allowance, Model, open_model, require_onnx, subgraphs
from netgain.network.read.onnx.lower import Constant, Lowering, Operation, Signal, Value, real, sample
from netgain.network.read.onnx.order import free_names, in_order
from netgain.network.read.onnx.ports import Input, settle_inputs
from netgain.network.read.onnx.replay import peak, replay
from netgain.network.read.onnx.walk import walk

Shape = tuple[int, ...]
OLDEST = 7  # the first operator set with numpy's broadcasting
_ = ops


def read_onnx(
    path: str | Path,
    *,
    output: str | int | None = None,
    shape: Shape | Mapping[str, Shape] | None = None,
    memory: int = 2**32,
) -> Network:
    """Read an ONNX file.

    The file is untrusted: sizes, paths and structure are checked before memory is taken, external data are read from
    its own folder only, and nothing in it is executed. Input-independent parts are evaluated in the model's own type.
    The network is the file's function of one sample (a batch of one); the file is then run on random inputs, alone and
    in a batch, and must agree.

    Args:
        path: the file.
        output: name or position of the output to read; all of them, flattened and joined, by default.
        shape: shape of one sample where the file leaves axes open (batch axis excluded), or full shapes by input name.
        memory: bytes that reading may allocate in all.

    Returns:
        The network. Operations without a rule are opaque nodes: shown and run, not bounded.

    Raises:
        ModelError: if the file is not a sound model; subclasses say unsafe, too large, not finite, batch-coupled.
        UsageError: if `output` or `shape` do not fit the model.

    Cost:
        One pass over the graph, and two or three runs of the model.
    """
    require_onnx()
    file = Path(path)
    allowance = Allowance(memory)
    model = open_model(file, allowance)
    _check_version(model)
    outputs = _chosen(model, output)
    inputs = settle_inputs(model, shape)
    builder = Builder(*_input_port(inputs))
    lowering = Lowering(model, builder, allowance)
    given: dict[str, Value] = {name: Constant(array, name) for name, array in model.constants.items()}
    given |= _signals(lowering, inputs)
    values = walk(lowering, model.nodes, given, outputs)
    last = _joined(lowering, [values[name] for name in outputs], outputs)
    notes, parameters = _parameters(model, inputs, outputs)
    for one in inputs:
        if one.guessed:
            notes = (*notes, ("NG112", f"axis {one.guessed[0]} of the input {one.port.name!r} was read at size 1"))
    network = builder.finish(last, parameters=parameters, dtype=_dtype(model), notes=notes, origin=file.name)
    _check_finite(network)
    allowance.check((2, peak(network)), 8, "what is alive at once when the network is run")
    if not lowering.unrunnable:
        problem = replay(model, inputs, outputs, network)
        if problem:
            note = ("NG111", f"the file could not be run for comparison ({problem})")
            return builder.finish(
                last, parameters=parameters, dtype=_dtype(model), notes=(*notes, note), origin=file.name
            )
    return network


def _check_version(model: Model) -> None:
    """Refuse operator sets whose meaning is another one (before 7: broadcasting by `axis`) or not known yet.

    Raises:
        ModelError: if the file uses one.
    """
    from onnx import defs

    newest = int(defs.onnx_opset_version())
    if OLDEST <= model.opset <= newest:
        return
    advice = "convert it with onnx.version_converter" if model.opset < OLDEST else "upgrade the onnx package"
    raise ModelError(
        f"{model.path.name} uses operator set {model.opset}; netgain reads {OLDEST} to {newest} here: {advice}"
    )


def _chosen(model: Model, output: str | int | None) -> list[str]:
    """Names of the outputs to read.

    Raises:
        UsageError: if there is no such output.
    """
    names = [port.name for port in model.outputs]
    if output is None:
        return names
    if isinstance(output, int) and not isinstance(output, bool) and -len(names) <= output < len(names):
        return [names[output]]
    if output in names:
        return [str(output)]
    raise UsageError(f"the model has no output {output!r}; its outputs are {', '.join(map(repr, names))}")


def _input_port(inputs: tuple[Input, ...]) -> tuple[str, Shape]:
    """Name and shape of the network's input."""
    if len(inputs) == 1:
        return inputs[0].port.name or "input", sample(inputs[0].shape)
    return "input", (sum(one.size for one in inputs),)


def _signals(lowering: Lowering, inputs: tuple[Input, ...]) -> dict[str, Value]:
    """The inputs as parts of the network's input; integers behind a node that refuses bounds."""
    builder = lowering.builder
    signals: dict[str, Value] = {}
    start = 0
    for one in inputs:
        lowering.allowance.spend(one.shape, 8, f"the input {one.port.name!r}")
        source = Source("onnx.Input", one.port.name)
        node, shape = builder.input, sample(one.shape)
        if len(inputs) > 1:
            index = torch.arange(start, start + one.size)
            node = builder.add(Affine(Selection(index, builder.input_shape, shape)), (node,), source)
            start += one.size
        element = one.port.element or 1
        if element not in FLOATS:
            if element not in (2, 3, 4, 5, 6, 7, 9, 12, 13):
                raise ModelError(f"the input {one.port.name!r} is not numeric (element type {element})")
            reason = f"the input {one.port.name!r} takes integers"
            node = builder.add(Opaque(torch.round, "NG013", reason), (node,), source, shape)
        signals[one.port.name] = Signal(node, one.shape, element)
    return signals


def _joined(lowering: Lowering, values: list[Value], names: list[str]) -> str:
    """The output node: the only output, or all of them flattened and joined."""
    from onnx import helper

    op = Operation(helper.make_node("Output", [], [], name="outputs"), (), {}, lowering.model.opset)
    nodes: list[str] = []
    for value, name in zip(values, names, strict=True):
        if isinstance(value, Constant):
            if value.array.dtype.kind in "OSU":
                raise ModelError(f"the output {name!r} is text")
            value = lowering.constant(op, real(value, op), value.shape)
        nodes.append(value.node)
    if len(nodes) == 1:
        return nodes[0]
    shapes = lowering.builder.shapes
    flat = tuple(lowering.builder.reshape(node, (math.prod(shapes[node]),), op.source) for node in nodes)
    return lowering.builder.add(Concat(0), flat, op.source)


def _parameters(model: Model, inputs: tuple[Input, ...], outputs: list[str]) -> tuple[tuple[tuple[str, str], ...], int]:
    """Notes on weights that nothing reads, and the number of those that are read."""
    names = [one.port.name for one in inputs]
    needed = in_order(model.nodes, [*model.constants, *names], outputs)
    read = {name for node in needed for name in free_names(node)} | set(outputs)
    weights = {name: array.size for name, array in model.constants.items() if is_real(array)}
    count = sum(size for name, size in weights.items() if name in read)
    count += sum(_held(node) for node in needed)
    unused = [name for name in weights if name not in read]
    if not unused:
        return (), count
    shown = ", ".join(map(repr, unused[:3])) + (", ..." if len(unused) > 3 else "")
    return (("NG106", f"{len(unused)} weights are never read: {shown}"),), count


def _held(node: Any) -> int:
    """Number of weights inside a node: a Constant's value, and those of its branches."""
    held = sum(
        math.prod(attribute.t.dims)
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.HasField("t") and attribute.t.data_type in FLOATS
    )
    for graph in subgraphs(node):
        held += sum(math.prod(tensor.dims) for tensor in graph.initializer if tensor.data_type in FLOATS)
        held += sum(_held(inner) for inner in graph.node)
    return held


def is_real(array: np.ndarray) -> bool:
    """Whether the array holds real numbers."""
    return array.dtype.kind == "f" or "float" in array.dtype.name


def _dtype(model: Model) -> str:
    """The model's own type: that of its first real input, else of its first weight."""
    for port in model.inputs:
        if port.element in FLOATS:
            return FLOATS[port.element]
    return next((array.dtype.name for array in model.constants.values() if is_real(array)), "float32")


def _check_finite(network: Network) -> None:
    """Refuse a bias that is not finite (weights are checked where they are used)."""
    for node in network.nodes:
        bias = node.kind.bias if isinstance(node.kind, Affine) else None
        if bias is not None and not bool(torch.isfinite(bias).all()):
            raise NonFiniteWeightError(f"the bias of {node.source} has an entry that is NaN or infinite")
