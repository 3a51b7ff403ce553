"""Random small networks of all kinds, built on the graph directly, by family and seed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from netgain.linear.base import AbstractLinearMap
from netgain.linear.convolution import Conv
from netgain.linear.pooling import average_pool, mean
from netgain.linear.reshape import Reshape
from netgain.network.graph import Affine, Concat, Kind, Network, Node, Sum, Vector
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.extrema import Extremum, GroupSort, Sort
from netgain.vectors.normalize import LayerNorm, RMSNorm
from netgain.vectors.pool import L2Pool, MaxPool
from netgain.vectors.softmax import LogSoftmax, LogSumExp, Softmax
from tests.gain.networks import act, linear, node

Builder = Callable[[int], Network]

SMOOTH = ("gelu", "gelu_tanh", "silu", "quick_gelu", "mish", "hardswish", "softplus", "tanh", "sigmoid", "elu", "selu")
SMOOTH += ("softsign", "erf", "log_sigmoid", "tanhshrink", "hardsigmoid", "sin", "celu", "softshrink")
KINKED = ("relu", "leaky", "steep", "falling", "abs", "prelu", "hardtanh", "relu6")


class Draw:
    """Random choices of one network, and its nodes as they are added."""

    def __init__(self, seed: int, shape: tuple[int, ...]):
        self.random = torch.Generator().manual_seed(seed)
        self.nodes: list[Node] = []
        self.shapes = {"x": shape}
        self.last = "x"

    def whole(self, low: int, high: int) -> int:
        """An integer from low to high."""
        return int(torch.randint(low, high + 1, (1,), generator=self.random))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random, dtype=torch.float64)

    def one_of(self, *choices: Any) -> Any:
        return choices[self.whole(0, len(choices) - 1)]

    def add(self, kind: Kind, *inputs: str) -> str:
        """A node behind the last one, or behind the inputs named."""
        inputs = inputs or (self.last,)
        shape = self.shapes[inputs[0]]
        if isinstance(kind, Affine):
            shape = kind.map.out_shape
        elif isinstance(kind, Vector):
            shape = kind.function.out_shape
        elif isinstance(kind, Concat):
            axis = kind.axis
            shape = (*shape[:axis], sum(self.shapes[name][axis] for name in inputs), *shape[axis + 1 :])
        self.last = f"n{len(self.nodes)}"
        self.nodes.append(node(self.last, kind, inputs, shape))
        self.shapes[self.last] = shape
        return self.last

    def matrix(self, rows: int, *inputs: str, scale: float = 1.0, bias: bool = True) -> str:
        columns = self.shapes[inputs[0] if inputs else self.last][0]
        weight = self.normal(rows, columns) * (scale / columns**0.5)
        return self.add(linear(weight, self.normal(rows) if bias else None), *inputs)

    def map(self, one: AbstractLinearMap) -> str:
        return self.add(Affine(one))

    def vector(self, function: AbstractVectorFunction) -> str:
        return self.add(Vector(function))

    def flat(self) -> str:
        shape = self.shapes[self.last]
        return self.map(Reshape(shape, (int(torch.Size(shape).numel()),)))

    def activation(self, name: str, *inputs: str) -> str:
        shape = self.shapes[inputs[0] if inputs else self.last]
        match name:
            case "leaky":
                kind = act("leaky_relu", negative_slope=0.2)
            case "steep":
                kind = act("leaky_relu", negative_slope=2.0)
            case "falling":
                kind = act("leaky_relu", negative_slope=-0.5)
            case "prelu":
                kind = act("prelu", weight=self.normal(shape[0]).reshape(-1, *([1] * (len(shape) - 1))))
            case "hardtanh":
                kind = act("hardtanh")
            case _:
                kind = act(name)
        return self.add(kind, *inputs)

    def conv(self, channels: int, size: int, **settings: int) -> str:
        """A convolution; settings: stride, padding, dilation, groups."""
        shape = self.shapes[self.last]
        axes, groups = len(shape) - 1, settings.get("groups", 1)
        weight = self.normal(channels, shape[0] // groups, *([size] * axes)) / (shape[0] / groups * size**axes) ** 0.5
        padding = settings.get("padding", 0)
        one = Conv(
            weight,
            shape,
            (settings.get("stride", 1),) * axes,
            ((padding, padding),) * axes,
            (settings.get("dilation", 1),) * axes,
            groups,
        )
        bias = self.normal(channels).reshape(-1, *([1] * axes)).expand(one.out_shape)
        return self.add(Affine(one, bias if self.whole(0, 1) else None))

    def network(self) -> Network:
        return Network("x", self.shapes["x"], tuple(self.nodes), self.last)


def perceptron(seed: int, names: tuple[str, ...] = KINKED + SMOOTH) -> Network:
    """Two to four dense layers, an activation of its own each."""
    draw = Draw(seed, (1 + seed % 4,))
    for _ in range(draw.whole(1, 3)):
        draw.matrix(draw.whole(1, 6), scale=draw.one_of(0.5, 1.0, 2.0), bias=bool(draw.whole(0, 3)))
        draw.activation(draw.one_of(*names))
    draw.matrix(draw.whole(1, 4))
    return draw.network()


def smooth(seed: int) -> Network:
    """As `perceptron`, without kinks at 0."""
    return perceptron(seed, SMOOTH)


def residual(seed: int) -> Network:
    """Residual blocks, scales of either sign, sometimes behind a matrix."""
    draw = Draw(seed, (draw_size := 2 + seed % 3,))
    if draw.whole(0, 1):
        draw.matrix(draw_size)
    for _ in range(draw.whole(1, 3)):
        start = draw.last
        draw.matrix(draw.whole(2, 5))
        draw.activation(draw.one_of(*KINKED, *SMOOTH))
        draw.matrix(draw_size, scale=0.7)
        draw.add(Sum((draw.one_of(1.0, -0.5, 2.0), draw.one_of(1.0, -1.0, 0.3))), start, draw.last)
        if draw.whole(0, 1):
            draw.activation(draw.one_of(*KINKED))
    draw.matrix(draw.whole(1, 3))
    return draw.network()


def skips(seed: int) -> Network:
    """Dense skips: each layer reads all before it, joined."""
    draw = Draw(seed, (2,))
    read = ["x"]
    for _ in range(draw.whole(1, 3)):
        if len(read) > 1:
            draw.add(Concat(0), *read)
        draw.matrix(draw.whole(1, 4))
        read.append(draw.activation(draw.one_of(*KINKED, *SMOOTH)))
    draw.add(Concat(0), *read)
    draw.matrix(draw.whole(1, 3))
    return draw.network()


def reused(seed: int) -> Network:
    """One value read several times, once twice by the same sum, and a branch that cancels."""
    draw = Draw(seed, (3,))
    first = draw.matrix(4)
    one, other = draw.activation(draw.one_of(*KINKED), first), draw.activation(draw.one_of(*SMOOTH), first)
    draw.add(Sum((1.0, -1.0, 1.5, 0.5)), one, other, one, first)
    joined = draw.last
    gone = draw.matrix(4, scale=0.0)
    draw.add(Concat(0), joined, gone, "x")
    draw.matrix(2)
    return draw.network()


def conv_chain(seed: int) -> Network:
    """Convolutions with stride, padding, dilation and groups, in one or two dimensions."""
    draw = Draw(seed, (2, 7) if seed % 3 == 0 else (2, 5, 5))
    settings = [{"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}, {"groups": 2, "padding": 1}]
    for _ in range(draw.whole(1, 3)):
        draw.conv(draw.one_of(2, 4), draw.one_of(1, 2, 3), **draw.one_of(*settings))
        if draw.whole(0, 4):
            draw.activation(draw.one_of(*KINKED, *SMOOTH))
    if draw.whole(0, 1):
        draw.flat()
        draw.matrix(2)
    return draw.network()


def pooled(seed: int) -> Network:
    """Convolution, pooling of some kind, a matrix."""
    draw = Draw(seed, (1, 6, 6))
    draw.conv(2, 3, padding=1)
    draw.activation(draw.one_of(*KINKED, *SMOOTH))
    shape = draw.shapes[draw.last]
    match draw.whole(0, 4):
        case 0:
            draw.vector(MaxPool(shape, (2, 2), (2, 2), (0, 0), (1, 1)))
        case 1:
            draw.vector(MaxPool(shape, (3, 3), (2, 2), (1, 1), (1, 1)))
        case 2:
            draw.map(average_pool(shape, (2, 2), (2, 2), ((0, 0), (0, 0))))
        case 3:
            draw.map(mean(shape, (1, 2)))
        case _:
            draw.vector(L2Pool(shape, (2, 2), (2, 2)))
    draw.flat()
    draw.matrix(3)
    return draw.network()


def conv_residual(seed: int) -> Network:
    """Residual convolutional blocks, one with stride and a 1x1 shortcut, then the mean over the grid."""
    draw = Draw(seed, (2, 4, 4))
    for block in range(draw.whole(1, 2)):
        start = draw.last
        stride = 1 + block
        channels = 2 * stride
        draw.conv(channels, 3, stride=stride, padding=1)
        draw.activation(draw.one_of("relu", "leaky", "silu"))
        draw.conv(channels, 3, padding=1)
        branch, draw.last = draw.last, start
        shortcut = start if stride == 1 else draw.conv(channels, 1, stride=2)
        draw.add(Sum((1.0, 1.0)), branch, shortcut)
        draw.activation("relu")
    draw.map(mean(draw.shapes[draw.last], (1, 2)))
    draw.matrix(2)
    return draw.network()


def sorting(seed: int) -> Network:
    """MaxMin, larger groups and full sorting between matrices, per channel between convolutions."""
    draw = Draw(seed, (3,))
    for _ in range(draw.whole(1, 2)):
        draw.matrix(4)
        shape = draw.shapes[draw.last]
        draw.vector(draw.one_of(GroupSort(shape, 0, 2), GroupSort(shape, 0, 4), Sort(shape, 0, True)))
    draw.matrix(2)
    return draw.network()


def sorted_channels(seed: int) -> Network:
    """MaxMin over the channels of a convolution."""
    draw = Draw(seed, (2, 3, 3))
    draw.conv(4, 3, padding=1)
    draw.vector(GroupSort(draw.shapes[draw.last], 0, 2))
    draw.conv(1, 2)
    return draw.network()


def heads(seed: int) -> Network:
    """Vector functions with a finite gain: at the end, or between matrices."""
    draw = Draw(seed, (3,))
    draw.matrix(4)
    if draw.whole(0, 1):
        draw.activation(draw.one_of(*KINKED))
        draw.matrix(4)
    shape = (4,)
    draw.vector(
        draw.one_of(
            Softmax(shape, 0), Softmax(shape, 0, 2.0), LogSoftmax(shape, 0), LogSumExp(shape, 0, True),
            Extremum(shape, 0, True), LayerNorm(shape, 1, 0.5), RMSNorm(shape, 1, 0.3),
        )
    )  # fmt: skip
    if draw.whole(0, 1):
        draw.matrix(2)
    return draw.network()


def deep(seed: int) -> Network:
    """Eight narrow layers that contract to about 1e-6 or expand."""
    draw = Draw(seed, (3,))
    scale = draw.one_of(0.15, 0.3, 3.0)
    for _ in range(8):
        draw.matrix(4, scale=scale)
        draw.activation(draw.one_of("relu", "tanh", "leaky", "steep", "gelu"))
    draw.matrix(2)
    return draw.network()


def extreme(seed: int) -> Network:
    """Weights, or biases, far from 1 in either direction."""
    draw = Draw(seed, (2,))
    draw.matrix(4, scale=draw.one_of(1e-30, 1e-12, 1e12, 1e30))
    draw.activation(draw.one_of("relu", "abs", "prelu", "tanh"))
    draw.matrix(3, scale=draw.one_of(1e-30, 1.0, 1e30), bias=False)
    draw.activation(draw.one_of("relu", "leaky"))
    draw.matrix(2, scale=draw.one_of(1e-10, 1.0, 1e10))
    return draw.network()


def plain(seed: int) -> Network:
    """No activation at all, or nothing but one."""
    draw = Draw(seed, (3,))
    if draw.whole(0, 2):
        draw.matrix(2)
    else:
        draw.activation(draw.one_of(*KINKED, *SMOOTH))
    return draw.network()


FAMILIES: tuple[Builder, ...] = (
    perceptron,
    smooth,
    residual,
    skips,
    reused,
    conv_chain,
    pooled,
    conv_residual,
    sorting,
    sorted_channels,
    heads,
    deep,
    extreme,
    plain,
)


def tiny_perceptron(seed: int) -> Network:
    """At most eight piecewise linear units behind two or three inputs."""
    draw = Draw(seed, (2 + seed % 2,))
    draw.matrix(draw.whole(2, 4))
    draw.activation(draw.one_of(*KINKED))
    if draw.whole(0, 1):
        draw.matrix(draw.whole(2, 3))
        draw.activation(draw.one_of(*KINKED))
    draw.matrix(draw.whole(1, 3))
    return draw.network()


def tiny_residual(seed: int) -> Network:
    """One residual block of piecewise linear units."""
    draw = Draw(seed, (2,))
    draw.matrix(3)
    draw.activation(draw.one_of(*KINKED))
    draw.matrix(2)
    draw.add(Sum((1.0, draw.one_of(1.0, -1.0))), "x", draw.last)
    draw.activation(draw.one_of("relu", "abs"))
    draw.matrix(2)
    return draw.network()


def tiny_sorting(seed: int) -> Network:
    """MaxMin or sorting, then a kinked layer."""
    draw = Draw(seed, (2,))
    draw.matrix(4)
    draw.vector(draw.one_of(GroupSort((4,), 0, 2), Sort((4,), 0)))
    draw.matrix(2)
    draw.activation("relu")
    draw.matrix(2)
    return draw.network()


def tiny_pooled(seed: int) -> Network:
    """A convolution on a line, ReLU, max-pooling, a matrix."""
    draw = Draw(seed, (1, 4))
    draw.conv(1, 3, padding=1)
    draw.activation("relu")
    draw.vector(MaxPool((1, 4), (2,), (draw.one_of(1, 2),), (0,), (1,)))
    draw.flat()
    draw.matrix(2)
    return draw.network()


def tiny_skips(seed: int) -> Network:
    """A joined skip around a kinked layer."""
    draw = Draw(seed, (2,))
    draw.matrix(3)
    name = draw.activation(draw.one_of(*KINKED))
    draw.add(Concat(0), "x", name)
    draw.matrix(2)
    draw.activation("relu")
    draw.matrix(1)
    return draw.network()


PIECEWISE: tuple[Builder, ...] = (tiny_perceptron, tiny_residual, tiny_sorting, tiny_pooled, tiny_skips)
