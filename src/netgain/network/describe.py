"""Operations in words, for tables and messages."""

from typing import assert_never

from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Form, Node, Opaque, Sum, Vector


def operation(node: Node) -> str:
    """What a node does, in a few words: "conv 3x3, 16 to 32, stride 2", "relu", "sum"."""
    kind = node.kind
    match kind:
        case Affine(map=linear_map):
            return linear(linear_map)
        case Elementwise(activation=activation):
            return activation.name
        case Vector(function=function):
            return function.name
        case Bilinear(form=form):
            return "entrywise product" if form is Form.PRODUCT else "matrix product"
        case Sum():
            return "sum"
        case Concat(axis=axis):
            return f"concat, axis {axis}"
        case Opaque():
            return node.source.operation
        case _:
            assert_never(kind)


def linear(linear_map: AbstractLinearMap) -> str:
    """A linear map in a few words."""
    match linear_map:
        case Dense(weight=weight):
            return f"linear, {weight.shape[1]} to {weight.shape[0]}"
        case Conv():
            return _convolution("conv", linear_map, linear_map.in_shape[0], linear_map.out_shape[0])
        case ConvTransposed():
            return _convolution("transposed conv", linear_map, linear_map.in_shape[0], linear_map.out_shape[0])
        case Diagonal():
            return "scale"
        case Reshape():
            return "reshape"
        case Selection():
            return "move entries"
        case Separable():
            return "pool or resize"
        case Chain(maps=maps):
            parts = [linear(part) for part in maps if not isinstance(part, Reshape)] or ["reshape"]
            return ", then ".join(parts)
        case _:
            return type(linear_map).__name__.lower()


def parameters(linear_map: AbstractLinearMap) -> int:
    """How many weights a map stores."""
    match linear_map:
        case Dense(weight=weight) | Conv(weight=weight) | ConvTransposed(weight=weight):
            return weight.numel()
        case Diagonal(scale=scale):
            return scale.numel()
        case Chain(maps=maps):
            return sum(parameters(part) for part in maps)
        case _:
            return 0


def _convolution(name: str, conv: Conv | ConvTransposed, inputs: int, outputs: int) -> str:
    """Kernel, channels, and what differs from the plain case."""
    parts = [f"{name} {'x'.join(str(size) for size in conv.weight.shape[2:])}", f"{inputs} to {outputs}"]
    if any(step != 1 for step in conv.stride):
        parts.append(f"stride {_each(conv.stride)}")
    if any(step != 1 for step in conv.dilation):
        parts.append(f"dilation {_each(conv.dilation)}")
    if conv.groups != 1:
        parts.append(f"{conv.groups} groups")
    return ", ".join(parts)


def _each(values: tuple[int, ...]) -> str:
    """One number where all axes agree."""
    return str(values[0]) if len(set(values)) == 1 else "x".join(str(value) for value in values)
