"""L-BFGS for a batch of independent problems, with steps that are only taken where the objective falls."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_ARMIJO = 1e-4
_SHRINK = 0.3
_TRIES = 8  # shorter steps tried along one direction


@dataclasses.dataclass(frozen=True, eq=False)
class Point:
    """An objective at one point of each problem.

    Attributes:
        x: the points.
        value: the objective; infinity where infeasible.
        slope: its gradient.
        size: positive, about its second derivatives.
    """

    x: Float[Tensor, "batch size"]
    value: Float[Tensor, " batch"]
    slope: Float[Tensor, "batch size"]
    size: Float[Tensor, "batch size"]

    def where(self, condition: Bool[Tensor, " batch"], other: "Point") -> "Point":
        """This point where the condition holds, the other elsewhere.

        Args:
            condition: for each problem.
            other: the other points.
        """
        wide = condition.unsqueeze(1)
        return Point(
            torch.where(wide, self.x, other.x),
            torch.where(condition, self.value, other.value),
            torch.where(wide, self.slope, other.slope),
            torch.where(wide, self.size, other.size),
        )


class Descent:
    """The state of the iteration: a point, a memory of steps, and a direction for each problem.

    The initial matrix of each direction is diagonal: the inverse of `Point.size`, which L-BFGS scales.
    """

    def __init__(self, point: Point, memory: int):
        self.point = point
        shape = (memory, *point.x.shape)
        self._steps, self._changes = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        self._inverse = torch.zeros(memory, len(point.value), dtype=torch.float64)
        self._length = torch.ones(len(point.value), dtype=torch.float64)
        self._tries = torch.zeros(len(point.value), dtype=torch.int64)
        self.stuck = torch.zeros(len(point.value), dtype=torch.bool)
        self._aim()

    def step(self, evaluate: Callable[[Tensor], Point]) -> Bool[Tensor, " batch"]:
        """One evaluation: problems whose objective falls move, the others will try a shorter step.

        Args:
            evaluate: the objectives.

        Returns:
            Which problems moved.
        """
        trial = evaluate(self.point.x + self._length.unsqueeze(1) * self._direction)
        fall = self._length * (self.point.slope * self._direction).sum(1)
        moved = (trial.value <= self.point.value + _ARMIJO * fall) & ~self.stuck
        moved &= torch.isfinite(trial.slope).all(1)
        self._remember(trial, moved)
        self.point = trial.where(moved, self.point)
        self._tries = torch.where(moved, 0, self._tries + 1)
        self._length = torch.where(moved, 1.0, self._length * _SHRINK)
        spent = self._tries >= _TRIES
        self.stuck |= spent & (self._inverse == 0).all(0)
        self._forget(spent)
        if bool((moved | spent).any()):
            self._aim()
        return moved

    def restart(self, point: Point) -> None:
        """Go on from the same points with another objective.

        Args:
            point: the new objective there.
        """
        self.point = point
        self.stuck = torch.zeros_like(self.stuck)
        self._forget(torch.ones_like(self.stuck))
        self._aim()

    def _forget(self, which: Bool[Tensor, " batch"]) -> None:
        """Empty the memory of some problems."""
        self._inverse = torch.where(which, 0.0, self._inverse)
        self._tries = torch.where(which, 0, self._tries)
        self._length = torch.where(which, 1.0, self._length)

    def _remember(self, trial: Point, moved: Bool[Tensor, " batch"]) -> None:
        """Add the step of the problems that moved to their memories."""
        step, change = trial.x - self.point.x, trial.slope - self.point.slope
        curvature = (step * change).sum(1)
        usable = moved & (curvature > 1e-10 * (step.square() * trial.size).sum(1)) & torch.isfinite(curvature)
        if not bool(usable.any()):
            return
        inverse = torch.where(usable, 1 / curvature, 0.0)
        for store, new in ((self._steps, step), (self._changes, change)):
            shifted = torch.cat([store[1:], new.unsqueeze(0)])
            store.copy_(torch.where(usable.reshape(1, -1, 1), shifted, store))
        self._inverse = torch.where(usable, torch.cat([self._inverse[1:], inverse.unsqueeze(0)]), self._inverse)

    def _aim(self) -> None:
        """The direction of each problem by the two-loop recursion."""
        q = self.point.slope.clone()
        scale = 1 / self.point.size
        factors: list[Tensor] = []
        for s, y, inverse in zip(self._steps.flip(0), self._changes.flip(0), self._inverse.flip(0), strict=True):
            factor = inverse * (s * q).sum(1)
            factors.append(factor)
            q = q - factor.unsqueeze(1) * y
        s, y, inverse = self._steps[-1], self._changes[-1], self._inverse[-1]
        weight = (y.square() * scale).sum(1)
        gamma = torch.where(inverse > 0, 1 / (inverse * weight).clamp_min(1e-300), 0.5)
        r = q * scale * gamma.unsqueeze(1)
        for s, y, inverse, factor in zip(self._steps, self._changes, self._inverse, reversed(factors), strict=True):
            r = r + (factor - inverse * (y * r).sum(1)).unsqueeze(1) * s
        self._direction = -r
