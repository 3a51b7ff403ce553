"""Decisions from the ranges of the scores that interval arithmetic gives."""

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.certification.deciders.decider import AbstractDecider, Problem
from netgain.core.rounding import tensor_down
from netgain.propagate.ranges import interval_ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intervals(AbstractDecider):
    """The least score of the winner against the greatest of each rival, each from the box of its node.

    Guarantee:
        As `AbstractDecider`.

    Cost:
        About five evaluations of the network.
    """

    name: str = "intervals"

    def __call__(
        self,
        problem: Problem,
        rows: Int[Tensor, " rows"],
        radii: Float[Tensor, " rows"],
        *,
        seconds: float | None = None,
    ) -> Bool[Tensor, " rows"]:
        """Which decisions are proved; see `AbstractDecider`."""
        ranges = interval_ranges(problem.network, problem.region(rows, radii))
        box = ranges.boxes[problem.network.output]
        low, high = box.lo.flatten(1), box.hi.flatten(1)
        slack = problem.slack[rows]
        if problem.scores == 1:
            return torch.where(problem.winners[rows] > 0, low[:, 0] > slack, -high[:, 0] > slack)
        winners = problem.winners[rows].unsqueeze(1)
        margin = tensor_down(low.gather(1, winners) - high).scatter(1, winners, torch.inf)
        return (margin > slack.unsqueeze(1)).all(1)
