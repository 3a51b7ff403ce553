"""Turning ONNX nodes into network nodes.

Everything is lowered at a batch of one: a graph's value at one sample is what netgain bounds. The tensors keep their
ONNX shapes, batch axis included (`Signal.shape`); the network's nodes have the shape without a leading axis of size 1.
Whatever does not depend on the input is evaluated (`fold`); shapes are such values. That the rows of a larger batch do
not influence each other is checked by running the file (`replay`).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netgain.activations import activation
from netgain.core.errors import ModelError, NonFiniteWeightError
from netgain.core.registry import Registry
from netgain.linear.base import AbstractLinearMap
from netgain.linear.selection import Selection
from netgain.network.graph import Affine, Elementwise, Kind, Opaque, Source, Vector
from netgain.network.read.onnx.build import Builder
from netgain.network.read.onnx.load import FLOATS, Allowance, Model
from netgain.network.read.onnx.patterns import Term

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Signal:
    """A tensor that depends on the network's input.

    Attributes:
        node: the network node that computes it.
        shape: its ONNX shape at a batch of one.
        element: its ONNX element type.
    """

    node: str
    shape: Shape
    element: int = 1

    @property
    def floating(self) -> bool:
        """Whether it holds real numbers."""
        return self.element in FLOATS


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not depend on the input.

    Attributes:
        array: its value, in the model's own type.
        name: what messages call it.
    """

    array: np.ndarray
    name: str

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return tuple(self.array.shape)


Value = Signal | Constant


@dataclasses.dataclass(frozen=True)
class Operation:
    """One ONNX node with its inputs resolved.

    Attributes:
        proto: the node.
        inputs: its inputs; None for an optional one left out.
        attributes: its attributes as Python values; tensors as arrays; graphs are left out.
        opset: version of the standard operator set.
    """

    proto: Any
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    opset: int

    @property
    def type(self) -> str:
        """The operator's name."""
        return str(self.proto.op_type)

    @property
    def source(self) -> Source:
        """Where it comes from, for messages."""
        name = self.proto.name or next((output for output in self.proto.output if output), "")
        domain = self.proto.domain
        operation = self.type if domain in ("", "ai.onnx") else f"{domain}.{self.type}"
        return Source(f"onnx.{operation}", name)

    def get(self, index: int) -> Value | None:
        """An input, None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def need(self, index: int) -> Value:
        """An input that must be there.

        Raises:
            ModelError: if it is left out.
        """
        value = self.get(index)
        if value is None:
            raise ModelError(f"{self.source} lacks its input {index}")
        return value

    def signal(self, index: int) -> Signal:
        """An input that must be computed.

        Raises:
            DynamicOperandError: if it is a constant (then another operand is computed).
        """
        value = self.need(index)
        if not isinstance(value, Signal):
            raise DynamicOperandError(f"its input {index} is a constant, and others are computed")
        return value

    def array(self, index: int) -> np.ndarray | None:
        """The value of a constant input, None where it is left out.

        Raises:
            DynamicOperandError: if it is computed.
        """
        value = self.get(index)
        if isinstance(value, Signal):
            raise DynamicOperandError(f"its input {index} is computed")
        return None if value is None else value.array

    def ints(self, index: int, attribute: str) -> list[int] | None:
        """Integers given as an attribute (older operator sets) or as a constant input; None where left out."""
        if attribute in self.attributes:
            return [int(entry) for entry in self.attributes[attribute]]
        array = self.array(index)
        return None if array is None else [int(entry) for entry in np.asarray(array).reshape(-1)]


class DynamicOperandError(Exception):
    """A rule met a computed tensor where it needs a constant; the operation is then read as opaque."""


Result = Value | tuple[Value | None, ...]
Rule = Callable[["Lowering", Operation], Result]
RULES: Registry[Rule] = Registry("ONNX operation")


def lowers(*names: str) -> Callable[[Rule], Rule]:
    """File a lowering rule under the names of standard ONNX operators."""
    return RULES.register(*names)


class Lowering:
    """The network under construction, with the helpers that rules use.

    Attributes:
        model: the parsed file.
        builder: the nodes so far.
        allowance: bytes that may still be allocated.
        patterns: what each scalar node computes from which, for `patterns`.
        squares: ONNX shapes of the nodes that were squared.
        unrunnable: sources of operations that cannot be evaluated here.
    """

    def __init__(self, model: Model, builder: Builder, allowance: Allowance):
        self.model, self.builder, self.allowance = model, builder, allowance
        self.patterns: dict[str, Term] = {}
        self.unrunnable: list[Source] = []
        self.squares: dict[str, Shape] = {}

    def guard(self, shape: Sequence[int], op: Operation) -> Shape:
        """The shape, after checking that one such tensor fits the memory."""
        self.allowance.check(shape, 8, f"the output of {op.source}")
        return tuple(int(size) for size in shape)

    def view(self, signal: Signal, shape: Shape, op: Operation) -> str:
        """The node that holds the signal under a sample shape of the same size."""
        return self.builder.reshape(signal.node, shape, op.source)

    def signal(self, node: str, shape: Shape, op: Operation, element: int = 1) -> Signal:
        """The signal of ONNX shape `shape` that the node computes."""
        return Signal(self.builder.reshape(node, sample(shape), op.source), shape, element)

    def affine(
        self, op: Operation, x: Signal, linear_map: AbstractLinearMap, shape: Shape, bias: Tensor | None = None
    ) -> Signal:
        """A linear map on a view of x, with a bias that broadcasts to its output, read under the ONNX shape `shape`."""
        full = None if bias is None else bias.expand(linear_map.out_shape)
        node = self.view(x, linear_map.in_shape, op)
        return self.signal(self.builder.add(Affine(linear_map, full), (node,), op.source), shape, op, x.element)

    def vector(self, op: Operation, x: Signal, function: Any, shape: Shape) -> Signal:
        """A vector function on a view of x."""
        node = self.view(x, function.in_shape, op)
        return self.signal(self.builder.add(Vector(function), (node,), op.source), shape, op, x.element)

    def elementwise(self, op: Operation, x: Signal, activation: Any) -> Signal:
        """An activation on x."""
        return Signal(self.builder.add(Elementwise(activation), (x.node,), op.source), x.shape, x.element)

    def squared(self, op: Operation, x: Signal) -> Signal:
        """x^2, noted for the patterns."""
        result = self.elementwise(op, x, activation("square"))
        self.patterns[result.node] = Term("power", (x.node,), (Fraction(2),))
        self.squares[x.node] = x.shape
        return result

    def move(self, op: Operation, x: Signal, rearrange: Callable[[np.ndarray], np.ndarray]) -> Signal:
        """The signal whose entries are copies of x's, as `rearrange` moves an array of flat positions; -1 is zero."""
        index = rearrange(np.arange(math.prod(x.shape), dtype=np.int64).reshape(x.shape))
        shape = tuple(index.shape)
        self.allowance.spend(shape, 8, f"the positions that {op.source} moves")
        flat = torch.from_numpy(np.ascontiguousarray(index)).reshape(sample(shape))
        return Signal(self.builder.select(x.node, flat, op.source), shape, x.element)

    def broadcast(self, op: Operation, x: Signal, shape: Shape) -> Signal:
        """The signal repeated to a larger shape."""
        if x.shape == shape:
            return x
        self.guard(shape, op)
        return self.move(op, x, lambda index: np.broadcast_to(index, shape))

    def transpose(self, op: Operation, x: Signal, order: Sequence[int]) -> Signal:
        """The signal with its axes in another order."""
        return self.move(op, x, lambda index: index.transpose(order))

    def reshaped(self, op: Operation, x: Signal, shape: Shape) -> Signal:
        """The signal under another ONNX shape."""
        return self.signal(x.node, shape, op, x.element)

    def shifted(self, op: Operation, x: Signal, offset: Tensor) -> Signal:
        """x plus an exact offset that broadcasts to its ONNX shape."""
        bias = against(offset, x.shape).expand(sample(x.shape)).contiguous()
        return Signal(self.builder.affine(x.node, 1.0, bias, op.source), x.shape, x.element)

    def constant(self, op: Operation, value: Tensor, shape: Shape) -> Signal:
        """A constant as a signal: the zero map of the network's input plus the value (a concatenation needs a node)."""
        out = sample(self.guard(shape, op))
        nothing = torch.full((math.prod(out),), -1, dtype=torch.int64)
        zero = Selection(nothing, self.builder.input_shape, out)
        kind = Affine(zero, value.reshape(out))
        return Signal(self.builder.add(kind, (self.builder.input,), op.source), shape)

    def opaque(
        self, op: Operation, inputs: Sequence[Signal], shape: Shape, run: Callable[..., Tensor], *, why: tuple[str, str]
    ) -> Signal:
        """An operation that is run and shown but not bounded; `why` holds the code and the sentence."""
        kind: Kind = Opaque(run, *why)
        node = self.builder.add(kind, tuple(one.node for one in inputs), op.source, sample(shape))
        return Signal(node, shape)


def sample(shape: Shape) -> Shape:
    """The network's shape of a tensor of this ONNX shape: without a leading axis of size 1."""
    return shape[1:] if shape and shape[0] == 1 else shape


def axis_of(axis: int, rank: int, op: Operation) -> int:
    """The axis counted from the front.

    Raises:
        ModelError: if there is no such axis.
    """
    if not -rank <= axis < max(rank, 1):
        raise ModelError(f"{op.source} works along axis {axis} of a tensor with {rank} axes")
    return axis % rank if rank else 0


def along(x: Signal, axes: Sequence[int]) -> tuple[Shape, tuple[int, ...]]:
    """A sample shape of x and where its axes `axes` (counted from the front) lie in it.

    The leading axis of size 1 stays only where it is one of them.
    """
    if x.shape and x.shape[0] == 1 and 0 not in axes:
        return x.shape[1:], tuple(axis - 1 for axis in axes)
    return x.shape, tuple(axes)


def real(constant: Constant, op: Operation) -> Tensor:
    """A constant as float64 weights: exact for every float type up to 64 bits.

    Raises:
        ModelError: if it is complex.
        NonFiniteWeightError: if an entry is NaN or infinite.
    """
    array = np.asarray(constant.array)
    if array.dtype.kind == "c":
        raise ModelError(f"{constant.name!r}, used by {op.source}, is complex")
    value = torch.from_numpy(np.array(array, dtype=np.float64))
    if not bool(torch.isfinite(value).all()):
        raise NonFiniteWeightError(f"{constant.name!r}, used by {op.source}, has an entry that is NaN or infinite")
    return value


def against(constant: Tensor, shape: Shape) -> Tensor:
    """A constant that broadcasts to the ONNX shape `shape`, lined up with the sample shape."""
    full = constant.reshape((1,) * (len(shape) - constant.ndim) + tuple(constant.shape))
    return full[0] if shape and shape[0] == 1 else full


def broadcast_shape(op: Operation, *shapes: Shape) -> Shape:
    """The shape that all of these broadcast to.

    Raises:
        ModelError: if they do not fit.
    """
    try:
        return tuple(int(size) for size in np.broadcast_shapes(*shapes))
    except ValueError as error:
        raise ModelError(f"{op.source} combines shapes that do not fit: {', '.join(map(str, shapes))}") from error
