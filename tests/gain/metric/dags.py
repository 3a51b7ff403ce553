"""Random graphs of all node kinds, and what a sweep must find, from one dense inequality over all increments."""

import math
import random

import torch
from torch import Tensor

from netgain.core.norms import Norm
from netgain.gain.metric.prepared import Prepared
from netgain.gain.metric.region import sector
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.network.graph import Affine, Concat, Elementwise, Network, Node, Sum, Vector
from netgain.vectors.extrema import GroupSort, Sort
from netgain.vectors.normalize import LayerNorm
from tests.gain.networks import act, node, normal

_ACTIVATIONS = ("relu", "tanh", "gelu", "silu", "leaky_relu", "abs", "sin")


def dag(seed: int, count: int = 9, *, vectors: bool = True) -> Network:
    """A random graph of flat values that ends in a matrix with three rows."""
    rng = random.Random(seed)
    nodes: list[Node] = []
    sizes = {"x": rng.choice((2, 4, 6))}
    for k in range(count):
        name, reads = f"n{k}", rng.choice(list(sizes)[-3:])
        size = sizes[reads]
        choice = rng.choice(("affine", "affine", "elementwise", "elementwise", "sum", "concat", "vector", "diagonal"))
        peers = [other for other in sizes if sizes[other] == size and other != reads]
        if choice == "sum" and peers:
            inputs = (reads, rng.choice(peers))
            nodes.append(node(name, Sum((1.0, rng.choice((-0.5, 2.0)))), inputs, (size,)))
        elif choice == "concat" and len(sizes) > 1 and size < 10:
            other = rng.choice(list(sizes))
            nodes.append(node(name, Concat(0), (reads, other), (size + sizes[other],)))
        elif choice == "diagonal":
            nodes.append(node(name, Affine(Diagonal(normal(seed + k, size), (size,))), (reads,), (size,)))
        elif choice == "vector" and vectors and size % 2 == 0:
            function = rng.choice((GroupSort((size,), 0, 2), Sort((size,), 0), LayerNorm((size,), 1, 0.5)))
            nodes.append(node(name, Vector(function), (reads,), (size,)))
        elif choice == "elementwise":
            nodes.append(node(name, act(rng.choice(_ACTIVATIONS)), (reads,), (size,)))
        else:
            out = rng.choice((2, 4, 6))
            matrix = normal(seed + 100 * k, out, size) / math.sqrt(size)
            nodes.append(node(name, Affine(Dense(matrix)), (reads,), (out,)))
        sizes[name] = nodes[-1].shape[0]
    last = nodes[-1].name
    nodes.append(node("out", Affine(Dense(normal(seed + 7, 3, sizes[last]))), (last,), (3,)))
    return Network("x", (sizes["x"],), tuple(nodes), "out")


def increments(prepared: Prepared) -> dict[str, Tensor]:
    """Each node's increment as a matrix on the joined increments of the start and of all nonlinear nodes."""
    region = prepared.region
    sizes = {name: math.prod(shape) for name, shape in region.network.shapes().items()}
    free = [region.start, *(n.name for n in region.nodes if isinstance(n.kind, Elementwise | Vector))]
    total = sum(sizes[name] for name in free)
    found: dict[str, Tensor] = {}
    at = 0
    for name in free:
        found[name] = torch.zeros(sizes[name], total, dtype=torch.float64)
        found[name][torch.arange(sizes[name]), at + torch.arange(sizes[name])] = 1.0
        at += sizes[name]
    for n in region.nodes:
        match n.kind:
            case Affine(map=linear_map):
                found[n.name] = linear_map.matrix() @ found[n.inputs[0]]
            case Sum(scales=scales):
                found[n.name] = sum((s * found[k] for s, k in zip(scales, n.inputs, strict=True)), torch.zeros(()))
            case Concat():
                found[n.name] = torch.cat([found[k] for k in n.inputs])
            case _:
                pass
    return found


def stacked_factor(prepared: Prepared, multipliers: dict[str, Tensor], goals: Tensor) -> float:
    """The least alpha with alpha |D start|^2 - |goals D stop|^2 - (multiplier terms) >= 0, by one Schur complement."""
    region = prepared.region
    d = increments(prepared)
    image = goals @ d[region.stop]
    form = image.T @ image
    for n in region.nodes:
        if n.name not in multipliers:
            continue
        y, z, t = d[n.name], d[n.inputs[0]], multipliers[n.name]
        if isinstance(n.kind, Elementwise):
            centre, radius = sector(n)
            w = y - centre[:, None] * z
            form = form + z.T @ ((t * radius**2)[:, None] * z) - w.T @ (t[:, None] * w)
            # An entry without slack follows its input: the limit of a large multiplier.
            form = form - w.T @ ((radius == 0).double()[:, None] * 1e12 * w)
        elif n.name in prepared.groups:
            matrix = torch.zeros(len(y), len(y), dtype=torch.float64)
            for group, lam, gamma in zip(
                prepared.groups[n.name], *t.expand(2, len(prepared.groups[n.name])), strict=True
            ):
                block = lam * torch.eye(len(group), dtype=torch.float64) + gamma
                matrix[group[:, None], group[None, :]] = block
            form = form + z.T @ matrix @ z - y.T @ matrix @ y
        elif isinstance(n.kind, Vector):
            gain = n.kind.function.gain(Norm.L2)
            form = form + t.item() * (gain**2 * z.T @ z - y.T @ y)
    size = len(d[region.start])
    a, b, rest = form[:size, :size], form[:size, size:], -form[size:, size:]
    left = torch.linalg.cholesky(rest)
    half = torch.linalg.solve_triangular(left, b.T, upper=False)
    return float(torch.linalg.eigvalsh(a + half.T @ half)[-1])
