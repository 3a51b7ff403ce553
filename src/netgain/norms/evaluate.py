"""Images of vectors and matrices under linear maps, with entrywise bounds of every error.

A chain or a separable map is taken stage by stage. For one stage with stored entries A, |true A - A| <= E, t products
an entry, and an argument known as |true x - x| <= e, the computed image y satisfies

    |true image - y| <= |A| e + E (|x| + e) + gamma_t |A| |x| + t 2^-1074

entry by entry (the last term for products that underflow); the right side is evaluated with its own rounding added.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.rounding import gamma, tensor_up
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable

_TINY = 2.0**-1074
# Maps each of whose matrix entries is one stored number, so that images of unit vectors are exact.
_ONE_PRODUCT = (Reshape, Selection, Diagonal, Dense, Conv, ConvTransposed)


def stages(linear_map: AbstractLinearMap) -> list[AbstractLinearMap]:
    """The maps applied one after another, each of them a single sum of products an entry."""
    match linear_map:
        case Chain():
            return [stage for part in linear_map.maps for stage in stages(part)]
        case Separable():
            parts: list[AbstractLinearMap] = [*linear_map.stages()]
            return parts or [linear_map]
        case _:
            return [linear_map]


def image(
    linear_map: AbstractLinearMap, x: Float[Tensor, "batch *in"], error: Float[Tensor, "batch *in"] | None = None
) -> tuple[Float[Tensor, "batch *out"], Float[Tensor, "batch *out"]]:
    """A x for each row with an entrywise error bound.

    Guarantee: |A x' - value| <= bound entrywise for every A within the map's uncertainty and |x' - x| <= error.

    Args:
        linear_map: A.
        x: float64 rows.
        error: entrywise bound of the rows' own error; None if they are exact.

    Returns:
        The computed image and its bound.

    Cost:
        Three to four applications.
    """
    bound = torch.zeros_like(x) if error is None else error
    for stage in stages(linear_map):
        value = stage.apply(x)
        if stage.moves:
            x, bound = value, stage.apply(bound)
            continue
        terms, stored, widened, size = stage.terms, stage.abs(), stage.uncertainty(), x.abs()
        rounding = _plus(tensor_up(_above(stored.apply, size, terms) * gamma(terms)), terms * _TINY)
        spread = _plus(rounding, _above(stored.apply, bound, terms))
        if widened is not None:
            spread = _plus(spread, _above(widened.apply, _plus(size, bound), widened.terms))
        x, bound = value, spread
    return x, bound


def magnitude(linear_map: AbstractLinearMap, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
    """An upper bound of (|A| + E) x for rows x >= 0, and so of |A' x'| for |A' - A| <= E and |x'| <= x.

    For a chain, |A_k| ... |A_1| x, which dominates the magnitudes of the product.
    """
    for stage in stages(linear_map):
        widened = stage.uncertainty()
        total = stage.apply(x) if stage.moves else _above(stage.abs().apply, x, stage.terms)
        x = total if widened is None else _plus(total, _above(widened.apply, x, widened.terms))
    return x


def adjoint_magnitude(linear_map: AbstractLinearMap, y: Float[Tensor, "batch *out"]) -> Float[Tensor, "batch *in"]:
    """An upper bound of (|A| + E)^T y for rows y >= 0."""
    for stage in reversed(stages(linear_map)):
        widened, terms = stage.uncertainty(), stage.adjoint_terms
        exact = stage.moves and terms == 1
        total = stage.adjoint(y) if exact else _above(stage.abs().adjoint, y, terms)
        y = total if widened is None else _plus(total, _above(widened.adjoint, y, widened.adjoint_terms))
    return y


def materialized(linear_map: AbstractLinearMap) -> tuple[Float[Tensor, "out in"], Float[Tensor, "out in"]]:
    """The matrix of the map with an entrywise error bound.

    Cost:
        in_size * out_size numbers, twice, and as much for each stage while it runs; the caller checks that they fit.
    """
    first, *others = stages(linear_map)
    unit = torch.eye(linear_map.in_size, dtype=torch.float64).reshape(-1, *linear_map.in_shape)
    if isinstance(first, _ONE_PRODUCT) and not (isinstance(first, Conv) and first.circular):
        # The image of a unit vector is a single product by one in each entry: exact.
        widened = first.uncertainty()
        value = first.apply(unit)
        error = torch.zeros_like(value) if widened is None else widened.apply(unit)
    else:
        value, error = image(first, unit)
    for stage in others:
        value, error = image(stage, value, error)
    return value.reshape(linear_map.in_size, -1).T, error.reshape(linear_map.in_size, -1).T


def _above(apply: Callable[[Tensor], Tensor], x: Tensor, terms: int) -> Tensor:
    """An upper bound of a sum of at most `terms` non-negative products an entry."""
    value = apply(x)
    if terms == 1:
        return tensor_up(value)
    # fl(sum) >= (1 - gamma_t) sum - t 2^-1074, and 1 / (1 - gamma_t) <= 1 + gamma_2t.
    return _plus(_plus(value, tensor_up(value * gamma(2 * terms))), 2 * terms * _TINY)


def _plus(a: Tensor, b: Tensor | float) -> Tensor:
    """An upper bound of a + b."""
    return tensor_up(a + b)
