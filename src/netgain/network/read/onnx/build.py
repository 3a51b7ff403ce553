"""Building a network node by node: unique names, shapes, moves and exact factors."""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import ModelError
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.network.graph import (
    Affine,
    Bilinear,
    Concat,
    Elementwise,
    Kind,
    Network,
    Node,
    Opaque,
    Source,
    Sum,
    Vector,
)
from netgain.network.read.rounding import normalizer, relative_error, shift

Shape = tuple[int, ...]


class Builder:
    """Collects nodes in order. All shapes are of one sample, batch axis excluded.

    Attributes:
        input: name of the network's input.
        input_shape: its shape.
        shapes: shape of each node so far, the input included.
    """

    def __init__(self, input_name: str, input_shape: Shape):
        self.input, self.input_shape = input_name, input_shape
        self.shapes: dict[str, Shape] = {input_name: input_shape}
        self._index: dict[str, Node] = {}

    def add(self, kind: Kind, inputs: tuple[str, ...], source: Source, shape: Shape | None = None) -> str:
        """Append a node and return its name.

        Args:
            kind: what it does.
            inputs: names of the nodes it reads.
            source: where it comes from; its module (or operation) gives the name.
            shape: the output shape; only opaque nodes need it.
        """
        known = shape if shape is not None else self._shape(kind, inputs)
        stem = source.module or source.operation.rpartition(".")[2]
        name, count = stem, 2
        while name in self.shapes:
            name, count = f"{stem}_{count}", count + 1
        self.shapes[name] = known
        self._index[name] = Node(name, kind, inputs, known, source)
        return name

    def _shape(self, kind: Kind, inputs: tuple[str, ...]) -> Shape:
        """The output shape that the kind and its inputs' shapes imply."""
        shapes = [self.shapes[name] for name in inputs]
        match kind:
            case Affine(map=linear_map):
                expected, given = linear_map.out_shape, linear_map.in_shape
            case Vector(function=function):
                expected, given = function.out_shape, function.in_shape
            case Elementwise() | Sum():
                expected = given = shapes[0]
            case Bilinear():
                expected, given = _product_shape(kind, shapes), shapes[0]
            case Concat(axis=axis):
                joined = sum(shape[axis] for shape in shapes)
                expected, given = (*shapes[0][:axis], joined, *shapes[0][axis + 1 :]), shapes[0]
            case Opaque():
                raise ModelError("an opaque node needs its shape")
        if shapes[0] != given or (isinstance(kind, Sum) and any(shape != given for shape in shapes)):
            raise ModelError(f"shapes do not fit: {kind} takes {given}, got {shapes}")
        return expected

    def kind(self, name: str) -> Kind | None:
        """What a node does; None for the input."""
        return self._index[name].kind if name in self._index else None

    def reads(self, name: str) -> tuple[str, ...]:
        """Names of the nodes that a node reads."""
        return self._index[name].inputs if name in self._index else ()

    def reshape(self, name: str, shape: Shape, source: Source) -> str:
        """The node's value under another shape of the same size; no node where the shape is the same."""
        if self.shapes[name] == shape:
            return name
        return self.add(Affine(Reshape(self.shapes[name], shape)), (name,), source)

    def select(self, name: str, index: Tensor, source: Source) -> str:
        """A node whose entries are copies of another's: `index` holds flat positions, -1 for zero, and gives the shape.

        A reshape where the order stays the same.
        """
        given, shape = self.shapes[name], tuple(index.shape)
        size = math.prod(given)
        flat = index.reshape(-1)
        if flat.numel() == size and torch.equal(flat, torch.arange(size)):
            return self.reshape(name, shape, source)
        return self.add(Affine(Selection(flat, given, shape)), (name,), source)

    def expand(self, name: str, shape: Shape, source: Source) -> str:
        """The node's value repeated to `shape` by the usual broadcasting of one sample."""
        given = self.shapes[name]
        if given == shape:
            return name
        index = torch.arange(math.prod(given)).reshape(given).expand(shape)
        return self.select(name, index, source)

    def affine(self, name: str, scale: Tensor | float, bias: Tensor | None, source: Source) -> str:
        """scale * x + bias, entry by entry, both exact and broadcastable to the node's shape."""
        shape = self.shapes[name]
        factor = torch.as_tensor(scale, dtype=torch.float64)
        identity = bool((factor == 1).all())
        linear_map = Reshape(shape, shape) if identity else Diagonal(factor, shape)
        full = None if bias is None else bias.double().expand(shape)
        return self.add(Affine(linear_map, full), (name,), source)

    def add_bias(self, name: str, bias: Tensor, error: Tensor | None, source: Source) -> str:
        """The node's value plus a bias of its shape: in the same node if that was made last and has no bias yet."""
        last = self._index.get(name)
        newest = next(reversed(self._index), None)
        if last is not None and newest == name and isinstance(last.kind, Affine) and last.kind.bias is None:
            self._index[name] = dataclasses.replace(last, kind=Affine(last.kind.map, bias, error))
            return name
        shape = self.shapes[name]
        return self.add(Affine(Reshape(shape, shape), bias, error), (name,), source)

    def finish(self, output: str, **facts: object) -> Network:
        """The network up to `output`: nodes that do not reach it are dropped.

        Args:
            output: name of the output node.
            facts: further fields of `Network` (parameters, dtype, notes, origin).
        """
        needed, kept = {output}, list[Node]()
        for node in reversed(self._index.values()):
            if node.name in needed:
                needed.update(node.inputs)
                kept.append(node)
        network = Network(self.input, self.input_shape, tuple(reversed(kept)), output)
        return dataclasses.replace(network, **facts)  # type: ignore[arg-type]


def _product_shape(kind: Bilinear, shapes: list[Shape]) -> Shape:
    """The shape of an entrywise or matrix product of two tensors of equal rank."""
    first, second = shapes
    try:
        if kind.form == "product":
            return np.broadcast_shapes(first, second)
        return (*np.broadcast_shapes(first[:-2], second[:-2]), first[-2], second[-1])
    except ValueError as error:
        raise ModelError(f"the shapes {first} and {second} of a product do not fit") from error


def product_error(value: Tensor, exact: bool) -> Tensor | None:
    """Entrywise bound of the rounding of one float64 product or quotient per entry; None where it is exact."""
    return None if exact else relative_error(value, 1)


def scaled(weight: Tensor, factor: float) -> tuple[Tensor, Tensor | None]:
    """factor * weight in float64 and the entrywise bound of its rounding, None where exact.

    A product of two float32 numbers is exact in float64 unless it falls into the subnormal range.
    """
    if factor == 1.0:
        return weight, None
    value = weight * factor
    single = bool((weight.float().double() == weight).all()) and float(torch.tensor(factor).float()) == factor
    normal = bool(((value.abs() >= 2.0**-1000) | (weight == 0)).all()) or factor == 0.0
    return value, product_error(value, single and normal)


def normalization_affine(
    mean: Float[Tensor, " channels"],
    variance: Float[Tensor, " channels"],
    gamma: Float[Tensor, " channels"],
    beta: Float[Tensor, " channels"],
    eps: float,
    shape: Shape,
) -> Affine:
    """Frozen batch normalization gamma (x - mean) / sqrt(variance + eps) + beta, channels on the first axis.

    Args:
        mean: running means, float64.
        variance: running variances, float64.
        gamma: factors, float64.
        beta: offsets, float64.
        eps: the constant under the root.
        shape: shape of one sample, channels first.

    Returns:
        The affine node with the bounds of its rounding.

    Raises:
        ModelError: if a variance plus eps is not positive.
    """
    if not bool((variance + eps > 0).all()):
        raise ModelError("batch normalization has a variance that is not positive with its epsilon")
    scale, scale_error = normalizer(variance, eps, gamma)
    bias, bias_error = shift(mean, scale, scale_error, beta)
    column = (-1, *([1] * (len(shape) - 1)))
    full = bias.reshape(column).expand(shape)
    full_error = bias_error.reshape(column).expand(shape)
    return Affine(Diagonal(scale.reshape(column), shape, scale_error.reshape(column)), full, full_error)
