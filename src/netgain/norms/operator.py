"""The operator norm of any linear map in any of the three norms: chooses the method by the kind of map."""

import math

import torch

from netgain.core.errors import UsageError
from netgain.core.norms import Norm
from netgain.core.results import Enclosure, tightest
from netgain.core.rounding import (
    check_arithmetic,
    mul_down,
    mul_up,
    sqrt_down,
    sqrt_up,
    sub_down,
    tensor_up,
)
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable
from netgain.norms.convolution import conv_norm
from netgain.norms.dense import spectral_norm
from netgain.norms.enclose import operator_enclosure
from netgain.norms.evaluate import fits, materialized
from netgain.norms.lanczos import top_vector
from netgain.norms.sums import l1_norm, linf_norm, vector_lower

# Sharper than this, a large convolution would cost far more than it gains.
_CONV_RTOL = 1e-3
# Lanczos steps for the lower side of other maps, and numbers that their basis may take.
_LANCZOS_STEPS, _BASIS = 30, 1 << 25


def operator_norm(
    linear_map: AbstractLinearMap, norm: Norm, *, rtol: float = 1e-6, seconds: float | None = None
) -> Enclosure:
    """Enclose the operator norm max ||A x||_p / ||x||_p.

    Guarantee: both sides proved, rounding and the map's stored uncertainty included.

    Args:
        linear_map: A.
        norm: p, for inputs and outputs.
        rtol: relative width wanted between the sides. Reached for matrices; convolutions and chains may stay wider.
        seconds: time that a convolution may use; None for its default effort.

    Returns:
        The enclosure; its methods name what proved each side.

    Raises:
        UsageError: if rtol is not a positive number.

    Cost:
        That of the method: see `dense.spectral_norm`, `sums`, `convolution.conv_norm`.
    """
    if not rtol > 0:
        raise UsageError(f"rtol must be positive, got {rtol}")
    check_arithmetic()
    match linear_map:
        case Reshape():
            return operator_enclosure(1.0, 1.0, norm, lower_method="identity", upper_method="identity")
        case Selection():
            return _selection(linear_map, norm)
        case Diagonal():
            return _diagonal(linear_map, norm)
        case Dense() if norm is Norm.L2:
            return spectral_norm(linear_map.weight, error=linear_map.error, rtol=rtol)
        case Dense() if linear_map.lead:
            return operator_norm(Dense(linear_map.weight, error=linear_map.error), norm, rtol=rtol)
        case Separable():
            return _separable(linear_map, norm, rtol)
        case Chain():
            return _chain(linear_map, norm, rtol, seconds)
        case Conv() if norm is not Norm.L2 and linear_map.circular and fits(linear_map):
            # Taps that wrap onto the same input add up before the magnitude is taken.
            return _written_out(linear_map, norm, rtol)
        case Conv() | ConvTransposed() if norm is Norm.L2:
            return conv_norm(linear_map, rtol=max(rtol, _CONV_RTOL), seconds=seconds)
        case _:
            return _generic(linear_map, norm)


def _selection(selection: Selection, norm: Norm) -> Enclosure:
    """Columns have disjoint supports of 0 or 1: the largest number of copies c decides; c, sqrt(c) or 1."""
    used = bool((selection.index >= 0).any())
    copies = float(selection.copies) if used else 0.0
    lower = upper = copies if norm is Norm.L1 else min(copies, 1.0)
    if norm is Norm.L2:
        root = math.isqrt(int(copies))
        exact = root * root == copies
        lower, upper = (float(root),) * 2 if exact else (sqrt_down(copies), sqrt_up(copies))
    return operator_enclosure(
        lower, upper, norm, lower_method="copies of one input", upper_method="copies of one input"
    )


def _diagonal(diagonal: Diagonal, norm: Norm) -> Enclosure:
    """The largest magnitude, in every norm."""
    size = diagonal.scale.abs()
    lower = upper = float(size.max())
    if diagonal.error is not None:
        lower = float((size - diagonal.error).max())
        lower, upper = max(0.0, sub_down(lower, 0.0)), float(tensor_up(size + diagonal.error).max())
    return operator_enclosure(lower, upper, norm, lower_method="largest entry", upper_method="largest entry")


def _separable(separable: Separable, norm: Norm, rtol: float) -> Enclosure:
    """The product of the factors' norms: exact for Kronecker products in each of the three norms."""
    errors = separable.errors or (None,) * len(separable.matrices)
    lower = upper = 1.0
    for matrix, error in zip(separable.matrices, errors, strict=True):
        if matrix is not None:
            factor = operator_norm(Dense(matrix, error=error), norm, rtol=rtol / len(errors))
            lower, upper = mul_down(lower, factor.lower.value), mul_up(upper, factor.upper.value)
    return operator_enclosure(lower, upper, norm, lower_method="product over axes", upper_method="product over axes")


def _chain(chain: Chain, norm: Norm, rtol: float, seconds: float | None) -> Enclosure:
    """The norm of the written-out product where it fits, else or where that is wide the product of the parts' norms."""
    working = [part for part in chain.maps if not isinstance(part, Reshape)]
    if len(working) <= 1:
        return operator_norm(working[0] if working else chain.maps[0], norm, rtol=rtol, seconds=seconds)
    whole = _written_out(chain, norm, rtol) if fits(chain) else _generic(chain, norm)
    if whole.ratio <= 1.0 + 2 * rtol:
        return whole
    parts = [operator_norm(part, norm, rtol=rtol, seconds=seconds) for part in working]
    product = operator_enclosure(
        0.0,
        mul_up(*(part.upper.value for part in parts)),
        norm,
        lower_method="norms are not negative",
        upper_method="product over the chain",
    )
    return Enclosure(tightest(product.lower, whole.lower), tightest(product.upper, whole.upper))


def _written_out(linear_map: AbstractLinearMap, norm: Norm, rtol: float) -> Enclosure:
    """The norm of the matrix of the map, with the rounding of its entries as error; from sums where those overflow."""
    matrix, error = materialized(linear_map)
    if error is not None and not bool(error.isfinite().all()):
        return _generic(linear_map, norm)
    return operator_norm(Dense(matrix, error=error), norm, rtol=rtol)


def _generic(linear_map: AbstractLinearMap, norm: Norm) -> Enclosure:
    """What holds for any map: sums of magnitudes, and for l2 the geometric mean of both."""
    match norm:
        case Norm.L1:
            return l1_norm(linear_map)
        case Norm.LINF:
            return linf_norm(linear_map)
        case Norm.L2:
            columns, rows = l1_norm(linear_map).upper.value, linf_norm(linear_map).upper.value
            start = torch.randn(
                1, *linear_map.in_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
            )

            def square(x: torch.Tensor) -> torch.Tensor:
                return linear_map.adjoint(linear_map.apply(x.reshape(1, *linear_map.in_shape))).reshape(-1)

            steps = max(4, min(_LANCZOS_STEPS, _BASIS // linear_map.in_size))
            vector = top_vector(square, start.reshape(-1), tolerance=1e-6, steps=steps)
            return operator_enclosure(
                vector_lower(linear_map, vector.reshape(1, *linear_map.in_shape), norm),
                mul_up(sqrt_up(columns), sqrt_up(rows)),
                norm,
                lower_method="Rayleigh quotient of a Lanczos vector",
                upper_method="geometric mean of row and column sums",
            )
