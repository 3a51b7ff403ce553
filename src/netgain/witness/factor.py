"""The smallest number that is proved to bound a form by a metric."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.core.rounding import UNIT_ROUNDOFF, gamma, tensor_down, tensor_up
from netgain.witness.arithmetic import (
    TINY,
    above,
    coordinates,
    diagonal,
    normalized,
    power,
    scaled,
    times,
    underflow,
    width,
)
from netgain.witness.form import Form, settled, substitute
from netgain.witness.operators import Linear, Matrix


class Factor(NamedTuple):
    """value 2^exponent, which neither over- nor underflows."""

    value: float
    exponent: int


def factor(form: Form, metric: Float[Tensor, " size"]) -> Factor:
    """The smallest alpha that could be proved with form(v) <= alpha sum_i d_i |v_i|^2, for every batch entry.

    With S = alpha d - Q and any R, alpha d - Q = R^H R + (S - R^H R) >= -diag(|S - R^H R| 1).

    Guarantee: an upper bound of every generalized eigenvalue of the true form, rounding included.

    Args:
        form: a form of one variable.
        metric: d > 0.

    Raises:
        RefusedCertificateError: if nothing can be proved.

    Cost:
        Four to eight factorizations.
    """
    if not bool((form.matrix != 0).any()):
        return Factor(0.0, 0)
    scale = power(metric)
    d = metric * scale * scale
    matrix, exponent = normalized(form.matrix * scale * scale.unsqueeze(1))
    least = 4.0 * width(matrix) * gamma(2 * form.size + 8)
    # Random, because the forms of a grid have symmetries: a smooth vector can be orthogonal to the top one.
    seeded = torch.Generator().manual_seed(0)
    vector = torch.randn(matrix.shape[0], form.size, 1, dtype=matrix.dtype, generator=seeded)
    weights = d.unsqueeze(1)
    for _ in range(8):
        vector = torch.nn.functional.normalize(matrix @ vector / weights, dim=1)
    best, margin = math.inf, 0.25
    # About the least number that could be proved: a Rayleigh quotient, or where a factorization failed.
    low = max(_rayleigh(matrix, weights, vector), float((diagonal(matrix) / d).max()))
    for _ in range(60):
        trial = min(low * (1.0 + margin), (low + best) / 2)
        proved, root = _proved(matrix, d, trial)
        best = min(best, proved)
        if root is None:
            low, margin = trial, 8.0 * margin
        elif trial <= low * (1.0 + 2.0 * least):
            break
        else:
            before = low
            for _ in range(6):
                half = torch.linalg.solve_triangular(root.mH, weights * vector, upper=False)
                vector = torch.nn.functional.normalize(torch.linalg.solve_triangular(root, half, upper=True), dim=1)
                before, low = low, max(low, _rayleigh(matrix, weights, vector))
            margin = max(least, min(margin / 16.0, 16.0 * (low / before - 1.0)))
        if best <= low * (1.0 + 4.0 * least):
            break
    if not math.isfinite(best):
        raise RefusedCertificateError("no finite factor can be proved for a piece: its numbers are out of range")
    # Scaled entries that underflow are below 2^-400 of the largest.
    return Factor(math.nextafter(best + form.size * 2.0**-400, math.inf), form.exponent + exponent)


def _proved(matrix: Tensor, d: Tensor, alpha: float) -> tuple[float, Tensor | None]:
    """A number that alpha is proved to be enlarged to at most, and the factor; infinity where there is none."""
    shifted = torch.diag(alpha * d) - matrix
    root, info = torch.linalg.cholesky_ex(shifted, upper=True)
    if bool(info.any()):
        return math.inf, None
    one = d.new_ones(matrix.shape[0], d.shape[0])
    rounding, few = gamma(width(matrix) * (d.shape[0] + 8)), 4 * UNIT_ROUNDOFF
    error = times(shifted - root.mH @ root, one) + times(root.mH, times(root, one)) * rounding
    error = above(error + (times(shifted, one) + alpha * d) * few, 8)
    proved = float((tensor_up(error / d)).max())
    return (math.nextafter(alpha + proved, math.inf), root) if math.isfinite(proved) else (math.inf, None)


def _rayleigh(matrix: Tensor, weights: Tensor, vector: Tensor) -> float:
    """The largest Rayleigh quotient of a batch; an estimate."""
    above_line = (vector.conj() * (matrix @ vector)).real.sum((1, 2))
    return float((above_line / (vector.abs().square() * weights).sum((1, 2)).clamp_min(1e-300)).max())


def factor_behind(form: Form, operator: Linear, metric: Float[Tensor, " size"]) -> Factor:
    """The factor of the form pulled back through one linear map A with many inputs, without a matrix of their size.

    With Q <= R^H R the factor is at most lambda_max(A^T R^H R A; d) = lambda_max(R G R^H), G = A d^-1 A^T.

    Guarantee: as `factor`, the uncertainty of A included.

    Args:
        form: a form of the output of A alone.
        operator: A.
        metric: d > 0, one an input of A.

    Raises:
        RefusedCertificateError: if nothing can be proved.
    """
    gram = _gram(operator, tensor_up(1.0 / metric))
    name = next(iter(form.variables))
    product = substitute(gram, "gram", [(name, Matrix(_root(form.matrix).mH))])
    value, exponent = factor(product, metric.new_ones(product.size))
    return Factor(value, exponent + form.exponent)


def _root(matrix: Tensor) -> Tensor:
    """R with R^H R - matrix positive semidefinite, proved as in `form`: diagonally dominant in scaled coordinates."""
    s = coordinates(matrix)
    entries = matrix.shape[-1]
    rounding, few = gamma(width(matrix) * (entries + 8)), 4 * UNIT_ROUNDOFF
    shift = 2.0 * rounding * (entries + 1) / (s * s)
    for _ in range(5):
        root, info = torch.linalg.cholesky_ex(matrix + torch.diag_embed(shift), upper=True)
        rest = root.mH @ root - matrix
        free = diagonal(rest).clone()
        rest.diagonal(dim1=-2, dim2=-1).zero_()
        lost = times(rest, s) + times(root.mH, times(root, s)) * rounding + times(rest, s) * few + s.sum() * TINY
        if not bool(info.any()) and bool((tensor_down(free * s * (1.0 - few)) >= above(lost, 8)).all()):
            return root
        shift = 8.0 * shift
    raise RefusedCertificateError("a form could not be factorized: its numbers are out of range")


def _gram(operator: Linear, weights: Float[Tensor, " size"]) -> Form:
    """The form A diag(weights) A^T over the outputs of A, error bounded as in `form.substitute`."""
    linear, out = operator.map, operator.map.out_size
    near_one, exponent = normalized(weights)
    near_one = tensor_up(near_one)
    rows = operator.rows(torch.eye(out, dtype=torch.float64).unsqueeze(0)).squeeze(0) * near_one
    half, first = normalized(rows)
    whole, second = normalized(linear.apply(half.reshape(out, *linear.in_shape)).reshape(1, out, out))
    terms = linear.terms + operator.terms + 6

    def inward(v: Tensor) -> Tensor:
        return above(scaled(above(v * near_one, 1), -first - second), 1)

    s = coordinates(whole)
    v = inward(operator.transposed(s))
    spread = operator.magnitude(v) * gamma(terms)
    if not operator.exact:
        spread = spread + operator.uncertainty(v) + operator.magnitude(inward(operator.uncertainty_transposed(s)))
    carried = float(operator.magnitude(s.new_ones(1, linear.in_size)).amax())
    lost = underflow(terms, carried, first, second)
    slack = above(spread + lost * s.sum(-1, keepdim=True), out + 4) / s
    return settled(whole, slack, {"gram": out}, exponent + first + second)
