"""What is to be decided, and what decides it."""

import abc
import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.core.norms import Norm
from netgain.network.graph import Network
from netgain.propagate.region import Number, Region, ball

_MEMORY = 2**29  # bytes for what one call holds at once
_COPIES = 8  # tensors of the size (inputs, rivals, widest node) that a backward pass holds


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Problem:
    """Classified inputs, around each of which a ball is to be proved free of other decisions.

    For scores f_1 ... f_n the decision for class i holds on a region if f_i(z) - f_j(z) > slack for each rival j and
    each z of the region. A single score f decides for class 1 where f > 0, for class 0 where f < 0: there the condition
    is f(z) > slack, or -f(z) > slack.

    Attributes:
        network: up to its scores, folded and expanded.
        inputs: the centres, float64, in raw input units.
        winners: the class of each input.
        norm: of the balls.
        domain: where inputs lie, such as (0, 1); None for everywhere.
        slack: what each margin must exceed, one an input; 0 for the network in real numbers.
    """

    network: Network
    inputs: Float[Tensor, "inputs *shape"]
    winners: Int[Tensor, " inputs"]
    norm: Norm
    domain: tuple[Number, Number] | None
    slack: Float[Tensor, " inputs"]

    def __repr__(self) -> str:
        domain = "" if self.domain is None else " within a domain"
        return f"<Problem: {len(self.inputs)} inputs, {self.norm} balls{domain}, {self.network!r}>"

    @property
    def scores(self) -> int:
        """Number of scores; 1 for a single score decided by its sign."""
        return math.prod(self.network.output_shape)

    @property
    def rivals(self) -> int:
        """Number of margins of each input."""
        return max(1, self.scores - 1)

    def region(self, rows: Int[Tensor, " rows"], radii: Float[Tensor, " rows"]) -> Region:
        """The balls around some inputs, within the domain.

        Args:
            rows: which inputs.
            radii: one a row.

        Raises:
            DataError: if an input lies outside the domain.
        """
        return ball(self.inputs[rows], radii, self.norm, self.domain)

    def margins(self, rows: Int[Tensor, " rows"]) -> Float[Tensor, "rows rivals *out"]:
        """The linear functions of the scores that must exceed the slack: e_winner - e_rival, rivals in their order.

        Args:
            rows: which inputs.
        """
        winners = self.winners[rows]
        if self.scores == 1:
            signs = torch.where(winners > 0, 1.0, -1.0).double()
            return signs.reshape(-1, 1, *[1] * len(self.network.output_shape))
        unit = torch.eye(self.scores, dtype=torch.float64)
        differences = unit[winners].unsqueeze(1) - unit
        kept = differences[torch.arange(self.scores) != winners.unsqueeze(1)]
        return kept.reshape(len(winners), self.rivals, *self.network.output_shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractDecider(abc.ABC):
    """Proves decisions on balls. Final classes are frozen dataclasses with their hyperparameters.

    Attributes:
        name: in the cascade.
    """

    name: str

    @abc.abstractmethod
    def __call__(
        self,
        problem: Problem,
        rows: Int[Tensor, " rows"],
        radii: Float[Tensor, " rows"],
        *,
        seconds: float | None = None,
    ) -> Bool[Tensor, " rows"]:
        """Which decisions are proved.

        Guarantee:
            True: for each input of the region each margin exceeds the slack, in real numbers, rounding and the
            uncertainty of folded weights included. False says nothing.

        Args:
            problem: the network and the inputs.
            rows: which inputs; at most about `at_once(problem)`.
            radii: of the ball around each of them.
            seconds: time for the whole call, about; None for a fixed amount of work that gives the same answer again.

        Raises:
            NoSoundRuleError: if the method does not apply to the network at all.
        """


def at_once(problem: Problem) -> int:
    """How many inputs a decider takes in one call, so that backward passes with all rivals stay within memory.

    Args:
        problem: the network and the inputs.
    """
    widest = max(map(math.prod, problem.network.shapes().values()))
    return max(1, _MEMORY // (8 * _COPIES * problem.rivals * max(1, widest)))
