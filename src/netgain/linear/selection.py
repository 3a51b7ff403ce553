"""Selection: every output is one input entry or zero."""

import dataclasses
import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from typing_extensions import override

from netgain.linear.base import AbstractLinearMap
from netgain.linear.checks import assign, require, sizes


@dataclasses.dataclass(frozen=True, eq=False)
class Selection(AbstractLinearMap):
    """y_k = x_index(k), or 0 where index(k) = -1 (permutation, slice, padding, nearest upsampling). Exact.

    Attributes:
        index: flat input position of each output, in the output's order; -1 for zero.
        in_shape: shape of one input, batch axis excluded.
        out_shape: shape of one output, batch axis excluded.
        copies: the largest number of outputs that read one input.
    """

    index: Int64[Tensor, "*out"] = dataclasses.field(repr=False)
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    copies: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        assign(self, in_shape=sizes(self.in_shape, "input shape"), out_shape=sizes(self.out_shape, "output shape"))
        index = self.index.detach().to(torch.int64).reshape(-1)
        fits = index.numel() == math.prod(self.out_shape)
        require(fits, f"index of Selection has {index.numel()} entries, expected one for each of {self.out_shape}")
        size = math.prod(self.in_shape)
        inside = int(index.min()) >= -1 and int(index.max()) < size
        require(inside, f"index of Selection must lie between -1 and {size - 1} for input shape {self.in_shape}")
        uses = torch.bincount(index[index >= 0], minlength=1)
        assign(self, index=index, copies=max(1, int(uses.max())))

    @property
    @override
    def terms(self) -> int:
        return 1

    @property
    @override
    def adjoint_terms(self) -> int:
        return self.copies

    @property
    @override
    def moves(self) -> bool:
        return True

    @override
    def apply(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        index = self.index.to(x.device)
        taken = x.reshape(x.shape[0], self.in_size).index_select(1, index.clamp_min(0))
        # `where`, not a product: zero times infinity would be NaN.
        return torch.where(index < 0, taken.new_zeros(()), taken).reshape(x.shape[0], *self.out_shape)

    @override
    def adjoint(self, y: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        index = self.index.to(y.device)
        used = (index >= 0).nonzero().squeeze(1)
        flat = y.reshape(y.shape[0], self.out_size).index_select(1, used)
        sums = y.new_zeros(y.shape[0], self.in_size).index_add(1, index[used], flat)
        return sums.reshape(y.shape[0], *self.in_shape)

    @override
    def abs(self) -> "Selection":
        return self

    @override
    def uncertainty(self) -> None:
        return None
