"""Activations of the form x gate(x): GELU, SiLU, Mish, Hardswish. Their slopes leave [0, 1] on both sides."""

import math

import torch
from torch.nn import functional

from netgain.activations.base import Activation
from netgain.activations.curve import Pieces, assemble, turn
from netgain.activations.table import ACTIVATIONS
from netgain.core.interval import Interval

_RISING = (turn(-math.inf, 0.0), turn(math.inf, 1.0))
_FALLING_THEN_RISING = (turn(-math.inf, 0.0), turn(math.inf, math.inf))
_SQRT_HALF = "0.7071067811865475244008444"
_DENSITY_AT_0 = "0.3989422804014326779399461"
_SQRT_2_OVER_PI = "0.7978845608028653558798921"
_CUBIC = "0.044715"
_QUICK = "1.702"


def _constant(text: str, x: Interval) -> Interval:
    """A decimal constant on the argument's device."""
    value = Interval.decimal(text)
    return Interval(value.lo.to(x.lo.device), value.hi.to(x.lo.device))


def _normal_cdf(x: Interval) -> Interval:
    """Phi(x)."""
    return (-x * _constant(_SQRT_HALF, x)).erfc() * 0.5


@ACTIVATIONS.register("gelu")
def gelu() -> Activation:
    """x Phi(x), Phi the normal distribution function; slope Phi + x phi, whose derivative is (2 - x^2) phi."""

    def slope(x: Interval) -> Interval:
        density = (x.square() * -0.5).exp() * _constant(_DENSITY_AT_0, x)
        return _normal_cdf(x) + x * density

    return assemble(
        "gelu",
        functional.gelu,
        lambda x: x * _normal_cdf(x),
        slope=Pieces(
            slope,
            (
                *_RISING,
                turn("1.414213562373095048801689", "1.128904145185154786340744"),
                turn("-1.414213562373095048801689", "-0.128904145185154786340744"),
            ),
        ),
        turns=(*_FALLING_THEN_RISING, turn("-0.7517915246935644574579049", "-0.1699712074799036616938685")),
        source="Hendrycks and Gimpel 2016; slope extrema at +-sqrt(2): calculus",
    )


@ACTIVATIONS.register("gelu_tanh")
def gelu_tanh() -> Activation:
    """x sigma(2 s), s = sqrt(2 / pi) (x + 0.044715 x^3): the tanh form of GELU."""

    def gate(x: Interval) -> Interval:
        return x * (1.0 + _constant(_CUBIC, x) * x.square()) * _constant(_SQRT_2_OVER_PI, x) * 2.0

    def slope(x: Interval) -> Interval:
        s = gate(x)
        steep = (1.0 + _constant(_CUBIC, x) * x.square() * 3.0) * _constant(_SQRT_2_OVER_PI, x) * 2.0
        return s.sigmoid() + (x * steep * (-s).sigmoid()) * s.sigmoid()

    return assemble(
        "gelu_tanh",
        lambda x: functional.gelu(x, approximate="tanh"),
        lambda x: x * gate(x).sigmoid(),
        slope=Pieces(
            slope,
            (
                *_RISING,
                turn("1.418504008790828355548034", "1.128993068658771765455904"),
                turn("-1.418504008790828355548034", "-0.128993068658771765455904"),
            ),
        ),
        turns=(*_FALLING_THEN_RISING, turn("-0.7524614220710162584879544", "-0.1700407505712540506390674")),
        source="Hendrycks and Gimpel 2016, the approximation",
    )


def _swish(x: Interval) -> Interval:
    """x sigma(x)."""
    return x * x.sigmoid()


def _swish_slope(x: Interval) -> Interval:
    """sigma(x) (1 + x sigma(-x))."""
    return x.sigmoid() * (x * (-x).sigmoid() + 1.0)


@ACTIVATIONS.register("silu")
def silu() -> Activation:
    """x sigma(x); the slope turns where x tanh(x / 2) = 2."""
    return assemble(
        "silu",
        functional.silu,
        _swish,
        slope=Pieces(
            _swish_slope,
            (
                *_RISING,
                turn("2.39935728051546766783274", "1.099839320128866916958185"),
                turn("-2.39935728051546766783274", "-0.099839320128866916958185"),
            ),
        ),
        turns=(*_FALLING_THEN_RISING, turn("-1.278464542761073795109359", "-0.2784645427610737951093587")),
        source="Elfwing, Uchibe and Doya 2018; slope extrema: calculus",
    )


@ACTIVATIONS.register("quick_gelu")
def quick_gelu() -> Activation:
    """x sigma(1.702 x), which is silu(1.702 x) / 1.702 and so has the slopes of SiLU."""
    return assemble(
        "quick_gelu",
        lambda x: x * torch.sigmoid(1.702 * x),
        lambda x: x * (_constant(_QUICK, x) * x).sigmoid(),
        slope=Pieces(
            lambda x: _swish_slope(_constant(_QUICK, x) * x),
            (
                *_RISING,
                turn("1.409728131912730709654959", "1.099839320128866916958185"),
                turn("-1.409728131912730709654959", "-0.099839320128866916958185"),
            ),
        ),
        turns=(*_FALLING_THEN_RISING, turn("-0.7511542554412889512980956", "-0.1636101896363535811453342")),
        source="Hendrycks and Gimpel 2016; slope extrema as for SiLU",
    )


@ACTIVATIONS.register("mish")
def mish() -> Activation:
    """x t(x) with t = tanh(log(1 + e^x)) = n / (n + 2), n = e^x (e^x + 2).

    With E = e^-|x| the gate and its derivative are, without overflow or cancellation,
    (1 + 2E) / (1 + 2E + 2E^2) and 4 E^2 (1 + E) / (1 + 2E + 2E^2)^2 for x >= 0, and
    (E^2 + 2E) / (E^2 + 2E + 2) and 4 E (E + 1) / (E^2 + 2E + 2)^2 for x < 0.
    """

    def parts(x: Interval) -> tuple[Interval, Interval]:
        e = (-x.abs()).exp()
        right = 1.0 + 2.0 * e + 2.0 * e.square()
        left = e.square() + 2.0 * e + 2.0
        gate = ((1.0 + 2.0 * e) / right).where(x.lo >= 0, (e.square() + 2.0 * e) / left)
        right_slope = 4.0 * e.square() * (1.0 + e) / right.square()
        return gate, right_slope.where(x.lo >= 0, 4.0 * e * (1.0 + e) / left.square())

    def slope(x: Interval) -> Interval:
        gate, steep = parts(x)
        return gate + x * steep

    return assemble(
        "mish",
        functional.mish,
        lambda x: x * parts(x)[0],
        slope=Pieces(
            slope,
            (
                *_RISING,
                turn("1.490571179485428459294419", "1.088498161251727861228294"),
                turn("-2.256376396360793120005749", "-0.1125261223894625564073279"),
            ),
        ),
        turns=(*_FALLING_THEN_RISING, turn("-1.192431214515495212137588", "-0.3088434130172504066287602")),
        source="Misra 2019; slope extrema: calculus",
    )


@ACTIVATIONS.register("hardswish")
def hardswish() -> Activation:
    """x min(max(x + 3, 0), 6) / 6; slope (2x + 3) / 6 between the kinks at -3 and 3."""

    def slope(x: Interval) -> Interval:
        zero = Interval.exactly(torch.zeros_like(x.lo))
        one = Interval.exactly(torch.ones_like(x.lo))
        return zero.where(x.lo < -3, one.where(x.lo > 3, (2.0 * x + 3.0) / 6.0))

    return assemble(
        "hardswish",
        functional.hardswish,
        lambda x: x.where(x.lo >= 3, x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
        slope=Pieces(slope, (*_RISING, turn(-3.0, 0.0, -0.5), turn(3.0, 1.5, 1.0))),
        turns=(*_FALLING_THEN_RISING, turn(-3.0, 0.0), turn(-1.5, -0.375), turn(3.0, 3.0)),
        source="Howard et al. 2019; calculus",
    )
