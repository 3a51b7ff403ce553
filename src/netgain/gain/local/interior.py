"""Multipliers of condensed forms by an interior-point method: many small programs at once.

    maximize level   subject to   F = diag(I, tau / r^2) - V diag(tau) V^T - level N >= 0

is a semidefinite program in its variables (`witness.slack`). Its dual has a matrix X >= 0 with <N, X> = 1 and
<A_k, X> = 0 for every unit, A_k = e_k e_k^T / r_k^2 - v_k v_k^T; where X satisfies that, no level exceeds the trace of
X over the output rows. Columns and rows are scaled so that the start is tau = 1. Every A_k has rank two, so that all
products <A_k, X A_l Z> come from the entries of X, X V, V^T X V and the same of Z = F^-1.
"""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.witness.slack import Pencil

_START = 0.5  # the part of what is left that each layer's multipliers take at the start
_LENGTHS = (1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1, 0.04, 0.01)  # of steps that are tried
_BEYOND = 1.0 / 0.93  # a point so much further along must be inside as well
_FEASIBLE = 1e-6  # relative residual from which the dual bound is believed
_TINY = 1e-300


@dataclasses.dataclass(frozen=True, eq=False)
class Solved:
    """What a search found.

    Attributes:
        tau: multipliers, one a unit; 1 where unused.
        level: a level with F > 0 in ordinary arithmetic; 0 where nothing was found.
        gap: how far the level may be below the best, relative; an estimate.
        steps: steps made.
    """

    tau: Float[Tensor, "elements units"]
    level: Float[Tensor, " elements"]
    gap: Float[Tensor, " elements"]
    steps: int


@torch.no_grad()
def solve(
    pencil: Pencil,
    groups: list[slice],
    *,
    wanted: Float[Tensor, " elements"] | None = None,
    rtol: float = 1e-3,
    steps: int = 40,
    over: Callable[[], bool] = lambda: False,
) -> Solved:
    """The best multipliers, to a relative gap of the level, for every element.

    Args:
        pencil: the programs.
        groups: the columns of each layer of units, in the order of the network.
        wanted: levels that are enough: an element ends there, or where it cannot get there; None for the best.
        rtol: relative gap at which an element is done.
        steps: most steps.
        over: whether to stop early; what was found by then is returned.

    Cost:
        About 30 n^3 multiplications a step, and 8 to 15 steps.

    Source:
        Helmberg, Rendl, Vanderbei and Wolkowicz (1996), An interior-point method for semidefinite programming;
        Mehrotra's predictor and corrector.
    """
    scaled = _Scaled.of(pencil, start(pencil, groups))
    theta = torch.ones_like(pencil.radius)
    level = scaled.first(theta)
    done = ~(level.isfinite() & (level > 0))
    level = torch.where(done, 0.0, level)
    scaled = scaled.by_level(level)
    wanted = torch.full_like(level, torch.inf) if wanted is None else wanted / level.clamp_min(_TINY)
    point = torch.cat([torch.ones_like(level).unsqueeze(1), theta], 1)
    dual = torch.eye(scaled.fixed.shape[1], dtype=torch.float64).expand(len(level), -1, -1) * scaled.trust
    gap, count = torch.full_like(level, torch.inf), 0
    for _ in range(steps):
        if bool(done.all()) or over():
            break
        count += 1
        rows = (~done).nonzero().squeeze(1)
        moved = scaled[rows].step(point[rows], dual[rows])
        point[rows], dual[rows] = moved.point, moved.dual
        now = moved.point[:, 0]
        hopeless = (moved.most < wanted[rows]) & wanted[rows].isfinite()
        gap[rows] = (moved.most - now) / now.abs().clamp_min(_TINY)
        done[rows] |= moved.stuck | (gap[rows] <= rtol) | (now >= wanted[rows]) | hopeless
    return Solved(point[:, 1:] * scaled.scale, (point[:, 0] * level).clamp_min(0.0), gap, count)


def start(pencil: Pencil, groups: list[slice]) -> Float[Tensor, "elements units"]:
    """Multipliers with F > 0 at level 0, layer by layer from the output.

    The units of a layer act on the outputs and on later units only. With F' > 0 for those, their columns may take
    V diag(tau) V^T <= F' / 2; tau_k is inversely proportional to v_k^T F'^-1 v_k.

    Args:
        pencil: the programs.
        groups: the columns of each layer of units, in order.
    """
    p, inner = pencil.outputs, pencil.inner.value
    tau = torch.ones_like(pencil.radius)
    size = inner.shape[1]
    form = torch.eye(size, dtype=torch.float64).expand(len(pencil), -1, -1).clone()
    behind: list[int] = list(range(p))
    for group in reversed(groups):
        columns = inner[:, behind][:, :, group]
        lower = torch.linalg.cholesky_ex(form[:, behind][:, :, behind]).L
        white = torch.linalg.solve_triangular(lower, columns, upper=False)
        sizes = white.square().sum(1)
        shape = (sizes + 1e-12 * sizes.amax(1, keepdim=True).clamp_min(_TINY)).rsqrt()
        shape = torch.where(pencil.used[:, group], shape, 0.0)
        shaped = white * shape.unsqueeze(1)
        gram = shaped.mT @ shaped if shaped.shape[1] > shaped.shape[2] else shaped @ shaped.mT
        top = torch.linalg.matrix_norm(gram, ord=torch.inf) if gram.numel() else gram.new_ones(len(gram))
        part = shape.square() * (_START / top.clamp_min(_TINY)).unsqueeze(1)
        part = torch.where(pencil.used[:, group] & part.isfinite() & (part > 0), part, 1.0)
        tau[:, group] = part
        grown = (columns * part.unsqueeze(1)) @ columns.mT
        at = torch.tensor(behind)
        form[:, at.unsqueeze(1), at] = form[:, at.unsqueeze(1), at] - grown
        rows = torch.arange(group.start, group.stop) + p
        form[:, rows, rows] = torch.where(pencil.used[:, group], part / pencil.radius[:, group].square(), 1.0)
        behind += rows.tolist()
    return tau


@dataclasses.dataclass(frozen=True, eq=False)
class _Moved:
    """A step: where it leads, an upper bound of all levels (infinite if unknown), and whether it led nowhere."""

    point: Tensor
    dual: Tensor
    most: Tensor
    stuck: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class _Scaled:
    """Programs in the coordinates where the start is 1: F = diag(fixed + theta) - V diag(theta) V^T - level N.

    A point is (level, theta). Rows of unused units have F = 1.
    """

    columns: Float[Tensor, "elements rows units"]
    gram: Float[Tensor, "elements rows rows"]
    fixed: Float[Tensor, "elements rows"]
    used: Tensor
    scale: Float[Tensor, "elements units"]
    outputs: int

    @staticmethod
    def of(pencil: Pencil, tau: Tensor) -> "_Scaled":
        """Scaled at a start."""
        used = pencil.used.double()
        own = torch.where(pencil.used, pencil.radius / tau.sqrt(), 1.0)
        rows = torch.cat([own.new_ones(len(own), pencil.outputs), own], 1)
        columns = pencil.inner.value * rows.unsqueeze(2) * (tau.sqrt() * used).unsqueeze(1)
        gram = pencil.gram.value * rows.unsqueeze(2) * rows.unsqueeze(1)
        fixed = torch.cat([own.new_ones(len(own), pencil.outputs), 1.0 - used], 1)
        return _Scaled(columns, (gram + gram.mT) / 2, fixed, pencil.used, tau, pencil.outputs)

    def __getitem__(self, rows: Tensor) -> "_Scaled":
        """Some elements."""
        if len(rows) == len(self.scale):
            return self
        columns, gram, fixed = self.columns[rows], self.gram[rows], self.fixed[rows]
        return _Scaled(columns, gram, fixed, self.used[rows], self.scale[rows], self.outputs)

    def by_level(self, level: Tensor) -> "_Scaled":
        """The same with levels in units of some."""
        return dataclasses.replace(self, gram=self.gram * level.reshape(-1, 1, 1))

    @property
    def trust(self) -> Tensor:
        """The size of the first dual matrix."""
        return 1.0 / self.gram.diagonal(dim1=1, dim2=2).sum(1).clamp_min(_TINY).reshape(-1, 1, 1)

    def form(self, point: Tensor) -> Tensor:
        """F."""
        level, theta = point[:, 0], point[:, 1:]
        matrix = -(self.columns * theta.unsqueeze(1)) @ self.columns.mT - level.reshape(-1, 1, 1) * self.gram
        own = self.fixed.clone()
        own[:, self.outputs :] += theta * self.used
        matrix.diagonal(dim1=1, dim2=2).add_(own)
        return matrix

    def moved(self, ahead: Tensor) -> Tensor:
        """How F changes with a step."""
        return self.form(ahead) - torch.diag_embed(self.fixed)

    def first(self, theta: Tensor) -> Float[Tensor, " elements"]:
        """A level with F > 0, at least 1 / rows of the largest; NaN where there is none."""
        zero = theta.new_zeros(len(theta), 1)
        lower, info = torch.linalg.cholesky_ex(self.form(torch.cat([zero, theta], 1)))
        total = (torch.cholesky_inverse(lower) * self.gram).sum((1, 2))
        return torch.where((info == 0) & (total > 0), 0.9 / total, torch.nan)

    def pairs(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """<N, W> and <A_k, W> for W = left right, without forming it where the columns suffice."""
        product = left @ right
        units = product.diagonal(dim1=1, dim2=2)[:, self.outputs :]
        units = units - ((left.mT @ self.columns) * (right @ self.columns)).sum(1)
        return (product * self.gram).sum((1, 2)), units * self.used

    def step(self, point: Tensor, dual: Tensor) -> _Moved:
        """One predictor and corrector."""
        p, used, size = self.outputs, self.used, self.fixed.shape[1]
        form = self.form(point)
        z = torch.cholesky_inverse(torch.linalg.cholesky_ex(form).L)
        zv, xv, nz = z @ self.columns, dual @ self.columns, self.gram @ z
        vzv, vxv = self.columns.mT @ zv, self.columns.mT @ xv
        # <A_k, X A_l Z>, the system of the steps.
        units = dual[:, p:, p:] * z[:, p:, p:] - xv[:, p:] * zv[:, p:]
        units = units - xv[:, p:].mT * zv[:, p:].mT + vxv * vzv
        cross = (dual * nz.mT).sum(2)[:, p:] - (xv * (self.gram @ zv)).sum(1)
        nx = self.gram @ dual
        corner = (nx * nz.mT).sum((1, 2))
        live = torch.cat([used.new_ones(len(used), 1), used], 1)
        top = torch.cat([corner.reshape(-1, 1, 1), -cross.unsqueeze(1)], 2)
        system = torch.cat([top, torch.cat([-cross.unsqueeze(2), (units + units.mT) / 2], 2)], 1)
        system = system * (live.unsqueeze(1) & live.unsqueeze(2)).double()
        own = torch.where(live, system.diagonal(dim1=1, dim2=2), 1.0).clamp_min(_TINY)
        root = own.rsqrt()
        system = system * root.unsqueeze(1) * root.unsqueeze(2)
        system.diagonal(dim1=1, dim2=2).copy_(torch.full_like(root, 1.0 + 1e-12))
        factor, info = torch.linalg.cholesky_ex(system)

        def towards(centre: Tensor, more: tuple[Tensor, Tensor]) -> Tensor:
            """The step to <., X> feasible and X F = centre I, `more` being the second-order part."""
            by_units = z.diagonal(dim1=1, dim2=2)[:, p:] - vzv.diagonal(dim1=1, dim2=2)
            first = 1.0 - centre * nz.diagonal(dim1=1, dim2=2).sum(1) + more[0]
            right = torch.cat([first.unsqueeze(1), centre.unsqueeze(1) * by_units * used - more[1]], 1)
            return torch.cholesky_solve((right * root).unsqueeze(2), factor).squeeze(2) * root * live

        nothing = (point.new_zeros(len(point)), torch.zeros_like(self.scale))
        mu = (dual * form).sum((1, 2)) / size
        ahead = towards(torch.zeros_like(mu), nothing)
        by_form = self.moved(ahead)
        by_dual = _symmetric(-dual - dual @ by_form @ z)
        lengths = self._line(point, ahead), _line(dual, by_dual)
        after = dual + lengths[1].reshape(-1, 1, 1) * by_dual
        there = form + lengths[0].reshape(-1, 1, 1) * by_form
        fall = ((after * there).sum((1, 2)) / size / mu.clamp_min(_TINY)).clamp(1e-6, 1.0) ** 2
        centre = mu * fall.clamp(1e-4, 0.8)
        second = by_dual @ by_form
        ahead = towards(centre, self.pairs(second, z))
        by_form = self.moved(ahead)
        by_dual = centre.reshape(-1, 1, 1) * z - dual - _symmetric((dual @ by_form + second) @ z)
        lengths = self._line(point, ahead), _line(dual, by_dual)
        point = point + lengths[0].unsqueeze(1) * ahead
        dual = dual + lengths[1].reshape(-1, 1, 1) * by_dual
        broken = (info != 0) | ~point.isfinite().all(1)
        return _Moved(point, dual, self._most(dual), broken | ((lengths[0] == 0) & (lengths[1] == 0)))

    def _most(self, dual: Tensor) -> Float[Tensor, " elements"]:
        """The bound of all levels that a dual matrix gives; infinite where it does not satisfy the equations."""
        p = self.outputs
        total = (self.gram * dual).sum((1, 2))
        units = dual.diagonal(dim1=1, dim2=2)[:, p:]
        wrong = (units - (self.columns * (dual @ self.columns)).sum(1)) * self.used
        fits = (wrong.abs().sum(1) <= _FEASIBLE * dual.diagonal(dim1=1, dim2=2).sum(1)) & ((total - 1).abs() < 1e-6)
        value = (dual.diagonal(dim1=1, dim2=2) * self.fixed).sum(1)
        return torch.where(fits, value, torch.inf)

    def _line(self, point: Tensor, ahead: Tensor) -> Float[Tensor, " elements"]:
        """How far a point goes within F > 0."""
        lengths = torch.zeros(len(point), dtype=torch.float64)
        for length in _LENGTHS:
            rows = (lengths == 0).nonzero().squeeze(1)
            tried = point[rows] + _BEYOND * length * ahead[rows]
            positive = ((tried[:, 1:] > 0) | ~self.used[rows]).all(1)
            lower = torch.linalg.cholesky_ex(self[rows].form(tried))
            lengths[rows[positive & (lower.info == 0)]] = length
            if bool((lengths > 0).all()):
                break
        return lengths


def _line(dual: Tensor, ahead: Tensor) -> Float[Tensor, " elements"]:
    """How far a matrix goes and stays positive definite."""
    lengths = torch.zeros(len(dual), dtype=torch.float64)
    for length in _LENGTHS:
        rows = (lengths == 0).nonzero().squeeze(1)
        inside = torch.linalg.cholesky_ex(dual[rows] + _BEYOND * length * ahead[rows]).info == 0
        lengths[rows[inside]] = length
        if bool((lengths > 0).all()):
            break
    return lengths


def _symmetric(matrix: Tensor) -> Tensor:
    """The symmetric part."""
    return (matrix + matrix.mT) / 2
