"""Dense: a matrix applied to the last axis."""

import dataclasses

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from netgain.linear.base import AbstractLinearMap
from netgain.linear.checks import assign, require, sizes, stored, stored_error


@dataclasses.dataclass(frozen=True, eq=False)
class Dense(AbstractLinearMap):
    """x -> x W^T on the last axis of (*lead, in); with leading axes the whole map is I (x) W.

    Attributes:
        weight: W, one row an output.
        lead: leading axes that share W.
        error: entrywise bound of |stored W - W|, None where exact.
        in_shape: (*lead, in).
        out_shape: (*lead, out).
    """

    weight: Float[Tensor, "out in"] = dataclasses.field(repr=False)
    lead: tuple[int, ...] = ()
    error: Float[Tensor, "out in"] | None = dataclasses.field(default=None, repr=False)
    in_shape: tuple[int, ...] = dataclasses.field(init=False)
    out_shape: tuple[int, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        shape = tuple(self.weight.shape)
        require(len(shape) == 2 and min(shape) > 0, f"weight of Dense must be (out, in), both positive, got {shape}")
        weight = stored(self.weight, "weight of Dense")
        lead = sizes(self.lead, "leading shape")
        assign(self, weight=weight, lead=lead, error=stored_error(self.error, weight, "weight of Dense"))
        assign(self, in_shape=(*lead, shape[1]), out_shape=(*lead, shape[0]))

    @property
    @override
    def terms(self) -> int:
        return self.weight.shape[1]

    @property
    @override
    def adjoint_terms(self) -> int:
        return self.weight.shape[0]

    @override
    def apply(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        return x @ self.weight.to(x).T

    @override
    def adjoint(self, y: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        return y @ self.weight.to(y)

    @override
    def abs(self) -> "Dense":
        return Dense(self.weight.abs(), self.lead)

    @override
    def uncertainty(self) -> "Dense | None":
        return None if self.error is None else Dense(self.error, self.lead)
