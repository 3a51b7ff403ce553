"""What deciders prove, against exact radii and attacks from dense sampling."""

import pytest
import torch

from netgain.certification.deciders.decider import AbstractDecider, Problem, at_once
from netgain.certification.tiers import TIERS
from netgain.core.norms import Norm
from tests.gain.networks import act, chain, linear, normal

DECIDERS: list[AbstractDecider] = [TIERS[name].decider for name in TIERS]


def problem(network, inputs, norm=Norm.L2, domain=None, slack=0.0) -> Problem:
    scores = network(inputs).flatten(1)
    winners = scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0).long()
    return Problem(
        network=network,
        inputs=inputs,
        winners=winners,
        norm=norm,
        domain=domain,
        slack=torch.full((len(inputs),), slack, dtype=torch.float64),
    )


def small(seed: int, scores: int = 3, activation: str = "relu"):
    return chain(
        (2,),
        linear(normal(seed, 8, 2), normal(seed + 1, 8)),
        act(activation),
        linear(normal(seed + 2, scores, 8), normal(seed + 3, scores)),
    )


def test_margins_are_winner_minus_rival():
    one = problem(small(0), normal(5, 4, 2))
    rows = one.margins(torch.arange(4))
    scores = one.network(one.inputs)
    differences = (rows * scores.unsqueeze(1)).sum(2)
    assert rows.shape == (4, 2, 3)
    for index in range(4):
        winner = int(one.winners[index])
        expected = torch.stack([scores[index, winner] - scores[index, j] for j in range(3) if j != winner])
        assert torch.equal(differences[index], expected)


def test_single_score_has_one_margin_of_its_sign():
    one = problem(small(0, scores=1), normal(5, 6, 2))
    margins = (one.margins(torch.arange(6)) * one.network(one.inputs).unsqueeze(1)).sum(2)
    assert one.rivals == 1
    assert bool((margins > 0).all())
    assert at_once(one) > 1000


@pytest.mark.parametrize("decider", DECIDERS, ids=lambda one: one.name)
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("scores", [1, 3])
@pytest.mark.parametrize("domain", [None, (-1.0, 1.0)])
def test_proved_balls_hold_no_other_decision(decider, norm, scores, domain):
    inputs = normal(7, 40, 2).clamp(-1, 1)
    proved_any = False
    for seed in range(3):
        one = problem(small(10 * seed, scores), inputs, norm, domain)
        for radius in (0.001, 0.03, 0.3, 2.0):
            radii = torch.full((40,), radius, dtype=torch.float64)
            proved = decider(one, torch.arange(40), radii)
            proved_any |= bool(proved.any())
            steps = normal(3, 400, 2)
            steps = steps / norm.of(steps).unsqueeze(1) * torch.rand(400, 1, dtype=torch.float64).sqrt()
            points = inputs[:, None] + radius * steps
            if domain is not None:
                points = points.clamp(*domain)
            scores_there = one.network(points.reshape(-1, 2)).reshape(40, 400, -1)
            margins = (one.margins(torch.arange(40)).unsqueeze(1) * scores_there.unsqueeze(2)).sum(3)
            assert not bool((proved & (margins.amin((1, 2)) <= 0)).any())
    assert proved_any


@pytest.mark.parametrize("decider", DECIDERS, ids=lambda one: one.name)
def test_slack_is_exceeded_strictly(decider):
    network = chain((1,), linear(torch.tensor([[1.0], [-1.0]]), torch.zeros(2)))
    inputs = torch.ones(1, 1, dtype=torch.float64)
    rows, radius = torch.arange(1), torch.zeros(1, dtype=torch.float64)
    assert bool(decider(problem(network, inputs, slack=1.99), rows, radius).all())
    assert not bool(decider(problem(network, inputs, slack=2.0), rows, radius).any())


@pytest.mark.parametrize("decider", DECIDERS, ids=lambda one: one.name)
@pytest.mark.parametrize("norm", list(Norm))
def test_a_millionth_more_than_the_exact_radius_is_not_proved(decider, norm):
    weight = normal(1, 3, 4)
    network, inputs = chain((4,), linear(weight, normal(2, 3))), normal(3, 30, 4)
    one, rows = problem(network, inputs, norm), torch.arange(30)
    margins = one.margins(rows) @ weight
    apart = (one.margins(rows) * network(inputs).unsqueeze(1)).sum(2)
    exact = (apart / norm.dual.of(margins.flatten(0, 1)).reshape(apart.shape)).amin(1)
    assert bool(decider(one, rows, exact * (1 - 1e-6)).all())
    assert not bool(decider(one, rows, exact * (1 + 1e-6)).any())


def test_boxes_are_exact_for_a_single_score():
    weight = normal(1, 1, 4)
    network, inputs = chain((4,), linear(weight)), normal(3, 30, 4)
    one, rows = problem(network, inputs, Norm.LINF), torch.arange(30)
    exact = network(inputs)[:, 0].abs() / weight.abs().sum()
    decider = TIERS["one pass"].decider
    assert bool(decider(one, rows, exact * (1 - 1e-6)).all())
    assert not bool(decider(one, rows, exact * (1 + 1e-6)).any())
