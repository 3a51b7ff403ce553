"""Neighbouring linear maps merged into one, with the rounding error of every merged entry.

The norm of a product is at most the product of the norms, and often much less; so neighbours merge wherever the result
stays of moderate size.
"""

import itertools
import math

import torch
from torch import Tensor

from netgain.core.rounding import add_up, gamma, mul_up, tensor_up
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain, check_links
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.convolution_merge import channels_scaled, crop_absorbed, padding_absorbed, pointwise_product
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.products import entry_product, matrix_product
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Matrix, Separable
from netgain.linear.shapes import from_index

MODERATE_SIZE = 4_000_000
"""Entries up to which a merged matrix is worth building even where it is larger than its factors."""


def chain(*maps: AbstractLinearMap) -> AbstractLinearMap:
    """The maps one after another, neighbours merged from left to right.

    Args:
        maps: first applied first; chains among them are opened.

    Returns:
        One map where everything merges, else a Chain.

    Raises:
        ModelError: if there is no map or the shapes of neighbours differ.
    """
    check_links(maps)
    stack: list[AbstractLinearMap] = []
    for one in maps:
        for part in _parts(one):
            _push(stack, part)
    if not stack:
        return Reshape(maps[0].in_shape, maps[-1].out_shape)
    return stack[0] if len(stack) == 1 else Chain(tuple(stack))


def merge(first: AbstractLinearMap, second: AbstractLinearMap) -> AbstractLinearMap | None:
    """One map equal to second after first, or None where the two are better kept apart.

    Every rounded entry carries an error, propagated from the factors' errors; entries that only move stay exact.

    Args:
        first: the map applied first.
        second: the map applied to its output.

    Returns:
        The merged map (a Chain only of a Reshape and one other map), or None.
    """
    check_links((first, second))
    if is_identity(first):
        return second
    if is_identity(second):
        return first
    match first, second:
        case Reshape(), Reshape():
            return Reshape(first.in_shape, second.out_shape)
        case Reshape(), Selection():
            return from_index(second.index, first.in_shape, second.out_shape)
        case Selection(), Reshape():
            return from_index(first.index, first.in_shape, second.out_shape)
        case Selection(), Selection():
            index = torch.where(second.index < 0, -1, first.index[second.index.clamp_min(0)])
            return from_index(index, first.in_shape, second.out_shape)
        case Selection(), Conv():
            return padding_absorbed(first, second)
        case Conv() | ConvTransposed(), Selection():
            return crop_absorbed(first, second)
        case Selection(), Dense(lead=()):
            return _columns_moved(first, second)
        case Dense(lead=()), Selection():
            return _rows_moved(first, second)
        case Diagonal(), Diagonal():
            known = entry_product(first.scale, first.error, second.scale, second.error)
            return None if known is None else Diagonal(known[0], first.shape, known[1])
        case Diagonal(), _:
            return _scaled(first, second, before=True)
        case _, Diagonal():
            return _scaled(second, first, before=False)
        case Dense(), Dense():
            return _dense_product(first, second)
        case Separable(), Separable():
            return _separable_product(first, second)
        case Conv(), Conv():
            return pointwise_product(first, second, MODERATE_SIZE)
        case _:
            return None


def is_identity(one: AbstractLinearMap) -> bool:
    """Whether the map returns its argument unchanged.

    Args:
        one: any map.
    """
    match one:
        case Reshape():
            return one.in_shape == one.out_shape
        case Separable():
            return all(matrix is None for matrix in one.matrices)
        case Diagonal():
            return one.error is None and bool((one.scale == 1).all())
        case _:
            return False


def _parts(one: AbstractLinearMap) -> list[AbstractLinearMap]:
    """The maps that a map is made of; a Dense whose leading axes have size 1 becomes a plain one between reshapes."""
    match one:
        case Chain():
            return list(itertools.chain.from_iterable(_parts(part) for part in one.maps))
        case Dense(lead=lead) if lead and math.prod(lead) == 1:
            plain = Dense(one.weight, (), one.error)
            return [Reshape(one.in_shape, plain.in_shape), plain, Reshape(plain.out_shape, one.out_shape)]
        case _:
            return [one]


def _push(stack: list[AbstractLinearMap], one: AbstractLinearMap) -> None:
    """Put a map on top of a chain, merging as long as the top merges with it."""
    while stack and not is_identity(one):
        merged = merge(stack[-1], one)
        if merged is None:
            replaced = _across_reshape(stack, one)
            if replaced is None:
                break
            del stack[-2:]
            for part in replaced:
                _push(stack, part)
            return
        stack.pop()
        if isinstance(merged, Chain):
            for part in merged.maps:
                _push(stack, part)
            return
        one = merged
    if not is_identity(one):
        stack.append(one)


def _across_reshape(stack: list[AbstractLinearMap], one: AbstractLinearMap) -> tuple[AbstractLinearMap, ...] | None:
    """A diagonal and a matrix with a reshape between them, merged: the chain's last three maps as two, or None."""
    if len(stack) < 2:
        return None
    match stack[-2], stack[-1], one:
        case Diagonal() as scale, Reshape() as between, Dense():
            merged = merge(scale.reshaped(between.out_shape), one)
            return None if merged is None else (between, merged)
        case Dense() as matrix, Reshape() as between, Diagonal():
            merged = merge(matrix, one.reshaped(matrix.out_shape))
            return None if merged is None else (merged, between)
        case Diagonal() as scale, Reshape() as between, Diagonal():
            merged = merge(scale, one.reshaped(scale.shape))
            return None if merged is None else (merged, between)
        case _:
            return None


def _worthwhile(size: int, *factors: int) -> bool:
    """Whether a merged matrix of that many entries is of moderate size or no larger than a factor."""
    return size <= max(MODERATE_SIZE, *factors)


def _framed(in_shape: tuple[int, ...], dense: Dense, out_shape: tuple[int, ...]) -> AbstractLinearMap:
    """A plain matrix between other shapes."""
    maps = [Reshape(in_shape, dense.in_shape), dense, Reshape(dense.out_shape, out_shape)]
    kept = tuple(one for one in maps if not is_identity(one))
    return kept[0] if len(kept) == 1 else Chain(kept)


def _dense_product(first: Dense, second: Dense) -> Dense | None:
    """W2 W1 where it is worthwhile."""
    size = second.weight.shape[0] * first.weight.shape[1]
    if first.lead != second.lead or not _worthwhile(size, first.weight.numel(), second.weight.numel()):
        return None
    known = matrix_product(second.weight, second.error, first.weight, first.error)
    return None if known is None else Dense(known[0], first.lead, known[1])


def _columns_moved(first: Selection, second: Dense) -> AbstractLinearMap | None:
    """A matrix that reads moved entries: its columns moved; columns that read one entry add up."""
    rows = second.weight.shape[0]
    if not _worthwhile(rows * first.in_size, second.weight.numel()):
        return None
    used = (first.index >= 0).nonzero().squeeze(1)
    target = first.index[used]

    def gathered(columns: Tensor) -> Tensor:
        return columns.new_zeros(rows, first.in_size).index_add(1, target, columns[:, used])

    weight = gathered(second.weight)
    error = None if second.error is None else gathered(second.error)
    if first.copies > 1:
        factor = gamma(first.copies)
        slack = add_up(1.0, 2.0 * factor)
        error = 0.0 if error is None else tensor_up(error * slack)
        error = tensor_up(tensor_up(gathered(second.weight.abs()) * mul_up(factor, slack)) + error)
    finite = bool(torch.isfinite(weight).all()) and (error is None or bool(torch.isfinite(error).all()))
    if not finite:
        return None
    return _framed(first.in_shape, Dense(weight, (), error), second.out_shape)


def _rows_moved(first: Dense, second: Selection) -> AbstractLinearMap | None:
    """A matrix whose outputs move: its rows moved. Exact."""
    if not _worthwhile(second.out_size * first.weight.shape[1], first.weight.numel()):
        return None
    missing = (second.index < 0).unsqueeze(1)

    def gathered(rows: Tensor) -> Tensor:
        return torch.where(missing, 0.0, rows[second.index.clamp_min(0)])

    error = None if first.error is None else gathered(first.error)
    return _framed(first.in_shape, Dense(gathered(first.weight), (), error), second.out_shape)


def _scaled(scale: Diagonal, other: AbstractLinearMap, before: bool) -> AbstractLinearMap | None:
    """A diagonal before or after a map, taken into the map's weights where it varies only along rows or columns."""
    rank = len(scale.shape)
    match other:
        case Dense():
            constant = scale.constant_along(tuple(range(rank - 1)))
            return None if constant is None else _dense_scaled(constant, other, before)
        case Conv() | ConvTransposed():
            constant = scale.constant_along(tuple(range(1, rank)))
            return None if constant is None else channels_scaled(constant, other, before)
        case Separable():
            constant = scale.constant_along(tuple(range(rank)))
            return None if constant is None else _separable_scaled(constant, other)
        case _:
            return None


def _dense_scaled(scale: Diagonal, dense: Dense, before: bool) -> Dense | None:
    """Columns (before) or rows (after) scaled."""
    shape = (1, -1) if before else (-1, 1)
    factor, error = scale.scale.reshape(shape), None if scale.error is None else scale.error.reshape(shape)
    known = entry_product(dense.weight, dense.error, factor, error)
    return None if known is None else Dense(known[0], dense.lead, known[1])


def _separable_scaled(scale: Diagonal, other: Separable) -> Separable | None:
    """One number taken into the first matrix."""
    axis = next(k for k, matrix in enumerate(other.matrices) if matrix is not None)
    matrix, errors = other.matrices[axis], list(other.errors or [None] * len(other.matrices))
    if matrix is None:
        return None
    factor = scale.scale.reshape(1, 1)
    known = entry_product(matrix, errors[axis], factor, None if scale.error is None else scale.error.reshape(1, 1))
    if known is None:
        return None
    matrices = list(other.matrices)
    matrices[axis], errors[axis] = known
    return Separable(tuple(matrices), other.in_shape, tuple(errors))


def _separable_product(first: Separable, second: Separable) -> Separable | None:
    """Axis by axis, (M (x) N) (K (x) L) = M K (x) N L."""
    none: tuple[Matrix | None, ...] = (None,) * len(first.in_shape)
    pairs: list[tuple[Matrix | None, Matrix | None]] = []
    rows = zip(first.matrices, first.errors or none, second.matrices, second.errors or none, strict=True)
    for inner, inner_error, outer, outer_error in rows:
        if inner is None:
            pairs.append((outer, outer_error))
        elif outer is None:
            pairs.append((inner, inner_error))
        else:
            if not _worthwhile(outer.shape[0] * inner.shape[1], outer.numel(), inner.numel()):
                return None
            known = matrix_product(outer, outer_error, inner, inner_error)
            if known is None:
                return None
            pairs.append(known)
    return Separable(tuple(pair[0] for pair in pairs), first.in_shape, tuple(pair[1] for pair in pairs))
