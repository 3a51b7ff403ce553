"""Decisions by backward linear relaxation of the margins."""

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.certification.deciders.decider import AbstractDecider, Problem
from netgain.core.rounding import tensor_down
from netgain.propagate.backward import lower_bounds
from netgain.propagate.ranges import Ranges
from netgain.propagate.relax import Effort, ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relaxation(AbstractDecider):
    """Backward passes for the boxes of all units whose shape is open, then for each margin.

    Attributes:
        name: in the cascade.
        products: most multiplications for the boxes of one node and one input; beyond them its box is the interval's.
            With 0 all boxes are, and one pass of each margin is left.

    Guarantee:
        As `AbstractDecider`.

    Cost:
        Two transposed evaluations of what is in front of it for each unit with an open shape, and one a rival.

    Source:
        Zhang et al. (2018), Efficient neural network robustness certification with general activation functions; for
        boxes of interval arithmetic its section 3.3.
    """

    name: str = "relaxation"
    products: float = 2e10

    def __call__(
        self,
        problem: Problem,
        rows: Int[Tensor, " rows"],
        radii: Float[Tensor, " rows"],
        *,
        seconds: float | None = None,
    ) -> Bool[Tensor, " rows"]:
        """Which decisions are proved; see `AbstractDecider`."""
        region = problem.region(rows, radii)
        return proved(problem, rows, ranges(problem.network, region, effort=Effort(products=self.products)))


def proved(problem: Problem, rows: Int[Tensor, " rows"], known: Ranges) -> Bool[Tensor, " rows"]:
    """Whether each margin exceeds the slack over its region, by the boxes of the scores or one backward pass each.

    Args:
        problem: the network and the inputs.
        rows: which inputs.
        known: boxes over their regions.
    """
    decided = _by_boxes(problem, rows, known)
    if not bool(decided.all()):
        open_ = (~decided).nonzero()[:, 0]
        part = known[open_] if len(open_) < len(rows) else known  # with what it has computed for walks already
        least = lower_bounds(part, problem.margins(rows[open_]), problem.network.output)
        decided[open_] = (least > problem.slack[rows[open_]].unsqueeze(1)).all(1)
    return decided


def _by_boxes(problem: Problem, rows: Int[Tensor, " rows"], known: Ranges) -> Bool[Tensor, " rows"]:
    """The least score of the winner against the greatest of each rival, each from the box of its node."""
    box, slack = known.boxes[problem.network.output], problem.slack[rows]
    low, high = box.lo.flatten(1), box.hi.flatten(1)
    if problem.scores == 1:
        return torch.where(problem.winners[rows] > 0, low[:, 0] > slack, -high[:, 0] > slack)
    winners = problem.winners[rows].unsqueeze(1)
    margin = tensor_down(low.gather(1, winners) - high).scatter(1, winners, torch.inf)
    return (margin > slack.unsqueeze(1)).all(1)
