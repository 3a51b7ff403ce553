"""Upsampling and downsampling: nearest as Selection, polynomial interpolation as Separable with rational weights."""

import math
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from netgain.core.errors import UsageError
from netgain.linear.base import AbstractLinearMap
from netgain.linear.checks import require
from netgain.linear.pooling import adaptive_average_pool, separable
from netgain.linear.rational import Row
from netgain.linear.shapes import moved

Shape = tuple[int, ...]
Mode = Literal["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area"]
_AXES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


def upsample(
    in_shape: Shape,
    output_size: Shape,
    mode: Mode,
    *,
    align_corners: bool = False,
    scale_factors: tuple[float | None, ...] | None = None,
) -> AbstractLinearMap:
    """Resampling of the trailing axes, as torch.nn.functional.interpolate without antialiasing.

    The weights are exact rational functions of the sizes (Keys' cubic with a = -3/4), rounded to float64 with their
    errors; torch computes the same weights in floating point.

    Args:
        in_shape: shape of one input; resampled are its last len(output_size) axes.
        output_size: new size of each.
        mode: torch's name of the interpolation.
        align_corners: whether the corner points keep their places (linear, cubic).
        scale_factors: factors that torch uses for positions instead of the ratio of the sizes, where it was given
            factors and not told to recompute them; None for an axis without.

    Raises:
        UsageError: if the mode is unknown.
        TooLargeError: if an axis is too long for its matrix.
    """
    lead = len(in_shape) - len(output_size)
    require(lead >= 0 and min(output_size) > 0, f"output size {output_size} does not fit {in_shape}")
    factors = scale_factors or (None,) * len(output_size)
    require(len(factors) == len(output_size), f"{len(factors)} scale factors for {len(output_size)} axes")
    expected = _AXES.get(mode, len(output_size))
    require(expected == len(output_size), f"mode {mode} takes {expected} axes, got the output size {output_size}")
    steps = [_step(n, m, f) for n, m, f in zip(in_shape[lead:], output_size, factors, strict=True)]
    match mode:
        case "area":
            return adaptive_average_pool(in_shape, output_size)
        case "nearest" | "nearest-exact":
            return _nearest(in_shape, output_size, factors, mode == "nearest-exact")
        case "linear" | "bilinear" | "trilinear" | "bicubic":
            rows: dict[int, list[Row]] = {}
            weigh = _cubic if mode == "bicubic" else _linear
            for axis, (m, step) in enumerate(zip(output_size, steps, strict=True), start=lead):
                n = in_shape[axis]
                # torch's linear modes keep an axis whose size does not change, whatever the factor; its cubic does not.
                kept = m == n and mode != "bicubic"
                places = [Fraction(i) for i in range(n)] if kept else _positions(n, m, step, align_corners)
                if places != [Fraction(i) for i in range(n)]:
                    rows[axis] = [weigh(place, n) for place in places]
            return separable(in_shape, rows)
        case _:
            raise UsageError(f"interpolation mode {mode!r} is unknown")


def _step(size: int, new: int, factor: float | None) -> Fraction:
    """Input positions an output position."""
    if factor is None:
        return Fraction(size, new)
    require(math.isfinite(factor) and factor > 0, f"scale factor {factor} must be positive")
    return 1 / Fraction(factor)


def _nearest(
    in_shape: Shape, output_size: Shape, factors: tuple[float | None, ...], centred: bool
) -> AbstractLinearMap:
    """Each output reads the input that torch reads in float64 (near ties its positions are floating-point numbers)."""
    axes = len(output_size)
    require(axes <= 3, f"nearest resampling takes one to three axes, got the output size {output_size}")
    lead = in_shape[: len(in_shape) - axes]
    name = f"_upsample_nearest_exact{axes}d" if centred else f"upsample_nearest{axes}d"
    resample = getattr(torch.ops.aten, name)

    def move(index: Tensor) -> Tensor:
        batch = index.reshape(1, math.prod(lead), *in_shape[len(lead) :]).to(torch.float64)
        return resample(batch, output_size, *factors).to(torch.int64).reshape(*lead, *output_size)

    return moved(in_shape, move)


def _positions(size: int, new: int, step: Fraction, align_corners: bool) -> list[Fraction]:
    """The input position, in units of pixels, of each output."""
    if align_corners:
        return [Fraction(i * (size - 1), new - 1) if new > 1 else Fraction(0) for i in range(new)]
    return [(i + Fraction(1, 2)) * step - Fraction(1, 2) for i in range(new)]


def _linear(place: Fraction, size: int) -> Row:
    """Weights of the two neighbours; positions before the first pixel read the first."""
    inside = max(place, Fraction(0))
    left = min(math.floor(inside), size - 1)
    part = min(max(inside - left, Fraction(0)), Fraction(1))
    return [(left, 1 - part), (min(left + 1, size - 1), part)]


def _cubic(place: Fraction, size: int) -> Row:
    """Keys' weights of the four neighbours; positions outside read the edge."""
    left = math.floor(place)
    row: list[tuple[int, Fraction]] = []
    for column in range(left - 1, left + 3):
        row.append((min(max(column, 0), size - 1), _keys(abs(place - column))))
    return row


def _keys(t: Fraction) -> Fraction:
    """Keys' cubic convolution kernel with a = -3/4, for 0 <= t <= 2."""
    a = Fraction(-3, 4)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
