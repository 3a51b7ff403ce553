"""The perturbations that an attack may use: a ball, within a domain if there is one, with its exact projection."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm
from netgain.core.rounding import UNIT_ROUNDOFF, norm_upper, tensor_up
from netgain.propagate.region import Number

_NEWTON = 64  # steps on a concave piecewise linear function; a handful are needed


@dataclasses.dataclass(frozen=True)
class Ball:
    """The perturbations d of norm at most `epsilon` with x + d in the domain, in raw input units.

    Attributes:
        norm: of the ball.
        epsilon: the radius; one number, or one a row.
        domain: lower and upper ends of the inputs, numbers or tensors that broadcast to one input; None for all.
    """

    norm: Norm
    epsilon: Number
    domain: tuple[Number, Number] | None = None

    def rows(self, index: Tensor) -> "Ball":
        """The balls of some rows."""
        if isinstance(self.epsilon, Tensor) and self.epsilon.dim() > 0:
            return dataclasses.replace(self, epsilon=self.epsilon[index])
        return self

    def widths(self, like: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *ones"]:
        """The radius of each row, shaped and typed to broadcast against a batch."""
        sizes = torch.as_tensor(self.epsilon, dtype=like.dtype).reshape(-1, *[1] * (like.dim() - 1))
        return sizes.expand(len(like), *[1] * (like.dim() - 1))

    def clip(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The nearest points of the domain; exact."""
        low, high = self.ends(x)
        return x if self.domain is None else torch.minimum(torch.maximum(x, low), high)

    def ends(self, like: Float[Tensor, "batch *shape"]) -> tuple[Tensor, Tensor]:
        """Lower and upper ends of the domain, in the dtype of a batch."""
        low, high = (-math.inf, math.inf) if self.domain is None else self.domain
        return torch.as_tensor(low, dtype=like.dtype), torch.as_tensor(high, dtype=like.dtype)

    def project(
        self, delta: Float[Tensor, "batch *shape"], centre: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """The nearest point of ball and domain together (Euclidean), in ordinary arithmetic; `inside` makes it sure.

        With c_k >= 0 the room between x_k and its end of the domain in the direction of v_k, the nearest point is

            l2:    sign(v) min(t |v|, c), with the greatest t <= 1 that the ball allows,
            l1:    sign(v) min((|v| - t)_+, c), with the least t >= 0 that the ball allows,
            linf:  sign(v) min(|v|, c, epsilon).

        Args:
            delta: v, perturbations of any size.
            centre: x, points of the domain.

        Cost:
            A few passes over the entries; for l1 two sorts.

        Source:
            The conditions of optimality; for l1 without a domain Duchi et al. (2008), Efficient projections onto the
            l1-ball, figure 1.
        """
        size, room = delta.abs().flatten(1), self._room(delta, centre).flatten(1)
        width = self.widths(delta).reshape(-1, 1)
        match self.norm:
            case Norm.LINF:
                kept = torch.minimum(torch.minimum(size, room), width)
            case Norm.L2:
                scale = _scale(size, room, width)
                kept = torch.minimum(size * scale, room)
            case Norm.L1:
                kept = torch.minimum((size - _threshold(size, room, width)).clamp_min(0.0), room)
        return delta.sign() * kept.reshape(delta.shape)

    def _room(self, delta: Tensor, centre: Tensor) -> Tensor:
        """How far each entry can move in its direction without leaving the domain."""
        if self.domain is None:
            return torch.full_like(delta, math.inf)
        low, high = self.ends(centre)
        return torch.where(delta > 0, high - centre, centre - low).clamp_min(0.0)


def _scale(size: Tensor, room: Tensor, width: Tensor) -> Tensor:
    """The greatest t <= 1 with || min(t size, room) ||_2 <= width.

    In u = t^2 the squared norm is concave, increasing and piecewise linear, so Newton's method from below ends at the
    root after finitely many steps, and never passes it.
    """
    largest = torch.minimum(size, room).amax(1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
    # Entries that fill their room at any scale need no more than its order of magnitude.
    size, room, width = (size / largest).clamp_max(2.0**50), room / largest, width / largest
    square, limit, goal = size.square(), room.square(), width.square()
    u = torch.zeros_like(width)
    for _ in range(_NEWTON):
        free = u * square < limit
        fixed = torch.where(free, 0.0, limit).sum(1, keepdim=True)
        moving = torch.where(free, square, 0.0).sum(1, keepdim=True)
        following = torch.where(moving > 0, (goal - fixed).clamp_min(0.0) / moving, 1.0).clamp_max(1.0)
        following = torch.maximum(u, following)
        if bool((following <= u * (1 + torch.finfo(u.dtype).eps)).all()):
            break
        u = following
    return u.sqrt()


def _threshold(size: Tensor, room: Tensor, width: Tensor) -> Tensor:
    """The least t >= 0 with || min((size - t)_+, room) ||_1 <= width.

    Downwards in t, entry k begins to grow at t = size and stops at t = size - room; the norm between two such numbers
    is linear.
    """
    stops = torch.where(room == math.inf, 0.0, size - room).clamp_min(0.0)
    points, order = torch.cat([size, stops], 1).sort(1, descending=True)
    begins = torch.where(order < size.shape[1], 1.0, -1.0).to(size.dtype)
    count = begins.cumsum(1)
    following = torch.cat([points[:, 1:], torch.zeros_like(width)], 1)
    grown = (count * (points - following)).cumsum(1)  # the norm at t = following
    over = grown > width
    inside = ~over.any(1, keepdim=True)
    first = over.to(torch.uint8).argmax(1, keepdim=True)
    excess = grown.gather(1, first) - width
    found = following.gather(1, first) + excess / count.gather(1, first).clamp_min(1.0)
    return torch.where(inside, 0.0, found)


def inside(
    x: Float[Tensor, "batch *shape"], candidate: Float[Tensor, "batch *shape"], ball: Ball
) -> Float[Tensor, "batch *shape"]:
    """The candidate moved so that its exact distance from x is at most epsilon and it lies in the domain.

    Guarantee:
        ||result - x|| <= epsilon and low <= result <= high for the float64 numbers as they are; rows that cannot be
        brought there become x.

    Args:
        x: the inputs, float64.
        candidate: points anywhere.
        ball: the ball, with its domain.
    """
    delta = ball.project(candidate.double() - x, x)
    result, todo = x.clone(), torch.ones(len(x), dtype=torch.bool)
    for shrink in (1.0, 1 - 2.0**-40, 1 - 2.0**-20, 1 - 2.0**-10):
        moved = ball.clip(x + shrink * delta)
        within = todo & (distance(x, moved, ball.norm) <= ball.widths(x).flatten())
        result[within] = moved[within]
        todo = todo & ~within
    return result


def distance(
    x: Float[Tensor, "batch *shape"], other: Float[Tensor, "batch *shape"], norm: Norm
) -> Float[Tensor, " batch"]:
    """A number not below the exact distance of each row of two float64 batches.

    Args:
        x: points.
        other: points.
        norm: of the difference.
    """
    # The computed difference is within u of the exact one, entry by entry.
    return norm_upper(tensor_up((other - x).abs() * (1 + 2 * UNIT_ROUNDOFF)), norm)
