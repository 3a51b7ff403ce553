"""From one operation of an exported graph to node kinds: the table of lowerings and what each of them is given."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from netgain.core.errors import BatchCoupledError
from netgain.core.registry import Registry
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.network.graph import Affine, Concat, Kind, Node, Source
from netgain.network.read.layout import Layout, find_layout
from netgain.network.read.program import Program, call_in_double, double_of, to_double
from netgain.network.read.provenance import module_class, source_of
from netgain.network.read.schema import operation_name


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor that depends on the input.

    Attributes:
        name: the network node that computes it, batch first.
        shape: shape of one sample.
        layout: where the batch sits in the exported graph's tensor.
        dtype: its dtype in the exported graph.
        code: for integers and truth values, the code of the error that using them in a bound raises.
    """

    name: str
    shape: tuple[int, ...]
    layout: Layout
    dtype: torch.dtype = torch.float32
    code: str | None = None

    @property
    def real(self) -> bool:
        """Whether its entries are real numbers."""
        return self.dtype.is_floating_point


Lowered = Value | tuple["Value | Callable[[], Value]", ...]
Lowering = Callable[["Call"], Lowered]
LOWERINGS: Registry[Lowering] = Registry("aten operation")
lowers = LOWERINGS.register
# Lowerings that are asked even where an operand is a whole number or a truth value.
DISCRETE_LOWERINGS: Registry[Lowering] = Registry("aten operation")
lowers_discrete = DISCRETE_LOWERINGS.register


class Builder:
    """The network under construction.

    Attributes:
        program: the recorded exported graph.
        nodes: what was emitted so far, in order, by name.
        values: for each exported node its lowered value.
        norms: for each node that is a Euclidean norm along one axis: of which node, along which axis.
        clamped_norms: the same for norms that were clamped from below, with the clamp.
        windows: for each node that is an average pooling without padding: its kernel and stride.
        padded: for each node that is a padding by zeros or around: of what, the widths of its last axes, and whether
            around.
    """

    def __init__(self, program: Program):
        self.program = program
        self.nodes: dict[str, Node] = {}
        self.values: dict[fx.Node, Lowered] = {}
        self.norms: dict[str, tuple[str, int]] = {}
        self.windows: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self.padded: dict[str, tuple[Value, tuple[tuple[int, int], ...], bool]] = {}
        self.clamped_norms: dict[str, tuple[str, int, float]] = {}
        self._taken = {"input"}
        self._moves: dict[Any, str] = {}

    def add(self, name: str, kind: Kind, inputs: Sequence[str], shape: tuple[int, ...], source: Source) -> str:
        """Append a node under a unique name derived from `name`; returns that name.

        A node that only moves entries and is there already is not repeated.
        """
        key = _moving_key(kind, inputs)
        if key is not None and key in self._moves:
            return self._moves[key]
        unique, count = name, 1
        while unique in self._taken:
            count += 1
            unique = f"{name}_{count}"
        self._taken.add(unique)
        self.nodes[unique] = Node(unique, kind, tuple(inputs), shape, source)
        if key is not None:
            self._moves[key] = unique
        return unique

    def kind(self, value: Value) -> Kind | None:
        """The kind of the node that computes a value; None for the network's input."""
        return self.nodes[value.name].kind if value.name in self.nodes else None


@dataclasses.dataclass(frozen=True)
class Call:
    """One operation to be lowered.

    Attributes:
        builder: where nodes go.
        node: the exported graph's node.
        arguments: the operation's arguments by schema name: values, constant tensors and plain Python values.
    """

    builder: Builder
    node: fx.Node
    arguments: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or `default` where the overload has none of that name."""
        return self.arguments.get(name, default)

    @property
    def batch(self) -> int:
        """Batch size of the recording."""
        return self.builder.program.batch

    @property
    def operation(self) -> str:
        """The operation's short name: "conv2d"."""
        parts = operation_name(self.node.target).split(".")
        return parts[1] if len(parts) > 2 else parts[0]

    @property
    def source(self) -> Source:
        """Where the operation comes from."""
        return source_of(self.node)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the operation's (first) output."""
        meta = self.node.meta.get("val")
        meta = meta[0] if isinstance(meta, tuple | list) else meta
        return meta.dtype if isinstance(meta, Tensor) else torch.float32

    def full_shape(self, value: Value) -> tuple[int, ...]:
        """Shape of a value in the exported graph at the recorded batch size."""
        return value.layout.full_shape(value.shape, self.batch)

    def axis(self, value: Value, axis: int) -> int:
        """The axis of a sample that an axis of the exported tensor is.

        Raises:
            BatchCoupledError: if it holds the batch.
        """
        ndim = len(self.full_shape(value))
        try:
            return value.layout.sample_axis(axis % max(ndim, 1))
        except BatchCoupledError:
            raise BatchCoupledError(f"{self.source} works along the batch axis") from None

    def emit(
        self, kind: Kind, inputs: Sequence[Value], shape: Sequence[int], layout: Layout | None = None, part: str = ""
    ) -> Value:
        """Append a node computing a real value.

        Args:
            kind: what it does.
            inputs: what it reads.
            shape: shape of one sample of its output.
            layout: of its output; by default the first input's.
            part: names a helper node of an operation that needs several.

        Returns:
            The value.
        """
        sample = tuple(int(size) for size in shape)
        name = self.builder.add(self.name(part), kind, [value.name for value in inputs], sample, self.source)
        dtype = self.dtype if self.dtype.is_floating_point else inputs[0].dtype
        return Value(name, sample, layout or inputs[0].layout, dtype)

    def name(self, part: str = "") -> str:
        """A node name: the module's path where the module is this operation, else path and operation."""
        path = self.source.module
        owner = module_class(self.node)
        own = owner.startswith("torch.nn.modules") or owner.rpartition(".")[2].startswith("Parametrized")
        names = [path, part] if path and own else [path, part or self.operation]
        return ".".join(name for name in names if name)

    def full(self, constant: Any, shape: tuple[int, ...], layout: Layout) -> Tensor:
        """One sample of a constant broadcast to an exported tensor's shape, in float64, as few entries as needed.

        Raises:
            BatchCoupledError: if the constant differs between rows.
        """
        tensor = constant_tensor(constant)
        samples = layout.to_samples(tensor.broadcast_to(shape), self.batch)
        if not bool((samples == samples[:1]).all()):
            raise BatchCoupledError(f"{self.source} adds or multiplies a constant that differs between rows")
        return compress(samples[0])

    def same_layout(self, values: Sequence[Value]) -> None:
        """Check that values keep the batch in the same place.

        Raises:
            BatchCoupledError: if not: row i of one meets row j of another.
        """
        if any(value.layout != values[0].layout for value in values):
            raise BatchCoupledError(f"{self.source} combines different rows of a batch")

    def run(self, values: dict[str, Tensor], **changed: Any) -> Any:
        """The operation in float64 at the recorded batch size.

        Args:
            values: samples for each node it reads.
            changed: arguments, by schema name, to run it with instead of the model's.
        """
        builder = self.builder

        def lookup(used: fx.Node) -> Any:
            lowered = builder.values.get(used)
            if isinstance(lowered, Value):
                return lowered.layout.from_samples(values[lowered.name]).to(double_of(lowered.dtype)).contiguous()
            return to_double(builder.program.constants[used])

        return call_in_double(self.node, lookup, **changed)

    @property
    def operands(self) -> tuple[Value, ...]:
        """The distinct values that the operation reads, in order."""
        found: dict[str, Value] = {}
        for used in self.node.all_input_nodes:
            lowered = self.builder.values.get(used)
            if isinstance(lowered, Value):
                found[f"{lowered.name}/{lowered.layout}"] = lowered
        return tuple(found.values())


def _moving_key(kind: Kind, inputs: Sequence[str]) -> Any:
    """What makes two nodes that only move entries the same; None for other nodes."""
    if isinstance(kind, Concat):
        return ("concat", kind.axis, *inputs)
    if not isinstance(kind, Affine) or kind.bias is not None:
        return None
    if isinstance(kind.map, Reshape):
        return ("reshape", kind.map.out_shape, *inputs)
    if isinstance(kind.map, Selection):
        return ("selection", kind.map.out_shape, kind.map.index.numpy().tobytes(), *inputs)
    return None


def constant_tensor(constant: Any) -> Tensor:
    """A constant tensor or number in float64."""
    return torch.as_tensor(constant, dtype=torch.float64).cpu()


def compress(tensor: Tensor) -> Tensor:
    """The tensor with every axis along which it is constant cut to size one; broadcasting restores it."""
    for axis in range(tensor.ndim):
        first = tensor.narrow(axis, 0, 1) if tensor.shape[axis] else tensor
        if bool((tensor == first).all()):
            tensor = first
    return tensor.contiguous()


def moved(call: Call, value: Value, run: Callable[[Tensor], Tensor]) -> tuple[Tensor, Layout]:
    """How an operation that only moves entries moves them.

    The operation runs on numbered entries; the numbers that come out say which entry went where, and from which row.

    Args:
        call: the operation.
        value: what it moves.
        run: the operation as a function of the exported tensor.

    Returns:
        For each entry of an output sample the flat position of the input entry it holds (-1: zero), and the layout.

    Raises:
        BatchCoupledError: if a sample's entries come from several rows.
    """
    size = math.prod(value.shape)
    numbered = torch.arange(1, call.batch * size + 1, dtype=torch.float64).reshape(call.batch, *value.shape)
    numbers = run(value.layout.from_samples(numbered)).long() - 1
    try:
        layout = find_layout(torch.where(numbers < 0, -1, numbers // max(size, 1)), call.batch)
    except BatchCoupledError:
        raise BatchCoupledError(f"{call.source} mixes the rows of a batch") from None
    samples = layout.to_samples(numbers, call.batch)
    positions = torch.where(samples < 0, -1, samples % max(size, 1))
    if not bool((positions == positions[:1]).all()):
        raise BatchCoupledError(f"{call.source} moves the rows of a batch in different ways")
    return positions[0], layout
