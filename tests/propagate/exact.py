"""Exact rational arithmetic for small dense networks, as ground truth."""

from fractions import Fraction

import torch
from torch import Tensor

from netgain.linear.dense import Dense
from netgain.network.graph import Affine, Elementwise, Network

Vector = list[Fraction]


def rational(x: Tensor) -> Vector:
    """The exact values of a float64 vector."""
    return [Fraction(float(entry)) for entry in x.reshape(-1)]


def image(weight: Tensor, x: Vector) -> Vector:
    return [sum((a * b for a, b in zip(rational(row), x, strict=True)), Fraction(0)) for row in weight]


def outputs(network: Network, x: Vector) -> Vector:
    """The real output of a chain of Dense and ReLU nodes."""
    for node in network.nodes:
        if isinstance(node.kind, Affine):
            assert isinstance(node.kind.map, Dense)
            x = image(node.kind.map.weight, x)
            if node.kind.bias is not None:
                x = [a + b for a, b in zip(x, rational(node.kind.bias), strict=True)]
        else:
            assert isinstance(node.kind, Elementwise)
            assert node.kind.activation.name == "relu"
            x = [max(entry, Fraction(0)) for entry in x]
    return x


def distance(value: Tensor, exact: Vector) -> Vector:
    """Entry by entry |value - exact|."""
    return [abs(a - b) for a, b in zip(rational(value), exact, strict=True)]


def largest(x: Vector) -> float:
    return max(float(entry) for entry in x)


def as_tensor(x: Vector) -> Tensor:
    return torch.tensor([float(entry) for entry in x], dtype=torch.float64)
