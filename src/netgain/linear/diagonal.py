"""Diagonal: every entry times its own factor."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from netgain.linear.base import AbstractLinearMap
from netgain.linear.checks import assign, require, sizes, stored, stored_error


@dataclasses.dataclass(frozen=True, eq=False)
class Diagonal(AbstractLinearMap):
    """x -> s x, entry by entry (frozen batch normalization, constant factors, masks).

    Attributes:
        scale: s, broadcastable to `shape`; stored with as many axes as `shape`, of size 1 where it is constant.
        shape: shape of one input and one output, batch axis excluded.
        error: entrywise bound of |stored s - s|, of the scale's shape, None where exact.
        in_shape: `shape`.
        out_shape: `shape`.
    """

    scale: Float[Tensor, "*scale"] = dataclasses.field(repr=False)
    shape: tuple[int, ...]
    error: Float[Tensor, "*scale"] | None = dataclasses.field(default=None, repr=False)
    in_shape: tuple[int, ...] = dataclasses.field(init=False)
    out_shape: tuple[int, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        shape = sizes(self.shape, "shape of Diagonal")
        given = tuple(self.scale.shape)
        full = (1,) * (len(shape) - len(given)) + given
        fits = len(full) == len(shape) and all(a in (1, b) for a, b in zip(full, shape, strict=True))
        require(fits, f"scale of Diagonal has shape {given}, which does not broadcast to {shape}")
        scale = stored(self.scale, "scale of Diagonal")
        error = stored_error(self.error, scale, "scale of Diagonal")
        assign(self, scale=scale.reshape(full), error=None if error is None else error.reshape(full))
        assign(self, shape=shape, in_shape=shape, out_shape=shape)

    @property
    @override
    def terms(self) -> int:
        return 1

    @property
    @override
    def adjoint_terms(self) -> int:
        return 1

    @override
    def apply(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        return x * self.scale.to(x)

    @override
    def adjoint(self, y: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        return y * self.scale.to(y)

    @override
    def abs(self) -> "Diagonal":
        return Diagonal(self.scale.abs(), self.shape)

    @override
    def uncertainty(self) -> "Diagonal | None":
        return None if self.error is None else Diagonal(self.error, self.shape)

    def constant_along(self, axes: tuple[int, ...]) -> "Diagonal | None":
        """The same map with scale and error of size 1 along `axes`, or None where they vary there.

        Args:
            axes: axes of `shape`, counted from 0.
        """
        scale, error = self.scale, self.error
        for axis in axes:
            first = scale.narrow(axis, 0, 1)
            if not torch.equal(first.expand_as(scale), scale):
                return None
            scale = first
            error = None if error is None else error.amax(axis, keepdim=True)
        return Diagonal(scale, self.shape, error)

    def reshaped(self, shape: tuple[int, ...]) -> "Diagonal":
        """The map on the same entries under another shape.

        Args:
            shape: a shape of the same size.
        """
        if self.scale.numel() == 1:
            ones = (1,) * len(shape)
            return Diagonal(self.scale.reshape(ones), shape, None if self.error is None else self.error.reshape(ones))
        error = None if self.error is None else self.error.expand(self.shape).reshape(shape)
        return Diagonal(self.scale.expand(self.shape).reshape(shape), shape, error)
