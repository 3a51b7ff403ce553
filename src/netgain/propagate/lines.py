"""Lines below and above an activation on an interval: the step of a linear relaxation."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.activations.base import Activation
from netgain.core.interval import Interval
from netgain.core.rounding import tensor_up

Slopes = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True)
class Lines:
    """lower_slope x + lower_offset <= phi(x) <= upper_slope x + upper_offset for all x of an interval, entry by entry.

    Slopes are exact float64 numbers, any finite ones; offsets are rounded outwards, infinite where nothing is known.

    Attributes:
        lower_slope: of the line below.
        lower_offset: of the line below.
        upper_slope: of the line above.
        upper_offset: of the line above.
    """

    lower_slope: Float[Tensor, "*shape"]
    lower_offset: Float[Tensor, "*shape"]
    upper_slope: Float[Tensor, "*shape"]
    upper_offset: Float[Tensor, "*shape"]


def lines(activation: Activation, x: Interval, slopes: Slopes | None = None) -> Lines:
    """Lines below and above an activation.

    Guarantee:
        As in `Lines`, rounding included, whatever the slopes.

    Args:
        activation: phi.
        x: the interval of each entry.
        slopes: slopes of the line below and of the line above, which broadcast to the interval's shape behind any
            further leading axes; None to choose them.
    """
    least, greatest = (end.expand_as(x.lo) for end in activation.slope_range(x.lo, x.hi))
    low, high = (end.expand_as(x.lo) for end in activation.value_range(x.lo, x.hi))
    mean = ((least + greatest) / 2).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    below, above = (mean, mean) if slopes is None else slopes
    chosen = [torch.broadcast_to(one, torch.broadcast_shapes(one.shape, x.lo.shape)) for one in (below, above)]
    offsets = [Interval(low, high) - Interval(one, one) * x for one in chosen]
    return Lines(chosen[0], offsets[0].lo, chosen[1], tensor_up(offsets[1].hi))
