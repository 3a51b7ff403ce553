"""The linear map: what every norm and every bound method knows of an affine operation."""

import abc
import math

import torch
from jaxtyping import Float
from torch import Tensor


class AbstractLinearMap(abc.ABC):
    """A linear map A between tensors of fixed shapes, batch first, stored in float64.

    `apply` and `adjoint` compute in the dtype of their argument and are differentiable in it; proofs use float64.

    The entries of A are real numbers. The float64 entries a map stores may differ from them (a folded BatchNorm, a
    merged product, a mean by 1/3); `uncertainty` then bounds the difference entry by entry, and every proof adds it.
    Subclasses are final frozen dataclasses.

    Attributes:
        in_shape: shape of one input, batch axis excluded.
        out_shape: shape of one output, batch axis excluded.
    """

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    @property
    @abc.abstractmethod
    def terms(self) -> int:
        """The largest number of products summed for one entry of `apply`, for gamma factors."""

    @property
    @abc.abstractmethod
    def adjoint_terms(self) -> int:
        """The largest number of products summed for one entry of `adjoint`."""

    @abc.abstractmethod
    def apply(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """A x for each row, in ordinary arithmetic of the argument's dtype on the stored entries."""

    @abc.abstractmethod
    def adjoint(self, y: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        """A^T y for each row, in ordinary arithmetic of the argument's dtype on the stored entries."""

    @abc.abstractmethod
    def abs(self) -> "AbstractLinearMap":
        """The map of entrywise magnitudes |A| of the stored entries (uncertainty not included)."""

    @abc.abstractmethod
    def uncertainty(self) -> "AbstractLinearMap | None":
        """The map E >= 0 with |A - stored A| <= E entry by entry, or None where the stored entries are exact."""

    @property
    def in_size(self) -> int:
        """Number of input scalars."""
        return math.prod(self.in_shape)

    @property
    def out_size(self) -> int:
        """Number of output scalars."""
        return math.prod(self.out_shape)

    @property
    def moves(self) -> bool:
        """Whether `apply` is exact because it only moves entries (reshape, permutation, slice, zero padding)."""
        return False

    def matrix(self, chunk: int = 1024) -> Float[Tensor, "out in"]:
        """The stored matrix, flattened on both sides; exact, since each column is an image of a unit vector.

        Args:
            chunk: unit vectors applied at once.

        Cost:
            in_size * out_size float64 numbers. The caller checks that this fits.
        """
        columns: list[Tensor] = []
        for start in range(0, self.in_size, chunk):
            stop = min(start + chunk, self.in_size)
            unit = torch.zeros(stop - start, self.in_size, dtype=torch.float64)
            unit[torch.arange(stop - start), torch.arange(start, stop)] = 1.0
            columns.append(self.apply(unit.reshape(stop - start, *self.in_shape)).reshape(stop - start, -1))
        return torch.cat(columns).T
