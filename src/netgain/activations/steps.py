"""Activations with jumps: their global slope is infinite, their slope away from the jumps is not."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.activations.base import Activation, Range
from netgain.activations.curve import Pieces, assemble, check_ends, turn, unrounded, without_nan
from netgain.activations.table import ACTIVATIONS, Parameter, describe, exact, like
from netgain.core.interval import Interval


@dataclasses.dataclass(frozen=True)
class Stairs:
    """Slope of a staircase with upward jumps: 0 between jumps, else [0, inf].

    Attributes:
        halves: jumps at k + 1/2 for each integer k (rounding), else at each integer (floor).
    """

    halves: bool

    def __call__(self, lo: Tensor, hi: Tensor) -> Range:
        """The slope range over [lo, hi].

        Raises:
            UsageError: if lo > hi somewhere.
        """
        lo, hi = check_ends(lo, hi)
        # The first jump not below lo, doubled: an odd or an even integer, exact below 2^53.
        first = torch.ceil(2 * lo) if self.halves else 2 * torch.ceil(lo)
        if self.halves:
            first = first + (1 - torch.remainder(first, 2))
        flat = (first > 2 * hi) & (lo.abs() < 2.0**51)
        return without_nan(lo, hi, torch.zeros_like(lo), torch.where(flat, 0.0, math.inf))


def _flat(x: Interval) -> Interval:
    """The zero function."""
    return Interval.exactly(torch.zeros_like(x.lo))


def _one(x: Interval) -> Interval:
    """The function 1."""
    return Interval.exactly(torch.ones_like(x.lo))


@ACTIVATIONS.register("sign")
def sign() -> Activation:
    """-1, 0 or 1."""
    steps = assemble(
        "sign",
        torch.sign,
        lambda x: Interval(torch.sign(x.lo), torch.sign(x.hi)),
        slope=Pieces(_flat, (turn(-math.inf, 0.0), turn(0.0, 0.0, math.inf), turn(math.inf, 0.0))),
        turns=(turn(-math.inf, -1.0), turn(0.0, -1.0, 1.0), turn(math.inf, 1.0)),
    )
    return dataclasses.replace(unrounded(steps), continuous=False)


@ACTIVATIONS.register("floor")
def floor() -> Activation:
    """The largest integer not above x."""
    steps = assemble(
        "floor",
        torch.floor,
        lambda x: Interval(torch.floor(x.lo), torch.floor(x.hi)),
        slope=Stairs(halves=False),
        turns=(turn(-math.inf, -math.inf), turn(math.inf, math.inf)),
    )
    return dataclasses.replace(unrounded(steps), continuous=False)


@ACTIVATIONS.register("round")
def nearest() -> Activation:
    """The nearest integer, the even one of two."""
    steps = assemble(
        "round",
        torch.round,
        lambda x: Interval(torch.round(x.lo), torch.round(x.hi)),
        slope=Stairs(halves=True),
        turns=(turn(-math.inf, -math.inf), turn(math.inf, math.inf)),
    )
    return dataclasses.replace(unrounded(steps), continuous=False)


@ACTIVATIONS.register("hardshrink")
def hardshrink(lambd: Parameter = 0.5) -> Activation:
    """0 for |x| <= lambd, else x; the identity for lambd < 0."""
    width = exact("lambd", lambd).clamp_min(0.0)
    jump = torch.where(width > 0, math.inf, 1.0).double()

    def inside(x: Tensor) -> Tensor:
        return x.abs() <= like(width, x)

    def value(x: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        return torch.where(inside(x), 0.0, x)

    steps = assemble(
        f"hardshrink({describe(lambd)})",
        value,
        lambda x: _flat(x).where(inside(x.lo), x),
        slope=Pieces(
            lambda x: _flat(x).where(inside(x.lo), _one(x)),
            (
                turn(-math.inf, 1.0),
                turn(-width, torch.where(width > 0, 0.0, 1.0).double(), jump),
                turn(width, torch.where(width > 0, 0.0, 1.0).double(), jump),
                turn(math.inf, 1.0),
            ),
        ),
        turns=(
            turn(-math.inf, -math.inf),
            turn(-width, -width, 0.0),
            turn(width, 0.0, width),
            turn(math.inf, math.inf),
        ),
    )
    return dataclasses.replace(unrounded(steps), continuous=not bool((width > 0).any()))


@ACTIVATIONS.register("threshold")
def threshold(threshold: Parameter, value: Parameter) -> Activation:
    """x above the threshold, the given value elsewhere: continuous only where both are equal."""
    place, below = exact("threshold", threshold), exact("value", value)
    jump = torch.where(place > below, math.inf, torch.where(place < below, -math.inf, 0.0)).double()

    def outside(x: Tensor) -> Tensor:
        return x <= like(place, x)

    def evaluate(x: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        return torch.where(outside(x), like(below, x), x)

    def function(x: Interval) -> Interval:
        return Interval.exactly(below.to(x.lo.device)).where(outside(x.lo), x)

    steps = assemble(
        f"threshold({describe(place)}, {describe(below)})",
        evaluate,
        function,
        slope=Pieces(
            lambda x: _flat(x).where(outside(x.lo), _one(x)),
            (turn(-math.inf, 0.0), turn(place, 0.0, 1.0, jump), turn(math.inf, 1.0)),
        ),
        turns=(turn(-math.inf, below), turn(place, below, place), turn(math.inf, math.inf)),
    )
    return dataclasses.replace(
        unrounded(steps),
        positively_homogeneous=bool(((place == 0) & (below == 0)).all()),
        continuous=bool((place == below).all()),
    )
