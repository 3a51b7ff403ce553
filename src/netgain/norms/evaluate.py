"""Images of vectors under linear maps and their transposes, with entrywise bounds of every error.

A chain or a separable map is taken stage by stage. For one stage with stored entries A, |true A - A| <= E, t products
an entry, and an argument known as |true x - x| <= e, the computed image y satisfies

    |true image - y| <= |A| e + E (|x| + e) + gamma_t |A| |x| + t 2^-1074

entry by entry (the last term for products that underflow); the right side is evaluated with its own rounding added.
"""

import dataclasses
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
# A map is written out as a matrix if it has at most so many entries, its smaller side at most so many, and images of
# all unit vectors take at most so many products. Unit vectors are sent through in pieces of so many numbers.
_ENTRIES, _SIDE, _WORK, _PIECE = 25_000_000, 4096, 2e10, 1 << 22


@dataclasses.dataclass(frozen=True)
class _Step:
    """One sum of products an entry: a stage of a map, or of its transpose.

    Attributes:
        apply: the stored matrix, as computed.
        magnitude: the matrix of magnitudes.
        widened: the matrix of uncertainties, None where the stored entries are exact.
        terms: most products an entry, of any of the three.
        exact: whether `apply` only moves entries.
        single: whether each matrix entry is one stored number, so that images of unit vectors are exact.
    """

    apply: Callable[[Tensor], Tensor]
    magnitude: Callable[[Tensor], Tensor]
    widened: Callable[[Tensor], Tensor] | None
    terms: int
    exact: bool
    single: bool


def image(
    linear_map: AbstractLinearMap, x: Float[Tensor, "batch *shape"], *, transposed: bool = False
) -> tuple[Float[Tensor, "batch *image"], Float[Tensor, "batch *image"]]:
    """A x (or A^T x) for each row, with an entrywise error bound.

    Guarantee: |A' x - value| <= bound entrywise for every A' within the map's uncertainty.

    Args:
        linear_map: A.
        x: exact float64 rows.
        transposed: whether to apply the transpose.

    Returns:
        The computed image and its bound.

    Cost:
        Three to four applications.
    """
    bound = torch.zeros_like(x)
    for step in _steps(linear_map, transposed):
        x, bound = _advance(step, x, bound)
    return x, bound


def magnitude(
    linear_map: AbstractLinearMap, x: Float[Tensor, "batch *shape"], *, transposed: bool = False
) -> Float[Tensor, "batch *image"]:
    """An upper bound of (|A| + E) x, or of its transpose, for rows x >= 0.

    It bounds |A' x'| for every |A' - A| <= E and |x'| <= x. For a chain this is |A_k| ... |A_1| x, which dominates the
    magnitudes of the product.

    Args:
        linear_map: A with its uncertainty E.
        x: float64 rows without negative entries.
        transposed: whether to apply the transpose.

    Returns:
        The bound, entry by entry.

    Cost:
        One or two applications.
    """
    for step in _steps(linear_map, transposed):
        total = step.apply(x) if step.exact else _above(step.magnitude, x, step.terms)
        x = total if step.widened is None else _plus(total, _above(step.widened, x, step.terms))
    return x


def fits(linear_map: AbstractLinearMap) -> bool:
    """Whether the map may be written out as a matrix: few entries, a small side, little work.

    Args:
        linear_map: the map.
    """
    smaller = min(linear_map.in_size, linear_map.out_size)
    work = smaller * sum(stage.terms * stage.out_size for stage in _stages(linear_map))
    return linear_map.in_size * linear_map.out_size <= _ENTRIES and smaller <= _SIDE and work <= _WORK


def materialized(linear_map: AbstractLinearMap) -> tuple[Float[Tensor, "out in"], Float[Tensor, "out in"] | None]:
    """The matrix of the map with an entrywise error bound, from images of unit vectors on the smaller side.

    Guarantee: |true matrix - value| <= bound entrywise; no bound where every entry is exact, an infinite one where
    numbers overflowed.

    Args:
        linear_map: a map that `fits`.

    Returns:
        The matrix and its error bound.

    Cost:
        in_size * out_size numbers, twice; three or four applications to each unit vector.
    """
    transposed = linear_map.out_size < linear_map.in_size
    shape = linear_map.out_shape if transposed else linear_map.in_shape
    size = min(linear_map.in_size, linear_map.out_size)
    widest = max(max(stage.in_size, stage.out_size) for stage in _stages(linear_map))
    chunk = max(1, _PIECE // widest)
    steps = _steps(linear_map, transposed)
    values: list[Tensor] = []
    errors: list[Tensor] = []
    for start in range(0, size, chunk):
        count = min(chunk, size - start)
        value = torch.zeros(count, size, dtype=torch.float64)
        value[torch.arange(count), torch.arange(start, start + count)] = 1.0
        value, error = _first(steps[0], value.reshape(count, *shape))
        for step in steps[1:]:
            value, error = _advance(step, value, error)
        values.append(value.reshape(count, -1))
        errors.append(error.reshape(count, -1))
    matrix, bound = torch.cat(values), torch.cat(errors)
    # A magnitude that overflowed times a zero is NaN: nothing is known there, nor of an entry that overflowed itself.
    bound = torch.where(bound.isnan() | ~matrix.isfinite(), torch.inf, bound)
    if not transposed:
        matrix, bound = matrix.T, bound.T
    return matrix, bound if bool((bound > 0).any()) else None


def _stages(linear_map: AbstractLinearMap) -> list[AbstractLinearMap]:
    """The maps applied one after another, each of them a single sum of products an entry."""
    match linear_map:
        case Chain():
            return [stage for part in linear_map.maps for stage in _stages(part)]
        case Separable():
            parts: list[AbstractLinearMap] = [*linear_map.stages()]
            return parts or [linear_map]
        case _:
            return [linear_map]


def _steps(linear_map: AbstractLinearMap, transposed: bool) -> list[_Step]:
    """The stages as steps; of the transpose, in reverse order."""
    steps: list[_Step] = []
    for stage in _stages(linear_map):
        stored, error = stage.abs(), stage.uncertainty()
        match stage:
            case Conv():
                single = not stage.circular
            case Reshape() | Selection() | Diagonal() | Dense() | ConvTransposed():
                single = True
            case _:
                single = False
        if transposed:
            terms = max(stage.adjoint_terms, 0 if error is None else error.adjoint_terms)
            widened = None if error is None else error.adjoint
            # The transpose of a selection adds the copies of one entry: exact only where there is one.
            exact = stage.moves and terms == 1
            steps.insert(0, _Step(stage.adjoint, stored.adjoint, widened, terms, exact, single))
        else:
            terms = max(stage.terms, 0 if error is None else error.terms)
            widened = None if error is None else error.apply
            steps.append(_Step(stage.apply, stored.apply, widened, terms, stage.moves, single))
    return steps


def _first(step: _Step, unit: Tensor) -> tuple[Tensor, Tensor]:
    """The image of unit vectors and its error, which for a single stored number an entry is that number's."""
    if not step.single:
        return _advance(step, unit, torch.zeros_like(unit))
    value = step.apply(unit)
    return value, torch.zeros_like(value) if step.widened is None else step.widened(unit)


def _advance(step: _Step, x: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """The image of x, known up to `bound`, with its bound."""
    value = step.apply(x)
    if step.exact:
        return value, step.apply(bound)
    size, terms = x.abs(), step.terms
    rounding = _plus(tensor_up(_above(step.magnitude, size, terms) * gamma(terms)), terms * _TINY)
    spread = _plus(rounding, _above(step.magnitude, bound, terms))
    if step.widened is not None:
        spread = _plus(spread, _above(step.widened, _plus(size, bound), terms))
    return value, spread


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
