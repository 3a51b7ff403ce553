"""The cascade: cheap methods decide most inputs, attacks say which need no more trying, dear methods see the rest."""

import dataclasses
import math
import time

import torch
from jaxtyping import Bool
from torch import Tensor

from netgain.certification.attacks.attack import AbstractAttack, survivors
from netgain.certification.attacks.ball import Ball
from netgain.certification.deciders.decider import Problem, at_once
from netgain.certification.standing import Clock, Standing
from netgain.certification.tiers import Tier
from netgain.core.errors import CertificateError, NoSoundRuleError
from netgain.core.progress import Progress, silent

_CHEAP, _DEAR, _SEARCH = 1e11, 1e11, 5e10  # multiplications of a tier, and of the search, where no time is given
_ROUNDS = 5  # of the search for larger radii
_CLOSE = 0.02  # relative width at which that search ends
_FIRST = 1e-3  # radius that it begins with where nothing is known


@dataclasses.dataclass
class _Limit:
    """What is left for one tier.

    Attributes:
        until: when it ends, by `time.monotonic`; None for no limit of time.
        work: multiplications; counts only without a limit of time.
    """

    until: float | None
    work: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Cascade:
    """Decides inputs: for each epsilon cheap tiers, then the attack, then dear tiers; then a search.

    A tier that fails on an input at one radius is not asked about larger ones. Inputs that an attack broke at an
    epsilon are not tried there again. In the time or work left each radius is bisected between what is proved and what
    failed. Without a time limit the work is fixed.

    Attributes:
        problem: the network and the inputs.
        tiers: cheap to dear.
        epsilon: radii of interest, in increasing order.
        attack: the other side; None for none.
        subset: on which inputs the attack is reported; there it is run on proved inputs too.
        progress: told what is tried, and how far it is.
    """

    problem: Problem
    tiers: tuple[Tier, ...]
    epsilon: tuple[float, ...]
    attack: AbstractAttack | None
    subset: Bool[Tensor, " samples"]
    progress: Progress = silent

    def __call__(self, standing: Standing, *, seconds: float | None = None) -> bool:
        """Improve what is known of all inputs.

        Args:
            standing: what is known; improved in place.
            seconds: for all of it, about; None for a fixed amount of work.

        Returns:
            Whether Ctrl-C ended it.

        Raises:
            CertificateError: if an attack broke what is proved: a defect of netgain.
        """
        until = None if seconds is None else time.monotonic() + seconds
        try:
            self._all(standing, until)
        except KeyboardInterrupt:
            return True
        return False

    def _all(self, standing: Standing, until: float | None) -> None:
        """All that is tried."""
        rows = torch.arange(len(self.problem.inputs))
        cheap = [tier for tier in self.tiers if not tier.dear]
        dear = [tier for tier in self.tiers if tier.dear]
        for tier in cheap:
            self._targets(standing, tier, rows, _Limit(_portion(until, len(self.tiers)), _CHEAP))
        self._attack(standing, rows)
        for place, tier in enumerate(dear):
            self._targets(standing, tier, rows, _Limit(_portion(until, len(dear) - place + 1), _DEAR))
        # Without a time limit one cheap tier searches; with one each has its turn while time is left.
        searching = list(self.tiers) if until is not None else cheap[-1:]
        for place, tier in enumerate(searching):
            self._search(standing, tier, rows, _Limit(_portion(until, len(searching) - place), _SEARCH))
        self._check(standing, rows)

    def _targets(self, standing: Standing, tier: Tier, rows: Tensor, limit: _Limit) -> None:
        """One tier on each input at the least epsilon that is open there, then at the next where it succeeds."""
        if not self.epsilon:
            return
        steps = torch.tensor(self.epsilon, dtype=torch.float64)
        open_ = rows
        for _ in self.epsilon:
            open_ = open_[standing.worth[open_]]
            place = torch.searchsorted(steps, standing.radii[open_], right=True)
            goal = torch.cat([steps, steps.new_tensor([math.inf])])[place]
            wanted = goal < standing.broken[open_]
            open_, goal = open_[wanted], goal[wanted]
            if len(open_) == 0:
                return
            open_ = open_[self._try(standing, tier, (open_, goal), limit)]

    def _search(self, standing: Standing, tier: Tier, rows: Tensor, limit: _Limit) -> None:
        """Bisection of each radius between what is proved and what is broken or failed."""
        rows = rows[standing.worth[rows]]
        high = standing.broken[rows].clone()
        least = min(self.epsilon, default=2 * _FIRST) / 2
        for _ in range(_ROUNDS):
            low = standing.radii[rows]
            goal = torch.where(high < math.inf, low + (high - low) / 2, torch.where(low > 0, 2 * low, least))
            wanted = (goal > low) & (goal < math.inf) & (high - low > _CLOSE * high.clamp_max(1e300))
            if not bool(wanted.any()):
                return
            chosen = wanted.nonzero()[:, 0]
            proved = self._try(standing, tier, (rows[chosen], goal[chosen]), limit)
            # What the limit left out counts as failed too; it would be left out again.
            high[chosen[~proved]] = goal[chosen[~proved]]

    def _try(
        self, standing: Standing, tier: Tier, asked: tuple[Tensor, Tensor], limit: _Limit
    ) -> Bool[Tensor, " rows"]:
        """One tier on some inputs, each at its radius; which were proved. A limit of work leaves out the last ones."""
        (rows, goal), one = asked, tier.work(self.problem)
        proved, work = torch.zeros(len(rows), dtype=torch.bool), standing.works[tier.name]
        order = torch.argsort((~self.subset[rows]).long(), stable=True)  # both sides are compared on the subset
        if limit.until is None:
            kept = min(len(order), int(limit.work / one))
            work.left_out.update(rows[order[kept:]].tolist())
            limit.work, order = limit.work - kept * one, order[:kept]
        if work.note or not len(order):
            return proved
        with Clock(work):
            through, what = 0, f"deciding inputs by {tier.name}"
            for chunk in order.split(at_once(self.problem)):
                self.progress(what, through, len(order))
                left = None if limit.until is None else limit.until - time.monotonic()
                if left is not None and left <= 0:
                    work.left_out.update(rows[chunk].tolist())
                    continue
                seconds = None if left is None else left * len(chunk) / (len(order) - through)
                try:
                    proved[chunk] = tier.decider(self.problem, rows[chunk], goal[chunk], seconds=seconds)
                except NoSoundRuleError as error:
                    work.note = error.detail
                    return proved
                through += len(chunk)
                work.tried.update(rows[chunk].tolist())
                found = chunk[proved[chunk]]
                standing.proved(tier.name, rows[found], goal[found])
            self.progress(what, len(order), len(order))
        return proved

    def _attack(self, standing: Standing, rows: Tensor) -> None:
        """The attack at each epsilon: on the subset, and on all inputs that dear tiers would be tried on."""
        if self.attack is None:
            return
        dear = any(tier.dear for tier in self.tiers)
        for epsilon in self.epsilon:
            open_ = dear & standing.worth[rows] & (standing.radii[rows] < epsilon)
            chosen = rows[(self.subset[rows] | open_) & (standing.broken[rows] > epsilon)]
            if len(chosen) == 0:
                continue
            ball = Ball(self.problem.norm, epsilon, self.problem.domain)
            inputs, labels = self.problem.inputs[chosen], standing.labels[chosen]
            alive = survivors(self.attack, self.problem.network, inputs, labels, ball, self.progress)
            standing.broke(chosen[~alive], epsilon)
        self._check(standing, rows)

    def _check(self, standing: Standing, rows: Tensor) -> None:
        """Refuse to go on where an attack broke what is proved.

        Raises:
            CertificateError: if so.
        """
        broken, radii = standing.broken[rows], standing.radii[rows]
        wrong = rows[standing.worth[rows] & (radii >= broken) & (broken < math.inf)]
        if len(wrong):
            row = int(wrong[0])
            raise CertificateError(
                f"at epsilon {float(standing.broken[row]):g} ({self.problem.norm}) an attack changed the decision of "
                f"sample {row}, proved to {float(standing.radii[row]):g} by {standing.names[standing.methods[row]]}"
            )


def _portion(until: float | None, parts: int) -> float | None:
    """The end of one of several equal parts of the time left."""
    if until is None:
        return None
    now = time.monotonic()
    return now + max(0.0, until - now) / parts
