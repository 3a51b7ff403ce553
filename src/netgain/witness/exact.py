"""The same claims proved in rational arithmetic, for tiny networks: no rounding, another formula, no shared steps.

All values of a piece are exact linear maps of xi = (D start, w_1, ..., w_K) with one w for each nonlinear node. If

    M = alpha X^T d X - Y^T e Y - sum over nodes of (what the multiplier proves not to be negative)

is positive definite, ||D stop||_e^2 <= alpha ||D start||_d^2. All leading minors of an integer multiple of M are
computed by fraction-free elimination (Bareiss, Math. Comp. 22 (1968)) and must be positive (Sylvester).
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import assert_never

import torch
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.core.norms import Norm
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Network, Node, Opaque, Sum, Vector
from netgain.witness.certificate import Claim, Piece, Proof
from netgain.witness.pieces import between, metric, slopes, sorted_groups, spread

# Entries of xi.
_LARGEST = 64

Matrix = list[list[Fraction]]


def proved_exactly(network: Network, claim: Claim, norm: Norm = Norm.L2) -> bool:
    """Whether a claim holds by its multipliers, in rational arithmetic.

    Args:
        network: the network as read, not folded.
        claim: dense pieces only.
        norm: l2.

    Returns:
        True if the claimed number is proved; False if these multipliers do not prove it.

    Raises:
        RefusedCertificateError: where rational arithmetic does not apply: other norms or kinds of pieces, weights that
            are not stored exactly, more than a few dozen units.

    Cost:
        Cubic in the number of units, on integers of some thousand bits.
    """
    if norm is not Norm.L2:
        raise RefusedCertificateError("rational arithmetic checks l2 claims")
    names = {name: name for name in network.shapes()}
    left = Fraction(claim.bound) ** 2
    at = network.input
    for k, piece in enumerate(claim.pieces):
        # A merged node is named after its members; its value is that of the last one.
        start, stop = (names.get(cut, cut.split("+")[-1]) for cut in (piece.start, piece.stop))
        last = k + 1 == len(claim.pieces)
        if start != at or piece.proof is not Proof.DENSE or (k == 0 and bool((piece.metric != 1).any())):
            raise RefusedCertificateError("rational arithmetic takes dense pieces that join, from the input on")
        ends = (start, network.output if last else stop)
        given = Piece(
            start=ends[0], stop=ends[1], proof=Proof.DENSE, metric=piece.metric, multipliers=piece.multipliers
        )
        behind = torch.ones(1, dtype=torch.float64) if last else claim.pieces[k + 1].metric
        start_form, rest = _stacked(network, given, behind, claim.target if last else None)
        alpha = left if last else _guess(start_form, rest)
        if not _positive(_combined(alpha, start_form, rest)):
            return False
        left, at = left / alpha, ends[1]
    return True


def _stacked(
    network: Network, piece: Piece, behind: Tensor, target: tuple[int, int] | None
) -> tuple[list[Fraction], Matrix]:
    """The diagonal X^T d X and the matrix that is subtracted from alpha times it."""
    shapes, nodes = network.shapes(), between(network, piece.start, piece.stop)
    entries = torch.Size(shapes[piece.start]).numel()
    bent = [node for node in nodes if isinstance(node.kind, Elementwise | Vector)]
    total = entries + sum(torch.Size(node.shape).numel() for node in bent)
    if total > _LARGEST:
        raise RefusedCertificateError(
            f"{total} inputs and units are too many for rational arithmetic (at most {_LARGEST})"
        )
    weights = metric(piece.metric, shapes[piece.start], piece.start)
    values = {piece.start: _units(0, entries, total)}
    form = [[Fraction(0)] * total for _ in range(total)]
    place = entries
    for node in nodes:
        inputs = [values[name] for name in node.inputs]
        if node in bent:
            own = _units(place, torch.Size(node.shape).numel(), total)
            place += len(own)
            values[node.name] = _bent(node, inputs[0], own, piece.multipliers.get(node.name), form)
        else:
            values[node.name] = _linear(node, inputs, [shapes[name] for name in node.inputs])
    output = values[piece.stop]
    if target is not None:
        first, second = target
        if not (0 <= first < len(output) and -1 <= second < len(output) and first != second):
            raise RefusedCertificateError(f"there is no target {target} among {len(output)} outputs")
        row = output[first] if second < 0 else [a - b for a, b in zip(output[first], output[second], strict=True)]
        _add(form, [row], [Fraction(1)])
    else:
        _add(form, output, _fractions(metric(behind, shapes[piece.stop], piece.stop)))
    return [*_fractions(weights), *[Fraction(0)] * (total - entries)], form


def _bent(node: Node, before: Matrix, own: Matrix, multiplier: Tensor | None, form: Matrix) -> Matrix:
    """The value behind a nonlinear node; what its multiplier proves is added to the form."""
    if multiplier is None:
        multiplier = torch.ones(1, dtype=torch.float64)  # any positive one is sound
    if isinstance(node.kind, Elementwise):
        t = _fractions(spread(multiplier, node.shape, f"the multiplier of {node.name!r}"))
        low, high = (_fractions(end) for end in slopes(node))
        centre = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        _positive_numbers(t, node)
        _add(form, before, [x * ((b - a) / 2) ** 2 for x, a, b in zip(t, low, high, strict=True)])
        _add(form, own, [-x for x in t])
        # With a = b there is no w: its entry of xi stays apart.
        return [
            [c * z + (w if a != b else 0) for z, w in zip(*rows, strict=True)]
            for c, a, b, *rows in zip(centre, low, high, before, own, strict=True)
        ]
    if not isinstance(node.kind, Vector):
        raise TypeError(f"{node.name} is linear")
    members = sorted_groups(node.kind.function)
    if members is not None and multiplier.dim() == 2:
        rows = multiplier.expand(2, members.shape[0])
        for group, least, shared in zip(members.tolist(), *map(_fractions, rows), strict=True):
            if least < 0:
                raise RefusedCertificateError(f"{node.source}: lambda must not be negative")
            for value, sign in ((before, 1), (own, -1)):
                picked = [value[i] for i in group]
                _add(form, picked, [sign * least] * len(group))
                _add(form, [[sum(column, Fraction(0)) for column in zip(*picked, strict=True)]], [sign * shared])
        return own
    most = node.kind.function.gain(Norm.L2)
    t = _fractions(multiplier)
    if len(t) != 1 or not math.isfinite(most):
        raise RefusedCertificateError(f"{node.source}: a vector function takes one multiplier and needs a finite gain")
    _positive_numbers(t, node)
    _add(form, before, [t[0] * Fraction(most) ** 2] * len(before))
    _add(form, own, [-t[0]] * len(own))
    return own


def _linear(node: Node, inputs: list[Matrix], shapes: list[tuple[int, ...]]) -> Matrix:
    """The value behind a linear node."""
    match node.kind:
        case Affine(map=linear_map):
            return _product(linear_map, inputs[0], node)
        case Sum(scales=scales):
            factors = [Fraction(scale) for scale in scales]
            columns = [zip(*rows, strict=True) for rows in zip(*inputs, strict=True)]
            return [
                [sum((s * x for s, x in zip(factors, c, strict=True)), Fraction(0)) for c in row] for row in columns
            ]
        case Concat(axis=axis):
            starts = [sum(len(value) for value in inputs[:k]) for k in range(len(inputs))]
            flat = [row for value in inputs for row in value]
            parts = [
                torch.arange(at, at + len(value)).reshape(shape)
                for at, value, shape in zip(starts, inputs, shapes, strict=True)
            ]
            return [flat[i] for i in torch.cat(parts, dim=axis).reshape(-1).tolist()]
        case Elementwise() | Vector() | Bilinear() | Opaque():
            raise RefusedCertificateError(f"{node.source} has no rule in rational arithmetic")
        case _:
            assert_never(node.kind)


def _product(linear_map: AbstractLinearMap, value: Matrix, node: Node) -> Matrix:
    """A times the rows of a value."""
    if isinstance(linear_map, Chain):
        for part in linear_map.maps:
            value = _product(part, value, node)
        return value
    exact = isinstance(linear_map, Dense | Diagonal | Reshape | Selection | Conv)
    wraps = isinstance(linear_map, Conv) and linear_map.circular
    if not exact or wraps or linear_map.uncertainty() is not None:
        raise RefusedCertificateError(f"{node.source}: its weights are not stored exactly")
    rows = [[(i, Fraction(x)) for i, x in enumerate(row) if x] for row in linear_map.matrix().tolist()]
    columns = list(zip(*value, strict=True))
    return [[sum((x * column[i] for i, x in row), Fraction(0)) for column in columns] for row in rows]


def _units(first: int, count: int, total: int) -> Matrix:
    """Rows of the identity."""
    return [[Fraction(int(j == first + i)) for j in range(total)] for i in range(count)]


def _fractions(values: Tensor) -> list[Fraction]:
    """Float64 numbers as they are."""
    if not bool(values.isfinite().all()):
        raise RefusedCertificateError("a certificate holds finite numbers only")
    return [Fraction(x) for x in values.reshape(-1).tolist()]


def _positive_numbers(values: Sequence[Fraction], node: Node) -> None:
    """Multipliers are positive."""
    if any(x <= 0 for x in values):
        raise RefusedCertificateError(f"{node.source}: multipliers must be positive and finite")


def _add(form: Matrix, rows: Matrix, weights: Sequence[Fraction]) -> None:
    """form += rows^T diag(weights) rows."""
    for row, weight in zip(rows, weights, strict=True):
        used = [(i, x) for i, x in enumerate(row) if x]
        for i, x in used:
            for j, y in used:
                form[i][j] += weight * x * y


def _combined(alpha: Fraction, start: list[Fraction], rest: Matrix) -> Matrix:
    """alpha diag(start) - rest."""
    return [[(alpha * start[i] if i == j else 0) - x for j, x in enumerate(row)] for i, row in enumerate(rest)]


def _guess(start: list[Fraction], rest: Matrix) -> Fraction:
    """A number a little above the least alpha; not trusted."""
    try:
        d = torch.tensor([float(x) for x in start], dtype=torch.float64)
        form = torch.tensor([[float(x) for x in row] for row in rest], dtype=torch.float64)
    except OverflowError:
        raise RefusedCertificateError("numbers in the form of a piece are out of range") from None
    low, high = -1000.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        trial = torch.diag(2.0**middle * d) - form
        if torch.linalg.cholesky_ex(trial).info == 0:
            high = middle
        else:
            low = middle
    return Fraction(2.0**high) * (1 + Fraction(1, 1 << 40))


def _positive(matrix: Matrix) -> bool:
    """Whether a symmetric matrix is positive definite: every leading minor of an integer multiple is positive."""
    common = math.lcm(*(x.denominator for row in matrix for x in row))
    rows = [[int(x * common) for x in row] for row in matrix]
    before = 1
    for k, pivots in enumerate(rows):
        pivot = pivots[k]
        if pivot <= 0:
            return False
        for row in rows[k + 1 :]:
            head = row[k]
            for j in range(k + 1, len(rows)):
                row[j] = (row[j] * pivot - head * pivots[j]) // before
        before = pivot
    return True
