"""Continuous piecewise linear activations: their slopes are constants between kinks."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from netgain.activations.base import Activation
from netgain.activations.curve import Function, Number, Pieces, assemble, level, turn, unrounded
from netgain.activations.table import ACTIVATIONS, Parameter, describe, exact, like, ordered
from netgain.core.errors import UsageError
from netgain.core.interval import Interval

Knot = tuple[Parameter, Number]  # the place is exact


def broken_line(
    name: str,
    value: Callable[[Tensor], Tensor],
    function: Function,
    knots: Sequence[Knot],
    slopes: Sequence[Number],
    *,
    ends: tuple[Number, Number] = (-math.inf, math.inf),
) -> Activation:
    """A continuous piecewise linear function.

    The slope of a chord is a mean of the slopes of the pieces it crosses, so the hull of those is the range of all
    difference quotients, and each kink contributes the hull of its two slopes.

    Args:
        name: with parameters.
        value: as torch computes it.
        function: as an enclosure.
        knots: (place, value) of each kink, in increasing order.
        slopes: one more than kinks.
        ends: limits at -inf and inf.
    """
    borders: list[Number] = [-math.inf, *(at for at, _ in knots), math.inf]
    levels = tuple(level(*ends, slope) for ends, slope in zip(itertools.pairwise(borders), slopes, strict=True))
    line = assemble(
        name,
        value,
        function,
        slope=Pieces(None, levels),
        turns=(turn(-math.inf, ends[0]), turn(math.inf, ends[1]), *(turn(at, height) for at, height in knots)),
        source="calculus: the slope of a chord is a mean of the slopes of the pieces it crosses",
    )
    homogeneous = all(_is_zero(at) and _is_zero(height) for at, height in knots)
    places = tuple(torch.as_tensor(at, dtype=torch.float64) for at, _ in knots)
    return dataclasses.replace(line, positively_homogeneous=homogeneous, knots=places)


def _is_zero(x: Number) -> bool:
    """Whether a place or value is exactly 0 for every parameter."""
    return not isinstance(x, str | Interval) and bool((torch.as_tensor(x) == 0).all())


@ACTIVATIONS.register("identity")
def identity() -> Activation:
    """x."""
    return unrounded(broken_line("identity", lambda x: x, lambda x: x, (), (1.0,)))


@ACTIVATIONS.register("relu")
def relu() -> Activation:
    """max(x, 0)."""
    kinks, slopes = ((0.0, 0.0),), (0.0, 1.0)
    line = broken_line("relu", torch.relu, lambda x: x.clamp(0.0, math.inf), kinks, slopes, ends=(0.0, math.inf))
    return unrounded(line)


@ACTIVATIONS.register("abs")
def magnitude() -> Activation:
    """|x|."""
    kinks, slopes = ((0.0, 0.0),), (-1.0, 1.0)
    return unrounded(broken_line("abs", torch.abs, Interval.abs, kinks, slopes, ends=(math.inf, math.inf)))


@ACTIVATIONS.register("prelu")
def prelu(weight: Parameter) -> Activation:
    """x for x >= 0, weight x below; the weight may differ from channel to channel."""
    return _leaky(f"prelu({describe(weight)})", exact("weight", weight))


@ACTIVATIONS.register("leaky_relu")
def leaky_relu(negative_slope: Parameter = 0.01) -> Activation:
    """x for x >= 0, negative_slope x below."""
    return _leaky(f"leaky_relu({describe(negative_slope)})", exact("negative_slope", negative_slope))


@ACTIVATIONS.register("rrelu")
def rrelu(lower: Parameter = 1.0 / 8, upper: Parameter = 1.0 / 3) -> Activation:
    """In evaluation, the leaky ReLU with the float64 slope (lower + upper) / 2."""
    low, high = ordered(("lower", lower), ("upper", upper))
    return _leaky(f"rrelu({describe(low)}, {describe(high)})", exact("(lower + upper) / 2", (low + high) / 2))


def _leaky(name: str, slope: Tensor) -> Activation:
    """x for x >= 0, slope x below."""

    def value(x: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        return torch.where(x >= 0, x, like(slope, x) * x)

    def function(x: Interval) -> Interval:
        return x.where(x.lo >= 0, Interval.exactly(slope.to(x.lo.device)) * x)

    end = torch.where(slope == 0, 0.0, -torch.sign(slope) * math.inf)
    return broken_line(name, value, function, ((0.0, 0.0),), (slope, 1.0), ends=(end, math.inf))


@ACTIVATIONS.register("clamp")
def clamp(min: Parameter = -math.inf, max: Parameter = math.inf) -> Activation:
    """The nearest number in [min, max]."""
    return _clamp("clamp", *ordered(("min", min), ("max", max)))


@ACTIVATIONS.register("hardtanh")
def hardtanh(min_val: Parameter = -1.0, max_val: Parameter = 1.0) -> Activation:
    """The nearest number in [min_val, max_val]."""
    return _clamp("hardtanh", *ordered(("min_val", min_val), ("max_val", max_val)))


@ACTIVATIONS.register("relu6")
def relu6() -> Activation:
    """min(max(x, 0), 6)."""
    return _clamp("relu6", torch.tensor(0.0, dtype=torch.float64), torch.tensor(6.0, dtype=torch.float64))


def _clamp(kind: str, low: Tensor, high: Tensor) -> Activation:
    """The nearest number in [low, high]; a kink at an infinite bound is none."""

    def value(x: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        return torch.minimum(torch.maximum(x, like(low, x)), like(high, x))

    def function(x: Interval) -> Interval:
        lo, hi = low.to(x.lo.device), high.to(x.lo.device)
        return Interval(
            torch.minimum(torch.maximum(x.lo, lo), hi),
            torch.minimum(torch.maximum(x.hi, lo), hi),
        )

    if bool((low == math.inf).any()) or bool((high == -math.inf).any()):
        raise UsageError(f"{kind}: the bounds leave no finite number, got {describe(low)} and {describe(high)}")
    name = kind if kind == "relu6" else f"{kind}({describe(low)}, {describe(high)})"
    outer = (torch.where(low == -math.inf, 1.0, 0.0).double(), torch.where(high == math.inf, 1.0, 0.0).double())
    inner = torch.where(low == high, 0.0, 1.0).double()
    knots, slopes = [(low, low), (high, high)], [outer[0], inner, outer[1]]
    if bool((high == math.inf).all()):
        del knots[1], slopes[2]
    if bool((low == -math.inf).all()):
        del knots[0], slopes[0]
    return unrounded(broken_line(name, value, function, knots, slopes, ends=(low, high)))


@ACTIVATIONS.register("hardsigmoid")
def hardsigmoid() -> Activation:
    """min(max(x + 3, 0), 6) / 6."""
    sixth = "0.16666666666666666666667"
    return broken_line(
        "hardsigmoid",
        functional.hardsigmoid,
        lambda x: (x + 3.0).clamp(0.0, 6.0) / 6.0,
        ((-3.0, 0.0), (3.0, 1.0)),
        (0.0, sixth, 0.0),
        ends=(0.0, 1.0),
    )


@ACTIVATIONS.register("softshrink")
def softshrink(lambd: Parameter = 0.5) -> Activation:
    """sign(x) max(|x| - lambd, 0)."""
    width = exact("lambd", lambd)
    if bool((width < 0).any()):
        raise UsageError(f"softshrink: lambd must not be negative, got {describe(width)}")

    def value(x: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        return x - torch.minimum(torch.maximum(x, like(-width, x)), like(width, x))

    def function(x: Interval) -> Interval:
        w = Interval.exactly(width.to(x.lo.device))
        shrunk = (x - w).where(x.lo > w.lo, (x + w).where(x.lo < -w.lo, Interval.exactly(torch.zeros_like(x.lo))))
        return shrunk

    return broken_line(
        f"softshrink({describe(width)})", value, function, ((-width, 0.0), (width, 0.0)), (1.0, 0.0, 1.0)
    )
