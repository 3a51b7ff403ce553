"""The network as a graph of a closed set of node kinds. Bound methods match on kinds, never on layers."""

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.activations.base import Activation
from netgain.linear.base import AbstractLinearMap
from netgain.vectors.base import AbstractVectorFunction


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a node comes from, for messages and tables.

    Attributes:
        operation: the framework's name of the operation: "aten.conv2d", "onnx.Gemm".
        module: dotted path of the owning module, or the ONNX node's name; "" at top level.
        location: "file.py:12" of the user's line, "" where unknown (ONNX).
    """

    operation: str
    module: str = ""
    location: str = ""

    def __str__(self) -> str:
        where = f" in {self.module}" if self.module else ""
        line = f" ({self.location})" if self.location else ""
        return f"{self.operation}{where}{line}"


@dataclasses.dataclass(frozen=True)
class Affine:
    """x -> A x + b.

    Attributes:
        map: the linear map A.
        bias: b, of shape `map.out_shape`, float64; None for zero.
        bias_error: entrywise bound of |stored b - b|, None where exact.
    """

    map: AbstractLinearMap
    bias: Float[Tensor, "*out"] | None = None
    bias_error: Float[Tensor, "*out"] | None = None


@dataclasses.dataclass(frozen=True)
class Elementwise:
    """x -> phi(x), entry by entry."""

    activation: Activation


@dataclasses.dataclass(frozen=True)
class Vector:
    """x -> f(x) for a vector function."""

    function: AbstractVectorFunction


class Form(enum.StrEnum):
    """How a bilinear node multiplies its two inputs."""

    PRODUCT = "product"  # entrywise, broadcasting
    MATMUL = "matmul"  # batched matrix product over the last two axes


@dataclasses.dataclass(frozen=True)
class Bilinear:
    """(x, y) -> B(x, y), linear in each argument (gating, attention scores): no global Lipschitz constant."""

    form: Form


@dataclasses.dataclass(frozen=True)
class Sum:
    """(x_1, ..., x_k) -> sum of scales[i] x_i, all of the node's shape.

    Attributes:
        scales: one float64 factor an input; exact.
    """

    scales: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Concat:
    """Inputs joined along one axis.

    Attributes:
        axis: the axis, batch axis excluded (0 is the first axis of one sample).
    """

    axis: int


@dataclasses.dataclass(frozen=True)
class Opaque:
    """An operation that can be run and shown, not bounded.

    Attributes:
        run: the operation on float64 batches.
        code: the NG01x code of the error that asking for a bound raises.
        reason: one sentence for that error.
    """

    run: Callable[..., Tensor]
    code: str
    reason: str


Kind = Affine | Elementwise | Vector | Bilinear | Sum | Concat | Opaque


@dataclasses.dataclass(frozen=True, repr=False)
class Node:
    """One operation.

    Attributes:
        name: unique in the network.
        kind: what it does.
        inputs: names of the nodes it reads, in order; `Network.input` is the network's input.
        shape: shape of one output, batch axis excluded.
        source: where it comes from.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    source: Source

    def __repr__(self) -> str:
        kind = type(self.kind).__name__
        what = f"{kind} of {type(self.kind.map).__name__}" if isinstance(self.kind, Affine) else kind
        return f"<Node {self.name}: {what}, {', '.join(self.inputs)} -> {'x'.join(map(str, self.shape))}>"


@dataclasses.dataclass(frozen=True, repr=False)
class Network:
    """An immutable graph in topological order, one input, one output, batch axis excluded.

    A model with several inputs or outputs is read as one with the flattened tensors joined end to end.

    Attributes:
        input: name of the input.
        input_shape: shape of one input.
        nodes: the operations; each reads only the input and nodes before it.
        output: name of the output node (or of the input, for the identity).
        parameters: number of scalars in the model's parameters.
        dtype: the model's own dtype, "float32" for most.
        notes: codes of findings that reading made (NG106, NG108, ...), with a sentence each.
        origin: what was read: a file name or a factory, for reports.
    """

    input: str
    input_shape: tuple[int, ...]
    nodes: tuple[Node, ...]
    output: str
    parameters: int = 0
    dtype: str = "float32"
    notes: tuple[tuple[str, str], ...] = ()
    origin: str = ""

    def __repr__(self) -> str:
        shapes = " -> ".join("x".join(map(str, shape)) for shape in (self.input_shape, self.output_shape))
        origin = f" {self.origin}" if self.origin else ""
        return f"<Network{origin}: {shapes}, {len(self.nodes)} nodes, {self.parameters:,} parameters, {self.dtype}>"

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one output."""
        return self.shapes()[self.output]

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one output of each node, the input included."""
        return {self.input: self.input_shape} | {node.name: node.shape for node in self.nodes}

    def node(self, name: str) -> Node:
        """The node of that name."""
        return {node.name: node for node in self.nodes}[name]

    def consumers(self) -> Mapping[str, tuple[str, ...]]:
        """For each node and the input: the names of the nodes that read it, once per use."""
        readers: dict[str, list[str]] = {name: [] for name in self.shapes()}
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node.name)
        return {name: tuple(used) for name, used in readers.items()}

    def values(self, x: Float[Tensor, "batch *in"]) -> Iterator[tuple[str, Tensor]]:
        """Each node's name and value at x, in order, in ordinary arithmetic of x's dtype. No guarantee: see propagate.

        Values are dropped as soon as nothing needs them, so memory follows the graph's width.
        """
        last: dict[str, str] = {}
        for node in self.nodes:
            last.update(dict.fromkeys(node.inputs, node.name))
        live = {self.input: x}
        yield self.input, x
        for node in self.nodes:
            live[node.name] = evaluate(node, [live[name] for name in node.inputs])
            yield node.name, live[node.name]
            for name in node.inputs:
                if last[name] == node.name:
                    live.pop(name, None)

    def __call__(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """The output at x, in ordinary arithmetic of x's dtype, differentiable. No guarantee: see propagate."""
        return next(value for name, value in self.values(x) if name == self.output)


def evaluate(node: Node, inputs: list[Tensor]) -> Tensor:
    """The value of one node, in ordinary arithmetic of the inputs' dtype.

    Args:
        node: the node.
        inputs: one batch a node input.
    """
    match node.kind:
        case Affine(map=linear_map, bias=bias):
            image = linear_map.apply(inputs[0])
            return image if bias is None else image + bias.to(image.dtype)
        case Elementwise(activation=activation):
            return activation.value(inputs[0])
        case Vector(function=function):
            return function.value(inputs[0])
        case Bilinear(form=form):
            return inputs[0] * inputs[1] if form is Form.PRODUCT else inputs[0] @ inputs[1]
        case Sum(scales=scales):
            first, *rest = (
                value if scale == 1.0 else scale * value for scale, value in zip(scales, inputs, strict=True)
            )
            total = first
            for value in rest:
                total = total + value
            return total
        case Concat(axis=axis):
            return torch.cat(inputs, dim=axis + 1)
        case Opaque(run=run):
            return run(*inputs)
        case _:
            assert_never(node.kind)
