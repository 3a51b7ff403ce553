"""The search for multipliers by descent from a feasible start: every iterate is feasible, the best one is kept."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.gain.metric.descent import Descent, Point
from netgain.gain.metric.gradient import slopes
from netgain.gain.metric.prepared import Prepared
from netgain.gain.metric.sweep import Logs, Swept, sweep

# Second derivatives are taken to be at least so large, relative to the largest: at first nearly all alike, since a
# multiplier with little influence may gain some.
_LEAST_SIZE, _SHARPER = 0.1, 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how sharply to search.

    Attributes:
        sharpness: of the smoothed maximum of eigenvalues, one stage after another.
        many: eigenvalues in it.
        memory: steps that L-BFGS remembers.
        evaluations: most sweeps.
        patience: steps over which an improvement is measured.
        tolerance: relative improvement of the log factor's objective over these steps at which a stage ends.
        seconds: most time; None for no limit.
    """

    sharpness: Sequence[float] = (30.0, 1e3, 3e4, 1e6)
    many: int = 8
    memory: int = 30
    evaluations: int = 600
    patience: int = 8
    tolerance: float = 1e-6
    seconds: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Improved:
    """What a search found.

    Attributes:
        logs: the best multipliers of each batch element.
        log_factor: their log factors.
        evaluations: sweeps made.
        settled: whether it ended because nothing improved any more.
        interrupted: whether Ctrl-C ended it.
    """

    logs: dict[str, Tensor]
    log_factor: Float[Tensor, " batch"]
    evaluations: int
    settled: bool
    interrupted: bool


Told = Callable[[Float[Tensor, " batch"], int], None]
"""Told the best log factors and the number of sweeps so far."""


def improve(prepared: Prepared, start: Logs, schedule: Schedule, told: Told = lambda best, done: None) -> Improved:
    """Descend from a feasible start.

    Args:
        prepared: the region.
        start: feasible multipliers (batch or 1).
        schedule: how long.
        told: progress.

    Returns:
        The best multipliers found, never worse than the start.
    """
    if not start:
        best = sweep(prepared, start).log_factor
        return Improved({}, best, 0, settled=True, interrupted=False)
    return _Search(prepared, start, schedule, told)()


class _Search:
    """The state of one search."""

    def __init__(self, prepared: Prepared, start: Logs, schedule: Schedule, told: Told):
        self._prepared = prepared
        self._schedule = schedule
        self._told = told
        self._began = time.monotonic()
        self._shapes = {name: logs.shape[1:] for name, logs in start.items()}
        x = torch.cat([logs.expand(prepared.batch, *logs.shape[1:]).flatten(1) for logs in start.values()], 1)
        self._swept: Swept | None = None
        self._sharpness = schedule.sharpness[0]
        self._least = _LEAST_SIZE
        self._best = torch.full((prepared.batch,), torch.inf, dtype=torch.float64)
        self._best_x = x.clone()
        self.evaluations = 0
        self._start = x

    def __call__(self) -> Improved:
        settled = interrupted = False
        try:
            settled = self._stages()
        except KeyboardInterrupt:
            interrupted = True
        return Improved(self._split(self._best_x), self._best, self.evaluations, settled, interrupted)

    def _stages(self) -> bool:
        """All stages; whether the last one ended by itself."""
        descent = Descent(self._evaluate(self._start), self._schedule.memory)
        settled = False
        for stage, sharpness in enumerate(self._schedule.sharpness):
            self._sharpness = sharpness
            if stage > 0:
                self._least *= _SHARPER
                descent.restart(self._evaluate(self._best_x))
            settled = self._stage(descent)
            if not settled:
                break
        return settled

    def _stage(self, descent: Descent) -> bool:
        """Steps with one sharpness until nothing improves; whether it got that far."""
        history = [descent.point.value.clone()]
        while not self._over():
            descent.step(self._evaluate)
            history.append(descent.point.value.clone())
            if bool(descent.stuck.all()):
                return True
            if len(history) > self._schedule.patience:
                gain = history[-1 - self._schedule.patience] - history[-1]
                if bool(((gain < self._schedule.tolerance) | descent.stuck).all()):
                    return True
        return False

    def _over(self) -> bool:
        """Whether time or evaluations are spent."""
        limit = self._schedule.seconds
        late = limit is not None and time.monotonic() - self._began > limit
        return late or self.evaluations >= self._schedule.evaluations

    def _evaluate(self, x: Float[Tensor, "batch size"]) -> Point:
        """The smoothed log factor and its slopes; the best exact one is kept."""
        self.evaluations += 1
        swept = sweep(self._prepared, self._split(x), many=self._schedule.many, before=self._swept)
        better = swept.log_factor < self._best
        self._best = torch.where(better, swept.log_factor, self._best)
        self._best_x = torch.where(better.unsqueeze(1), x, self._best_x)
        self._told(self._best, self.evaluations)
        if not bool(torch.isfinite(swept.log_factor).any()):
            return Point(x, swept.log_factor, torch.zeros_like(x), torch.ones_like(x))
        self._swept = swept
        found = slopes(swept, self._sharpness)
        by, size = (torch.cat([part[name].flatten(1) for name in self._shapes], 1) for part in (found.by, found.size))
        by, size = torch.nan_to_num(by, nan=0.0), torch.nan_to_num(size, nan=1.0)
        size = size + self._least * size.amax(1, keepdim=True) + 1e-300
        return Point(x, swept.smooth(self._sharpness), by, size)

    def _split(self, x: Float[Tensor, "batch size"]) -> dict[str, Tensor]:
        """Logarithms by node."""
        parts = x.split([math.prod(shape) for shape in self._shapes.values()], 1)
        return {name: part.reshape(-1, *shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}
