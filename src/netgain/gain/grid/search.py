"""The search of multipliers for all parts of a network at once, on as many frequencies as the time allows."""

import dataclasses
import math
import time

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.progress import Progress, silent
from netgain.gain.grid.joint import Joint, Plain, Points, program, scaled, start
from netgain.gain.grid.stage import Stage, block, frequencies
from netgain.gain.metric.barrier import Iterate, Solution, solve
from netgain.gain.metric.program import assembled

_FEWEST = 6  # frequencies of a stage at least
_MOST = 12  # and at most, in the beginning
_ROUNDS = 4  # times that frequencies are added
_ADDED = 8  # frequencies added to a stage at once
_CHUNK = 4_000_000  # entries of the forms looked at together
_RAISES = (0.0, 1e-9, 1e-7, 1e-5, 1e-4, 1e-3, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_SHARES = (0.0, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1)
_MARGIN = 1.2  # factor at each part by which a restart stays inside


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """Multipliers of all parts.

    Attributes:
        joint: the parts.
        x: the variables.
        safe: other variables, well inside the conditions.
        square: an estimate of the bound's square that they prove.
        lower: an estimate of the least square that these parts, grids and cuts allow.
        steps: Newton steps taken.
        interrupted: whether Ctrl-C ended the search.
    """

    joint: Joint
    x: Float[Tensor, " variables"]
    safe: Float[Tensor, " variables"]
    square: float
    lower: float
    steps: int = 0
    interrupted: bool = False


def search(
    parts: Joint, *, work: float, rtol: float, seconds: float | None = None, progress: Progress = silent
) -> Found:
    """Multipliers that minimize the joint bound.

    The program is solved on some frequencies of each stage; all others are then looked at, those that are violated
    most are added, and in the end the solution is moved towards a point that is feasible everywhere.

    No guarantee: the checker proves what comes out.

    Args:
        parts: the parts.
        work: operations that one Newton step may take, about.
        rtol: relative gap wanted of the bound's square.
        seconds: time to spend, about.
        progress: told about each part of it.
    """
    began = time.monotonic()
    every = {k: frequencies(part) for k, part in enumerate(parts.parts) if isinstance(part, Stage)}
    chosen = {k: _some(len(every[k][0]), _affordable(parts, k, work / len(every))) for k in every}
    safe = _safe_start(parts, every, chosen)
    best = Found(parts, safe, safe, _square(parts, every, safe), 0.0)
    x, steps, interrupted = safe, 0, False
    for _ in range(_ROUNDS):
        left = None if seconds is None else seconds - (time.monotonic() - began)
        if interrupted or (left is not None and left <= 0):
            break
        given, factor = scaled(program(parts, _taken(every, chosen)), x)
        ones = torch.where(x == 0, 0.0, 1.0).double()
        met: list[Iterate] = []
        try:
            solution = solve(given, ones, rtol=rtol, seconds=left, progress=_teller(best, progress), watch=met.append)
        except KeyboardInterrupt:
            last = min(met, key=lambda iterate: iterate.value, default=None)
            solution = Solution(ones if last is None else last.x, 1.0, len(met), False)
            interrupted = True
        steps += solution.steps
        x = solution.x * factor
        lower = float(x[0]) * max(0.0, 1 - solution.gap)
        share, fixed, square = _moved(parts, every, (x, safe))
        if square < best.square:
            best = dataclasses.replace(best, x=fixed, square=square)
        best = dataclasses.replace(best, lower=max(lower, best.lower))
        if solution.converged and best.square <= lower * (1 + 3 * rtol):
            break
        if not _extended(every, chosen, x, parts):
            break
        inside = _repaired(parts, every, (1 - share) * x + share * safe, _MARGIN)
        x = safe if inside is None else inside
    return dataclasses.replace(best, steps=steps, interrupted=interrupted)


def _teller(best: Found, progress: Progress) -> Progress:
    """Progress with the value so far, an estimate until it is proved, behind a colon."""
    return lambda _, done, total: progress(f"convolutional: {math.sqrt(best.square):.6g}", done, total)


def _affordable(parts: Joint, place: int, work: float) -> int:
    """How many frequencies of a stage a Newton step of so many operations may have."""
    part = parts.parts[place]
    size = part.size if isinstance(part, Stage) else 0
    return max(_FEWEST, min(_MOST, int(work / (40.0 * size**3))))


def _some(count: int, most: int) -> list[int]:
    """Some of the frequencies, spread out."""
    if count <= most:
        return list(range(count))
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most].sort().values.tolist()


def _taken(every: dict[int, Points], chosen: dict[int, list[int]]) -> dict[int, Points]:
    """The chosen frequencies."""
    return {k: (points[chosen[k]], torch.ones(len(chosen[k]), dtype=torch.float64)) for k, (points, _) in every.items()}


def _safe_start(parts: Joint, every: dict[int, Points], chosen: dict[int, list[int]]) -> Tensor:
    """A point that is strictly feasible at all frequencies; those where a first attempt fails are added."""
    while True:
        x = start(parts, _taken(every, chosen))
        if not _extended(every, chosen, x, parts):
            return x


def _extended(every: dict[int, Points], chosen: dict[int, list[int]], x: Tensor, parts: Joint) -> bool:
    """Add the most violated frequencies of each stage, none next to another; whether there were any."""
    found = False
    for place, (points, _) in every.items():
        level = _levels(parts, place, x, every[place])
        limit = float(x[0]) if place == 0 else 1.0
        level[chosen[place]] = 0.0
        new: list[int] = []
        for k in level.argsort(descending=True).tolist():
            if len(new) == _ADDED or float(level[k]) <= limit * (1 + 1e-9):
                break
            if all(int((points[k] - points[other]).abs().max()) > 1 for other in new):
                new.append(k)
        chosen[place] = sorted({*chosen[place], *new})
        found = found or bool(new)
    return found


def _square(parts: Joint, every: dict[int, Points], x: Tensor) -> float:
    """The product of the stages' factors; parts of other kinds have factor 1."""
    total = 1.0 if 0 in every else float(x[0])
    for place, points in every.items():
        total *= float(_levels(parts, place, x, points).max())
    return total


def _moved(parts: Joint, every: dict[int, Points], ends: tuple[Tensor, Tensor]) -> tuple[float, Tensor, float]:
    """The best repaired mixture of two points, the second feasible everywhere: its share, itself and its square."""
    best = (1.0, ends[1], math.inf)
    for share in _SHARES:
        fixed = _repaired(parts, every, (1 - share) * ends[0] + share * ends[1], 1.0)
        square = math.inf if fixed is None else float(fixed[0])
        if fixed is not None and square < best[2]:
            best = (share, fixed, square)
        elif math.isfinite(best[2]):
            break
    return best


def _repaired(parts: Joint, every: dict[int, Points], x: Tensor, margin: float) -> Tensor | None:
    """The point made feasible at all frequencies, by raising multipliers and metrics from the output to the input.

    A stage's multipliers are raised as long as that lowers its largest factor; the metric in front then goes with that
    factor, times `margin`, and everything further in front is scaled alike.
    """
    x, scale = x.clone(), 1.0
    for place in reversed(range(len(parts.parts))):
        part, front = parts.parts[place], parts.ties[parts.front(place)]
        if isinstance(part, Stage):
            own = torch.cat([parts.ties[key] for key, _, _ in part.free]) if part.free else front[:0]
            x[own] *= scale
            given, best, top = x[own].clone(), 0.0, math.inf
            for raised in _RAISES:
                x[own] = given * (1 + raised)
                level = float(_levels(parts, place, x, every[place]).max())
                if level < top:
                    best, top = raised, level
                elif math.isfinite(top):
                    break
            if not math.isfinite(top):
                return None
            x[own] = given * (1 + best)
            scale = max(top, 1e-300) * margin
            x[front] = scale if place == 0 else x[front] * scale
        elif isinstance(part, Plain):
            behind = float(parts.metric(x, place + 1).max())
            x[front] = part.gain**2 * behind * margin
            scale *= margin
    return x


def _levels(parts: Joint, place: int, x: Tensor, points: Points) -> Float[Tensor, " points"]:
    """For each frequency of a stage the factor that is proved there, infinite where the multipliers are too small."""
    part, behind = parts.parts[place], parts.behind(place)
    if not isinstance(part, Stage):
        raise TypeError(part)
    ties, front = dict(parts.ties), parts.front(place)
    if behind is not None:
        ties["metric"] = torch.arange(len(x), len(x) + len(ties[behind]))
        x, behind = torch.cat([x, parts.metric(x, place + 1)]), "metric"
    metric = x[ties[front]].clone() if place > 0 else torch.ones(1, dtype=torch.float64)
    x = x.clone()
    x[ties[front]] = 0.0
    first, last = part.rows[part.start]
    scale = metric.expand(part.geometry.places[part.start].channels)
    scale = scale.repeat_interleave((last - first) // len(scale)).rsqrt()[:, None]
    found: list[Tensor] = []
    size = max(1, _CHUNK // part.size**2)
    for some, weights in zip(points[0].split(size), points[1].split(size), strict=True):
        form = assembled(block(part, some, weights, ties, (front, behind)), x)
        factor, info = torch.linalg.cholesky_ex(form[:, last:, last:])
        half = torch.linalg.solve_triangular(factor, form[:, last:, :last], upper=False)
        pulled = half.mH @ half - form[:, :last, :last]
        level = torch.linalg.eigvalsh(scale * torch.where(info[:, None, None] == 0, pulled, 0.0) * scale.mT).amax(-1)
        found.append(torch.where(info == 0, level, torch.inf))
    return torch.cat(found)
