"""Recognizing activations and normalizations that a file spells out in sums and products.

A product of two computed tensors has no global Lipschitz constant; x * sigmoid(x) has one. So each product, quotient
and sum of two computed tensors is first compared with the known functions of one variable. The comparison is exact in
rational arithmetic: constants that the file rounded to float32 (1/sqrt(2), 0.044715) stay as stored, and the function
is rescaled or its facts widened to match.
"""

import dataclasses
from fractions import Fraction
from typing import TYPE_CHECKING

from torch import Tensor

from netgain.activations import activation
from netgain.activations.base import Activation, Range
from netgain.core.rounding import tensor_down, tensor_up

if TYPE_CHECKING:
    from netgain.network.read.onnx.lower import Lowering, Operation, Signal

MOST_STEPS = 40
SQRT_HALF_PI = Fraction("1.25331413731550025120788264240552262650349337030496")  # 1 / sqrt(2/pi), to 50 digits
SQRT_TWO = Fraction("1.41421356237309504880168872420969807856967187537694")
CUBIC = Fraction(44715, 1000000)


@dataclasses.dataclass(frozen=True)
class Term:
    """What a node computes, entry by entry, from nodes of its own shape.

    Attributes:
        kind: "scale" (factor), "shift" (offset), "sum" (one factor each), "product", "power" (exponent),
            "apply" (`name`), "centered" (x minus its mean over axes), "mean" (factor, axes: factor times the mean),
            "l2" (axes). Axes are counted from the end, those of size 1 left out.
        parents: names of the nodes.
        numbers: exact parameters.
        name: the activation's name for "apply".
        limit: the parameters' names for "apply", joined.
    """

    kind: str
    parents: tuple[str, ...]
    numbers: tuple[Fraction, ...] = ()
    name: str = ""
    limit: str = ""


def strip(patterns: dict[str, Term], node: str) -> tuple[Fraction, str]:
    """(s, root) with node = s root, root not itself a scaled node."""
    factor = Fraction(1)
    for _ in range(MOST_STEPS):
        term = patterns.get(node)
        if term is None or term.kind != "scale":
            break
        factor, node = factor * term.numbers[0], term.parents[0]
    return factor, node


def applied(patterns: dict[str, Term], node: str, *names: str) -> Term | None:
    """The node's term where it applies one of these activations."""
    term = patterns.get(node)
    return term if term is not None and term.kind == "apply" and term.name in names else None


def polynomial(patterns: dict[str, Term], node: str, root: str, steps: list[int]) -> dict[int, Fraction] | None:
    """The node as a polynomial of degree at most 3 in `root`, by its exponents; None where it is not one."""
    steps[0] += 1
    if node == root:
        return {1: Fraction(1)}
    term = patterns.get(node)
    if term is None or steps[0] > MOST_STEPS:
        return None
    parts = [polynomial(patterns, parent, root, steps) for parent in term.parents]
    known = [part for part in parts if part is not None]
    if len(known) != len(parts):
        return None
    if term.kind == "scale":
        return {power: value * term.numbers[0] for power, value in known[0].items()}
    if term.kind == "shift":
        return _combined(known[0], {0: term.numbers[0]})
    if term.kind == "sum":
        scaled = (
            {power: value * factor for power, value in part.items()}
            for part, factor in zip(known, term.numbers, strict=True)
        )
        return _combined(*scaled)
    if term.kind == "product":
        return _multiplied(known[0], known[1])
    if term.kind == "power" and term.numbers[0] in (2, 3):
        square = _multiplied(known[0], known[0])
        return square if term.numbers[0] == 2 or square is None else _multiplied(square, known[0])
    return None


def _combined(*parts: dict[int, Fraction]) -> dict[int, Fraction]:
    """The sum of polynomials."""
    total: dict[int, Fraction] = {}
    for part in parts:
        for power, value in part.items():
            total[power] = total.get(power, Fraction(0)) + value
    return total


def _multiplied(first: dict[int, Fraction], second: dict[int, Fraction]) -> dict[int, Fraction] | None:
    """The product of polynomials, None above degree 3."""
    result: dict[int, Fraction] = {}
    for p, a in first.items():
        for q, b in second.items():
            result[p + q] = result.get(p + q, Fraction(0)) + a * b
    return result if max(result, default=0) <= 3 else None


@dataclasses.dataclass(frozen=True)
class Found:
    """x y = outer * phi(inner * root).

    A factor that holds sqrt(2) or sqrt(pi/2) is right to 49 digits; the error that `scale` carries for its rounding to
    float64 has more than that to spare.

    Attributes:
        activation: phi.
        root: the node.
        inner: factor before phi.
        outer: factor behind it.
    """

    activation: Activation
    root: str
    inner: Fraction
    outer: Fraction


def match_product(lowering: "Lowering", op: "Operation", a: "Signal", b: "Signal") -> "Signal | None":
    """A product of two computed tensors as one activation, or None."""
    from netgain.network.read.onnx.ops import arithmetic

    patterns = lowering.patterns
    if a.shape != b.shape:
        return None
    for x, gate in ((a.node, b.node), (b.node, a.node)):
        factor, root = strip(patterns, x)
        share, inner = strip(patterns, gate)
        found = (
            _gaussian(patterns, root, inner)
            or _logistic(patterns, root, inner)
            or _clipped(patterns, root, inner)
            or _mish(patterns, root, inner)
        )
        if found is None:
            continue
        signal = dataclasses.replace(a, node=root)
        scaled = arithmetic.scale(lowering, op, signal, found.inner)
        bent = lowering.elementwise(op, scaled, found.activation)
        return arithmetic.scale(lowering, op, bent, found.outer * factor * share)
    return None


def _gaussian(patterns: dict[str, Term], root: str, gate: str) -> Found | None:
    """root (c + c erf(s root)) or root (c + c tanh(s root + d root^3))."""
    term = patterns.get(gate)
    if term is None or term.kind != "shift":
        return None
    offset = term.numbers[0]
    share, inner = strip(patterns, term.parents[0])
    if share != offset or offset == 0:
        return None
    step = applied(patterns, inner, "erf", "tanh")
    if step is None:
        return None
    curve = polynomial(patterns, step.parents[0], root, [0])
    if curve is None:
        return None
    curve = {power: value for power, value in curve.items() if value != 0}
    slope = curve.get(1, Fraction(0))
    if slope == 0:
        return None
    if step.name == "erf":
        # gelu(v) = v / 2 (1 + erf(v / sqrt 2)) at v = sqrt(2) s root.
        inside = SQRT_TWO * slope
        return Found(activation("gelu"), root, inside, 2 * offset / inside) if set(curve) == {1} else None
    if set(curve) == {1}:
        # 1 + tanh(t) = 2 sigmoid(2 t).
        return Found(activation("silu"), root, 2 * slope, offset / slope)
    if set(curve) != {1, 3}:
        return None
    inside = slope * SQRT_HALF_PI
    ratio = curve[3] / (inside**3 / SQRT_HALF_PI * CUBIC) - 1
    if abs(ratio) > Fraction(1, 10**5):
        return None
    return Found(_bent(activation("gelu_tanh"), abs(float(ratio))), root, inside, 2 * offset / inside)


def _bent(base: Activation, ratio: float) -> Activation:
    """GELU by tanh with its cubic coefficient D = 0.044715 changed by a relative amount of at most `ratio` <= 1e-5.

    Let g = C (v + D v^3), C = sqrt(2/pi), phi = v (1 + tanh g) / 2. With sech^2 g <= 4 exp(-2 g) for v >= 0 (and by
    symmetry for v < 0) and E = exp(-2 C v (1 + D v^2)),
      |d phi / dD|  = C v^4 sech^2(g) / 2 <= 2 C v^4 E <= 4,
      |d phi'/ dD| <= sech^2(g) [4 C |v|^3 + 2 C v^4 g'] / 2 <= 2 E [4 C v^3 + 2 C^2 v^4 (1 + 3 D v^2)] <= 4
    for all v and for D within 1e-5 relative of 0.044715 (the maxima are near v = 1.7, about 1.2 and 2.8). So value and
    slope change by at most 4 D ratio <= ratio; the facts are widened by that.

    Guarantee: the widened ranges hold for the file's function, rounding included.
    """
    if ratio == 0.0:
        return base

    def widened(enclosure: Range) -> Range:
        return tensor_down(enclosure[0] - ratio), tensor_up(enclosure[1] + ratio)

    def error(x: Tensor) -> Tensor:
        return tensor_up(base.value_error(x) + ratio)

    return dataclasses.replace(
        base,
        name=f"{base.name} (coefficients as stored)",
        value_error=error,
        slope_range=lambda lo, hi: widened(base.slope_range(lo, hi)),
        value_range=lambda lo, hi: widened(base.value_range(lo, hi)),
        source=f"{base.source}; widened for a cubic coefficient that differs by {ratio:.1e} relative",
    )


def _logistic(patterns: dict[str, Term], root: str, gate: str) -> Found | None:
    """root sigmoid(s root) = silu(s root) / s."""
    step = applied(patterns, gate, "sigmoid")
    if step is None:
        return None
    slope, inner = strip(patterns, step.parents[0])
    return Found(activation("silu"), root, slope, 1 / slope) if inner == root and slope != 0 else None


def _clipped(patterns: dict[str, Term], root: str, gate: str) -> Found | None:
    """root clamp(s root + c, 0, 2 c) = hardswish(3 s root / c) c^2 / (3 s) * 2 ... with the file's own constants."""
    step = applied(patterns, gate, "clamp")
    if step is None or step.limit != "min,max" or step.numbers[0] != 0:
        return None
    curve = polynomial(patterns, step.parents[0], root, [0])
    if curve is None or set(curve) != {0, 1} or curve[1] == 0 or step.numbers[1] <= 0:
        return None
    top = step.numbers[1]
    if curve[0] * 2 != top:
        return None
    # clamp(t, 0, top) = top clamp(t / top, 0, 1), and t / top = v / 6 + 1 / 2 at v = 6 s root / top.
    inside = 6 * curve[1] / top
    return Found(activation("hardswish"), root, inside, top / inside)


def _mish(patterns: dict[str, Term], root: str, gate: str) -> Found | None:
    """root tanh(softplus(root))."""
    step = applied(patterns, gate, "tanh")
    soft = applied(patterns, step.parents[0], "softplus") if step is not None else None
    if soft is None or soft.parents[0] != root:
        return None
    return Found(activation("mish"), root, Fraction(1), Fraction(1))
