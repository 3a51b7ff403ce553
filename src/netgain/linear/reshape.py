"""Reshape: the same entries under another shape."""

import dataclasses
import math

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from netgain.linear.base import AbstractLinearMap
from netgain.linear.checks import assign, require, sizes


@dataclasses.dataclass(frozen=True, eq=False)
class Reshape(AbstractLinearMap):
    """The identity between two shapes of the same size (flatten, view, unsqueeze). Exact.

    Attributes:
        in_shape: shape of one input, batch axis excluded.
        out_shape: shape of one output, batch axis excluded.
    """

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        assign(self, in_shape=sizes(self.in_shape, "input shape"), out_shape=sizes(self.out_shape, "output shape"))
        same = math.prod(self.in_shape) == math.prod(self.out_shape)
        require(same, f"cannot reshape {self.in_shape} to {self.out_shape}: the numbers of entries differ")

    @property
    @override
    def terms(self) -> int:
        return 1

    @property
    @override
    def adjoint_terms(self) -> int:
        return 1

    @property
    @override
    def moves(self) -> bool:
        return True

    @override
    def apply(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        return x.reshape(x.shape[0], *self.out_shape)

    @override
    def adjoint(self, y: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        return y.reshape(y.shape[0], *self.in_shape)

    @override
    def abs(self) -> "Reshape":
        return self

    @override
    def uncertainty(self) -> None:
        return None
