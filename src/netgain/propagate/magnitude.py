"""Upper bounds of |A| v for the real matrix A behind a linear map, rounding and uncertainty included."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.rounding import UNDERFLOW, gamma, mul_up, sqrt_up, tensor_up, up
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.separable import Separable


def inflate(computed: Tensor, terms: int) -> Tensor:
    """A number not below the exact sum of at most `terms` non-negative products that `computed` approximates.

    Guarantee:
        The computed sum y of exact value s satisfies y >= (1 - gamma_k) s - underflow (k = terms), so
        s <= (y + underflow) / (1 - gamma_k) <= (1 + 2 gamma_k) y + 2 underflow for gamma_k <= 1/4. Four more terms in
        gamma leave 8 u for the rounding of this function's own product and sum.

    Args:
        computed: sums of non-negative products in float64, any order, fused or not.
        terms: the largest number of products in one of them.
    """
    factor = up(1.0 + up(2.0 * gamma(terms + 4)))
    return torch.where(computed.isnan(), torch.inf, computed * factor + 2.0 * UNDERFLOW)


def parts_of(linear_map: AbstractLinearMap) -> tuple[AbstractLinearMap, ...]:
    """The maps that `apply` runs one after another, first applied first.

    A chain's own magnitudes do not say how much a later map enlarges the underflow of an earlier one; its parts do.

    Args:
        linear_map: any map.
    """
    match linear_map:
        case Chain(maps=maps):
            return tuple(part for one in maps for part in parts_of(one))
        case Separable():
            return tuple(linear_map.stages()) or (linear_map,)
        case _:
            return (linear_map,)


@dataclasses.dataclass(frozen=True)
class Part:
    """One map of a chain with its magnitudes: |A| <= |stored A| + uncertainty.

    Attributes:
        map: the linear map A.
        absolute: |stored A|.
        uncertainty: entrywise bound of |A - stored A|; None where the stored entries are exact.
    """

    map: AbstractLinearMap
    absolute: AbstractLinearMap
    uncertainty: AbstractLinearMap | None

    @classmethod
    def of(cls, linear_map: AbstractLinearMap) -> "Part":
        """The magnitudes of a map that is not a chain."""
        return cls(linear_map, linear_map.abs(), linear_map.uncertainty())

    def apply(self, v: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """A tensor not below |A| v entry by entry, for v >= 0."""
        if self.map.moves:
            return self.absolute.apply(v)
        image = inflate(self.absolute.apply(v), self.absolute.terms)
        if self.uncertainty is None:
            return image
        return tensor_up(image + inflate(self.uncertainty.apply(v), self.uncertainty.terms))

    def adjoint(self, w: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        """A tensor not below |A|^T w entry by entry, for w >= 0."""
        image = inflate(self.absolute.adjoint(w), self.absolute.adjoint_terms)
        if self.uncertainty is None:
            return image
        return tensor_up(image + inflate(self.uncertainty.adjoint(w), self.uncertainty.adjoint_terms))


@dataclasses.dataclass(frozen=True)
class Magnitude:
    """The magnitudes of a linear map, applied from above: |A| <= |A_k| ... |A_1| for a chain.

    Attributes:
        parts: the maps of the chain, first applied first.
    """

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, linear_map: AbstractLinearMap) -> "Magnitude":
        """The magnitudes of any linear map."""
        return cls(tuple(Part.of(part) for part in parts_of(linear_map)))

    def apply(self, v: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """A tensor not below |A| v entry by entry, for v >= 0."""
        for part in self.parts:
            v = part.apply(v)
        return v

    def adjoint(self, w: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        """A tensor not below |A|^T w entry by entry, for w >= 0."""
        for part in reversed(self.parts):
            w = part.adjoint(w)
        return w


def schur_norm(linear_map: AbstractLinearMap | None) -> float:
    """A number not below the l2 norm of a matrix with entries >= 0: sqrt(greatest row sum * greatest column sum).

    Args:
        linear_map: the matrix, or None for the zero matrix.

    Source:
        Schur's test.
    """
    if linear_map is None:
        return 0.0
    ones = torch.ones(1, *linear_map.in_shape, dtype=torch.float64)
    columns = torch.ones(1, *linear_map.out_shape, dtype=torch.float64)
    rows = inflate(linear_map.apply(ones), linear_map.terms)
    sums = inflate(linear_map.adjoint(columns), linear_map.adjoint_terms)
    if rows.numel() == 0 or sums.numel() == 0:
        return 0.0
    return mul_up(sqrt_up(float(rows.max())), sqrt_up(float(sums.max())))
