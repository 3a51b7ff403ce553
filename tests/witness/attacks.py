"""The largest gain that ascent finds over all slopes of the activations, pixel by pixel: below any factor."""

import math

import torch
from torch import Tensor

from netgain.network.graph import Affine, Concat, Elementwise, Network, Sum, Vector


def attack(network: Network, weights: tuple[Tensor, Tensor], seed: int, restarts: int = 2, rounds: int = 4) -> float:
    """The square of a gain between weighted norms (start, stop; one a channel) that some slopes reach."""
    generator = torch.Generator().manual_seed(seed)
    shapes = network.shapes()
    roots = [
        w.reshape(-1, *(1,) * (len(shapes[name]) - 1)).expand(shapes[name]).reshape(-1).sqrt()
        for w, name in zip(weights, (network.input, network.output), strict=True)
    ]
    best = 0.0
    for _ in range(restarts):
        linear = {
            one.name: _jacobian(one.kind.function, generator) for one in network.nodes if isinstance(one.kind, Vector)
        }
        ends = {one.name: _ends(one) for one in network.nodes if isinstance(one.kind, Elementwise)}
        slopes = {k: torch.where(torch.rand(a.shape, generator=generator) < 0.5, a, b) for k, (a, b) in ends.items()}
        for _ in range(rounds):
            chosen = {name: slope.clone().requires_grad_() for name, slope in slopes.items()}
            full = _run(network, torch.eye(math.prod(network.input_shape)).double(), chosen, linear)
            full = full.T * roots[1][:, None] / roots[0]
            left, values, right = torch.linalg.svd(full.detach(), full_matrices=False)
            best = max(best, float(values[0]) ** 2)
            if not chosen:
                break
            aim = (left[:, 0] * (full @ right[0])).sum()
            gradients = torch.autograd.grad(aim, list(chosen.values()), allow_unused=True)
            for (name, (low, high)), gradient in zip(ends.items(), gradients, strict=True):
                if gradient is not None:
                    slopes[name] = torch.where(gradient > 0, high, low)
    return best


def _ends(one) -> tuple[Tensor, Tensor]:
    line = torch.full(one.shape, math.inf, dtype=torch.float64)
    low, high = one.kind.activation.slope_range(-line, line)
    return low.expand(one.shape).clone(), high.expand(one.shape).clone()


def _jacobian(function, generator: torch.Generator) -> Tensor:
    """The Jacobian at a random point: out x in."""
    point = torch.randn(function.in_shape, generator=generator, dtype=torch.float64)
    full = torch.autograd.functional.jacobian(lambda z: function.value(z[None])[0], point)
    return full.reshape(-1, point.numel())


def _run(network: Network, x: Tensor, slopes: dict[str, Tensor], linear: dict[str, Tensor]) -> Tensor:
    """The linear network of those slopes, on a batch of flat inputs."""
    values = {network.input: x.reshape(-1, *network.input_shape)}
    for one in network.nodes:
        inputs = [values[name] for name in one.inputs]
        match one.kind:
            case Affine(map=linear_map):
                values[one.name] = linear_map.apply(inputs[0])
            case Elementwise():
                values[one.name] = inputs[0] * slopes[one.name]
            case Vector():
                values[one.name] = (inputs[0].flatten(1) @ linear[one.name].T).reshape(-1, *one.shape)
            case Sum(scales=scales):
                values[one.name] = sum(s * v for s, v in zip(scales, inputs, strict=True))
            case Concat():
                values[one.name] = torch.cat(inputs, 1)
    return values[network.output].flatten(1)
