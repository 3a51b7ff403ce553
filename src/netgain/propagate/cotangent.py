"""Intervals of derivatives, from the output back to the input: the steps of an interval Jacobian."""

import torch
from torch import Tensor

from netgain.core.interval import Interval
from netgain.core.rounding import UNDERFLOW, gamma, tensor_down, tensor_up
from netgain.linear.base import AbstractLinearMap
from netgain.linear.signs import signs
from netgain.norms.evaluate import image, magnitude
from netgain.propagate.magnitude import inflate

_SLACK = 1.0 + 2.0**-50  # covers a handful of roundings of non-negative numbers


def times(a: Interval, b: Interval) -> Interval:
    """Products, entry by entry; signs stay exact, and zero times anything is zero.

    Args:
        a: one factor.
        b: the other; shapes broadcast.
    """
    products = [
        torch.where((x == 0) | (y == 0), 0.0, x * y)
        for x, y in ((a.lo, b.lo), (a.lo, b.hi), (a.hi, b.lo), (a.hi, b.hi))
    ]
    low = torch.minimum(torch.minimum(products[0], products[1]), torch.minimum(products[2], products[3]))
    high = torch.maximum(torch.maximum(products[0], products[1]), torch.maximum(products[2], products[3]))
    exact = _unit(a) | _unit(b)
    low, high = torch.where(exact, low, tensor_down(low)), torch.where(exact, high, tensor_up(high))
    alike = ((a.lo >= 0) & (b.lo >= 0)) | ((a.hi <= 0) & (b.hi <= 0))
    opposed = ((a.lo >= 0) & (b.hi <= 0)) | ((a.hi <= 0) & (b.lo >= 0))
    return Interval(torch.where(alike, low.clamp_min(0.0), low), torch.where(opposed, high.clamp_max(0.0), high))


def plus(a: Interval, b: Interval) -> Interval:
    """Sums, entry by entry; signs stay exact.

    Args:
        a: one term.
        b: the other, of the same shape.
    """
    low, high = tensor_down(a.lo + b.lo), tensor_up(a.hi + b.hi)
    low = torch.where((a.lo >= 0) & (b.lo >= 0), low.clamp_min(0.0), low)
    high = torch.where((a.hi <= 0) & (b.hi <= 0), high.clamp_max(0.0), high)
    return known(Interval(low, high))


def adjoint(linear_map: AbstractLinearMap, x: Interval, *, signed: bool) -> Interval:
    """A^T x for every matrix within the map's uncertainty and every x in the interval.

    With x in m +- r: A^T m with its rounding, and |A|^T r around it. Where every product of one output has the same
    sign, its end at zero stays there.

    Args:
        linear_map: A.
        x: an interval of shape (batch, rows, *out shape).
        signed: whether to follow signs as well, which doubles the cost.
    """
    lead = x.lo.shape[:2]
    flat = Interval(x.lo.flatten(0, 1), x.hi.flatten(0, 1))
    if linear_map.moves and linear_map.adjoint_terms == 1:
        moved = Interval(linear_map.adjoint(flat.lo), linear_map.adjoint(flat.hi))
    else:
        middle, spread = flat.halves()
        value, error = image(linear_map, middle, transposed=True)
        spread = tensor_up(magnitude(linear_map, spread, transposed=True) + error)
        moved = known(Interval(tensor_down(value - spread), tensor_up(value + spread)))
        moved = _signed(linear_map, flat, moved) if signed else moved
    return Interval(moved.lo.unflatten(0, lead), moved.hi.unflatten(0, lead))


def product(x: Interval, y: Interval) -> Interval:
    """Matrix products over the last two axes, entry by entry enclosed; leading axes broadcast.

    Args:
        x: shape (..., n, m).
        y: shape (..., m, p).
    """
    terms = x.lo.shape[-1]
    (left, wide), (right, broad) = x.halves(), y.halves()
    value = left @ right
    reach = tensor_up(right.abs() + broad)
    spread = inflate(wide @ reach, terms) + inflate(left.abs() @ tensor_up(broad + gamma(terms) * right.abs()), terms)
    spread = (spread + UNDERFLOW * terms) * _SLACK
    return known(Interval(tensor_down(value - spread), tensor_up(value + spread)))


def reduced(x: Interval, shape: tuple[int, ...]) -> Interval:
    """The sums over the axes along which a tensor of `shape` was broadcast.

    Args:
        x: an interval of shape (batch, rows, *out).
        shape: broadcastable to out.
    """
    out = x.lo.shape[2:]
    padded = (1,) * (len(out) - len(shape)) + shape
    axes = tuple(i + 2 for i, (one, size) in enumerate(zip(padded, out, strict=True)) if one == 1 and size != 1)
    if axes:
        total = x.sum(axes, keepdim=True)
        # A sum without a negative term is not negative.
        low = torch.where((x.lo >= 0).all(axes, keepdim=True), total.lo.clamp_min(0.0), total.lo)
        high = torch.where((x.hi <= 0).all(axes, keepdim=True), total.hi.clamp_max(0.0), total.hi)
        x = known(Interval(low, high))
    return Interval(*(end.reshape(*x.lo.shape[:2], *shape) for end in (x.lo, x.hi)))


def known(x: Interval) -> Interval:
    """Everything where arithmetic broke down."""
    broken = x.lo.isnan() | x.hi.isnan()
    return Interval(torch.where(broken, -torch.inf, x.lo), torch.where(broken, torch.inf, x.hi))


def _unit(x: Interval) -> Tensor:
    """Where a factor is exactly 0, 1 or -1: such a product is not rounded."""
    return (x.lo == x.hi) & ((x.lo == 0) | (x.lo.abs() == 1))


def _signed(linear_map: AbstractLinearMap, x: Interval, found: Interval) -> Interval:
    """The image with ends moved to zero where no product can be beyond it.

    A sum of products of numbers >= 0 is positive in floating point if and only if one of them is: nothing underflows
    when one factor is 1.
    """
    below, above = _pattern(linear_map, x.lo < 0, x.hi > 0)
    return Interval(
        torch.where(below, found.lo, found.lo.clamp_min(0.0)), torch.where(above, found.hi, found.hi.clamp_max(0.0))
    )


def _pattern(linear_map: AbstractLinearMap, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Where the transposed image can be negative, and where positive, from the same of the argument."""
    stages = signs(linear_map)
    if not stages:
        everywhere = torch.ones(len(below), *linear_map.in_shape, dtype=torch.bool)
        return everywhere, everywhere
    rows = torch.cat([below, above]).double()
    for stage in reversed(stages):
        total = stage.positive.adjoint(rows)
        if stage.negative is not None:
            total = total + stage.negative.adjoint(rows.roll(len(below), 0))
        rows = (total > 0).double()
    return rows[: len(below)] > 0, rows[len(below) :] > 0
