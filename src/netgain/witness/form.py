"""A quadratic form that provably dominates the true one, and the steps that pull it back through a network.

The state is a float64 (or complex128) Hermitian matrix Q, taken as exact, with

    true form(v) <= 2^exponent v^H Q v       for all increments v of the variables that are alive.

Every step computes the next matrix in floating point, bounds its error entry by entry, |error| <= E, and adds
diag(E s / s) for a vector s > 0: diag(E s / s) - error is diagonally dominant in the coordinates v / s, hence positive
semidefinite. E is never formed; E s takes products of matrices of magnitudes with vectors. s is 1 / sqrt(Q_ii), so that
what is added is relative to the diagonal. A batch has one matrix an entry (a frequency).

u = 2^-53, gamma_k = k u / (1 - k u). A complex sum of k products errs by at most sqrt(2) gamma_2k <= gamma_3k times the
sum of the magnitudes, if it is computed from real products in any order (not with three products for four).
docs/theory/certificates.md has the proofs.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.core.rounding import UNIT_ROUNDOFF, gamma, tensor_down, tensor_up
from netgain.witness.arithmetic import (
    LARGEST_EXPONENT,
    TINY,
    above,
    coordinates,
    diagonal,
    normalized,
    power,
    raised,
    scaled,
    times,
    underflow,
    width,
)
from netgain.witness.operators import AbstractOperator, Block, multiple

# How often the diagonal slack of a factorization is raised before the certificate is refused.
_ATTEMPTS = 5
# Slopes beyond this are refused, and underflow inside an elimination is below this.
_STEEPEST, _LOST = 2.0**200, 2.0**-700
# The root of a diagonal entry M_j^H Q M_j counts as at least so much of what it is without cancellation, and as at
# least so many times what is uncertain of it.
_CANCELLED, _UNCERTAIN = 2.0**-7, 2.0**45


@dataclasses.dataclass(frozen=True, eq=False)
class Form:
    """A quadratic form over the variables that are alive; see the module.

    Attributes:
        matrix: Q, (batch, n, n), exactly Hermitian, largest magnitude in [1/2, 1) or all zero.
        variables: name and size of each variable, in the order of rows and columns.
        exponent: the form is 2^exponent times that of the matrix.
    """

    matrix: Tensor
    variables: Mapping[str, int]
    exponent: int = 0

    @property
    def size(self) -> int:
        """Rows of the matrix."""
        return self.matrix.shape[-1]

    def places(self) -> dict[str, slice]:
        """The rows of each variable."""
        ends = torch.tensor([0, *self.variables.values()]).cumsum(0).tolist()
        return {key: slice(ends[k], ends[k + 1]) for k, key in enumerate(self.variables)}


def begin(name: str, matrix: Tensor) -> Form:
    """The form of one variable from its exact matrix.

    Args:
        name: the variable.
        matrix: (batch, n, n), Hermitian, float64 or complex128.
    """
    return settled(matrix, None, {name: matrix.shape[-1]}, 0)


def substitute(form: Form, name: str, parts: Sequence[tuple[str, AbstractOperator]]) -> Form:
    """The form after y = sum of A_k u_k for the variable y of that name.

    A variable u_k that is alive already, or named twice, collects its contributions. With M the matrix of the whole
    substitution the new form is M^H Q M, computed as M^H (Q M), with error at most

        gamma_k |M|^H |Q| |M| + U^H |Q| |M| + |M|^H |Q| U + underflow,     U the uncertainty of M, |M| with U included.

    Guarantee: dominates the true form, rounding and uncertainty included.

    Args:
        form: the form.
        name: the variable y to be replaced.
        parts: u_k and A_k.

    Raises:
        RefusedCertificateError: where numbers are out of range.

    Cost:
        The adjoints applied to n + n' rows; some products of matrices with vectors.
    """
    variables = {key: entries for key, entries in form.variables.items() if key != name}
    variables |= {key: operator.in_size for key, operator in parts}
    after = Form(form.matrix, variables)
    block = Block(form.places(), after.places(), name, parts, (form.size, sum(variables.values())))
    half, first = normalized(block.rows(form.matrix))
    whole, second = normalized(block.rows(half.mH))
    s = coordinates(whole, scaled(_reach(form, block), -first - second))
    terms = 2 * block.terms + 4
    v = scaled(times(form.matrix, block.magnitude(s)), -first - second)
    spread = block.transposed(v) * gamma(terms * width(whole))
    if not block.exact:
        unsure = scaled(times(form.matrix, block.uncertainty(s)), -first - second)
        spread = spread + block.uncertainty_transposed(v) + block.transposed(unsure)
    carried = float(block.transposed(s.new_ones(s.shape[0], form.size)).amax())
    lost = underflow(terms, carried, first, second)
    slack = above(spread + lost * s.sum(-1, keepdim=True), whole.shape[-1] + 4) / s
    return settled(whole, slack, variables, form.exponent + first + second)


def elementwise(
    form: Form,
    name: str,
    before: str,
    slopes: tuple[Float[Tensor, " size"], Float[Tensor, " size"]],
    multiplier: Float[Tensor, " size"],
    where: str,
) -> Form:
    """The form after y = phi(z), entry by entry, with difference quotients of phi in [a, b].

    Increments have y = c z + w, |w_i| <= r_i |z_i|. For t > 0 on the units with r > 0, w^T t w <= z^T r t r z, so

        form(c z + w, v) <= form'(z, v) := max over w of form(c z + w, v) - w^T t w + z^T r t r z.

    Guarantee: dominates form' for a centre c and a radius r with c +- r enclosing [a, b].

    Args:
        form: the form.
        name: y.
        before: z, which may be alive already.
        slopes: a and b, one an entry.
        multiplier: t > 0, one an entry; those of entries with a = b do not matter.
        where: what to call the node in messages.

    Raises:
        RefusedCertificateError: if t is not positive or does not exceed the form.
    """
    if not bool((torch.maximum(slopes[0].abs(), slopes[1].abs()) < _STEEPEST).all()):
        raise RefusedCertificateError(f"{where}: the slope is unbounded")
    centre, radius = sector(*slopes)
    place, bent = form.places()[name], (radius > 0).nonzero().squeeze(1)
    columns = torch.ones(form.size, dtype=torch.float64)
    columns[place] = centre
    rows = bent + place.start
    scale, t = _requirement(multiplier[bent], form, where)
    outer = form.matrix * columns * columns.unsqueeze(1)
    added = torch.zeros(form.size, dtype=torch.float64)
    added[rows] = tensor_up(tensor_up(radius[bent] * radius[bent]) * t)
    cross = form.matrix[:, rows] * scale.unsqueeze(1) * columns
    inner = form.matrix[:, rows][:, :, rows] * scale * scale.unsqueeze(1)
    eliminated = _eliminated(outer, cross, torch.diag(t * scale * scale) - inner, where)
    matrix = raised(eliminated, added.expand(eliminated.shape[0], -1))
    behind = {_fresh(form) if key == name else key: entries for key, entries in form.variables.items()}
    return _joined(settled(matrix, None, behind, form.exponent), _fresh(form), before)


def gain(form: Form, name: str, before: tuple[str, int], multiplier: Tensor, squares: Tensor, where: str) -> Form:
    """The form after y = f(z) with sum of t_i y_i^2 <= sum of q_j z_j^2 for increments.

    For a vector function of gain g: t_i = t and q_j = t g^2, rounded up; on a grid also one t a channel.

    Guarantee: dominates max over y of form(y, v) - y^T t y, plus z^T q z.

    Args:
        form: the form.
        name: y.
        before: z and its size; z may be alive already.
        multiplier: t > 0, one an entry of y.
        squares: q >= 0, one an entry of z.
        where: what to call the node in messages.

    Raises:
        RefusedCertificateError: if t is not positive or does not exceed the form.
    """
    scale, t = _requirement(multiplier, form, where)
    q = _in_units(squares, form, where)
    return _replaced(form, name, (before[0], torch.diag(q)), (scale, torch.diag(t)), where)


def groups(
    form: Form, name: str, before: str, members: Int[Tensor, "groups size"], rows: Float[Tensor, "2 groups"], where: str
) -> Form:
    """The form after sorting within groups, y = sort(z): T = lambda I + gamma 1 1^T in each group.

    Sorting moves no two vectors apart and keeps sums, so y^T T y <= z^T T z for increments, lambda >= 0, any gamma.

    Guarantee: dominates max over y of form(y, v) - y^T T y, plus z^T T z.

    Args:
        form: the form.
        name: y.
        before: z, of the same size, which may be alive already.
        members: the entries of each group; every entry is in one.
        rows: lambda and gamma of each group.
        where: what to call the node in messages.

    Raises:
        RefusedCertificateError: if a lambda is negative or T does not exceed the form.
    """
    if not bool((rows[0] >= 0).all() & rows.isfinite().all()):
        raise RefusedCertificateError(f"{where}: lambda must not be negative, and both rows must be finite")
    entries = form.variables[name]
    least, shared = _in_units(rows, form, where)
    matrix = torch.zeros(entries, entries, dtype=torch.float64)
    matrix[members.unsqueeze(2), members.unsqueeze(1)] = shared.reshape(-1, 1, 1).expand(-1, *[members.shape[1]] * 2)
    exact = torch.zeros(entries, dtype=torch.float64)
    exact[members] = least.unsqueeze(1).expand(-1, members.shape[1])
    above_t, below_t = matrix.clone(), matrix.clone()
    above_t.diagonal().copy_(tensor_up(matrix.diagonal() + exact))
    below_t.diagonal().copy_(tensor_down(matrix.diagonal() + exact))
    if not bool((below_t.diagonal() > 0).all()):
        raise RefusedCertificateError(f"{where}: the multiplier does not exceed the form behind the node")
    return _replaced(form, name, (before, above_t), (power(below_t.diagonal()), below_t), where)


def sector(low: Float[Tensor, "*shape"], high: Float[Tensor, "*shape"]) -> tuple[Tensor, Tensor]:
    """c and r >= 0 with [a, b] inside [c - r, c + r] exactly; r = 0 only where a = b.

    Args:
        low: a.
        high: b.
    """
    centre = low + (high - low) / 2
    radius = torch.where(low == high, 0.0, tensor_up(torch.maximum(high - centre, centre - low)))
    return torch.where(low == high, low, centre), radius


def _reach(form: Form, block: Block) -> Float[Tensor, "batch size"]:
    """What diagonal entries count as at least in a substitution, where their errors would be far above themselves.

    A column of M that vanishes at a frequency (average pooling, blurs) is all rounding, and so is its diagonal entry.
    """
    root = diagonal(form.matrix).clamp_min(0.0).sqrt()
    whole, unsure = block.transposed(root) * _CANCELLED, block.uncertainty_transposed(root) * _UNCERTAIN
    return torch.maximum(whole, unsure).square()


def _eliminated(outer: Tensor, cross: Tensor, required: Tensor, where: str) -> Tensor:
    """A matrix P that dominates outer + cross^H required^-1 cross, whatever the roundings of its arguments.

    Each argument is known up to 4 u entry by entry; `required` has a diagonal near 1. For any R and X and K = [-X, R]:

        [P - outer, -cross^H; -cross, required] - K^H K = [P - outer - X^H X, -(cross - R^H X)^H; ., required - R^H R],

    and where that is diagonally dominant, in coordinates 1 / s for P and 1 for the other rows, it is positive
    semidefinite, which is the claim by Schur's complement. R and X come from a factorization and are not trusted.

    Raises:
        RefusedCertificateError: where that fails.
    """
    entries, columns = cross.shape[1:]
    if entries == 0:
        s = coordinates(outer)
        return raised(outer, above(times(outer, s) * (8 * UNIT_ROUNDOFF) + _LOST * s.sum(-1, keepdim=True), 2) / s)
    one = required.real.new_ones(required.shape[0], entries)
    rounding = gamma(width(required) * (entries + 8))
    root = diagonal(required).clamp_min(0.0).sqrt()
    shift = 2.0 * rounding * root * (root.sum(-1, keepdim=True) + columns + 1)
    for _ in range(_ATTEMPTS):
        upper, info = torch.linalg.cholesky_ex(required - torch.diag_embed(shift), upper=True)
        if bool(info.any()) or not bool(torch.isfinite(shift).all()):
            break
        x = torch.linalg.solve_triangular(upper.mH, cross, upper=False)
        total = outer + x.mH @ x
        s = coordinates(total)
        rest, coupling = required - upper.mH @ upper, cross - upper.mH @ x
        free = diagonal(rest).clone()
        rest.diagonal(dim1=-2, dim2=-1).zero_()
        # gamma |K|^H |K| (1, s) for all products, 16 u for everything rounded once or twice.
        joint = tensor_up(times(upper, one) + times(x, s))
        few = 16 * UNIT_ROUNDOFF
        low = times(upper.mH, joint) * rounding + (times(required, one) + times(cross, s)) * few
        low = above(low + times(rest, one) + times(coupling, s) + _LOST * s.sum(-1, keepdim=True), 8)
        high = times(x.mH, joint) * rounding + (times(outer, s) + times(total, s)) * few
        high = above(high + times(coupling.mH, one) + _LOST * s.sum(-1, keepdim=True), 8)
        if bool((tensor_down(free * (1.0 - few)) >= low).all()):
            return raised(total, high / s)
        shift = torch.maximum(2.0 * shift, shift + 2.0 * (low - free))
    raise RefusedCertificateError(f"{where}: the multiplier does not exceed the form behind the node")


def _replaced(form: Form, name: str, before: tuple[str, Tensor], required: tuple[Tensor, Tensor], where: str) -> Form:
    """Eliminate y altogether under T, and add the form of z."""
    place, kept = form.places()[name], {key: n for key, n in form.variables.items() if key != name}
    others = torch.ones(form.size, dtype=torch.bool)
    others[place] = False
    scale, t = required
    cross = form.matrix[:, place][:, :, others] * scale.unsqueeze(1)
    inner = (t - form.matrix[:, place, place]) * scale * scale.unsqueeze(1)
    left = _eliminated(form.matrix[:, others][:, :, others], cross, inner, where)
    entries, rest = before[1].shape[0], left.shape[-1]
    matrix = left.new_zeros(left.shape[0], rest + entries, rest + entries)
    matrix[:, :rest, :rest], matrix[:, rest:, rest:] = left, before[1].to(left)
    variables = kept | {_fresh(form): entries}
    return _joined(settled(matrix, None, variables, form.exponent), _fresh(form), before[0])


def _joined(form: Form, fresh: str, name: str) -> Form:
    """The form with the variable `fresh` known to be the variable of that name."""
    if name in form.variables:
        return substitute(form, fresh, [(name, multiple(form.variables[fresh]))])
    variables = {name if key == fresh else key: entries for key, entries in form.variables.items()}
    return Form(form.matrix, variables, form.exponent)


def _fresh(form: Form) -> str:
    """A name that no variable has."""
    return "'".join(("", *form.variables, ""))


def _requirement(multiplier: Tensor, form: Form, where: str) -> tuple[Tensor, Tensor]:
    """Powers of two h with h^2 t near 1, and t in units of the matrix."""
    if not bool((multiplier > 0).all() & multiplier.isfinite().all()):
        raise RefusedCertificateError(f"{where}: multipliers must be positive and finite")
    t = _in_units(multiplier, form, where)
    return power(t), t


def _in_units(t: Tensor, form: Form, where: str) -> Tensor:
    """Numbers in units of the matrix, exact; refused where they would over- or underflow."""
    units = scaled(t, -form.exponent)
    sizes = units.abs()[t != 0]
    if bool((sizes < 2.0**-LARGEST_EXPONENT).any() | (sizes > 2.0**LARGEST_EXPONENT).any()):
        raise RefusedCertificateError(f"{where}: the multiplier is out of proportion to the form behind the node")
    return units


def settled(matrix: Tensor, slack: Tensor | None, variables: Mapping[str, int], exponent: int) -> Form:
    """The Hermitian part (an error of u, counted by the caller) plus the slack, brought to entries near 1."""
    matrix = (matrix + matrix.mH) / 2
    if slack is not None:
        matrix = raised(matrix, slack)
    near_one, more = normalized(matrix)
    # What scaling down loses to underflow is below 2^-1070 an entry.
    if more > 0:
        near_one = raised(near_one, near_one.real.new_full((1, matrix.shape[-1]), TINY))
    return Form(near_one, variables, exponent + more)
