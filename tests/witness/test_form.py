"""Each step of a form dominates the exact result: the difference is positive semidefinite in rational arithmetic."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.linear.dense import Dense
from netgain.witness.form import Form, begin, elementwise, gain, groups, sector, substitute
from netgain.witness.operators import AbstractOperator, Linear, Matrix, Part, multiple
from tests.gain.networks import normal

Rows = list[list[Fraction]]


def fractions(matrix: Tensor) -> Rows:
    return [[Fraction(x) for x in row] for row in matrix.tolist()]


def value(form: Form) -> Rows:
    scale = Fraction(2) ** form.exponent
    return [[scale * x for x in row] for row in fractions(form.matrix[0])]


def transposed(a: Rows) -> Rows:
    return [list(column) for column in zip(*a, strict=True)]


def product(a: Rows, b: Rows) -> Rows:
    columns = transposed(b)
    return [[sum((x * y for x, y in zip(row, column, strict=True)), Fraction(0)) for column in columns] for row in a]


def minus(a: Rows, b: Rows, sign: int = -1) -> Rows:
    return [[x + sign * y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def psd(matrix: Rows) -> bool:
    rows = [list(row) for row in matrix]
    for k, pivots in enumerate(rows):
        if pivots[k] < 0 or (pivots[k] == 0 and any(pivots[k:])):
            return False
        for row in rows[k + 1 :] if pivots[k] else []:
            ratio = row[k] / pivots[k]
            for j in range(k, len(rows)):
                row[j] -= ratio * pivots[j]
    return True


def schur(form: Rows, eliminated: list[int], required: Rows) -> Rows:
    """Max over w of v^T form v - w^T required w over the entries w, as a form of the others: exact elimination."""
    n = len(form)
    rows = [list(row) for row in form]
    for a, i in enumerate(eliminated):
        for b, j in enumerate(eliminated):
            rows[i][j] -= required[a][b]
    for k in eliminated:
        assert rows[k][k] < 0
        for i in range(n):
            if i != k:
                ratio = rows[i][k] / rows[k][k]
                for j in range(n):
                    rows[i][j] -= ratio * rows[k][j]
        for i in range(n):
            if i != k:
                rows[i][k] = rows[k][i] = Fraction(0)
    kept = [i for i in range(n) if i not in eliminated]
    return [[rows[i][j] for j in kept] for i in kept]


def gram(seed: int, n: int, rank: int | None = None, scale: float = 1.0) -> Tensor:
    root = normal(seed, rank or n, n)
    matrix = root.T @ root * scale
    return ((matrix + matrix.T) / 2).unsqueeze(0)


def scaled(seed: int, power: float, *shape: int) -> Tensor:
    """Entries from 10^-power to 10^power."""
    return normal(seed, *shape) * 10.0 ** (
        power * (2 * torch.rand(shape[-1], generator=torch.Generator().manual_seed(seed)).double() - 1)
    )


def check_substitution(
    form: Form, name: str, parts: list[tuple[str, AbstractOperator]], matrices: list[Tensor]
) -> Form:
    after = substitute(form, name, parts)
    old, new = form.places(), after.places()
    m = [[Fraction(0)] * after.size for _ in range(form.size)]
    for key in form.variables:
        if key != name:
            for i in range(form.variables[key]):
                m[old[key].start + i][new[key].start + i] += 1
    for (key, _), matrix in zip(parts, matrices, strict=True):
        for i, row in enumerate(fractions(matrix)):
            for j, x in enumerate(row):
                m[old[name].start + i][new[key].start + j] += x
    exact = product(transposed(m), product(value(form), m))
    assert psd(minus(value(after), exact))
    relative = max(
        float((p[i] - e[i]) / e[i]) for i, (p, e) in enumerate(zip(value(after), exact, strict=True)) if e[i]
    )
    assert relative < 1e-9
    return after


@pytest.mark.parametrize("seed", range(6))
def test_substitution_dominates(seed):
    first = begin("y", gram(seed, 4, 2))
    a, b = normal(seed + 1, 4, 3), normal(seed + 2, 4, 2)
    two = check_substitution(first, "y", [("u", Linear(Dense(a))), ("v", Linear(Dense(b)))], [a, b])
    c = normal(seed + 3, 3, 2)
    places = torch.tensor([2, 0])
    again = 0.3 * torch.eye(3, dtype=torch.float64)[:, places]
    one = check_substitution(two, "u", [("v", Linear(Dense(c))), ("v", Part(places, 3, 0.3))], [c, again])
    assert list(one.variables) == ["v"]
    check_substitution(one, "v", [("w", multiple(2, -1.7))], [-1.7 * torch.eye(2, dtype=torch.float64)])


@pytest.mark.parametrize("power", [20.0, 140.0])
@pytest.mark.parametrize("seed", range(4))
def test_substitution_dominates_where_scales_differ(seed, power):
    form = begin("y", gram(seed, 3, scale=10.0**-power if seed % 2 else 10.0**power / 1e10))
    a = scaled(seed + 1, power, 3, 3)
    after = substitute(form, "y", [("u", Matrix(a.unsqueeze(0)))])
    exact = product(transposed(fractions(a)), product(value(form), fractions(a)))
    assert psd(minus(value(after), exact))


def test_uncertain_entries_are_covered():
    form, a = begin("y", gram(0, 3)), normal(1, 3, 2)
    error = a.abs() * 1e-3
    maps = [Linear(Dense(a, (), error)), Matrix(a.unsqueeze(0), error.unsqueeze(0))]
    for operator in maps:
        after = substitute(form, "y", [("u", operator)])
        for seed in range(5):
            true = a + error * torch.sign(normal(seed, 3, 2))
            exact = product(transposed(fractions(true)), product(value(form), fractions(true)))
            # 1 + 1e-3 was rounded: a hair less is inside.
            shrunk = [[x * (1 - Fraction(1, 10**12)) for x in row] for row in exact]
            assert psd(minus(value(after), shrunk))


def test_an_entry_that_cancels_does_not_spoil_the_others():
    """A column of 1e-17 known to 1e-15: what is added to the other entry stays small."""
    a = torch.tensor([[0.7, 1e-17]], dtype=torch.float64)
    error = torch.full_like(a, 1e-15)
    form = begin("y", torch.ones(1, 1, 1, dtype=torch.float64))
    after = substitute(form, "y", [("u", Matrix(a.unsqueeze(0), error.unsqueeze(0)))])
    found = value(after)
    assert float(found[0][0]) <= 0.49 * (1 + 1e-10)
    assert float(found[1][1]) <= 1e-14
    for corner in ([0.7, 0.99e-15], [0.7, -0.98e-15]):
        row = fractions(torch.tensor([corner], dtype=torch.float64))
        assert psd(minus(found, product(transposed(row), row)))


def test_concatenation_moves_entries_exactly():
    form = begin("y", gram(0, 4))
    first, second = torch.tensor([0, 2]), torch.tensor([1, 3])
    parts: list[tuple[str, AbstractOperator]] = [("u", Part(first, 4)), ("v", Part(second, 4))]
    eye = torch.eye(4, dtype=torch.float64)
    check_substitution(form, "y", parts, [eye[:, first], eye[:, second]])


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.3, 1.1), (0.1, 0.1), (-1.0, 1.0), (0.7, 1e3)])
@pytest.mark.parametrize("seed", range(4))
def test_elimination_dominates(seed, slopes):
    n, m = 4, 3
    form = Form(gram(seed, n + m, 5), {"y": n, "u": m}, 3 * seed - 4)
    low, high = torch.full((n,), slopes[0]).double(), torch.full((n,), slopes[1]).double()
    low[0] = high[0] = 0.25
    top = float(torch.linalg.eigvalsh(form.matrix[0, :n, :n])[-1]) * 2.0**form.exponent
    t = top * (1.0 + 10.0 ** -(2.0 * seed + 1) + torch.rand(n, generator=torch.Generator().manual_seed(seed)).double())
    after = elementwise(form, "y", "z", (low, high), t, "node")
    exact = pulled(form, (low, high), t)
    order = [after.places()["z"].start + i for i in range(n)] + [after.places()["u"].start + i for i in range(m)]
    given = value(after)
    assert psd(minus([[given[i][j] for j in order] for i in order], exact))
    assert max(float(given[k][k] / exact[i][i]) for i, k in enumerate(order)) < 1 + 1e-6


def pulled(form: Form, slopes: tuple[Tensor, Tensor], t: Tensor) -> Rows:
    """The exact form of (z, u) with c = (a + b) / 2 and r = (b - a) / 2."""
    n, q = t.shape[0], value(form)
    total = len(q)
    low, high = (fractions(end.unsqueeze(0))[0] for end in slopes)
    c, r = [(a + b) / 2 for a, b in zip(low, high, strict=True)], [(b - a) / 2 for a, b in zip(low, high, strict=True)]
    bent = [i for i in range(n) if r[i]]
    # (z, u, w) -> (y, u)
    m = [[Fraction(0)] * (total + len(bent)) for _ in range(total)]
    for i in range(total):
        m[i][i] = c[i] if i < n else Fraction(1)
    for k, i in enumerate(bent):
        m[i][total + k] = Fraction(1)
    wide = product(transposed(m), product(q, m))
    for i in range(n):
        wide[i][i] += Fraction(float(t[i])) * r[i] ** 2
    diagonal = [[Fraction(float(t[i])) if i == j else Fraction(0) for j in bent] for i in bent]
    return schur(wide, list(range(total, total + len(bent))), diagonal)


@pytest.mark.parametrize("seed", range(4))
def test_gain_dominates(seed):
    form = Form(gram(seed, 5), {"u": 2, "y": 3})
    top = float(torch.linalg.eigvalsh(form.matrix[0, 2:, 2:])[-1])
    t = torch.full((3,), 1.3 * top).double()
    squares = torch.full((4,), 0.5 * top).double()
    after = gain(form, "y", ("z", 4), t, squares, "node")
    exact = schur(
        value(form), [2, 3, 4], [[Fraction(float(t[0])) if i == j else Fraction(0) for j in range(3)] for i in range(3)]
    )
    given = value(after)
    assert psd(minus([row[:2] for row in given[:2]], exact))
    assert psd(minus([row[2:] for row in given[2:]], fractions(torch.diag(squares))))
    assert list(after.variables) == ["u", "z"]


@pytest.mark.parametrize("seed", range(4))
def test_groups_dominate(seed):
    form = Form(gram(seed, 6), {"y": 4, "u": 2})
    top = float(torch.linalg.eigvalsh(form.matrix[0, :4, :4])[-1])
    members = torch.tensor([[0, 2], [1, 3]])
    rows = torch.tensor([[1.1 * top, 1.3 * top], [0.7 * top, -0.01 * top]]).double()
    t = torch.zeros(4, 4, dtype=torch.float64)
    exact_t = fractions(t)
    for g, row in enumerate(members.tolist()):
        for i in row:
            for j in row:
                exact_t[i][j] = Fraction(float(rows[1, g])) + (Fraction(float(rows[0, g])) if i == j else 0)
    after = groups(form, "y", "z", members, rows, "node")
    given, exact = value(after), schur(value(form), [0, 1, 2, 3], exact_t)
    assert psd(minus([row[:2] for row in given[:2]], exact))
    assert psd(minus([row[2:] for row in given[2:]], exact_t))


def test_a_live_value_collects_contributions():
    form = Form(gram(3, 6), {"y": 3, "z": 3})
    t = torch.full((3,), 2.5 * float(torch.linalg.eigvalsh(form.matrix[0])[-1])).double()
    ends = torch.zeros(3).double(), torch.ones(3).double()
    after = elementwise(form, "y", "z", ends, t, "node")
    exact = pulled(form, ends, t)
    together = [
        [exact[i][j] + exact[i + 3][j] + exact[i][j + 3] + exact[i + 3][j + 3] for j in range(3)] for i in range(3)
    ]
    assert psd(minus(value(after), together))


def test_complex_batches_agree_with_their_real_embedding():
    root = torch.complex(normal(0, 2, 4, 4), normal(1, 2, 4, 4))
    q = root.mH @ root
    q = (q + q.mH) / 2
    a = torch.complex(normal(2, 2, 4, 3), normal(3, 2, 4, 3))
    after = substitute(begin("y", q), "y", [("u", Matrix(a, a.abs() * 0.0))])
    wanted = a.mH @ q @ a
    least = torch.linalg.eigvalsh(after.matrix * 2.0**after.exponent - wanted).amin()
    assert abs(float(least)) < 1e-11
    t = torch.full((3,), 1.5 * float(torch.linalg.eigvalsh(wanted).amax())).double()
    bent = elementwise(after, "u", "z", (torch.zeros(3).double(), torch.ones(3).double()), t, "node")
    diagonal = torch.diag(t).to(wanted)
    plain = 0.25 * (wanted + wanted @ torch.linalg.solve(diagonal - wanted, wanted) + diagonal)
    gap = torch.linalg.eigvalsh(bent.matrix * 2.0**bent.exponent - plain)
    assert float(gap.amin()) > -1e-12 * float(t[0])
    assert float(gap.amax()) < 1e-11 * float(t[0])


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), 0.5, 1e-300, 1e250])
def test_bad_multipliers_are_refused(bad):
    form = begin("y", torch.eye(2, dtype=torch.float64).unsqueeze(0))
    ends = torch.zeros(2).double(), torch.ones(2).double()
    with pytest.raises(RefusedCertificateError, match="the node"):
        elementwise(form, "y", "z", ends, torch.tensor([2.0, bad], dtype=torch.float64), "the node")


def test_unbounded_slopes_are_refused():
    form = begin("y", torch.eye(1, dtype=torch.float64).unsqueeze(0))
    ends = torch.zeros(1).double(), torch.full((1,), torch.inf).double()
    with pytest.raises(RefusedCertificateError, match="slope"):
        elementwise(form, "y", "z", ends, torch.ones(1).double(), "the node")


def test_sector_encloses_the_slopes():
    low = torch.tensor([0.0, -0.1, 0.3, 1 / 3, -1e300], dtype=torch.float64)
    high = torch.tensor([1.0, 1.128, 0.3, 2 / 3, 1e-300], dtype=torch.float64)
    centre, radius = sector(low, high)
    for a, b, c, r in zip(*(x.tolist() for x in (low, high, centre, radius)), strict=True):
        assert Fraction(c) - Fraction(r) <= Fraction(a)
        assert Fraction(c) + Fraction(r) >= Fraction(b)
    assert float(radius[2]) == 0.0


@pytest.mark.parametrize("solves", [False, True])
@pytest.mark.parametrize("size", [1e-13, 1e-9, 1e-4])
@pytest.mark.parametrize("seed", range(3))
def test_factorizations_are_not_trusted(seed, size, solves, monkeypatch):
    form = Form(gram(seed, 6, 4), {"y": 4, "u": 2})
    t = torch.full((4,), 1.2 * float(torch.linalg.eigvalsh(form.matrix[0, :4, :4])[-1])).double()
    ends = torch.zeros(4).double(), torch.ones(4).double()
    cholesky, solve = torch.linalg.cholesky_ex, torch.linalg.solve_triangular

    def worse_cholesky(matrix: Tensor, *, upper: bool) -> torch.return_types.linalg_cholesky_ex:
        good = cholesky(matrix, upper=upper)
        return type(good)((good[0] * (1.0 + size * normal(seed, *good[0].shape)), good[1]))

    def worse_solve(*args: Tensor, **how: bool) -> Tensor:
        x = solve(*args, **how)
        return x * (1.0 + size * normal(seed + 1, *x.shape)) if solves else x

    monkeypatch.setattr(torch.linalg, "cholesky_ex", worse_cholesky)
    monkeypatch.setattr(torch.linalg, "solve_triangular", worse_solve)
    try:
        after = elementwise(form, "y", "z", ends, t, "node")
    except RefusedCertificateError:
        assert size > 1e-5
        return
    assert psd(minus(value(after), pulled(form, ends, t)))
