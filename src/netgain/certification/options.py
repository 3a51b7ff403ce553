"""How to certify: options of `certify` and of the audit."""

import dataclasses

from netgain.certification.attacks.attack import AbstractAttack
from netgain.certification.attacks.pgd import PGD
from netgain.core.errors import UsageError
from netgain.gain.lipschitz import Effort
from netgain.gain.methods import AUTO


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decisions:
    """How decisions are proved.

    Attributes:
        gain: how the global gain behind the first radii is bounded: "auto", or a method by name.
        tiers: what is tried on inputs that the gain leaves undecided: "auto" for all that apply, from cheap to dear;
            names of `tiers.TIERS`; () for nothing.
        domain: least and greatest value of inputs, such as (0, 1): neither proofs nor attacks look outside; None for
            all of space.
    """

    gain: str = AUTO
    tiers: str | tuple[str, ...] = AUTO
    domain: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CertifyOptions:
    """How to certify.

    Attributes:
        epsilon: radii at which accuracy is reported, in raw input units.
        attack: the attack for the other side; None for none.
        subset: how many inputs are attacked, chosen at random by `seed`; None for all.
        seconds: time limit of bounds and decisions, about; None for a fixed amount of work, which gives the same radii
            again.
        seed: of the choice of the subset, and of the ascent behind the lower bound.
        decisions: the methods, the domain of inputs, the arithmetic, and where radii are written.
    """

    epsilon: tuple[float, ...] = ()
    attack: AbstractAttack | None = dataclasses.field(default_factory=PGD)
    subset: int | None = 500
    seconds: float | None = None
    seed: int = 0
    decisions: Decisions = dataclasses.field(default_factory=Decisions)

    @property
    def effort(self) -> Effort:
        """How hard to look for bounds of the gain."""
        return Effort(method=self.decisions.gain, seconds=self.seconds, seed=self.seed)

    def checked(self) -> "CertifyOptions":
        """The same options, found usable.

        Raises:
            UsageError: if an epsilon is not a positive number, or a domain is empty.
        """
        if any(not 0 < e < float("inf") for e in self.epsilon):
            raise UsageError(f"epsilon must be positive numbers in raw input units, got {list(self.epsilon)}")
        domain = self.decisions.domain
        if domain is not None and not (-float("inf") < domain[0] < domain[1] < float("inf")):
            raise UsageError(f"the domain must be two finite numbers, the lower one first, got {domain}")
        return self
