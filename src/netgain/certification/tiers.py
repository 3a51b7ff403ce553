"""The deciders of the cascade by name, cheap to dear."""

import dataclasses
import math
from collections.abc import Callable

from netgain.certification.deciders.decider import AbstractDecider, Problem
from netgain.certification.deciders.relaxation import Relaxation
from netgain.core.registry import Registry
from netgain.gain.methods import AUTO, evaluation
from netgain.network.graph import Elementwise, Network, Vector


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tier:
    """One step of the cascade.

    Attributes:
        decider: the method.
        work: about the multiplications that it takes for one input.
        dear: whether attacks come first, so that it sees only what they leave.
    """

    decider: AbstractDecider
    work: Callable[[Problem], float]
    dear: bool = False

    @property
    def name(self) -> str:
        """Of the decider."""
        return self.decider.name


def backward(problem: Problem) -> float:
    """Multiplications of two passes from each unit, on average through half the network, and of one a rival."""
    return (_units(problem.network) + problem.rivals) * evaluation(problem.network)


def _units(network: Network) -> int:
    """Entries of what is not linear."""
    return sum(math.prod(node.shape) for node in network.nodes if isinstance(node.kind, Elementwise | Vector))


def _margins(problem: Problem) -> float:
    """Multiplications of interval arithmetic and one backward pass a rival."""
    return (5.0 + problem.rivals) * evaluation(problem.network)


TIERS: Registry[Tier] = Registry("tier")
for _tier in (
    Tier(decider=Relaxation(name="one pass", products=0.0), work=_margins),
    Tier(decider=Relaxation(), work=backward),
):
    TIERS.register(_tier.name)(_tier)


def chosen(names: str | tuple[str, ...]) -> tuple[Tier, ...]:
    """The tiers of these names, cheap to dear whatever the order given.

    Args:
        names: "auto" for all, one name, or several.

    Raises:
        UsageError: if a name is unknown.
    """
    if names == AUTO:
        return tuple(TIERS[name] for name in TIERS)
    wanted = {TIERS[name].name for name in ((names,) if isinstance(names, str) else names)}
    return tuple(TIERS[name] for name in TIERS if name in wanted)
