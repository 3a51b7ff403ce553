"""Differences of outputs with their own multipliers: tighter, proved, partial where time or work ends."""

import dataclasses

import pytest
import torch

from netgain.certification import pairs
from netgain.certification.certify import CertifyOptions, certify, certify_analysed
from netgain.certification.options import Decisions
from netgain.certification.pairs import pair_gains, with_pairs
from netgain.core.norms import Norm
from netgain.gain.lipschitz import Effort, analyse
from netgain.witness.check import check
from netgain.witness.prove import prove
from tests.certification.networks import chain, linear, mlp

QUIET = CertifyOptions(attack=None, decisions=Decisions(tiers=()))
NET = mlp(6, 20, 15, 5, seed=2)


def test_pairs_tighten_gains_and_radii_and_the_checker_proves_them():
    plain = analyse(NET)
    found = with_pairs(plain)
    assert {claim.target for claim in found.pairs} == {(i, j) for i in range(5) for j in range(i + 1, 5)}
    assert found.runs[-1].note == "10 of 10 differences of outputs"
    before, after = pair_gains(plain), pair_gains(found)
    assert bool((after <= before).all())
    assert bool((after[0, 1:] < 0.99 * before[0, 1:]).all())
    assert torch.equal(after, after.T)
    certificate = found.certificate()
    assert len(certificate.claims) == 11
    proved = check(certificate, NET)
    assert all(bound.value <= claim.bound for bound, claim in zip(proved, certificate.claims, strict=True))
    x = torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(20, dtype=torch.long)
    with_them = certify_analysed(found, x, labels, QUIET).radii
    without = certify_analysed(plain, x, labels, QUIET).radii
    assert bool((with_them >= without).all())
    assert float((with_them - without).max()) > 0


def test_a_pair_of_a_linear_network_is_exact_and_a_millionth_less_would_be_false():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 6, generator=generator)
    gains = pair_gains(with_pairs(analyse(chain((6,), linear(weight)))))
    exact = (weight.double()[:, None] - weight.double()[None]).norm(dim=2)
    assert bool((gains >= exact * (1 - 1e-14)).all())
    assert bool((gains <= exact * (1 + 1e-9)).all())


def test_pairs_that_decide_the_data_come_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pairs, "_WORK", 0.0)  # a single pair
    analysis = analyse(NET)
    x = torch.randn(1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).expand(9, 6)
    (claim,) = with_pairs(analysis, x).pairs
    scores = NET(x[:1])[0]
    winner = int(scores.argmax())
    ratio = (scores[winner] - scores) / pair_gains(analysis)[winner]
    ratio[winner] = torch.inf
    assert set(claim.target or ()) == {winner, int(ratio.argmin())}
    assert with_pairs(analysis, x).runs[-1].note == "1 of 10 differences of outputs"


def test_time_limits_and_what_has_no_pairs():
    analysis = analyse(NET)
    assert with_pairs(analysis, seconds=1e-9).runs[-1].name == "pairs"
    for other in (
        analyse(NET, Norm.LINF, effort=Effort(method="product")),
        analyse(mlp(6, 8, 1, seed=2)),
        dataclasses.replace(analysis, interrupted=True),
        dataclasses.replace(analysis, bounds=analysis.bounds[-1:]),
    ):
        assert with_pairs(other) is other


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
def test_entries_of_the_jacobian_bound_differences(norm: Norm):
    analysis = with_pairs(analyse(NET, norm))
    assert analysis.runs[-1].note == "10 of 10 differences of outputs"
    joint = {Norm.L1: 1.0, Norm.LINF: 2.0}[norm] * analysis.enclosure.upper.value
    for pair in analysis.pairs:
        assert pair.target is not None
        assert prove(analysis.network, pair.pieces, norm=norm, target=pair.target) <= pair.bound <= joint * (1 + 1e-9)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
def test_a_searched_pair_of_a_linear_network_is_exact_in_l1_and_linf(norm: Norm):
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    analysis = with_pairs(analyse(chain((6,), linear(weight)), norm, effort=Effort(method="centred product")))
    assert len(analysis.pairs) == 6
    for pair in analysis.pairs:
        assert pair.target is not None
        exact = float(norm.dual.of((weight[pair.target[0]].double() - weight[pair.target[1]].double()).unsqueeze(0)))
        assert exact * (1 - 1e-14) <= pair.bound <= exact * (1 + 1e-9)


def test_certify_uses_pairs_by_itself():
    x = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(8, dtype=torch.long)
    found = certify(NET, x, labels, options=QUIET)
    assert torch.allclose(found.radii, certify_analysed(with_pairs(analyse(NET), x), x, labels, QUIET).radii, rtol=1e-6)
