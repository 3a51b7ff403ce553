"""Which entries of a linear map can be positive and which negative."""

import dataclasses

from torch import Tensor

from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable


@dataclasses.dataclass(frozen=True)
class Signs:
    """Two maps with entries >= 0: positive exactly where the stored entry plus, or minus, its uncertainty is above 0.

    An entry of the real map is at most that of `positive` and at least minus that of `negative`, rounding apart; where
    `negative` is 0 it is not below 0.

    Attributes:
        positive: the positive parts.
        negative: the magnitudes of the negative parts; None for zero everywhere.
    """

    positive: AbstractLinearMap
    negative: AbstractLinearMap | None


def signs(linear_map: AbstractLinearMap) -> tuple[Signs, ...]:
    """The signs of the stages of a map, first applied first; () where they are not known.

    Args:
        linear_map: any map.
    """
    match linear_map:
        case Chain():
            parts = [signs(one) for one in linear_map.maps]
            return tuple(one for part in parts for one in part) if all(parts) else ()
        case Reshape() | Selection():
            return (Signs(linear_map, None),)
        case Dense() | Conv() | ConvTransposed():
            positive, negative = _parts(linear_map.weight, linear_map.error)
            above, below = (dataclasses.replace(linear_map, weight=one, error=None) for one in (positive, negative))
            return (Signs(above, below if bool((negative > 0).any()) else None),)
        case Diagonal():
            positive, negative = _parts(linear_map.scale, linear_map.error)
            above, below = (Diagonal(one, linear_map.shape) for one in (positive, negative))
            return (Signs(above, below if bool((negative > 0).any()) else None),)
        case Separable():
            return tuple(_axis(stage) for stage in linear_map.stages())
        case _:
            return ()


def _parts(weight: Tensor, error: Tensor | None) -> tuple[Tensor, Tensor]:
    """Positive and negative parts. The sign of a rounded sum is that of the exact one."""
    above = weight if error is None else weight + error
    below = weight if error is None else weight - error
    return above.clamp_min(0.0), (-below).clamp_min(0.0)


def _axis(stage: Separable) -> Signs:
    """The signs of a map along one axis."""
    errors = stage.errors or (None,) * len(stage.matrices)
    parts = [None if m is None else _parts(m, e) for m, e in zip(stage.matrices, errors, strict=True)]
    above, below = (
        Separable(tuple(None if part is None else part[side] for part in parts), stage.in_shape) for side in (0, 1)
    )
    negative = any(part is not None and bool((part[1] > 0).any()) for part in parts)
    return Signs(above, below if negative else None)
