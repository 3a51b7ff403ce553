"""Interval Jacobians: every derivative of a network over a region, backwards from rows of the output."""

import collections
import math
from collections.abc import Iterator
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.core.interval import Interval
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Form, Node, Opaque, Sum, Vector
from netgain.propagate import cotangent
from netgain.propagate.ranges import Ranges

_NUMBERS = 2**23  # entries of the largest tensor of one chunk


@torch.no_grad()
def derivatives(
    ranges: Ranges, rows: Float[Tensor, "batch rows *out"], *, signed: bool = True
) -> Iterator[tuple[str, Interval]]:
    """For each node, from the output back to the input: the derivative of rows . f with respect to its value.

    Guarantee:
        With f restricted to the part of the network behind a node, the interval holds every generalized derivative
        (Clarke) at every input of the region, and for any two inputs x, y of it a matrix M with
        rows . (f(x) - f(y)) = M (v(x) - v(y)) if all paths from the input to the output pass through the value v, as
        they do for the input itself. Where nothing is known, ends are infinite.

    Args:
        ranges: boxes of the values.
        rows: exact linear functions of the output, several for each region.
        signed: whether a derivative that cannot be negative is to have a lower end that is not; see
            `cotangent.adjoint`.

    Yields:
        The node's name and an interval of shape (batch, rows, *node shape); the input comes last.

    Raises:
        NoSoundRuleError: for an operation without a rule.

    Cost:
        About five evaluations of the transposed network for each row, ten with `signed`.
    """
    network = ranges.network
    live = {network.output: Interval(rows, rows)}
    for node in reversed(network.nodes):
        if node.name not in live:
            continue
        found = live.pop(node.name)
        yield node.name, found
        for name, part in _pulled(node, found, ranges, signed):
            live[name] = cotangent.plus(live[name], part) if name in live else part
    nothing = torch.zeros(*rows.shape[:2], *network.input_shape, dtype=torch.float64)
    yield network.input, live.get(network.input, Interval(nothing, nothing))


def interval_jacobian(
    ranges: Ranges, rows: Float[Tensor, "batch rows *out"] | None = None, *, signed: bool = True
) -> Interval:
    """The Jacobian of a network over each region, entry by entry.

    Guarantee:
        Every Jacobian at an input of the region lies in it, every generalized one (Clarke) at a kink, and for any two
        inputs x, y of the region a matrix M with f(x) - f(y) = M (x - y).

    Args:
        ranges: boxes of the values.
        rows: exact linear functions of the output; None for each output.
        signed: as in `derivatives`.

    Returns:
        An interval of shape (batch, rows, inputs), outputs and inputs flat.

    Raises:
        NoSoundRuleError: for an operation without a rule.

    Cost:
        That of `derivatives`, in chunks of bounded memory.
    """
    batch = len(ranges.region)
    given = unit_rows(ranges) if rows is None else rows
    widest = max(math.prod(shape) for shape in ranges.network.shapes().values())
    step = max(1, _NUMBERS // max(1, widest * batch))
    parts: list[Interval] = []
    for start in range(0, given.shape[1], step):
        # The input comes last.
        _, found = collections.deque(derivatives(ranges, given[:, start : start + step], signed=signed), maxlen=1).pop()
        parts.append(Interval(found.lo.flatten(2), found.hi.flatten(2)))
    return Interval(torch.cat([part.lo for part in parts], 1), torch.cat([part.hi for part in parts], 1))


def unit_rows(ranges: Ranges) -> Float[Tensor, "batch out *out"]:
    """One row for each output.

    Args:
        ranges: of the network.
    """
    shape = ranges.network.output_shape
    size = math.prod(shape)
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    return unit.expand(len(ranges.region), *unit.shape)


def _pulled(node: Node, found: Interval, ranges: Ranges, signed: bool) -> Iterator[tuple[str, Interval]]:
    """What one node passes on to each of its inputs."""
    match node.kind:
        case Affine(map=linear_map):
            yield node.inputs[0], cotangent.adjoint(linear_map, found, signed=signed)
        case Elementwise():
            yield node.inputs[0], cotangent.times(found, _each_row(slopes(ranges, node)))
        case Sum(scales=scales):
            for name, scale in zip(node.inputs, scales, strict=True):
                yield name, cotangent.times(found, Interval.exactly(scale))
        case Concat(axis=axis):
            start = 0
            for name in node.inputs:
                size = ranges.boxes[name].lo.shape[axis + 1]
                yield name, Interval(*(end.narrow(axis + 2, start, size) for end in (found.lo, found.hi)))
                start += size
        case Bilinear(form=form):
            yield from _bilinear(node, form, found, ranges)
        case Vector(function=function):
            raise NoSoundRuleError(f"{node.source}: {function.name} has no rule for its derivative over a region")
        case Opaque(code=code, reason=reason):
            raise NoSoundRuleError(f"{node.source} has no derivative over a region: {reason}", code=code)
        case _:
            assert_never(node.kind)


def slopes(ranges: Ranges, node: Node) -> Interval:
    """The slopes of an elementwise node over each region, of shape (batch, *node shape); everything where unknown.

    Args:
        ranges: boxes of the values.
        node: a node of kind Elementwise.
    """
    return cotangent.known(Interval(*ranges.slopes(node)))


def _bilinear(node: Node, form: Form, found: Interval, ranges: Ranges) -> Iterator[tuple[str, Interval]]:
    """D(x y) = y Dx + x Dy; between two inputs with y and x at their midpoints, which lie in the same boxes."""
    left, right = node.inputs
    x, y = _each_row(ranges.boxes[left]), _each_row(ranges.boxes[right])
    if form is Form.PRODUCT:
        shape = tuple(found.lo.shape[2:])
        yield left, cotangent.reduced(cotangent.times(found, _padded(y, len(shape))), tuple(x.lo.shape[2:]))
        yield right, cotangent.reduced(cotangent.times(found, _padded(x, len(shape))), tuple(y.lo.shape[2:]))
        return
    yield left, cotangent.reduced(cotangent.product(found, _transposed(y)), tuple(x.lo.shape[2:]))
    yield right, cotangent.reduced(cotangent.product(_transposed(x), found), tuple(y.lo.shape[2:]))


def _each_row(x: Interval) -> Interval:
    """With an axis for the rows."""
    return Interval(x.lo.unsqueeze(1), x.hi.unsqueeze(1))


def _padded(x: Interval, axes: int) -> Interval:
    """With so many axes behind those of batch and rows."""
    shape = (*x.lo.shape[:2], *(1,) * (axes - x.lo.dim() + 2), *x.lo.shape[2:])
    return Interval(x.lo.reshape(shape), x.hi.reshape(shape))


def _transposed(x: Interval) -> Interval:
    """The last two axes swapped."""
    return Interval(x.lo.mT, x.hi.mT)
