"""Exact Lipschitz constants of tiny piecewise linear networks, by going through all their linear regions.

A piecewise linear function has its Lipschitz constant, in any norm, as the greatest norm of the Jacobian over the
regions with an interior. Regions are split unit by unit; a side without an interior (a linear program says so) is
dropped. Nothing here uses a bound of netgain: only the graph, the values of functions and scipy's linear programs.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy
import torch
from scipy.optimize import linprog
from torch import Tensor

from netgain.core.norms import Norm
from netgain.network.graph import Affine, Concat, Elementwise, Network, Node, Sum, Vector
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.extrema import Extremum, GroupSort, Sort
from netgain.vectors.pool import MaxPool

Array = numpy.ndarray
MARGIN = 1e-6  # regions that hold no ball of this radius are passed over

# Kinks of piecewise linear activations that are not homogeneous.
KINKS = {"relu6": (0.0, 6.0), "hardtanh": (-1.0, 1.0), "clamp": (-1.0, 1.0)}


@dataclasses.dataclass(frozen=True)
class Region:
    """A polytope {x: normals x + offsets >= 0}, rows of unit length, with a point inside."""

    normals: Array
    offsets: Array
    inside: Array

    def split(self, row: Array, offset: float) -> "Region | None":
        """The part where row x + offset >= 0; None if it has no interior."""
        size = float(numpy.linalg.norm(row))
        if size == 0.0:
            return self if offset >= 0.0 else None
        normals, offsets = numpy.vstack([self.normals, row / size]), numpy.append(self.offsets, offset / size)
        if (row @ self.inside + offset) / size > MARGIN:
            return Region(normals, offsets, self.inside)
        count = normals.shape[1]
        found = linprog(
            numpy.append(numpy.zeros(count), -1.0),
            A_ub=numpy.hstack([-normals, numpy.ones((len(normals), 1))]),
            b_ub=offsets,
            bounds=[(None, None)] * count + [(0.0, 1.0)],
        )
        if found.status != 0 or found.x[-1] <= MARGIN:
            return None
        return Region(normals, offsets, found.x[:-1])


@dataclasses.dataclass(frozen=True)
class Linear:
    """A node's value on a region: matrix x + offset, flat."""

    matrix: Array
    offset: Array

    def rows(self, index: Array) -> "Linear":
        return Linear(self.matrix[index], self.offset[index])


def jacobians(network: Network) -> Iterator[Array]:
    """The Jacobian of each linear region with an interior (some more than once)."""
    size = int(numpy.prod(network.input_shape))
    start = Region(numpy.zeros((0, size)), numpy.zeros(0), numpy.full(size, 0.1234))
    values = {network.input: Linear(numpy.eye(size), numpy.zeros(size))}
    for _, final in _walk(network, 0, start, values):
        yield final[network.output].matrix


def exact(network: Network) -> dict[Norm, float]:
    """The Lipschitz constant in each norm."""
    best = dict.fromkeys(Norm, 0.0)
    for matrix in jacobians(network):
        best[Norm.L1] = max(best[Norm.L1], float(numpy.abs(matrix).sum(0).max()))
        best[Norm.LINF] = max(best[Norm.LINF], float(numpy.abs(matrix).sum(1).max()))
        best[Norm.L2] = max(best[Norm.L2], float(numpy.linalg.norm(matrix, 2)))
    return best


def _walk(network: Network, at: int, region: Region, values: dict[str, Linear]) -> Iterator[tuple[Region, dict]]:
    """All regions of the nodes from number `at` on, with the values of all nodes there."""
    if at == len(network.nodes):
        yield region, values
        return
    node = network.nodes[at]
    for part, value in _pieces(node, region, [values[name] for name in node.inputs], network):
        yield from _walk(network, at + 1, part, values | {node.name: value})


def _pieces(node: Node, region: Region, inputs: list[Linear], network: Network) -> Iterator[tuple[Region, Linear]]:
    """The parts of a region on which one node is linear."""
    kind, first = node.kind, inputs[0]
    if isinstance(kind, Affine):
        matrix = kind.map.matrix().numpy()
        bias = numpy.zeros(len(matrix)) if kind.bias is None else kind.bias.reshape(-1).numpy()
        yield region, Linear(matrix @ first.matrix, matrix @ first.offset + bias)
    elif isinstance(kind, Sum):
        matrix = sum(scale * one.matrix for scale, one in zip(kind.scales, inputs, strict=True))
        yield region, Linear(matrix, sum(scale * one.offset for scale, one in zip(kind.scales, inputs, strict=True)))
    elif isinstance(kind, Concat):
        yield region, _concatenated(kind.axis, inputs, [network.shapes()[name] for name in node.inputs])
    elif isinstance(kind, Elementwise):
        yield from _elementwise(node, region, first)
    elif isinstance(kind, Vector) and isinstance(kind.function, Sort | GroupSort):
        yield from _sorted(kind.function, region, first)
    elif isinstance(kind, Vector) and isinstance(kind.function, MaxPool | Extremum):
        yield from _largest(kind.function, region, first)
    else:
        raise NotImplementedError(f"{node.name} is not piecewise linear")


def _concatenated(axis: int, inputs: list[Linear], shapes: list[tuple[int, ...]]) -> Linear:
    """Values joined along an axis."""
    columns = inputs[0].matrix.shape[1]
    matrix = [one.matrix.reshape(*shape, columns) for one, shape in zip(inputs, shapes, strict=True)]
    offset = [one.offset.reshape(shape) for one, shape in zip(inputs, shapes, strict=True)]
    return Linear(numpy.concatenate(matrix, axis).reshape(-1, columns), numpy.concatenate(offset, axis).reshape(-1))


def _elementwise(node: Node, region: Region, z: Linear) -> Iterator[tuple[Region, Linear]]:
    """One activation: kinks of every unit one after another."""
    assert isinstance(node.kind, Elementwise)
    activation = node.kind.activation
    kinks = (0.0,) if activation.positively_homogeneous else KINKS[activation.name.partition("(")[0]]
    inner = [(a + b) / 2 for a, b in itertools.pairwise(kinks)]
    probes = [kinks[0] - 1.0, *inner, kinks[-1] + 1.0]
    # Slope and intercept of each piece of each unit, from two values inside the piece.
    low = [activation.value(torch.full((1, *node.shape), p, dtype=torch.float64)).reshape(-1).numpy() for p in probes]
    high = [
        activation.value(torch.full((1, *node.shape), p + 0.25, dtype=torch.float64)).reshape(-1).numpy()
        for p in probes
    ]
    slopes = [(b - a) / 0.25 for a, b in zip(low, high, strict=True)]
    shifts = [a - slope * p for a, slope, p in zip(low, slopes, probes, strict=True)]
    edges = [-numpy.inf, *kinks, numpy.inf]

    def unit(k: int, part: Region, chosen: tuple[int, ...]) -> Iterator[tuple[Region, tuple[int, ...]]]:
        if k == len(z.offset):
            yield part, chosen
            return
        if all(
            slope[k] == slopes[0][k] and shift[k] == shifts[0][k] for slope, shift in zip(slopes, shifts, strict=True)
        ):
            yield from unit(k + 1, part, (*chosen, 0))
            return
        for piece in range(len(probes)):
            side: Region | None = part
            if edges[piece] > -numpy.inf:
                side = side.split(z.matrix[k], z.offset[k] - edges[piece])
            if side is not None and edges[piece + 1] < numpy.inf:
                side = side.split(-z.matrix[k], edges[piece + 1] - z.offset[k])
            if side is not None:
                yield from unit(k + 1, side, (*chosen, piece))

    for part, chosen in unit(0, region, ()):
        slope = numpy.array([slopes[piece][k] for k, piece in enumerate(chosen)])
        shift = numpy.array([shifts[piece][k] for k, piece in enumerate(chosen)])
        yield part, Linear(slope[:, None] * z.matrix, slope * z.offset + shift)


def _sorted(function: Sort | GroupSort, region: Region, z: Linear) -> Iterator[tuple[Region, Linear]]:
    """All orders of each group."""
    size = function.group_size if isinstance(function, GroupSort) else function.in_shape[function.axis]
    down = isinstance(function, Sort) and function.descending
    index = torch.arange(len(z.offset)).reshape(function.in_shape).movedim(function.axis, -1)
    groups = index.reshape(-1, size).numpy()

    def group(g: int, part: Region, order: Array) -> Iterator[tuple[Region, Array]]:
        if g == len(groups):
            yield part, order
            return
        for chosen in itertools.permutations(groups[g]):
            side: Region | None = part
            for a, b in itertools.pairwise(chosen):
                if side is not None:
                    side = side.split(z.matrix[b] - z.matrix[a], z.offset[b] - z.offset[a])
            if side is not None:
                following = order.copy()
                following[groups[g]] = chosen[::-1] if down else chosen
                yield from group(g + 1, side, following)

    for part, order in group(0, region, numpy.arange(len(z.offset))):
        yield part, z.rows(order)


def _largest(function: MaxPool | Extremum, region: Region, z: Linear) -> Iterator[tuple[Region, Linear]]:
    """All choices of the extreme entry of each window."""
    sign = -1.0 if isinstance(function, Extremum) and not function.largest else 1.0
    windows = _windows(function, sign)

    def window(w: int, part: Region, chosen: tuple[int, ...]) -> Iterator[tuple[Region, tuple[int, ...]]]:
        if w == len(windows):
            yield part, chosen
            return
        for winner in windows[w]:
            side: Region | None = part
            for other in windows[w]:
                if side is not None and other != winner:
                    row = sign * (z.matrix[winner] - z.matrix[other])
                    side = side.split(row, sign * (z.offset[winner] - z.offset[other]))
            if side is not None:
                yield from window(w + 1, side, (*chosen, winner))

    for part, chosen in window(0, region, ()):
        yield part, z.rows(numpy.array(chosen))


def _windows(function: AbstractVectorFunction, sign: float) -> list[list[int]]:
    """Which entries each output looks at: those whose spike it shows."""
    size = int(numpy.prod(function.in_shape))
    spikes = sign * torch.eye(size, dtype=torch.float64).reshape(size, *function.in_shape)
    seen: Tensor = function.value(spikes).reshape(size, -1) != 0
    return [seen[:, k].nonzero().reshape(-1).tolist() for k in range(seen.shape[1])]
