"""The activations once more, in 60-digit arithmetic and independent of the package: value, slope, sign of the bend."""

import dataclasses
from collections.abc import Callable
from typing import Any

from mpmath import iv, mp, mpf

mp.dps = 60
iv.dps = 40

Real = Any


@dataclasses.dataclass(frozen=True)
class Reference:
    """phi, phi' (anywhere but at kinks) and a function with the sign of phi'' that also takes mpmath intervals."""

    phi: Callable[..., Real]
    slope: Callable[..., Real]
    bend: Callable[..., Real]


def _tanh(x):
    """On intervals, half-infinite ones too."""
    return 1 - 2 / (iv.exp(2 * x) + 1)


def _sigmoid(x):
    return 1 / (1 + mp.exp(-x)) if x > 0 else mp.exp(x) / (1 + mp.exp(x))


def _pdf(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def _cdf(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


_C, _K = 2 * mp.sqrt(2 / mp.pi), mpf("0.044715")


def _tanh_gate(x):
    return _C * (x + _K * x**3)


def _tanh_slope(x):
    s = _sigmoid(_tanh_gate(x))
    return s + x * s * _sigmoid(-_tanh_gate(x)) * _C * (1 + 3 * _K * x * x)


def _tanh_bend(x):
    # phi'' = s (1 - s) (2 y' + x y'' - x y'^2 tanh(y / 2)), y the gate; divided by y' = c (1 + 3 k x^2).
    c, k = 2 * iv.sqrt(2 / iv.pi), iv.mpf("0.044715")
    grow = 1 + 3 * k * x**2
    return 4 - 2 / grow - c * x * grow * _tanh(c * x * (1 + k * x**2) / 2)


def _mish_bend(x):
    # Gate t = (w^2 - 1) / (w^2 + 1), w = 1 + e^x; t''/t' = 2 - v - 4 (1 - v) / (1 + v^2) with v = 1 / w.
    v = 1 / (1 + iv.exp(x))
    return 2 + x * (2 - v - 4 * (1 - v) / (1 + v**2))


def _mish_gate(x):
    return (mp.exp(2 * x) + 2 * mp.exp(x)) / (mp.exp(2 * x) + 2 * mp.exp(x) + 2)


def _mish_slope(x):
    e = mp.exp(x)
    return _mish_gate(x) + x * 4 * e * (1 + e) / (e * e + 2 * e + 2) ** 2


def _softplus(x):
    return max(x, mpf(0)) + mp.log1p(mp.exp(-abs(x)))


def _power(x, p):
    return mp.sign(x) ** int(p) * abs(x) ** p if p == int(p) else x**p


def _powers(fixed=None):
    def exponent(given):
        return mpf(given if fixed is None else fixed)

    def slope(x, exponent_=None, **named):
        p = exponent(named.get("exponent"))
        return p * _power(x, p - 1) if p else mpf(0)

    def bend(x, **named):
        p = exponent(named.get("exponent"))
        sign = -1 if x.b <= 0 and p == int(p) and int(p) % 2 else 1
        return iv.mpf(p * (p - 1) * sign)

    return Reference(lambda x, **named: _power(x, exponent(named.get("exponent"))), slope, bend)


def _lines(phi, slope):
    return Reference(phi, slope, lambda x, **_: iv.mpf(0))


def _clamp(x, low, high):
    return min(max(x, mpf(low)), mpf(high))


def _leaky(name):
    return _lines(lambda x, **p: x if x >= 0 else mpf(p[name]) * x, lambda x, **p: mpf(1) if x > 0 else mpf(p[name]))


def _positive(x):
    return mpf(1 if x > 0 else 0)


def _inside(x, low, high):
    return mpf(1 if low < x < high else 0)


_SELU = mpf("1.0507009873554804934193349852946"), mpf("1.6732632423543772848170429916717")

REFERENCES: dict[str, Reference] = {
    "identity": _lines(lambda x: x, lambda x: mpf(1)),
    "relu": _lines(lambda x: max(x, mpf(0)), _positive),
    "relu6": _lines(lambda x: _clamp(x, 0, 6), lambda x: _inside(x, 0, 6)),
    "leaky_relu": _leaky("negative_slope"),
    "prelu": _leaky("weight"),
    "rrelu": _lines(
        lambda x, lower, upper: x if x >= 0 else mpf((lower + upper) / 2) * x,
        lambda x, lower, upper: mpf(1) if x > 0 else mpf((lower + upper) / 2),
    ),
    "hardtanh": _lines(
        lambda x, min_val, max_val: _clamp(x, min_val, max_val),
        lambda x, min_val, max_val: _inside(x, min_val, max_val),
    ),
    "clamp": _lines(lambda x, min, max: _clamp(x, min, max), lambda x, min, max: _inside(x, min, max)),
    "hardsigmoid": _lines(lambda x: _clamp(x + 3, 0, 6) / 6, lambda x: _inside(x, -3, 3) / 6),
    "softshrink": _lines(lambda x, lambd: x - _clamp(x, -lambd, lambd), lambda x, lambd: 1 - _inside(x, -lambd, lambd)),
    "abs": _lines(abs, mp.sign),
    "sign": _lines(mp.sign, lambda x: mpf(0)),
    "floor": _lines(mp.floor, lambda x: mpf(0)),
    "round": _lines(mp.nint, lambda x: mpf(0)),
    "hardshrink": _lines(
        lambda x, lambd: mpf(0) if abs(x) <= lambd else x, lambda x, lambd: mpf(0 if abs(x) <= lambd else 1)
    ),
    "threshold": _lines(
        lambda x, threshold, value: x if x > threshold else mpf(value),
        lambda x, threshold, value: mpf(1 if x > threshold else 0),
    ),
    "elu": Reference(
        lambda x, alpha: x if x > 0 else mpf(alpha) * mp.expm1(x),
        lambda x, alpha: mpf(1) if x > 0 else mpf(alpha) * mp.exp(x),
        lambda x, alpha: iv.mpf(0 if x.a >= 0 else alpha),
    ),
    "celu": Reference(
        lambda x, alpha: x if x > 0 else mpf(alpha) * mp.expm1(x / mpf(alpha)),
        lambda x, alpha: mpf(1) if x > 0 else mp.exp(x / mpf(alpha)),
        lambda x, alpha: iv.mpf(0 if x.a >= 0 else alpha),
    ),
    "selu": Reference(
        lambda x: _SELU[0] * (x if x > 0 else _SELU[1] * mp.expm1(x)),
        lambda x: _SELU[0] * (mpf(1) if x > 0 else _SELU[1] * mp.exp(x)),
        lambda x: iv.mpf(0 if x.a >= 0 else 1),
    ),
    "gelu": Reference(lambda x: x * _cdf(x), lambda x: _cdf(x) + x * _pdf(x), lambda x: 2 - x**2),
    "gelu_tanh": Reference(lambda x: x * _sigmoid(_tanh_gate(x)), _tanh_slope, _tanh_bend),
    "silu": Reference(
        lambda x: x * _sigmoid(x),
        lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x)),
        lambda x: 2 - x * _tanh(x / 2),
    ),
    "quick_gelu": Reference(
        lambda x: x * _sigmoid(mpf("1.702") * x),
        lambda x: _sigmoid(mpf("1.702") * x) * (1 + mpf("1.702") * x * _sigmoid(-mpf("1.702") * x)),
        lambda x: 2 - iv.mpf("1.702") * x * _tanh(iv.mpf("1.702") * x / 2),
    ),
    "mish": Reference(lambda x: x * _mish_gate(x), _mish_slope, _mish_bend),
    "hardswish": Reference(
        lambda x: x * _clamp(x + 3, 0, 6) / 6,
        lambda x: (2 * x + 3) / 6 if abs(x) < 3 else _positive(x),
        lambda x: iv.mpf(1 if x.b <= 3 and x.a >= -3 else 0),
    ),
    "softplus": Reference(
        lambda x, beta, threshold=20: _softplus(mpf(beta) * x) / mpf(beta),
        lambda x, beta, threshold=20: _sigmoid(mpf(beta) * x),
        lambda x, beta, threshold=20: iv.mpf(1),
    ),
    "sigmoid": Reference(_sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x), lambda x: -x),
    "log_sigmoid": Reference(lambda x: -_softplus(-x), lambda x: _sigmoid(-x), lambda x: iv.mpf(-1)),
    "tanh": Reference(mp.tanh, lambda x: mp.sech(x) ** 2, lambda x: -x),
    "tanhshrink": Reference(lambda x: x - mp.tanh(x), lambda x: mp.tanh(x) ** 2, lambda x: x),
    "softsign": Reference(lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2, lambda x: -x),
    "erf": Reference(mp.erf, lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x), lambda x: -x),
    "exp": Reference(mp.exp, mp.exp, lambda x: iv.mpf(1)),
    "log": Reference(mp.log, lambda x: 1 / x, lambda x: iv.mpf(-1)),
    "square": _powers(2),
    "sqrt": _powers("0.5"),
    "rsqrt": _powers("-0.5"),
    "reciprocal": _powers(-1),
    "power": _powers(),
    "sin": Reference(mp.sin, mp.cos, lambda x: -iv.sin(x)),
    "cos": Reference(mp.cos, lambda x: -mp.sin(x), lambda x: -iv.cos(x)),
}

# Every registered activation, with parameters on both sides of where extrema change places.
CASES: list[tuple[str, dict[str, float]]] = [
    *((name, {}) for name in ("identity", "relu", "relu6", "hardsigmoid", "abs", "sign", "floor", "round", "selu")),
    *(
        (name, {})
        for name in ("gelu", "gelu_tanh", "silu", "quick_gelu", "mish", "hardswish", "sigmoid", "log_sigmoid")
    ),
    *((name, {}) for name in ("tanh", "tanhshrink", "softsign", "erf", "exp", "log", "sin", "cos")),
    *((name, {}) for name in ("square", "sqrt", "rsqrt", "reciprocal")),
    *(("power", {"exponent": p}) for p in (0.0, 1.0, 3.0, 4.0, 0.1, 1.5, 2.7, -2.0, -3.0, -0.3)),
    *(("leaky_relu", {"negative_slope": a}) for a in (0.01, 0.0, -2.0, 3.0)),
    *(("prelu", {"weight": a}) for a in (0.25, 1.5, -0.5)),
    ("rrelu", {"lower": 0.125, "upper": 0.3}),
    *(("hardtanh", {"min_val": a, "max_val": b}) for a, b in ((-1.0, 1.0), (0.5, 2.0), (-3.0, -0.1), (0.7, 0.7))),
    *(("clamp", {"min": a, "max": b}) for a, b in ((0.0, float("inf")), (float("-inf"), 0.3), (-1.0, 2.0))),
    *(("softshrink", {"lambd": a}) for a in (0.5, 0.0)),
    *(("hardshrink", {"lambd": a}) for a in (0.5, 0.0, -1.0)),
    *(("threshold", {"threshold": a, "value": b}) for a, b in ((0.5, 0.0), (0.5, 2.0), (-0.3, -0.3))),
    *(("elu", {"alpha": a}) for a in (1.0, 0.3, 2.5, -0.7, 0.0)),
    *(("celu", {"alpha": a}) for a in (1.0, 0.3, 2.5, -0.7)),
    *(("softplus", {"beta": a}) for a in (1.0, 0.2, 7.0)),
]
