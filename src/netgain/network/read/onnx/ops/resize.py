"""Resize and Upsample: nearest, linear and cubic interpolation are linear maps, one matrix an axis."""

import math
from fractions import Fraction

import numpy as np
import torch

from netgain.core.errors import ModelError
from netgain.linear.separable import Separable
from netgain.network.read.onnx.lower import DynamicOperandError, Lowering, Operation, Result, along, axis_of, lowers
from netgain.network.read.onnx.rational import matrix

Row = dict[int, Fraction]
HALF = Fraction(1, 2)


@lowers("Upsample")
def upsample(lowering: Lowering, op: Operation) -> Result:
    """The predecessor of Resize: positions are x / scale."""
    scales = op.attributes.get("scales")
    if scales is None:
        array = op.array(1)
        scales = [] if array is None else array.reshape(-1)
    factors = [Fraction(float(factor)) for factor in scales]
    sizes = [math.floor(n * f) for n, f in zip(op.signal(0).shape, factors, strict=False)]
    return _resized(lowering, op, sizes, factors, ("asymmetric", "floor"))


@lowers("Resize")
def resize(lowering: Lowering, op: Operation) -> Result:
    """Interpolation to constant sizes or by constant factors."""
    x = op.signal(0)
    rank = len(x.shape)
    if op.opset < 11:
        return upsample(lowering, op)
    axes = [axis_of(int(axis), rank, op) for axis in op.attributes.get("axes", range(rank))]
    scales, wanted = op.array(2), op.array(3)
    full = [Fraction(1)] * rank
    sizes = list(x.shape)
    if wanted is not None and wanted.size:
        if str(op.attributes.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
            raise DynamicOperandError("it keeps the aspect ratio")
        for axis, size in zip(axes, wanted.reshape(-1), strict=True):
            sizes[axis] = int(size)
            full[axis] = Fraction(int(size), x.shape[axis])
    elif scales is not None and scales.size:
        for axis, factor in zip(axes, scales.reshape(-1), strict=True):
            full[axis] = Fraction(float(factor))
            sizes[axis] = math.floor(x.shape[axis] * full[axis])
    else:
        raise ModelError(f"{op.source} has neither sizes nor factors")
    mode = str(op.attributes.get("coordinate_transformation_mode", "half_pixel"))
    if mode not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"):
        raise DynamicOperandError(f"its coordinates are {mode}")
    return _resized(lowering, op, sizes, full, (mode, str(op.attributes.get("nearest_mode", "round_prefer_floor"))))


def _resized(
    lowering: Lowering, op: Operation, sizes: list[int], factors: list[Fraction], modes: tuple[str, str]
) -> Result:
    """The interpolated signal."""
    x = op.signal(0)
    if len(sizes) != len(x.shape) or min(sizes) < 1 or min(factors) <= 0:
        raise ModelError(f"{op.source} resizes {x.shape} to {tuple(sizes)}")
    shape = lowering.guard(sizes, op)
    kind = str(op.attributes.get("mode", "nearest"))
    if int(op.attributes.get("antialias", 0)) and min(factors) < 1 and kind != "nearest":
        raise DynamicOperandError("it smooths while it shrinks")
    busy = [k for k, (n, size) in enumerate(zip(x.shape, shape, strict=True)) if n != size or factors[k] != 1]
    rows = {k: _rows(op, kind, (x.shape[k], shape[k]), factors[k], modes) for k in busy}
    if kind == "nearest":
        index = {k: np.array([next(iter(row)) for row in rows[k]]) for k in busy}

        def rearrange(array: np.ndarray) -> np.ndarray:
            for axis, places in index.items():
                array = np.take(array, places, axis=axis)
            return array

        return lowering.move(op, x, rearrange)
    inner, places = along(x, busy)
    matrices: list[torch.Tensor | None] = [None] * len(inner)
    errors: list[torch.Tensor | None] = [None] * len(inner)
    for axis, place in zip(busy, places, strict=True):
        lowering.guard((shape[axis], x.shape[axis]), op)
        matrices[place], errors[place] = matrix(rows[axis], x.shape[axis])
    if not busy:
        return x
    return lowering.affine(op, x, Separable(tuple(matrices), inner, tuple(errors)), shape)


def _rows(op: Operation, kind: str, ends: tuple[int, int], factor: Fraction, modes: tuple[str, str]) -> list[Row]:
    """For each output position the weights of the input positions, along one axis."""
    size, out = ends
    positions = [_position(modes[0], k, size, out, factor) for k in range(out)]
    if kind == "nearest":
        return [{min(max(_nearest(modes[1], position, op), 0), size - 1): Fraction(1)} for position in positions]
    if kind == "linear":
        return [_linear(position, size) for position in positions]
    if kind == "cubic":
        coefficient = Fraction(float(op.attributes.get("cubic_coeff_a", -0.75)))
        outside = bool(int(op.attributes.get("exclude_outside", 0)))
        return [_cubic(position, size, coefficient, outside) for position in positions]
    raise ModelError(f"{op.source} has the unknown mode {kind!r}")


def _position(mode: str, k: int, size: int, out: int, factor: Fraction) -> Fraction:
    """Where output position k lies among the input positions."""
    if mode == "asymmetric":
        return k / factor
    if mode == "align_corners":
        return Fraction(k * (size - 1), out - 1) if out > 1 else Fraction(0)
    if mode == "pytorch_half_pixel" and out == 1:
        return Fraction(0)
    position = (k + HALF) / factor - HALF
    if mode == "half_pixel_symmetric":
        adjusted = Fraction(out) / (size * factor)
        return Fraction(size, 2) * (1 - adjusted) + position
    return position


def _nearest(mode: str, position: Fraction, op: Operation) -> int:
    """The input position that is taken."""
    below = math.floor(position)
    if mode == "floor":
        return below
    if mode == "ceil":
        return math.ceil(position)
    if mode == "round_prefer_floor":
        return below if position - below <= HALF else below + 1
    if mode == "round_prefer_ceil":
        return below if position - below < HALF else below + 1
    raise ModelError(f"{op.source} has the unknown rounding {mode!r}")


def _linear(position: Fraction, size: int) -> Row:
    """Weights of the two neighbours, the edge repeated."""
    position = min(max(position, Fraction(0)), Fraction(size - 1))
    below = min(math.floor(position), max(size - 2, 0))
    share = position - below
    return {place: weight for place, weight in ((below, 1 - share), (below + 1, share)) if weight}


def _cubic(position: Fraction, size: int, a: Fraction, outside: bool) -> Row:
    """Weights of the four neighbours by Keys' kernel, the edge repeated or left out."""
    below = math.floor(position)
    row: Row = {}
    for place in range(below - 1, below + 3):
        distance = abs(position - place)
        if distance <= 1:
            weight = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        else:
            weight = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        if outside and not 0 <= place < size:
            continue
        place = min(max(place, 0), size - 1)
        row[place] = row.get(place, Fraction(0)) + weight
    total = sum(row.values())
    return {place: weight / total for place, weight in row.items() if weight}
