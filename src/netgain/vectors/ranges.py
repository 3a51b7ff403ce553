"""What the vector functions share: checks of axes, boxes around a point, errors of monotone functions."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import UsageError
from netgain.core.interval import Interval
from netgain.core.rounding import UNDERFLOW, gamma, tensor_down, tensor_up


def check_axis(what: str, shape: tuple[int, ...], axis: int) -> None:
    """Refuse an axis that the shape does not have, or an empty one.

    Raises:
        UsageError: if 0 <= axis < number of axes does not hold, or that axis has no entries.
    """
    if not 0 <= axis < len(shape):
        raise UsageError(f"{what}: axis {axis} of shape {shape} does not exist (the batch axis is not counted)")
    if shape[axis] < 1:
        raise UsageError(f"{what}: axis {axis} of shape {shape} is empty")


def reduced(shape: tuple[int, ...], axis: int, keepdim: bool) -> tuple[int, ...]:
    """The shape after a reduction of one axis."""
    return (*shape[:axis], *((1,) if keepdim else ()), *shape[axis + 1 :])


def box(x: Float[Tensor, "batch *shape"], radius: Float[Tensor, "batch *shape"]) -> Interval:
    """The box |z - x| <= radius, outward rounded; exactly {x} where the radius is 0."""
    point, width = torch.broadcast_tensors(x.double(), radius.double())
    return Interval(
        torch.where(width == 0, point, tensor_down(point - width)),
        torch.where(width == 0, point, tensor_up(point + width)),
    )


def monotone_error(
    value: Callable[[Tensor], Tensor], x: Float[Tensor, "batch *shape"], radius: Float[Tensor, "batch *shape"]
) -> Float[Tensor, "batch *out"]:
    """The error of a function that rises in every input and is evaluated without rounding.

    f(z) lies between f(x - radius) and f(x + radius), and both are attained: the bound is exact up to rounding.
    Infinity for all outputs of a sample that contains NaN.
    """
    ends = box(x, radius)
    middle = value(x.double())
    error = Interval(value(ends.lo), value(ends.hi)).distance(middle)
    known = ~(x.isnan() | radius.isnan()).flatten(1).any(1)
    return torch.where(known.reshape(-1, *(1 for _ in middle.shape[1:])), error, math.inf)


def known(image: Interval, over: Interval) -> Interval:
    """The enclosure, infinite where it holds no number, and for every output of a sample whose box holds none.

    Args:
        image: the enclosure of a function over a box.
        over: the box.
    """
    unknown = (over.lo.isnan() | over.hi.isnan()).flatten(1).any(1)
    unknown = unknown.reshape(-1, *(1 for _ in image.lo.shape[1:])) | image.lo.isnan() | image.hi.isnan()
    return Interval(torch.where(unknown, -math.inf, image.lo), torch.where(unknown, math.inf, image.hi))


def monotone_range(value: Callable[[Tensor], Tensor], over: Interval) -> Interval:
    """The range of a function that rises in every input and is evaluated without rounding: exact."""
    return known(Interval(value(over.lo), value(over.hi)), over)


def others(x: Interval, axis: int) -> Interval:
    """For each entry the sum of all others along an axis (batch axis counted).

    The own entry is left out, not subtracted, so small sums keep their digits and an infinite entry does not hide the
    sum of the others.
    """
    count = x.lo.shape[axis]
    factor = 2 * gamma(count + 4)

    def rest(end: Tensor) -> Tensor:
        zero = torch.zeros_like(end.narrow(axis, 0, 1))
        before = torch.cat([zero, end.narrow(axis, 0, count - 1)], axis).cumsum(axis)
        after = torch.cat([end.narrow(axis, 1, count - 1), zero], axis).flip(axis).cumsum(axis).flip(axis)
        return before + after

    low = rest(x.lo) - (factor * rest(x.lo.abs()) + UNDERFLOW)
    high = rest(x.hi) + (factor * rest(x.hi.abs()) + UNDERFLOW)
    # Infinity less infinity: nothing is known on that side.
    return Interval(
        torch.where(low.isnan(), -math.inf, tensor_down(low)), torch.where(high.isnan(), math.inf, tensor_up(high))
    )
