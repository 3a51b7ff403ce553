"""The search for inputs and directions in which a network stretches most. Nothing here is proved."""

import dataclasses
import math
import time
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.activations.base import Activation
from netgain.core.norms import Norm
from netgain.gain.coordinates import Coordinates
from netgain.gain.recursion import ancestors
from netgain.network.graph import Affine, Concat, Elementwise, Network, Node, Opaque, Sum, Vector, evaluate

# The smoothing at which a Jacobian counts as the network's own, as far as a dtype resolves it.
FINEST = {torch.float64: 1e-6, torch.float32: 1e-3}


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Inputs, directions and the stretch found there, best first.

    Attributes:
        x: inputs.
        v: directions of norm 1.
        stretch: about ||J(x) v||; an estimate.
    """

    x: Float[Tensor, "batch *in"]
    v: Float[Tensor, "batch *in"]
    stretch: Float[Tensor, " batch"]

    def first(self, count: int) -> "Candidates":
        """The first of them, at most `count`."""
        return Candidates(self.x[:count], self.v[:count], self.stretch[:count])


def stretched(
    network: Network, x: Tensor, v: Tensor, smoothing: float, bumps: Mapping[str, Tensor] | None = None
) -> Tensor:
    """About J(x) v for each row, differentiable in x and v, with kinks smoothed over a fraction of the typical size.

    Values run exactly; only slopes are smoothed, so that moving a unit towards its other side changes the result and
    the gradient in x says something for piecewise linear networks too.

    Args:
        network: the network; Opaque and Bilinear nodes are not searched.
        x: inputs.
        v: directions.
        smoothing: width of the smoothing, relative to the root mean square of each node's values.
        bumps: by activation node, what is added to its slopes; to differentiate with respect to them.
    """
    values, tangents = {network.input: x}, {network.input: v}
    for node in ancestors(network):
        inputs = [values[name] for name in node.inputs]
        values[node.name] = evaluate(node, inputs)
        before = [tangents[name] for name in node.inputs]
        behind = _tangent(node, inputs, before, smoothing)
        bump = bumps.get(node.name) if bumps else None
        tangents[node.name] = behind if bump is None else behind + bump * before[0]
    return tangents[network.output]


def _tangent(node: Node, inputs: list[Tensor], tangents: list[Tensor], smoothing: float) -> Tensor:
    """The derivative of one node in the direction of the tangents."""
    kind = node.kind
    if isinstance(kind, Affine):
        return kind.map.apply(tangents[0])
    if isinstance(kind, Elementwise):
        width = (smoothing * typical(inputs[0])).clamp_min(negligible(inputs[0]))
        return _slope(kind.activation, inputs[0], width) * tangents[0]
    if isinstance(kind, Sum | Concat):
        return evaluate(node, tangents)
    if isinstance(kind, Vector | Opaque):
        floor = negligible(inputs[0])
        step = (smoothing * typical(inputs[0]) / typical(tangents[0]).clamp_min(floor)).clamp_min(floor)
        ahead = evaluate(node, [inputs[0] + step * tangents[0]])
        return (ahead - evaluate(node, [inputs[0] - step * tangents[0]])) / (2 * _like(step, ahead))
    left, right = tangents
    return evaluate(node, [left, inputs[1]]) + evaluate(node, [inputs[0], right])


def typical(x: Float[Tensor, "batch *shape"]) -> Tensor:
    """The root mean square of each row, shaped to broadcast.

    Args:
        x: a batch.
    """
    size = x.detach().reshape(len(x), -1).norm(dim=1) / math.sqrt(max(1, x[0].numel()))
    return size.reshape(-1, *([1] * (x.dim() - 1)))


def negligible(x: Tensor) -> float:
    """A divisor so small that it changes nothing else.

    Args:
        x: what has the dtype.
    """
    return 1e4 * torch.finfo(x.dtype).tiny


def _like(rows: Tensor, like: Tensor) -> Tensor:
    """One number a row, shaped to broadcast against `like`."""
    return rows.reshape(-1, *([1] * (like.dim() - 1)))


def _slope(activation: Activation, x: Tensor, width: Tensor) -> Tensor:
    """The activation's slope, smoothed over `width`."""
    if activation.positively_homogeneous:
        left, right = sides(activation, x)
        return left + (right - left) * torch.sigmoid(x / width)
    return (activation.value(x + width) - activation.value(x - width)) / (2 * width)


def sides(activation: Activation, like: Tensor) -> tuple[Tensor, Tensor]:
    """The slopes of a positively homogeneous activation below and above 0.

    Args:
        activation: the activation.
        like: what has the dtype.
    """
    one = like.new_ones(())
    return -activation.value(-one), activation.value(one)


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The v of norm 1 with the greatest inner product with each row: one step of the power method for this norm.

    Args:
        gradient: J^T times a dual vector of J v.
        norm: the norm of inputs.

    Source:
        Boyd (1974), The power method for l^p norms.
    """
    if norm is Norm.LINF:
        return torch.where(gradient < 0, -1.0, 1.0).to(gradient)
    flat = gradient.reshape(len(gradient), -1)
    if norm is Norm.L2:
        size = flat.norm(dim=1, keepdim=True)
        return (flat / size.clamp_min(negligible(flat))).reshape(gradient.shape)
    best = flat.abs().argmax(1, keepdim=True)
    sign = torch.where(flat.gather(1, best) < 0, -1.0, 1.0).to(flat)
    return torch.zeros_like(flat).scatter(1, best, sign).reshape(gradient.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Climb:
    """Gradient ascent on log ||J(x) v|| in x (Adam) together with the power method in v, smoothing annealed.

    Attributes:
        steps: ascent steps.
        rate: first step length relative to each start's size.
        coarse: first smoothing.
        fine: last smoothing.
        polish: power steps at the end, without smoothing.
        seconds: time for the ascent, within which it anneals fully; None for no limit.
    """

    steps: int
    rate: float = 0.2
    coarse: float = 1.0
    fine: float = 0.02
    polish: int = 30
    seconds: float | None = None

    def __call__(
        self, network: Network, norm: Norm, x: Tensor, v: Tensor, place: Coordinates | None = None
    ) -> Candidates:
        """The best input and direction that each start leads to.

        Args:
            network: the network.
            norm: the norm of inputs and outputs.
            x: starting inputs.
            v: starting directions.
            place: the coordinates to move in; None for the input's own.
        """
        place = Coordinates(network.input_shape) if place is None else place
        y = place.coordinates(x)
        scale = typical(y).clamp_min(negligible(y))
        first, second = torch.zeros_like(y), torch.zeros_like(y)
        began = time.monotonic()
        for step in range(self.steps):
            spent = 0.0 if self.seconds is None else (time.monotonic() - began) / self.seconds
            if spent > 1.0:
                break
            done = max(spent, step / max(1, self.steps - 1))
            smoothing = self.coarse * (self.fine / self.coarse) ** done
            gradient, pull, _ = _gradients(network, norm, place, y, v, smoothing)
            v = direction(pull, norm)
            first = 0.9 * first + 0.1 * gradient
            second = 0.99 * second + 0.01 * gradient.square()
            update = first / (1 - 0.9 ** (step + 1)) / (second / (1 - 0.99 ** (step + 1))).sqrt().clamp_min(1e-30)
            y = y + self.rate * (1 - 0.95 * done) * scale * update
        return power(network, norm, place.input(y), v, self.polish)


def power(network: Network, norm: Norm, x: Tensor, v: Tensor, steps: int) -> Candidates:
    """The power method on the Jacobian at each x, without smoothing.

    Args:
        network: the network.
        norm: the norm of inputs and outputs.
        x: inputs; they stay.
        v: directions to start from.
        steps: power steps.
    """
    v = v / norm.of(v).clamp_min(negligible(v)).reshape(-1, *([1] * (v.dim() - 1)))
    stretch, best = x.new_full((x.shape[0],), -1.0), v
    for _ in range(steps):
        pull, now = _pulled(network, norm, x, v)
        now = now.nan_to_num(0.0, 0.0, 0.0)
        best = torch.where((now > stretch).reshape(-1, *([1] * (v.dim() - 1))), v, best)
        v, stretch = direction(pull, norm), torch.maximum(stretch, now)
    stretch = stretch.clamp_min(0.0)
    order = stretch.argsort(descending=True)
    return Candidates(x[order], best[order], stretch[order])


def _pulled(network: Network, norm: Norm, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of log ||J v|| in v at slopes that count as the network's own (NaN replaced by 0), and ||J v||."""
    with torch.enable_grad():
        v = v.detach().requires_grad_()
        size = norm.of(stretched(network, x.detach(), v, FINEST[x.dtype]))
        logs = size.clamp_min(negligible(size)).log().sum()
        (pull,) = torch.autograd.grad(logs, (v,), allow_unused=True, materialize_grads=True)
    return pull.nan_to_num(0.0, 0.0, 0.0), size.detach()


def _gradients(
    network: Network, norm: Norm, place: Coordinates, y: Tensor, v: Tensor, smoothing: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of log ||J v|| in y and in v (NaN replaced by 0), and ||J v||."""
    with torch.enable_grad():
        y, v = y.detach().requires_grad_(), v.detach().requires_grad_()
        size = norm.of(stretched(network, place.input(y), v, smoothing))
        logs = size.clamp_min(negligible(size)).log().sum()
        pull_y, pull_v = torch.autograd.grad(logs, (y, v), allow_unused=True, materialize_grads=True)
    return pull_y.nan_to_num(0.0, 0.0, 0.0), pull_v.nan_to_num(0.0, 0.0, 0.0), size.detach()
