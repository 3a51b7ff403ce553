"""Support functions of the intersection of a ball and a box, bounded from above.

With a = a1 + a2, the greatest value of a . d over ||d|| <= r, -below <= d <= above is at most that of a1 . d over the
box plus r times the dual norm of a2, for every such split, and the best split attains it (an infimal convolution).
The split is searched for in ordinary arithmetic; what counts is evaluated for the float64 numbers found, rounded up.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm
from netgain.core.rounding import UNDERFLOW, gamma, norm_upper, tensor_up

# Steps of the search for the multiplier of the ball. The loss falls from 1e-4 to 1e-8 with the first on images.
_STEPS = 1
# Entries of one piece of work: what fits a cache.
_PIECE = 1 << 16


def box_support(
    rows: Float[Tensor, "any k n"], below: Float[Tensor, "batch n"], above: Float[Tensor, "batch n"]
) -> Float[Tensor, "batch k"]:
    """The greatest value of a . d over the box, rounded up: each entry is at its better end.

    Args:
        rows: a, exact; one leading row if they are the same for all boxes.
        below: how far the box reaches down from 0, not negative.
        above: how far it reaches up.
    """
    positive, negative = rows.clamp_min(0.0), rows.clamp_max(0.0)
    if rows.shape[0] == 1:
        total = above @ positive[0].T - below @ negative[0].T
    else:
        total = torch.bmm(positive, above.unsqueeze(2)) - torch.bmm(negative, below.unsqueeze(2))
        total = total.squeeze(2)
    return _sum_up(total, rows.shape[2])


def ball_and_box(
    rows: Float[Tensor, "any k n"],
    norm: Norm,
    radius: Float[Tensor, " batch"],
    below: Float[Tensor, "batch n"],
    above: Float[Tensor, "batch n"],
) -> Float[Tensor, "batch k"]:
    """An upper bound of a . d over a ball around 0 and a box that holds 0; NaN where the search failed.

    Args:
        rows: a, exact; one leading row if they are the same for all.
        norm: of the ball: l2 or l1.
        radius: of the ball.
        below: how far the box reaches down from 0, finite, not negative.
        above: how far it reaches up.

    Cost:
        15 passes over the coefficients for l2, a sort for l1. For shared rows in l2 a few matrix products: only entries
        on which the box is much narrower than the ball are given to the box there, the same ones for all rows.
    """
    if norm is Norm.L2 and rows.shape[0] == 1:
        size = rows.shape[2] ** -0.5
        found = [_shared(rows[0], radius, below, above, radius * share * size) for share in (0.0, 1.0)]
        return torch.fmin(*found)
    batch, count, n = len(radius), rows.shape[1], rows.shape[2]
    result = radius.new_empty(batch, count)
    step = max(1, _PIECE // max(1, count * n))
    search = _filled if norm is Norm.L2 else _sorted
    for start in range(0, batch, step):
        part = slice(start, min(start + step, batch))
        a = rows if rows.shape[0] == 1 else rows[part]
        low, high = below[part].unsqueeze(1), above[part].unsqueeze(1)
        r = radius[part].reshape(-1, 1, 1)
        first, second = search(a, r, low, high)
        # The rounding of a1 is relative, so the sum is one of non-negative products still.
        box = box_support(first, low.squeeze(1), high.squeeze(1))
        width = norm_upper(second.flatten(0, 1), norm.dual).unflatten(0, second.shape[:2])
        result[part] = tensor_up(box + tensor_up(width * r.squeeze(2)))
    return result


def _shared(a: Tensor, radius: Tensor, below: Tensor, above: Tensor, narrow: Tensor) -> Tensor:
    """The bound where the box takes the entries that reach less than `narrow`, and the ball the others."""
    n = a.shape[1]
    positive, negative = a.clamp_min(0.0), a.clamp_max(0.0)
    up, down = above > narrow.unsqueeze(1), below > narrow.unsqueeze(1)
    squares = up.double() @ positive.square().T + down.double() @ negative.square().T
    width = tensor_up(_sum_up(squares, 2 * n).sqrt())
    box = torch.where(up, 0.0, above) @ positive.T - torch.where(down, 0.0, below) @ negative.T
    return tensor_up(_sum_up(box, 2 * n) + tensor_up(width * radius.unsqueeze(1)))


def _filled(a: Tensor, r: Tensor, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """The split for l2: d = clamp(a / m, -below, above), with the multiplier m for which ||d|| = r."""
    floor = -below
    m = a.norm(dim=2, keepdim=True) / r
    for _ in range(_STEPS):
        t = a / m
        d = torch.clamp(t, floor, above)
        free = torch.where(t == d, d, 0.0)
        held = r * r - torch.linalg.vector_norm(d.sub_(free), dim=2, keepdim=True).square()
        better = m * torch.linalg.vector_norm(free, dim=2, keepdim=True) / held.sqrt()
        # Never 0, and no change where nothing is clamped or the numbers failed.
        m = torch.where(better < m, torch.maximum(better, m * 2.0**-20), m)
    second = torch.clamp(a / m, floor, above).mul_(m)
    return a - second, second


def _sorted(a: Tensor, r: Tensor, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """The split for l1: the entries of greatest magnitude are filled first, up to where the ball ends."""
    a = a.expand(len(r), -1, -1)
    size, order = a.abs().sort(dim=2, descending=True)
    room = torch.where(a > 0, above, below).gather(2, order).cumsum(2)
    full = room < r
    reached = full.sum(2, keepdim=True).clamp_max(a.shape[2] - 1)
    level = torch.where(full.all(2, keepdim=True), 0.0, size.gather(2, reached))
    second = torch.minimum(torch.maximum(a, -level), level)
    return a - second, second


def _sum_up(computed: Tensor, terms: int) -> Tensor:
    """A number not below the exact sum of non-negative products of once rounded numbers."""
    return tensor_up(computed * (1 + 2 * gamma(terms + 8)) + UNDERFLOW)
