"""Separable: one matrix an axis."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import ChainUncertainty
from netgain.linear.checks import assign, require, sizes, stored, stored_error

Matrix = Float[Tensor, "_ _"]


@dataclasses.dataclass(frozen=True, eq=False)
class Separable(AbstractLinearMap):
    """The Kronecker product M_1 (x) ... (x) M_k, one matrix an axis (average pooling, means, linear interpolation).

    Applied axis by axis. Each stage is a sum of as many products as its matrix has non-zero entries in a row, and
    nested sums of n_1, ..., n_k products carry (1 + theta_{n_1 + ... + n_k}): `terms` is that sum.

    Attributes:
        matrices: one (out, in) matrix an axis, None for the identity.
        in_shape: shape of one input, batch axis excluded.
        errors: entrywise bounds of the stored matrices' errors, None for an exact one.
        out_shape: shape of one output, batch axis excluded.
    """

    matrices: tuple[Matrix | None, ...] = dataclasses.field(repr=False)
    in_shape: tuple[int, ...]
    errors: tuple[Matrix | None, ...] | None = dataclasses.field(default=None, repr=False)
    out_shape: tuple[int, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        shape = sizes(self.in_shape, "input shape")
        errors = self.errors or (None,) * len(shape)
        fits = len(self.matrices) == len(errors) == len(shape)
        require(fits, f"Separable needs one matrix (or None) for each axis of {shape}, got {len(self.matrices)}")
        matrices: list[Tensor | None] = []
        bounds: list[Tensor | None] = []
        for axis, (matrix, error) in enumerate(zip(self.matrices, errors, strict=True)):
            name = f"matrix of Separable for axis {axis}"
            if matrix is None:
                require(error is None, f"{name} is the identity, which has no error")
                matrices.append(None)
                bounds.append(None)
                continue
            given = tuple(matrix.shape)
            fits = len(given) == 2 and given[0] > 0 and given[1] == shape[axis]
            require(fits, f"{name} must be (out, {shape[axis]}), got {given}")
            matrices.append(stored(matrix, name))
            bounds.append(stored_error(error, matrix, name))
        out_shape = tuple(size if m is None else m.shape[0] for m, size in zip(matrices, shape, strict=True))
        given_errors = tuple(bounds) if any(bound is not None for bound in bounds) else None
        assign(self, matrices=tuple(matrices), errors=given_errors, in_shape=shape, out_shape=out_shape)

    @property
    @override
    def terms(self) -> int:
        return max(1, sum(_longest(m, 1) for m in self.matrices if m is not None))

    @property
    @override
    def adjoint_terms(self) -> int:
        return max(1, sum(_longest(m, 0) for m in self.matrices if m is not None))

    @override
    def apply(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        for axis, matrix in enumerate(self.matrices):
            if matrix is not None:
                x = _along(x, matrix.to(x), axis + 1)
        return x

    @override
    def adjoint(self, y: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        for axis, matrix in enumerate(self.matrices):
            if matrix is not None:
                y = _along(y, matrix.to(y).T, axis + 1)
        return y

    @override
    def abs(self) -> "Separable":
        return Separable(tuple(None if m is None else m.abs() for m in self.matrices), self.in_shape)

    @override
    def uncertainty(self) -> AbstractLinearMap | None:
        if self.errors is None:
            return None
        if sum(error is not None for error in self.errors) > 1:
            return ChainUncertainty(tuple(self.stages()))
        magnitudes = self.abs().matrices
        factors = tuple(m if e is None else e for m, e in zip(magnitudes, self.errors, strict=True))
        return Separable(factors, self.in_shape)

    def stages(self) -> list["Separable"]:
        """The same map as single-axis maps, first applied first."""
        shape, stages = self.in_shape, list["Separable"]()
        errors = self.errors or (None,) * len(shape)
        for axis, (matrix, error) in enumerate(zip(self.matrices, errors, strict=True)):
            if matrix is not None:
                only = tuple(matrix if k == axis else None for k in range(len(shape)))
                only_error = tuple(error if k == axis else None for k in range(len(shape)))
                stages.append(Separable(only, shape, only_error))
                shape = stages[-1].out_shape
        return stages


def _longest(matrix: Tensor, axis: int) -> int:
    """The largest number of non-zero entries along an axis; products with a stored zero are exact."""
    return int((matrix != 0).sum(axis).max())


def _along(x: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """The matrix applied along one axis of x."""
    return torch.movedim(torch.movedim(x, axis, -1) @ matrix.T, -1, axis)
