"""From a recorded program to a Network: inputs joined, operations lowered, outputs chosen and joined."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from netgain.core.errors import ModelError
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.network.graph import Affine, Concat, Network, Node, Source
from netgain.network.read import aten
from netgain.network.read.layout import Layout
from netgain.network.read.lowering import DISCRETE_LOWERINGS, LOWERINGS, Builder, Call, Lowered, Value
from netgain.network.read.program import Program
from netgain.network.read.schema import arguments, operation_name

INPUT = "input"


@dataclasses.dataclass(frozen=True)
class Lowering:
    """A lowered program.

    Attributes:
        network: the network, without origin and notes.
        outputs: which of the model's outputs it computes, and where the batch sits in each.
        used: the exported graph's nodes that these outputs need.
    """

    network: Network
    outputs: tuple[tuple[int, Layout], ...]
    used: frozenset[fx.Node]


def lower(program: Program, chosen: Sequence[int]) -> Lowering:
    """Lower what the chosen outputs need.

    Args:
        program: the recorded program.
        chosen: positions among the program's outputs, at least one, all tensors.

    Returns:
        The network and where each output's batch sits.

    Raises:
        ModelError: if nothing chosen is a tensor.
    """
    builder = Builder(program)
    wanted = [program.outputs[index] for index in chosen]
    used = needed([out for out in wanted if isinstance(out, fx.Node)])
    input_shape = _inputs(builder)
    for node in program.graph.nodes:
        if node in used and node.op == "call_function" and node in program.shapes:
            builder.values[node] = _lower_node(builder, node)
    values = [_output(builder, out, index) for index, out in zip(chosen, wanted, strict=True)]
    if not values:
        raise ModelError("the model returns no tensor")
    name = values[0].name if len(values) == 1 else _joined(builder, values)
    network = Network(INPUT, input_shape, _reachable(builder.nodes, name), name)
    layouts = tuple((index, value.layout) for index, value in zip(chosen, values, strict=True))
    return Lowering(network, layouts, frozenset(used))


def needed(outputs: Sequence[fx.Node]) -> set[fx.Node]:
    """The nodes that some outputs depend on."""
    found: set[fx.Node] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.all_input_nodes)
    return found


def _inputs(builder: Builder) -> tuple[int, ...]:
    """Bind the model's inputs to the network's single one; returns its shape."""
    program = builder.program
    shapes = [shape[1:] for shape in program.input_shapes]
    if not shapes:
        raise ModelError("the model takes no tensor")
    dtypes = [node.meta["val"].dtype for node in program.inputs]
    codes = [None if dtype.is_floating_point else "NG013" for dtype in dtypes]
    if len(shapes) == 1:
        builder.values[program.inputs[0]] = Value(INPUT, shapes[0], Layout(), dtypes[0], codes[0])
        return shapes[0]
    total, start = sum(math.prod(shape) for shape in shapes), 0
    for node, shape, dtype, code in zip(program.inputs, shapes, dtypes, codes, strict=True):
        size = math.prod(shape)
        take = Selection(torch.arange(start, start + size), (total,), shape)
        name = builder.add(node.name, Affine(take), (INPUT,), shape, Source("input", node.name))
        builder.values[node] = Value(name, shape, Layout(), dtype, code)
        start += size
    return (total,)


def _lower_node(builder: Builder, node: fx.Node) -> Lowered:
    """The value of one operation."""
    program = builder.program

    def lookup(used: fx.Node) -> Any:
        return builder.values[used] if used in builder.values else program.constants[used]

    name = operation_name(node.target)
    resolved = fx.map_arg(arguments(node), lookup)
    if name == "getitem":
        item = resolved["arg0"][resolved["arg1"]]
        return item if isinstance(item, Value) else item()
    call = Call(builder, node, dict(resolved))
    plain = all(value.real and not value.dtype.is_complex for value in call.operands)
    if plain and name in LOWERINGS:
        return LOWERINGS[name](call)
    if name in DISCRETE_LOWERINGS:
        return DISCRETE_LOWERINGS[name](call)
    return aten.opaque.unknown(call)


def _output(builder: Builder, out: Any, index: int) -> Value:
    """One output as a value; a constant one as a map that ignores its input."""
    program = builder.program
    if isinstance(out, fx.Node) and out in builder.values:
        value = builder.values[out]
        if isinstance(value, Value):
            return value
    constant = program.constants[out] if isinstance(out, fx.Node) else out
    if not isinstance(constant, Tensor):
        raise ModelError(f"output {index} of the model is {type(constant).__name__}, not a tensor")
    batched = constant.ndim > 0 and constant.shape[0] == program.batch and bool((constant == constant[:1]).all())
    sample = (constant[0] if batched else constant).double()
    _, shape = builder.program.inputs[0], tuple(sample.shape)
    first = builder.values[program.inputs[0]]
    if not isinstance(first, Value):
        raise ModelError("the model takes no tensor")
    nothing = Selection(torch.full((max(1, sample.numel()),), -1), first.shape or (1,), shape or (1,))
    kind = Affine(nothing, sample.reshape(shape or (1,)))
    name = builder.add("constant", kind, (first.name,), shape or (1,), Source("constant"))
    return Value(name, shape or (1,), Layout() if batched else Layout(-1))


def _joined(builder: Builder, values: list[Value]) -> str:
    """Several outputs flattened and joined end to end; returns the node's name."""
    flat: list[str] = []
    source = Source("output")
    for value in values:
        size = math.prod(value.shape)
        if len(value.shape) == 1:
            flat.append(value.name)
            continue
        flat.append(builder.add("flatten", Affine(Reshape(value.shape, (size,))), (value.name,), (size,), source))
    total = sum(math.prod(value.shape) for value in values)
    return builder.add("outputs", Concat(0), flat, (total,), source)


def _reachable(nodes: dict[str, Node], output: str) -> tuple[Node, ...]:
    """The nodes that the output depends on, in order."""
    found, stack = set[str](), [output]
    while stack:
        name = stack.pop()
        if name in nodes and name not in found:
            found.add(name)
            stack.extend(nodes[name].inputs)
    return tuple(node for name, node in nodes.items() if name in found)
