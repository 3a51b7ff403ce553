"""Small networks built by hand from node kinds."""

import torch
from torch import Tensor

from netgain.network.graph import Affine, Elementwise, Kind, Network, Node, Source


def chain(input_shape: tuple[int, ...], *kinds: Kind) -> Network:
    """A network that applies the kinds one after another."""
    nodes: list[Node] = []
    shape, previous = input_shape, "x"
    for i, kind in enumerate(kinds):
        if isinstance(kind, Affine):
            shape = kind.map.out_shape
        elif not isinstance(kind, Elementwise):
            shape = kind.function.out_shape
        nodes.append(node(f"n{i}", kind, (previous,), shape))
        previous = f"n{i}"
    return Network("x", input_shape, tuple(nodes), previous)


def node(name: str, kind: Kind, inputs: tuple[str, ...], shape: tuple[int, ...]) -> Node:
    return Node(name, kind, inputs, shape, Source(f"test.{type(kind).__name__.lower()}", name, "net.py:1"))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
