"""ELU, CELU, SELU, exp, log."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from netgain.activations.base import Activation
from netgain.activations.curve import Function, Number, Pieces, assemble, outside, turn
from netgain.activations.table import ACTIVATIONS, Parameter, describe, exact, like
from netgain.core.errors import UsageError
from netgain.core.interval import Interval


@ACTIVATIONS.register("elu")
def elu(alpha: Parameter = 1.0) -> Activation:
    """x above 0, alpha (e^x - 1) below; slope alpha e^x there."""
    height = exact("alpha", alpha)

    def value(x: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        if height.numel() == 1:
            return functional.elu(x, float(height))
        return torch.where(x > 0, x, like(height, x) * torch.expm1(x.clamp_max(0.0)))

    def below(x: Interval) -> Interval:
        return Interval.exactly(height.to(x.lo.device))

    return assemble(
        f"elu({describe(height)})",
        value,
        lambda x: x.where(x.lo > 0, below(x) * x.clamp(-math.inf, 0.0).expm1()),
        slope=_bent(lambda x: below(x) * x.exp(), 0.0, height),
        turns=(turn(-math.inf, -height), turn(0.0, 0.0), turn(math.inf, math.inf)),
        source="Clevert, Unterthiner and Hochreiter 2016; calculus",
    )


@ACTIVATIONS.register("celu")
def celu(alpha: Parameter = 1.0) -> Activation:
    """x above 0, alpha (e^(x / alpha) - 1) below; for alpha < 0 its slope grows without limit."""
    height = exact("alpha", alpha)
    if bool((height == 0).any()):
        raise UsageError("celu: alpha must not be 0")

    def value(x: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        if height.numel() == 1:
            return functional.celu(x, float(height))
        scale = like(height, x)
        return torch.where(x > 0, x, scale * torch.expm1(x.clamp_max(0.0) / scale))

    def below(x: Interval) -> Interval:
        return Interval.exactly(height.to(x.lo.device))

    return assemble(
        f"celu({describe(height)})",
        value,
        lambda x: x.where(x.lo > 0, below(x) * (x.clamp(-math.inf, 0.0) / below(x)).expm1()),
        slope=_bent(lambda x: (x / below(x)).exp(), torch.where(height > 0, 0.0, math.inf).double(), 1.0),
        turns=(
            turn(-math.inf, torch.where(height > 0, -height, -math.inf)),
            turn(0.0, 0.0),
            turn(math.inf, math.inf),
        ),
        source="Barron 2017; calculus",
    )


@ACTIVATIONS.register("selu")
def selu() -> Activation:
    """s x above 0, s a (e^x - 1) below, with the constants s = 1.0507..., a = 1.6733... of the paper."""
    scale, product = "1.0507009873554804934193349852946", "1.758099340847376859940218"

    def constant(text: str, x: Interval) -> Interval:
        value = Interval.decimal(text)
        return Interval(value.lo.to(x.lo.device), value.hi.to(x.lo.device))

    def slope(x: Interval) -> Interval:
        return constant(scale, x).where(x.lo > 0, constant(product, x) * x.clamp(-math.inf, 0.0).exp())

    return assemble(
        "selu",
        functional.selu,
        lambda x: (constant(scale, x) * x).where(x.lo > 0, constant(product, x) * x.clamp(-math.inf, 0.0).expm1()),
        slope=Pieces(slope, (turn(-math.inf, 0.0), turn(0.0, scale, product), turn(math.inf, scale))),
        turns=(turn(-math.inf, f"-{product}"), turn(0.0, 0.0), turn(math.inf, math.inf)),
        source="Klambauer et al. 2017; calculus",
    )


def _bent(left: Function, at_minus_infinity: Number, at_zero: Number) -> Pieces:
    """The slope of a function that is x above 0 and has a monotone slope below."""

    def slope(x: Interval) -> Interval:
        one = Interval.exactly(torch.ones_like(x.lo))
        return one.where(x.lo > 0, left(x.clamp(-math.inf, 0.0)))

    return Pieces(slope, (turn(-math.inf, at_minus_infinity), turn(0.0, at_zero, 1.0), turn(math.inf, 1.0)))


@ACTIVATIONS.register("exp")
def exp() -> Activation:
    """e^x: its own slope, unbounded globally."""
    growth = (turn(-math.inf, 0.0), turn(math.inf, math.inf))
    return assemble("exp", torch.exp, Interval.exp, slope=Pieces(Interval.exp, growth), turns=growth)


@ACTIVATIONS.register("log")
def log() -> Activation:
    """The natural logarithm; slope 1 / x. Nothing is known where x < 0."""
    return assemble(
        "log",
        torch.log,
        Interval.log,
        slope=Pieces(
            Interval.reciprocal,
            (outside(-math.inf, -5e-324), turn(0.0, math.inf), turn(math.inf, 0.0)),
        ),
        turns=(outside(-math.inf, -5e-324), turn(0.0, -math.inf), turn(math.inf, math.inf)),
    )
