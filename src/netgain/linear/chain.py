"""Chain: maps applied one after another, and the entrywise error of such a product."""

import dataclasses
import itertools

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from netgain.linear.base import AbstractLinearMap
from netgain.linear.checks import assign, require


@dataclasses.dataclass(frozen=True, eq=False)
class Chain(AbstractLinearMap):
    """x -> A_k ... A_1 x.

    `terms` is the sum over the maps: nested sums of n_1, ..., n_k products carry (1 + theta_{n_1 + ... + n_k}), so
    |fl(A x) - A x| <= gamma_terms |A_k| ... |A_1| |x|, and `abs` is that product of magnitudes (which dominates |A|).

    Attributes:
        maps: A_1, ..., A_k, first applied first.
        in_shape: input shape of the first.
        out_shape: output shape of the last.
    """

    maps: tuple[AbstractLinearMap, ...]
    in_shape: tuple[int, ...] = dataclasses.field(init=False)
    out_shape: tuple[int, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        check_links(self.maps)
        assign(self, maps=tuple(self.maps), in_shape=self.maps[0].in_shape, out_shape=self.maps[-1].out_shape)

    @property
    @override
    def terms(self) -> int:
        return max(1, sum(one.terms for one in self.maps if not one.moves))

    @property
    @override
    def adjoint_terms(self) -> int:
        return sum(one.adjoint_terms for one in self.maps)

    @property
    @override
    def moves(self) -> bool:
        return all(one.moves for one in self.maps)

    @override
    def apply(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        for one in self.maps:
            x = one.apply(x)
        return x

    @override
    def adjoint(self, y: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        for one in reversed(self.maps):
            y = one.adjoint(y)
        return y

    @override
    def abs(self) -> "Chain":
        return Chain(tuple(one.abs() for one in self.maps))

    @override
    def uncertainty(self) -> AbstractLinearMap | None:
        uncertain = [k for k, one in enumerate(self.maps) if one.uncertainty() is not None]
        if not uncertain:
            return None
        if len(uncertain) > 1:
            return ChainUncertainty(self.maps)
        factors = (one.uncertainty() or one.abs() for one in self.maps)
        return Chain(tuple(factors))


@dataclasses.dataclass(frozen=True, eq=False)
class ChainUncertainty(AbstractLinearMap):
    """The map E = (|A_k| + E_k) ... (|A_1| + E_1) - |A_k| ... |A_1|, without the cancellation.

    Here A_i are the stored maps and E_i their uncertainties. With v the image under magnitudes and w the image under
    E, both so far, one step is v' = |A| v and w' = |A| w + E (v + w); every entry of E is a sum of non-negative terms.

    Guarantee: for any maps B_i with |B_i - A_i| <= E_i entrywise, |B_k ... B_1 - A_k ... A_1| <= E entrywise.

    Attributes:
        maps: A_1, ..., A_k, first applied first.
        in_shape: input shape of the first.
        out_shape: output shape of the last.
    """

    maps: tuple[AbstractLinearMap, ...]
    in_shape: tuple[int, ...] = dataclasses.field(init=False)
    out_shape: tuple[int, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        check_links(self.maps)
        assign(self, maps=tuple(self.maps), in_shape=self.maps[0].in_shape, out_shape=self.maps[-1].out_shape)

    @property
    @override
    def terms(self) -> int:
        errors = (one.uncertainty() for one in self.maps)
        return sum(one.terms + 2 + (0 if e is None else e.terms) for one, e in zip(self.maps, errors, strict=True))

    @property
    @override
    def adjoint_terms(self) -> int:
        errors = (one.uncertainty() for one in self.maps)
        pairs = zip(self.maps, errors, strict=True)
        return sum(one.adjoint_terms + 2 + (0 if e is None else e.adjoint_terms) for one, e in pairs)

    @override
    def apply(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        size, error = x, torch.zeros_like(x)
        for one in self.maps:
            magnitude, widened = one.abs(), one.uncertainty()
            grown = magnitude.apply(error)
            error = grown if widened is None else grown + widened.apply(size + error)
            size = magnitude.apply(size)
        return error

    @override
    def adjoint(self, y: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
        size, error = y, torch.zeros_like(y)
        for one in reversed(self.maps):
            magnitude, widened = one.abs(), one.uncertainty()
            grown = magnitude.adjoint(error)
            error = grown if widened is None else grown + widened.adjoint(size + error)
            size = magnitude.adjoint(size)
        return error

    @override
    def abs(self) -> "ChainUncertainty":
        return self

    @override
    def uncertainty(self) -> None:
        return None


def check_links(maps: tuple[AbstractLinearMap, ...]) -> None:
    """Refuse an empty chain and neighbours whose shapes differ.

    Args:
        maps: the maps, first applied first.
    """
    require(len(maps) > 0, "a chain needs at least one map")
    for k, (one, following) in enumerate(itertools.pairwise(maps)):
        fits = one.out_shape == following.in_shape
        require(fits, f"map {k} of a chain gives {one.out_shape}, but map {k + 1} takes {following.in_shape}")
