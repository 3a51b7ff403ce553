"""Small networks built by hand from node kinds."""

import json
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from netgain.activations.table import activation
from netgain.core.norms import Norm
from netgain.linear.base import AbstractLinearMap
from netgain.linear.convolution import Conv
from netgain.linear.dense import Dense
from netgain.linear.reshape import Reshape
from netgain.linear.separable import Separable
from netgain.network.graph import Affine, Concat, Elementwise, Kind, Network, Node, Source, Sum, Vector
from netgain.vectors.normalize import LayerNorm
from netgain.vectors.pool import MaxPool
from netgain.vectors.softmax import Softmax

CASES = Path(__file__).parent.parent / "data" / "cases"
REFERENCE: dict[str, dict[str, Any]] = json.loads((CASES / "reference.json").read_text())


def chain(input_shape: tuple[int, ...], *kinds: Kind) -> Network:
    """A network that applies the kinds one after another."""
    nodes: list[Node] = []
    shape, previous = input_shape, "x"
    for i, kind in enumerate(kinds):
        if isinstance(kind, Affine):
            shape = kind.map.out_shape
        elif isinstance(kind, Vector):
            shape = kind.function.out_shape
        nodes.append(node(f"n{i}", kind, (previous,), shape))
        previous = f"n{i}"
    return Network("x", input_shape, tuple(nodes), previous)


def node(name: str, kind: Kind, inputs: tuple[str, ...], shape: tuple[int, ...]) -> Node:
    return Node(name, kind, inputs, shape, Source(f"test.{type(kind).__name__.lower()}", f"net.{name}", "net.py:12"))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def act(name: str, **parameters: float | Tensor) -> Elementwise:
    return Elementwise(activation(name, **parameters))


def linear(weight: Tensor, bias: Tensor | None = None) -> Affine:
    return Affine(Dense(weight), bias)


def conv(weight: Tensor, in_shape: tuple[int, ...], stride: int = 1, padding: int = 0) -> Conv:
    axes = weight.dim() - 2
    return Conv(weight, in_shape, (stride,) * axes, ((padding, padding),) * axes, (1,) * axes)


def mlp(seed: int, *sizes: int, name: str = "relu", bias: bool = True, **parameters: float) -> Network:
    """Random dense layers with one activation between them."""
    kinds: list[Kind] = []
    for i in range(len(sizes) - 1):
        weight = normal(seed + 10 * i, sizes[i + 1], sizes[i]) / sizes[i] ** 0.5
        kinds += [linear(weight, normal(seed + 10 * i + 2, sizes[i + 1]) if bias else None), act(name, **parameters)]
    return chain((sizes[0],), *kinds[:-1])


def residual(seed: int, size: int = 4, name: str = "relu") -> Network:
    """x + W2 phi(W1 x + b), then a matrix."""
    return Network(
        "x",
        (size,),
        (
            node("a", linear(normal(seed, size, size), normal(seed + 1, size)), ("x",), (size,)),
            node("b", act(name), ("a",), (size,)),
            node("c", linear(normal(seed + 2, size, size)), ("b",), (size,)),
            node("d", Sum((1.0, 0.5)), ("x", "c"), (size,)),
            node("e", linear(normal(seed + 3, 2, size)), ("d",), (2,)),
        ),
        "e",
    )


def branches(seed: int) -> Network:
    """Two branches of one input, joined, then a matrix."""
    return Network(
        "x",
        (3,),
        (
            node("a", linear(normal(seed, 4, 3), normal(seed + 1, 4)), ("x",), (4,)),
            node("b", act("tanh"), ("a",), (4,)),
            node("c", linear(normal(seed + 2, 2, 3)), ("x",), (2,)),
            node("d", act("leaky_relu", negative_slope=0.2), ("c",), (2,)),
            node("e", Concat(0), ("b", "d"), (6,)),
            node("f", linear(normal(seed + 3, 2, 6)), ("e",), (2,)),
        ),
        "f",
    )


def convolutional(seed: int) -> Network:
    """Convolution, ReLU, max-pooling, convolution, ReLU, flatten, matrix."""
    return chain(
        (2, 7, 7),
        Affine(conv(normal(seed, 3, 2, 3, 3) / 3, (2, 7, 7), padding=1), normal(seed + 1, 3, 1, 1).expand(3, 7, 7)),
        act("relu"),
        Vector(MaxPool((3, 7, 7), (2, 2), (2, 2), (0, 0), (1, 1))),
        Affine(conv(normal(seed + 2, 4, 3, 2, 2) / 3, (3, 3, 3))),
        act("relu"),
        Affine(Reshape((4, 2, 2), (16,))),
        linear(normal(seed + 3, 3, 16) / 4, normal(seed + 4, 3)),
    )


def averaging(seed: int) -> Network:
    """Convolution, SiLU, mean over the grid, matrix, softmax."""
    mean = torch.full((1, 5), 0.2, dtype=torch.float64)
    return chain(
        (1, 5, 5),
        Affine(conv(normal(seed, 3, 1, 3, 3), (1, 5, 5), padding=1)),
        act("silu"),
        Affine(Separable((None, mean, mean), (3, 5, 5), (None, mean * 1e-16, mean * 1e-16))),
        Affine(Reshape((3, 1, 1), (3,))),
        linear(normal(seed + 1, 4, 3)),
        Vector(Softmax((4,), 0)),
    )


def normalized(seed: int) -> Network:
    """Matrix, LayerNorm with a large eps, GELU, matrix."""
    return chain(
        (3,),
        linear(normal(seed, 5, 3)),
        Vector(LayerNorm((5,), 1, 0.1)),
        act("gelu"),
        linear(normal(seed + 1, 2, 5)),
    )


def jacobian(network: Network, x: Tensor) -> Tensor:
    """The Jacobian at one input, as a matrix."""
    full = torch.autograd.functional.jacobian(lambda z: network(z[None])[0], x)
    assert isinstance(full, Tensor)
    return full.reshape(-1, x.numel())


def matrix_norm(matrix: Tensor, norm: Norm) -> float:
    match norm:
        case Norm.L1:
            return float(matrix.abs().sum(0).max())
        case Norm.LINF:
            return float(matrix.abs().sum(1).max())
        case Norm.L2:
            return float(torch.linalg.matrix_norm(matrix, 2))


def sampled(network: Network, norm: Norm, count: int = 60) -> float:
    """The greatest Jacobian norm at random inputs of several sizes."""
    inputs = (normal(i, *network.input_shape) * 10.0 ** (i % 3 - 1) for i in range(count))
    return max(matrix_norm(jacobian(network, x), norm) for x in inputs)


def case(path: str) -> Network:
    """One of the public networks of tests/data/cases."""
    if path.endswith(".npz"):
        stored = numpy.load(CASES / path, allow_pickle=False)
        layers = [(torch.as_tensor(stored[key]).double(), None) for key in stored.files]
    else:
        state = torch.load(CASES / path, map_location="cpu", weights_only=True)
        names = [key.removesuffix(".weight") for key in state if key.endswith(".weight")]
        layers = [(state[f"{name}.weight"].double(), state[f"{name}.bias"].double()) for name in names]
    stride, padding = (2, 1) if "kw" in path else (1, 0)
    shape = tuple(REFERENCE[path]["input_shape"])
    kinds: list[Kind] = []
    start = shape
    for weight, bias in layers:
        if weight.dim() == 4:
            step: AbstractLinearMap = conv(weight, shape, stride, padding)
            kinds.append(Affine(step, None if bias is None else bias[:, None, None].expand(step.out_shape)))
        else:
            if len(shape) > 1:
                kinds.append(Affine(Reshape(shape, (weight.shape[1],))))
            step = Dense(weight)
            kinds.append(Affine(step, bias))
        shape = step.out_shape
        kinds.append(act("relu"))
    return chain(start, *kinds[:-1])
