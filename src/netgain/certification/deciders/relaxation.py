"""Decisions by backward linear relaxation of the margins."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.certification.deciders.decider import AbstractDecider, Problem
from netgain.core.progress import Progress, silent
from netgain.propagate.backward import lower_bounds
from netgain.propagate.lines import Slopes
from netgain.propagate.ranges import Ranges, interval_ranges
from netgain.propagate.relax import Effort, ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crossing(AbstractDecider):
    """One backward pass of each margin over the boxes of interval arithmetic.

    Guarantee:
        As `AbstractDecider`.

    Cost:
        About five evaluations of the network and one transposed evaluation a rival.

    Source:
        Zhang et al. (2018), Efficient neural network robustness certification with general activation functions, with
        interval bounds inside: section 3.3.
    """

    name: ClassVar[str] = "one pass"

    def __call__(
        self,
        problem: Problem,
        rows: Int[Tensor, " rows"],
        radii: Float[Tensor, " rows"],
        *,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> Bool[Tensor, " rows"]:
        """Which decisions are proved; see `AbstractDecider`."""
        known = interval_ranges(problem.network, problem.region(rows, radii))
        return proved(problem, rows, known)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relaxation(AbstractDecider):
    """Backward passes for the boxes of all units whose shape is open, then for each margin.

    Attributes:
        products: most multiplications for the boxes of one node and one input; beyond them its box is the interval's.

    Guarantee:
        As `AbstractDecider`.

    Cost:
        Two transposed evaluations of what is in front of it for each unit with an open shape, and one a rival.

    Source:
        Zhang et al. (2018), Efficient neural network robustness certification with general activation functions.
    """

    products: float = 2e10
    name: ClassVar[str] = "relaxation"

    def __call__(
        self,
        problem: Problem,
        rows: Int[Tensor, " rows"],
        radii: Float[Tensor, " rows"],
        *,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> Bool[Tensor, " rows"]:
        """Which decisions are proved; see `AbstractDecider`."""
        region = problem.region(rows, radii)
        return proved(problem, rows, ranges(problem.network, region, effort=Effort(products=self.products)))


def proved(
    problem: Problem, rows: Int[Tensor, " rows"], known: Ranges, slopes: Mapping[str, Slopes] | None = None
) -> Bool[Tensor, " rows"]:
    """Whether each margin exceeds the slack over its region, by one backward pass each.

    Args:
        problem: the network and the inputs.
        rows: which inputs.
        known: boxes over their regions.
        slopes: of the lines of elementwise nodes; None to choose them.
    """
    least = lower_bounds(known, problem.margins(rows), problem.network.output, slopes=slopes)
    return (least > problem.slack[rows].unsqueeze(1)).all(1)
