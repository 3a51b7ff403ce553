"""A barrier method for the program of multipliers: central path, tangents, and a gap from an explicit dual point."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import UsageError
from netgain.core.progress import Progress, silent
from netgain.gain.metric.derivatives import Derivatives, Factors, Hessian, Model, factored
from netgain.gain.metric.program import Program

_CENTRED = 0.7  # Newton decrement below which a point is near enough to the central path to go on along it
_AIM = 0.6  # the decrement that a step along the path should end with
_STRAYED = 2.0  # and from which the step is taken back
_STRIDES = (1e-4, 0.5, 4.0)  # shortest, first and longest step along the path, as -log of the factor of the root of mu
_LONGER = 1.7  # factor by which a centring step is lengthened while that helps
_KEPT = 0.7  # part of the way to the boundary that it takes at most
_LONGEST = 4.0  # and its largest multiple of the Newton step
_PATIENCE = 6  # centred points in a row without a better gap after which rounding has the last word


@dataclasses.dataclass(frozen=True, eq=False)
class Iterate:
    """A strictly feasible point of the program.

    Attributes:
        x: the variables; x[0] = rho is the value.
        mu: the barrier's weight that the point is nearest to.
        decrement: Newton decrement there; below 1 there is a dual point.
        lower: the largest dual value so far, which no feasible rho undercuts (an estimate; -inf where there is none).
    """

    x: Float[Tensor, " variables"]
    mu: float
    decrement: float
    lower: float

    @property
    def value(self) -> float:
        """Rho."""
        return float(self.x[0])

    @property
    def gap(self) -> float:
        """How far rho is at most above the optimum, relative to rho; an estimate."""
        return math.inf if self.lower == -math.inf else max(0.0, 1 - self.lower / self.value)


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
    """What the barrier method found.

    Attributes:
        x: strictly feasible in ordinary arithmetic, with the least rho met.
        gap: how far its rho is at most above the optimum, relative; infinity where no dual point was met. An estimate.
        steps: Newton systems solved.
        converged: whether the gap is as small as wanted.
    """

    x: Float[Tensor, " variables"]
    gap: float
    steps: int
    converged: bool


@dataclasses.dataclass(frozen=True, eq=False)
class _Newton:
    """The Newton directions at a point for all mu: n - t / mu with n = H^-1 g, t = H^-1 c, g the barrier's pull."""

    hessian: Hessian
    towards: Float[Tensor, " variables"]  # n
    tangent: Float[Tensor, " variables"]  # t
    nn: float  # g n
    nt: float  # c n
    tt: float  # c t

    def decrement(self, mu: float) -> float:
        """Length of the Newton direction in the norm of the Hessian."""
        return math.sqrt(max(0.0, self.nn - 2 * self.nt / mu + self.tt / mu / mu))

    def direction(self, mu: float) -> Float[Tensor, " variables"]:
        """The Newton direction."""
        return self.towards - self.tangent / mu

    def nearest(self, fallback: float) -> float:
        """The mu whose point of the central path is nearest."""
        return self.tt / self.nt if self.nt > 0 else fallback

    def gap(self, degree: float) -> float:
        """Rho minus the largest dual value among the dual points mu (Z - Z D Z) of decrement below 1."""
        radicand = self.nt**2 - self.tt * (self.nn - 0.98)
        if radicand < 0:
            return math.inf
        inverse = (self.nt + math.sqrt(radicand)) / self.tt
        return max(0.0, (degree - self.nn) / inverse) + self.nt if inverse > 0 else math.inf


def path(program: Program, x0: Float[Tensor, " variables"]) -> Iterator[Iterate]:
    """Points along the central path, each strictly feasible, until rounding stops it.

    With F_mu(x) = rho / mu - sum_b w_b logdet M_b(x) - sum log x_k (over those positive variables whose sign the
    forms do not imply), g minus the gradient of the barrier part and H its Hessian, the Newton direction is
    H^-1 (g - c / mu), c = (1, 0, ...). Near the path a step joins it with the path's own second-order expansion in
    the root of mu, in which variables that end positive and those that end at zero with or without a slack are smooth
    alike; its length follows from how far the last one strayed, as in the integration of an ordinary differential
    equation, and a step that strays or leaves the domain is taken back and shortened. Elsewhere the step only centres.
    The dual point is Y_b = w_b mu (Z_b - Z_b D_b Z_b), Z_b = M_b^-1 and D_b the linear part of M_b at the Newton
    direction: it satisfies the dual equations, and is positive where the decrement is below 1.

    Args:
        program: the program.
        x0: a strictly feasible start.

    Raises:
        UsageError: if x0 is not strictly feasible.

    Cost:
        One Newton system and one or two trial points an iterate; `Model` has the operations.

    Source:
        Nesterov and Nemirovskii (1994), Interior-Point Polynomial Algorithms, chapters 2 and 3; Boyd and Vandenberghe
        (2004), Convex Optimization, sections 11.5 and 11.6.
    """
    model = Model(program)
    factors = model.factors(x0)
    if factors is None:
        raise UsageError("the barrier method needs a strictly feasible start")
    here = _examined(model, x0.clone(), factors)
    lower, stride, goal = -math.inf, _STRIDES[1], math.nan
    while here is not None:
        newton, value = here.newton, float(here.x[0])
        lower = max(lower, value - newton.gap(model.degree))
        near = newton.nearest(value / model.degree)
        centred = newton.decrement(near) < _CENTRED
        goal = near if centred or math.isnan(goal) else goal
        yield Iterate(here.x, goal, newton.decrement(goal), lower)
        if not centred:
            here = _towards(model, here, goal)
            continue
        found, stride = _along(model, here, near, stride)
        here, goal = (_towards(model, here, near) if found is None else found), math.nan


@dataclasses.dataclass(frozen=True, eq=False)
class _Point:
    """A strictly feasible point with what is known there."""

    x: Float[Tensor, " variables"]
    factors: Factors
    derivatives: Derivatives
    newton: _Newton


def _examined(model: Model, x: Float[Tensor, " variables"], factors: Factors) -> _Point | None:
    """The point with derivatives and directions; None if rounding forbids them."""
    derivatives = model.derivatives(x, factors)
    newton = _newton(derivatives)
    return None if newton is None else _Point(x, factors, derivatives, newton)


def _newton(derivatives: Derivatives) -> _Newton | None:
    """The directions, or None where the Hessian has no Cholesky factorization."""
    hessian = factored(derivatives.hessian)
    if hessian is None:
        return None
    cost = torch.zeros_like(derivatives.pull)
    cost[0] = 1.0
    towards, tangent = hessian.solve(torch.stack([derivatives.pull, cost], 1)).unbind(1)
    found = _Newton(hessian, towards, tangent, float(derivatives.pull @ towards), float(towards[0]), float(tangent[0]))
    return found if found.tt > 0 and math.isfinite(found.nn + found.nt) else None


def _along(model: Model, here: _Point, mu: float, stride: float) -> tuple[_Point | None, float]:
    """A step along the path to exp(-2 stride) mu, shortened until it stays near; and the stride to try next."""
    newton = here.newton
    centre, slope = newton.direction(mu), newton.tangent / mu
    curvature = newton.hessian.solve(model.curvature(here.x, here.derivatives, slope)[:, None])[:, 0]
    bend = 2 * curvature - 3 * slope
    while stride > _STRIDES[0]:
        part = -math.expm1(-stride)
        x = here.x + centre - slope * (2 * part) + bend * part**2
        factors = model.factors(x)
        found = None if factors is None else _examined(model, x, factors)
        strayed = math.inf if found is None else found.newton.decrement(mu * (1 - part) ** 2)
        factor = max(0.3, min(2.0, (_AIM / strayed) ** (1 / 3))) if strayed > 0 else 2.0
        if strayed < _STRAYED:
            return found, min(_STRIDES[2], stride * factor)
        stride *= min(0.6, factor)
    return None, _STRIDES[1]


def _towards(model: Model, here: _Point, mu: float) -> _Point | None:
    """A Newton step towards the path's point at mu: full near the path, else damped and lengthened while that helps."""
    x, step, decrement = here.x, here.newton.direction(mu), here.newton.decrement(mu)
    if decrement < _CENTRED:
        near = model.factors(x + step)
        return None if near is None else _examined(model, x + step, near)
    length, best = 1 / (1 + decrement), 0.0
    least = model.merit(x, here.factors, mu)
    while length < _LONGEST:
        tried = model.factors(x + step * length)
        merit = math.inf if tried is None else model.merit(x + step * length, tried, mu)
        if merit >= least:
            break
        best, least, length = length, merit, _LONGER * length
    if best > 0 and model.factors(x + step * (best / _KEPT)) is None:
        best *= _KEPT
    final = model.factors(x + step * best)
    return None if best == 0 or final is None else _examined(model, x + step * best, final)


def solve(
    program: Program,
    x0: Float[Tensor, " variables"],
    *,
    rtol: float = 1e-8,
    seconds: float | None = None,
    progress: Progress = silent,
    watch: Callable[[Iterate], None] | None = None,
) -> Solution:
    """Minimize rho from a strictly feasible start.

    No guarantee: ordinary arithmetic. What is found is proved by the checker.

    Args:
        program: the program.
        x0: a strictly feasible start.
        rtol: relative gap wanted.
        seconds: time to spend, about.
        progress: told after each step: decades of the gap reached, and wanted.
        watch: called with each iterate; any of them can be used, so a search that is stopped has its best point.

    Raises:
        UsageError: if x0 is not strictly feasible.
    """
    began, wanted = time.monotonic(), max(1, round(-10 * math.log10(rtol)))
    best: Iterate | None = None
    steps, gap, idle = 0, math.inf, 0
    for iterate in path(program, x0):
        steps += 1
        best = iterate if best is None or iterate.value < best.value else best
        gap, previous = max(0.0, 1 - iterate.lower / best.value), gap
        idle = 0 if gap < 0.95 * previous or iterate.decrement >= _CENTRED else idle + 1
        reached = 0 if gap >= 1 else min(wanted, int(-10 * math.log10(max(gap, 1e-300))))
        progress("Newton", reached, wanted)
        if watch is not None:
            watch(iterate)
        late = seconds is not None and (time.monotonic() - began) * (1 + 1 / steps) > seconds
        if gap <= rtol or idle > _PATIENCE or late:
            break
    if best is None:
        return Solution(x0, math.inf, steps, False)
    return Solution(best.x, gap, steps, gap <= rtol)
