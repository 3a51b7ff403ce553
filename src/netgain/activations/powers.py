"""Powers of x: square, square root, reciprocal and the general real exponent."""

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

from netgain.activations.base import Activation
from netgain.activations.curve import Pieces, Turn, assemble, outside, turn
from netgain.activations.table import ACTIVATIONS, Parameter, number
from netgain.core.interval import Interval


@ACTIVATIONS.register("power")
def power(exponent: Parameter) -> Activation:
    """x^p for a number p; slope p x^(p - 1). Nothing is known for x < 0 where p is not an integer."""
    p = number("exponent", exponent)
    return _power(f"power({p:g})", p, lambda x: torch.pow(x, p))


@ACTIVATIONS.register("square")
def square() -> Activation:
    """x^2; slope 2 x, unbounded globally."""
    return _power("square", 2.0, torch.square)


@ACTIVATIONS.register("sqrt")
def sqrt() -> Activation:
    """The square root; slope unbounded at 0."""
    return _power("sqrt", 0.5, torch.sqrt)


@ACTIVATIONS.register("rsqrt")
def rsqrt() -> Activation:
    """1 / sqrt(x)."""
    return _power("rsqrt", -0.5, torch.rsqrt)


@ACTIVATIONS.register("reciprocal")
def reciprocal() -> Activation:
    """1 / x; slope -1 / x^2, and every number across the pole."""
    return _power("reciprocal", -1.0, torch.reciprocal)


def _power(name: str, p: float, value: Callable[[Tensor], Tensor]) -> Activation:
    """x^p. On each side of 0, x^p and its slope are monotone, so 0 and infinity are the only turns."""
    facts = assemble(
        name,
        value,
        lambda x: _monomial(x, 1.0, p),
        slope=Pieces(lambda x: _slope(x, p), _turns(p, p - 1, whole=p.is_integer())),
        turns=_turns(1.0, p, whole=p.is_integer()),
    )
    return dataclasses.replace(facts, positively_homogeneous=p == 1.0)


def _slope(x: Interval, p: float) -> Interval:
    """p x^(p - 1), also where float64 does not hold p - 1."""
    if Fraction(p) - 1 == Fraction(p - 1):
        return _monomial(x, p, p - 1)
    return _monomial(x, p, p) * x.abs().reciprocal()


def _monomial(x: Interval, factor: float, p: float) -> Interval:
    """factor x^p; NaN where it is undefined."""
    if factor == 0.0 or p == 0.0:
        return Interval.exactly(torch.full_like(x.lo, factor))
    size = x.abs().power(p)
    image = size if factor == 1.0 else size * factor
    if not p.is_integer():
        nan = Interval.exactly(torch.full_like(x.lo, math.nan))
        return nan.where(x.lo < 0, image)
    return (-image).where(x.lo < 0, image) if p % 2 else image


def _turns(factor: float, p: float, *, whole: bool) -> tuple[Turn, ...]:
    """Turns of factor x^p, defined for x < 0 if `whole`."""
    if factor == 0.0:
        return turn(-math.inf, 0.0), turn(math.inf, 0.0)
    far = factor * (math.inf if p > 0 else 1.0 if p == 0 else 0.0)
    near = factor * (0.0 if p > 0 else 1.0 if p == 0 else math.inf)
    mirror = -1.0 if whole and p % 2 else 1.0
    left = (turn(-math.inf, mirror * far),) if whole else (outside(-math.inf, -5e-324),)
    # Across a pole chords have every slope: 1 / x rises from its left branch to its right one.
    middle = turn(0.0, -math.inf, math.inf) if whole and p < 0 else turn(0.0, near)
    return (*left, middle, turn(math.inf, far))
