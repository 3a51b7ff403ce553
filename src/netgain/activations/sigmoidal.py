"""Sigmoid and its kin: slopes are one hump, or rise from one limit to another."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from netgain.activations.base import Activation
from netgain.activations.curve import Pieces, Turn, assemble, turn
from netgain.activations.table import ACTIVATIONS, Parameter, describe, exact, like, number
from netgain.core.interval import Interval


def _softplus(x: Interval) -> Interval:
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
    return x.clamp(0.0, math.inf) + (-x.abs()).exp().log1p()


def _hump(top: float | str) -> tuple[Turn, ...]:
    """Turns of a slope that rises from 0 to `top` at 0 and falls back."""
    return turn(-math.inf, 0.0), turn(0.0, top), turn(math.inf, 0.0)


_RISING_SLOPE = (turn(-math.inf, 0.0), turn(math.inf, 1.0))


@ACTIVATIONS.register("sigmoid")
def sigmoid() -> Activation:
    """sigma(x) = 1 / (1 + e^-x); slope sigma(x) sigma(-x), at most 1/4."""
    return assemble(
        "sigmoid",
        torch.sigmoid,
        Interval.sigmoid,
        slope=Pieces(lambda x: x.sigmoid() * (-x).sigmoid(), _hump(0.25)),
        turns=(turn(-math.inf, 0.0), turn(math.inf, 1.0)),
    )


@ACTIVATIONS.register("log_sigmoid")
def log_sigmoid() -> Activation:
    """log sigma(x) = -log(1 + e^-x); slope sigma(-x)."""
    return assemble(
        "log_sigmoid",
        functional.logsigmoid,
        lambda x: -_softplus(-x),
        slope=Pieces(lambda x: (-x).sigmoid(), (turn(-math.inf, 1.0), turn(math.inf, 0.0))),
        turns=(turn(-math.inf, -math.inf), turn(math.inf, 0.0)),
    )


@ACTIVATIONS.register("softplus")
def softplus(beta: Parameter = 1.0, threshold: Parameter = 20.0) -> Activation:
    """log(1 + e^(beta x)) / beta; slope sigma(beta x).

    torch returns x where beta x exceeds the threshold, a jump of log(1 + e^-threshold) / beta. The function meant here
    is the smooth one; the jump is part of `value_error`.
    """
    steep = exact("beta", beta, positive=True)
    limit = number("threshold", threshold)

    def value(x: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        scale = like(steep, x)
        scaled = x * scale
        return torch.where(scaled > limit, x, functional.softplus(scaled, threshold=limit) / scale)

    def scaled(x: Interval) -> Interval:
        return x * Interval.exactly(steep.to(x.lo.device))

    return assemble(
        f"softplus({describe(steep)})",
        value,
        lambda x: _softplus(scaled(x)) / Interval.exactly(steep.to(x.lo.device)),
        slope=Pieces(lambda x: scaled(x).sigmoid(), _RISING_SLOPE),
        turns=(turn(-math.inf, 0.0), turn(math.inf, math.inf)),
    )


def _bell(x: Interval) -> Interval:
    """1 - tanh(x)^2 = 4 E / (1 + E)^2 with E = e^(-2 |x|)."""
    e = (x.abs() * -2.0).exp()
    return 4.0 * e / (1.0 + e).square()


@ACTIVATIONS.register("tanh")
def tanh() -> Activation:
    """The hyperbolic tangent; its slope is 1 minus its square."""
    return assemble(
        "tanh",
        torch.tanh,
        Interval.tanh,
        slope=Pieces(_bell, _hump(1.0)),
        turns=(turn(-math.inf, -1.0), turn(math.inf, 1.0)),
    )


@ACTIVATIONS.register("tanhshrink")
def tanhshrink() -> Activation:
    """x - tanh(x); slope tanh(x)^2."""
    return assemble(
        "tanhshrink",
        functional.tanhshrink,
        lambda x: x - x.tanh(),
        slope=Pieces(lambda x: x.tanh().square(), (turn(-math.inf, 1.0), turn(0.0, 0.0), turn(math.inf, 1.0))),
        turns=(turn(-math.inf, -math.inf), turn(math.inf, math.inf)),
    )


@ACTIVATIONS.register("softsign")
def softsign() -> Activation:
    """x / (1 + |x|); slope 1 / (1 + |x|)^2."""
    return assemble(
        "softsign",
        functional.softsign,
        lambda x: x / (x.abs() + 1.0),
        slope=Pieces(lambda x: 1.0 / (x.abs() + 1.0).square(), _hump(1.0)),
        turns=(turn(-math.inf, -1.0), turn(math.inf, 1.0)),
    )


@ACTIVATIONS.register("erf")
def erf() -> Activation:
    """The error function; slope 2 / sqrt(pi) e^(-x^2)."""
    top = "1.128379167095512573896159"

    def slope(x: Interval) -> Interval:
        peak = Interval.decimal(top)
        return (-x.square()).exp() * Interval(peak.lo.to(x.lo.device), peak.hi.to(x.lo.device))

    return assemble(
        "erf",
        torch.erf,
        Interval.erf,
        slope=Pieces(slope, _hump(top)),
        turns=(turn(-math.inf, -1.0), turn(math.inf, 1.0)),
    )
