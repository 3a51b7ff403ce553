"""Convolutions written out as matrices, one a group: the exact norm where they are small."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm
from netgain.core.results import Enclosure
from netgain.core.rounding import gamma, tensor_up
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.norms.dense import spectral_norm
from netgain.norms.enclose import operator_enclosure

# Most groups, and most entries of all their matrices together.
_GROUPS, _ENTRIES = 1024, 25_000_000
# Unit vectors mapped at once: so many numbers in their images.
_NUMBERS = 4_000_000


def matrix_work(conv: Conv | ConvTransposed) -> float:
    """Operations of `matrix_norm`, all groups together; infinite where the matrices are too many or too large."""
    short, long = sorted((conv.in_size // conv.groups, conv.out_size // conv.groups))
    fits = conv.groups <= _GROUPS and conv.groups * short * long <= _ENTRIES
    return float(conv.groups * short**2 * long) if fits else math.inf


def matrix_norm(conv: Conv | ConvTransposed, rtol: float) -> Enclosure:
    """The largest of the norms of the groups' matrices, from `dense.spectral_norm`.

    Guarantee: both sides proved, rounding and `conv.error` included.

    Args:
        conv: a convolution with finite `matrix_work`.
        rtol: relative width wanted between the sides.

    Returns:
        The enclosure.
    """
    kernels = conv.weight.chunk(conv.groups)
    errors = [None] * conv.groups if conv.error is None else conv.error.chunk(conv.groups)
    shape = (conv.in_shape[0] // conv.groups, *conv.in_shape[1:])
    found: list[Enclosure] = []
    for kernel, error in zip(kernels, errors, strict=True):
        block = dataclasses.replace(conv, weight=kernel, error=error, in_shape=shape, groups=1)
        found.append(spectral_norm(_entries(block), error=_entry_errors(block), rtol=rtol))
    lower, upper = max(e.lower.value for e in found), max(e.upper.value for e in found)
    return operator_enclosure(
        lower, upper, Norm.L2, lower_method=found[0].lower.method, upper_method=found[0].upper.method
    )


def _entry_errors(conv: Conv | ConvTransposed) -> Float[Tensor, "row column"] | None:
    """Entrywise bound of |matrix - `_entries`|; None where that is exact."""
    uncertainty = conv.uncertainty()
    error = None if uncertainty is None else _entries(uncertainty)
    if not (isinstance(conv, Conv) and conv.circular):
        return error
    # Taps that wrap onto the same input have been added: a sum of at most as many terms as there are taps.
    terms = math.prod(conv.kernel)
    summed = tensor_up(_entries(conv.abs()) * (2 * gamma(terms + 1)))
    return summed if error is None else tensor_up(summed + tensor_up(error * (1.0 + 2 * gamma(terms + 1))))


def _entries(conv: Conv | ConvTransposed) -> Float[Tensor, "row column"]:
    """The matrix or its transpose, from images of unit vectors on the smaller side: exact for zero padding."""
    forward = conv.in_size <= conv.out_size
    size, shape = (conv.in_size, conv.in_shape) if forward else (conv.out_size, conv.out_shape)
    chunk = max(1, _NUMBERS // max(conv.in_size, conv.out_size))
    parts: list[Tensor] = []
    for start in range(0, size, chunk):
        count = min(chunk, size - start)
        unit = torch.zeros(count, size, dtype=torch.float64)
        unit[torch.arange(count), torch.arange(start, start + count)] = 1.0
        unit = unit.reshape(count, *shape)
        parts.append((conv.apply(unit) if forward else conv.adjoint(unit)).reshape(count, -1))
    return torch.cat(parts)
