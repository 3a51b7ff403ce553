"""Small networks built by hand, with known gains."""

import itertools

import torch
from torch import Tensor

from netgain.activations.table import activation
from netgain.linear.dense import Dense
from netgain.linear.reshape import Reshape
from netgain.network.graph import Affine, Elementwise, Network, Node, Source, Vector
from netgain.vectors.softmax import Softmax

SOURCE = Source("test")


def linear(weight: Tensor, bias: Tensor | None = None) -> Affine:
    return Affine(Dense(weight.double()), None if bias is None else bias.double())


def chain(input_shape: tuple[int, ...], *kinds: Affine | Elementwise | Vector) -> Network:
    """A sequence of nodes."""
    nodes: list[Node] = []
    last, shape = "input", input_shape
    for number, kind in enumerate(kinds):
        shape = kind.map.out_shape if isinstance(kind, Affine) else shape
        nodes.append(Node(f"n{number}", kind, (last,), shape, SOURCE))
        last = f"n{number}"
    return Network("input", input_shape, tuple(nodes), last)


def mlp(*widths: int, seed: int = 0) -> Network:
    """A random ReLU network."""
    generator = torch.Generator().manual_seed(seed)
    kinds: list[Affine | Elementwise] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        weight = torch.randn(fan_out, fan_in, generator=generator) / fan_in**0.5
        kinds += [linear(weight, 0.1 * torch.randn(fan_out, generator=generator)), Elementwise(activation("relu"))]
    return chain((widths[0],), *kinds[:-1])


def flat(shape: tuple[int, ...]) -> Affine:
    return Affine(Reshape(shape, (int(torch.Size(shape).numel()),)))


def softmax(classes: int) -> Vector:
    return Vector(Softmax((classes,), 0))
