"""Linear maps as the forms take them: rows times A, and what |A| and its uncertainty do to vectors of magnitudes."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from netgain.core.rounding import tensor_up
from netgain.linear.base import AbstractLinearMap
from netgain.norms.evaluate import magnitude
from netgain.witness.arithmetic import TINY, above, size


class AbstractOperator(abc.ABC):
    """A matrix A (or one a batch entry) that a form is pulled back through, known up to an entrywise uncertainty U."""

    @property
    @abc.abstractmethod
    def in_size(self) -> int:
        """Columns of A."""

    @property
    @abc.abstractmethod
    def terms(self) -> int:
        """The most products that are summed for one entry of `rows`."""

    @property
    @abc.abstractmethod
    def exact(self) -> bool:
        """Whether A is known exactly, U = 0."""

    @abc.abstractmethod
    def rows(self, x: Tensor) -> Tensor:
        """x A for x of shape (batch, rows, out), in ordinary arithmetic: (batch, rows, in)."""

    @abc.abstractmethod
    def magnitude(self, v: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        """An upper bound of (|A| + U) v for v >= 0."""

    @abc.abstractmethod
    def transposed(self, v: Float[Tensor, "batch out"]) -> Float[Tensor, "batch in"]:
        """An upper bound of (|A| + U)^T v for v >= 0."""

    @abc.abstractmethod
    def uncertainty(self, v: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        """An upper bound of U v for v >= 0."""

    @abc.abstractmethod
    def uncertainty_transposed(self, v: Float[Tensor, "batch out"]) -> Float[Tensor, "batch in"]:
        """An upper bound of U^T v for v >= 0."""


@dataclasses.dataclass(frozen=True, eq=False)
class Linear(AbstractOperator):
    """A linear map of a network, with the uncertainty of its stored entries.

    Attributes:
        map: the map.
    """

    map: AbstractLinearMap

    @property
    @override
    def in_size(self) -> int:
        """Size of one flat input."""
        return self.map.in_size

    @property
    @override
    def terms(self) -> int:
        """Products summed for one entry of the adjoint."""
        return self.map.adjoint_terms

    @property
    @override
    def exact(self) -> bool:
        """Whether the stored entries are the real numbers."""
        return self.map.uncertainty() is None

    @override
    def rows(self, x: Tensor) -> Tensor:
        flat = self.map.adjoint(x.reshape(-1, *self.map.out_shape))
        return flat.reshape(*x.shape[:-1], self.map.in_size)

    @override
    def magnitude(self, v: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        return magnitude(self.map, v.reshape(-1, *self.map.in_shape)).reshape(v.shape[0], -1) + TINY

    @override
    def transposed(self, v: Float[Tensor, "batch out"]) -> Float[Tensor, "batch in"]:
        flat = magnitude(self.map, v.reshape(-1, *self.map.out_shape), transposed=True)
        return flat.reshape(v.shape[0], -1) + TINY

    @override
    def uncertainty(self, v: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        error = self.map.uncertainty()
        if error is None:
            return v.new_zeros(v.shape[0], self.map.out_size)
        return above(error.apply(v.reshape(-1, *self.map.in_shape)), error.terms).reshape(v.shape[0], -1)

    @override
    def uncertainty_transposed(self, v: Float[Tensor, "batch out"]) -> Float[Tensor, "batch in"]:
        error = self.map.uncertainty()
        if error is None:
            return v.new_zeros(v.shape[0], self.map.in_size)
        return above(error.adjoint(v.reshape(-1, *self.map.out_shape)), error.adjoint_terms).reshape(v.shape[0], -1)


@dataclasses.dataclass(frozen=True, eq=False)
class Matrix(AbstractOperator):
    """A matrix for each batch entry, real or complex (the symbols of a convolution).

    Attributes:
        value: (batch or 1, out, in), float64 or complex128.
        error: bound of |true entry - value|, real, of the same shape; None where exact.
    """

    value: Tensor
    error: Float[Tensor, "batch out in"] | None = None

    @property
    @override
    def in_size(self) -> int:
        """Columns."""
        return self.value.shape[-1]

    @property
    @override
    def terms(self) -> int:
        """Rows."""
        return self.value.shape[-2]

    @property
    @override
    def exact(self) -> bool:
        """Whether there is no error bound."""
        return self.error is None

    @override
    def rows(self, x: Tensor) -> Tensor:
        return x @ self.value

    @override
    def magnitude(self, v: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        stored = above((size(self.value) @ v.unsqueeze(-1)).squeeze(-1), self.value.shape[-1])
        return stored if self.error is None else tensor_up(stored + self.uncertainty(v))

    @override
    def transposed(self, v: Float[Tensor, "batch out"]) -> Float[Tensor, "batch in"]:
        stored = above((v.unsqueeze(-2) @ size(self.value)).squeeze(-2), self.value.shape[-2])
        return stored if self.error is None else tensor_up(stored + self.uncertainty_transposed(v))

    @override
    def uncertainty(self, v: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        error = self.value.real.new_zeros(self.value.shape) if self.error is None else self.error
        return above((error @ v.unsqueeze(-1)).squeeze(-1), error.shape[-1])

    @override
    def uncertainty_transposed(self, v: Float[Tensor, "batch out"]) -> Float[Tensor, "batch in"]:
        error = self.value.real.new_zeros(self.value.shape) if self.error is None else self.error
        return above((v.unsqueeze(-2) @ error).squeeze(-2), error.shape[-2])


@dataclasses.dataclass(frozen=True, eq=False)
class Part(AbstractOperator):
    """scale times a vector, placed at some entries of a longer one: terms of sums and parts of concatenations.

    Attributes:
        index: where each entry goes, distinct.
        out_size: size of the longer vector.
        scale: an exact factor.
    """

    index: Int[Tensor, " in"]
    out_size: int
    scale: float = 1.0

    @property
    @override
    def in_size(self) -> int:
        """Size of the vector."""
        return self.index.shape[0]

    @property
    @override
    def terms(self) -> int:
        """One."""
        return 1

    @property
    @override
    def exact(self) -> bool:
        """Always."""
        return True

    @override
    def rows(self, x: Tensor) -> Tensor:
        return x[..., self.index] * self.scale

    @override
    def magnitude(self, v: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        placed = v.new_zeros(v.shape[0], self.out_size)
        placed[:, self.index] = above(v * abs(self.scale), 1)
        return placed

    @override
    def transposed(self, v: Float[Tensor, "batch out"]) -> Float[Tensor, "batch in"]:
        return above(v[:, self.index] * abs(self.scale), 1)

    @override
    def uncertainty(self, v: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        return v.new_zeros(v.shape[0], self.out_size)

    @override
    def uncertainty_transposed(self, v: Float[Tensor, "batch out"]) -> Float[Tensor, "batch in"]:
        return v.new_zeros(v.shape[0], self.in_size)


def multiple(entries: int, scale: float = 1.0) -> Part:
    """scale times the identity.

    Args:
        entries: size of the vector.
        scale: an exact factor.
    """
    return Part(torch.arange(entries), entries, scale)


@dataclasses.dataclass(frozen=True, eq=False)
class Block(AbstractOperator):
    """The substitution y = sum of A_k u_k in the vector of all variables: (old variables) = M (new variables).

    Attributes:
        old: rows of M of each variable before, y among them.
        new: columns of M of each variable behind.
        name: y.
        parts: u_k and A_k; a u_k that is among `old` or named twice collects its contributions.
        width: sizes of M, (out, in).
    """

    old: Mapping[str, slice]
    new: Mapping[str, slice]
    name: str
    parts: Sequence[tuple[str, AbstractOperator]]
    width: tuple[int, int]

    @property
    @override
    def in_size(self) -> int:
        """Size of all new variables."""
        return self.width[1]

    @property
    @override
    def terms(self) -> int:
        """Those of the parts, and the contributions that are added up."""
        return max(operator.terms for _, operator in self.parts) + len(self.parts) + 1

    @property
    @override
    def exact(self) -> bool:
        """Whether all parts are."""
        return all(operator.exact for _, operator in self.parts)

    @override
    def rows(self, x: Tensor) -> Tensor:
        images = [(key, operator.rows(x[..., self.old[self.name]])) for key, operator in self.parts]
        batch = max(image.shape[0] for _, image in images)
        total = images[0][1].new_zeros(batch, x.shape[1], self.in_size)
        for key in self._kept():
            total[..., self.new[key]] = x[..., self.old[key]]
        for key, image in images:
            total[..., self.new[key]] += image
        return total

    @override
    def magnitude(self, v: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        return self._forward(v, True)

    @override
    def transposed(self, v: Float[Tensor, "batch out"]) -> Float[Tensor, "batch in"]:
        return self._backward(v, True)

    @override
    def uncertainty(self, v: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        return self._forward(v, False)

    @override
    def uncertainty_transposed(self, v: Float[Tensor, "batch out"]) -> Float[Tensor, "batch in"]:
        return self._backward(v, False)

    def _kept(self) -> list[str]:
        """Variables that stay."""
        return [key for key in self.old if key != self.name]

    def _forward(self, v: Tensor, whole: bool) -> Tensor:
        """(|M| + U) v, or U v."""
        images = [(op.magnitude if whole else op.uncertainty)(v[:, self.new[key]]) for key, op in self.parts]
        total = v.new_zeros(max(image.shape[0] for image in images), self.width[0])
        for image in images:
            total[:, self.old[self.name]] += image
        total = above(total, len(images))
        for key in self._kept():
            total[:, self.old[key]] = v[:, self.new[key]] if whole else 0.0
        return total

    def _backward(self, v: Tensor, whole: bool) -> Tensor:
        """(|M| + U)^T v, or U^T v."""
        y = v[:, self.old[self.name]]
        images = [(key, (op.transposed if whole else op.uncertainty_transposed)(y)) for key, op in self.parts]
        total = v.new_zeros(max(image.shape[0] for _, image in images), self.width[1])
        for key in self._kept() if whole else ():
            total[:, self.new[key]] = v[:, self.old[key]]
        for key, image in images:
            total[:, self.new[key]] += image
        return above(total, len(images) + 1)
