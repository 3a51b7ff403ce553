"""The cascade: work is bounded in all, what was left out is said, Ctrl-C keeps what is proved."""

import dataclasses

import pytest
import torch

from netgain.certification.cascade import Cascade
from netgain.certification.deciders.decider import AbstractDecider
from netgain.certification.scores import Scored
from netgain.certification.standing import Standing
from netgain.certification.tiers import Tier
from tests.certification.test_deciders import problem, small
from tests.gain.networks import normal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counting(AbstractDecider):
    """Proves what it is asked, up to a number of calls, and counts the inputs."""

    name: str = "counting"
    asked: list[int] = dataclasses.field(default_factory=list)
    calls: int = 1000

    def __call__(self, problem, rows, radii, *, seconds=None):
        if len(self.asked) >= self.calls:
            raise KeyboardInterrupt
        self.asked.append(len(rows))
        return torch.ones(len(rows), dtype=torch.bool)


def cascade(decider: Counting, work: float, epsilon=(0.1, 0.2)):
    one = problem(small(0), normal(7, 40, 2))
    nothing = torch.zeros(40, dtype=torch.float64)
    standing = Standing(one.winners, Scored(one.winners, nothing + 1, nothing), [decider.name], 0.0)
    found = Cascade(
        problem=one,
        tiers=(Tier(decider=decider, work=lambda problem: work),),
        epsilon=epsilon,
        attack=None,
        subset=torch.zeros(40, dtype=torch.bool),
    )
    return found, standing


@pytest.mark.parametrize("work", [1e9, 3e10, 1e15])
def test_work_is_bounded_over_all_radii_together(work: float):
    decider = Counting()
    found, standing = cascade(decider, work)
    assert found(standing) is False
    assert sum(decider.asked) <= (1e11 + 5e10) / work
    info = standing.infos()[-1]
    assert ("left out" in info.note) == (info.tried < 40)
    assert info.tried == (0 if work == 1e15 else min(40, info.tried))
    assert int((standing.radii > 0).sum()) == info.inputs == info.tried


def test_an_interrupt_keeps_what_is_proved():
    found, standing = cascade(Counting(calls=1), 1e6)
    assert found(standing) is True
    assert bool((standing.radii == 0.1).all())


def test_no_time_is_no_work():
    decider = Counting()
    found, standing = cascade(decider, 1e6)
    assert found(standing, seconds=1e-9) is False
    assert decider.asked == []
    assert "left out" in standing.infos()[-1].note
