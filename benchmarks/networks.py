"""Networks that the benchmarks of global bounds measure: public ones, random ones, chains of convolutions, a ResNet."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from netgain.activations.table import activation
from netgain.linear.convolution import Conv
from netgain.linear.dense import Dense
from netgain.linear.reshape import Reshape
from netgain.network.graph import Affine, Elementwise, Kind, Network, Node, Source
from netgain.network.read.read import read

CASES = Path(__file__).parents[1] / "tests" / "data" / "cases"
REFERENCE: dict[str, dict[str, Any]] = json.loads((CASES / "reference.json").read_text())
DENSE_CASES = (
    "eclipse_4-80-1.npz",
    "lipsdp_random_2-10-30-20-2.npz",
    "lipsdp_mnist_784-50-10.npz",
    "lirpa_mnist_fc_784-128-64-10.pth",
)


def case_weights(name: str) -> list[Tensor]:
    """The float64 matrices of a fully connected public network, first layer first."""
    path = CASES / name
    if name.endswith(".npz"):
        archive = numpy.load(path, allow_pickle=False)
        return [torch.from_numpy(archive[key]).double() for key in archive.files]
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [value.double() for key, value in state.items() if key.endswith("weight")]


def he_weights(depth: int, width: int, outputs: int = 10) -> list[Tensor]:
    """Random He matrices: `depth` of them, as many inputs as units a layer, seed 0."""
    generator = torch.Generator().manual_seed(0)
    sizes = [width] * depth + [outputs]
    return [
        torch.randn(rows, columns, generator=generator, dtype=torch.float64) * math.sqrt(2.0 / columns)
        for columns, rows in itertools.pairwise(sizes)
    ]


def contractive_weights(depth: int = 64, width: int = 16) -> list[Tensor]:
    """A deep chain of random matrices of norm 1/2: its constant is far below 1e-8."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(width, width, generator=generator, dtype=torch.float64) for _ in range(depth)]
    return [weight / (2.0 * torch.linalg.matrix_norm(weight, 2)) for weight in weights]


def mlp(weights: list[Tensor]) -> Network:
    """The matrices with ReLU between them."""
    kinds: list[Kind] = []
    for weight in weights:
        kinds += [Affine(Dense(weight)), Elementwise(activation("relu"))]
    return chained((weights[0].shape[1],), kinds[:-1])


def chained(input_shape: tuple[int, ...], kinds: list[Kind]) -> Network:
    """A network that applies the kinds one after another."""
    nodes: list[Node] = []
    shape, previous = input_shape, "x"
    for i, kind in enumerate(kinds):
        shape = kind.map.out_shape if isinstance(kind, Affine) else shape
        nodes.append(Node(f"n{i}", kind, (previous,), shape, Source("benchmark", f"n{i}")))
        previous = f"n{i}"
    return Network("x", input_shape, tuple(nodes), previous)


def convolutional_chain(size: int, channels: tuple[int, ...], seed: int = 0) -> Network:
    """3x3 He kernels with stride 1 and padding 1 on a square grid, ReLU between them."""
    generator = torch.Generator().manual_seed(seed)
    kinds: list[Kind] = []
    for columns, rows in itertools.pairwise(channels):
        weight = torch.randn(rows, columns, 3, 3, generator=generator, dtype=torch.float64)
        weight = weight * math.sqrt(2.0 / (9 * columns))
        kinds += [
            Affine(Conv(weight, (columns, size, size), (1, 1), ((1, 1), (1, 1)), (1, 1))),
            Elementwise(activation("relu")),
        ]
    return chained((channels[0], size, size), kinds[:-1])


def convolutional_case(name: str) -> Network:
    """One of the two public convolutional networks: two convolutions, two dense layers, ReLU between them."""
    state = torch.load(CASES / name, map_location="cpu", weights_only=True)
    weights = [value.double() for key, value in state.items() if key.endswith("weight")]
    biases = [value.double() for key, value in state.items() if key.endswith("bias")]
    shape: tuple[int, ...] = (1, 28, 28) if "mnist" in name else (3, 32, 32)
    stride, pad = (2, 1) if "mnist" in name else (1, 0)
    first = Conv(weights[0], shape, (stride, stride), ((pad, pad), (pad, pad)), (1, 1))
    second = Conv(weights[1], first.out_shape, (stride, stride), ((pad, pad), (pad, pad)), (1, 1))
    relu = Elementwise(activation("relu"))
    spread = [biases[i].reshape(-1, 1, 1).expand(one.out_shape) for i, one in enumerate((first, second))]
    kinds: list[Kind] = [
        Affine(first, spread[0]),
        relu,
        Affine(second, spread[1]),
        relu,
        Affine(Reshape(second.out_shape, (second.out_size,))),
        Affine(Dense(weights[2]), biases[2]),
        relu,
        Affine(Dense(weights[3]), biases[3]),
    ]
    return chained(shape, kinds)


class _Block(nn.Module):
    """Two convolutions with batch normalization around a skip connection."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.skip = (
            nn.Sequential()
            if stride == 1 and inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """The residual block."""
        inner = self.first_norm(self.first(x)).relu()
        return (self.skip(x) + self.second_norm(self.second(inner))).relu()


def resnet() -> Network:
    """A CIFAR-size ResNet: eight residual blocks with 16, 32 and 64 channels, He initialization with seed 0."""
    torch.manual_seed(0)
    widths = ((16, 16, 1), (16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1))
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *(_Block(*width) for width in widths),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return read(model.eval(), torch.zeros(2, 3, 32, 32))
