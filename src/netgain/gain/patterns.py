"""Local search over activation patterns: inputs moved so that one unit at a time changes its side of the kink."""

import dataclasses
import time

import torch
from torch import Tensor

from netgain.activations.base import Activation
from netgain.core.norms import Norm
from netgain.gain.coordinates import Coordinates
from netgain.gain.recursion import ancestors
from netgain.gain.search import FINEST, Candidates, negligible, power, sides, stretched, typical
from netgain.network.graph import Elementwise, Network, Node

_NEAR = 0.03  # a unit so near its kink, relative to its layer, counts as easy to flip
_UNSEEN = 1e-6  # what flipping a unit that the direction does not see may gain
_BEYOND = (0.05, 0.5)  # how far beyond the kink a unit is moved, relative to its distance
_TURN = 0.3  # how far the direction is turned towards a move before the power method
_LEAST = 1e-9  # relative gain below which the search stops


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flips:
    """From one input to another with one unit flipped, as long as the stretch grows.

    With u, v the top singular vectors of the Jacobian at x, flipping unit k changes ||J v|| to first order by
    (other slope - slope) times what reaches the unit forward from v times what reaches it backward from u. The most
    promising units are tried: x moves along the gradient of the unit's pre-activation to just beyond its kink, where
    the power method measures the true stretch, with whatever else changed on the way.

    No guarantee: candidates only.

    Attributes:
        tried: units tried at once.
        steps: flips made at most.
        power: power steps for each trial.
        seconds: time limit; None for none.
    """

    tried: int = 48
    steps: int = 40
    power: int = 5
    seconds: float | None = None

    def __call__(
        self, network: Network, norm: Norm, x: Tensor, v: Tensor, place: Coordinates | None = None
    ) -> Candidates:
        """The best input found from one start, with its direction.

        Args:
            network: the network.
            norm: the norm of inputs and outputs.
            x: one input, as a batch of one.
            v: its direction.
            place: the coordinates to move in; None for the input's own.
        """
        place = Coordinates(network.input_shape) if place is None else place
        began = time.monotonic()
        best = power(network, norm, x, v, self.power)
        y = place.coordinates(x)
        for _ in range(self.steps):
            if self.seconds is not None and time.monotonic() - began > self.seconds:
                break
            moved = self._neighbours(network, norm, place, y, best.v)
            if moved is None:
                break
            x = place.input(moved)
            found = power(network, norm, x, _turned(norm, best.v, x - best.x), self.power)
            if not float(found.stretch[0]) > float(best.stretch[0]) * (1 + _LEAST):
                break
            best = found.first(1)
            y = place.coordinates(best.x)
        return best

    def _neighbours(self, network: Network, norm: Norm, place: Coordinates, y: Tensor, v: Tensor) -> Tensor | None:
        """Coordinates with one promising unit each moved beyond its kink; None where there are none."""
        score = _scores(network, norm, place.input(y), v)
        chosen = score.topk(min(self.tried, len(score))).indices
        if len(chosen) == 0:
            return None
        with torch.enable_grad():
            many = y.detach().expand(len(chosen), *y.shape[1:]).clone().requires_grad_()
            values = torch.cat(_preactivations(network, place.input(many)), 1)[range(len(chosen)), chosen]
            (gradient,) = torch.autograd.grad(values.sum(), (many,))
        size = gradient.flatten(1).square().sum(1).clamp_min(negligible(gradient))
        step = gradient * (-values.detach() / size).reshape(-1, *([1] * (y.dim() - 1)))
        moved = torch.cat([y + (1 + beyond) * step for beyond in _BEYOND])
        moved = moved[moved.flatten(1).isfinite().all(1)]
        return moved if len(moved) > 0 else None


def _turned(norm: Norm, v: Tensor, moves: Tensor) -> Tensor:
    """The direction turned a little towards each move, without which it may not see a unit that was off."""
    along = (v * moves).flatten(1).sum(1)
    size = torch.where(along < 0, -1.0, 1.0).to(v) / norm.of(moves).clamp_min(negligible(v))
    return v + _TURN * moves * size.reshape(-1, *([1] * (v.dim() - 1)))


def _scores(network: Network, norm: Norm, x: Tensor, v: Tensor) -> Tensor:
    """For each unit with a kink: the first-order gain of log ||J v|| if it flips, over how far away its kink is."""
    nodes = _kinked(network)
    if not nodes:
        return x.new_zeros(0)
    values = _preactivations(network, x)
    bumps = {node.name: x.new_zeros(1, *node.shape).requires_grad_() for node, _ in nodes}
    with torch.enable_grad():
        size = norm.of(stretched(network, x, v, FINEST[x.dtype], bumps)).clamp_min(negligible(x))
        pulls = torch.autograd.grad(size.log().sum(), list(bumps.values()), allow_unused=True, materialize_grads=True)
    scores: list[Tensor] = []
    for (_, activation), value, pull in zip(nodes, values, pulls, strict=True):
        left, right = sides(activation, x)
        change = ((left - right) * torch.where(value.reshape(pull.shape) > 0, 1.0, -1.0).to(x) * pull).reshape(-1)
        away = (value / typical(value).clamp_min(negligible(x))).abs().reshape(-1)
        scores.append((change + _UNSEEN) / (away + _NEAR))
    return torch.cat(scores).nan_to_num(0.0, 0.0, 0.0)


def _preactivations(network: Network, x: Tensor) -> list[Tensor]:
    """What the units with a kink at 0 read, flat, layer after layer."""
    nodes = _kinked(network)
    read = {node.inputs[0] for node, _ in nodes}
    values = {name: value.flatten(1) for name, value in network.values(x) if name in read}
    return [values[node.inputs[0]] for node, _ in nodes]


def _kinked(network: Network) -> list[tuple[Node, Activation]]:
    """The activations with a kink at 0 and nowhere else that the output depends on."""
    return [
        (node, node.kind.activation)
        for node in ancestors(network)
        if isinstance(node.kind, Elementwise) and node.kind.activation.positively_homogeneous
    ]
