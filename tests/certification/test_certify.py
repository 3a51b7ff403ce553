"""Radii: exact on linear classifiers, zero on ties, never beaten, and certified <= attacked."""

import inspect
import math
from fractions import Fraction

import pytest
import torch

import netgain
from netgain.activations.table import activation
from netgain.certification.attacks.attack import AbstractAttack, survivors
from netgain.certification.attacks.ball import Ball
from netgain.certification.attacks.pgd import PGD
from netgain.certification.certify import CertifyOptions, certify
from netgain.certification.pairs import pair_gains, with_pairs
from netgain.core.errors import (
    CertificateError,
    DataError,
    DataMismatchError,
    EmptyDataError,
    LabelError,
    UsageError,
)
from netgain.core.norms import Norm
from netgain.gain.lipschitz import analyse
from netgain.linear.dense import Dense
from netgain.network.graph import Affine, Elementwise
from tests.certification.networks import chain, linear, mlp, softmax

QUIET = CertifyOptions(attack=None)


def exact_radii(weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, norm: Norm) -> list[Fraction]:
    """Squared (l2) or plain distances to the decision boundary of a linear classifier, in rational arithmetic."""
    w = [[Fraction(float(v)) for v in row] for row in weight]
    b = [Fraction(float(v)) for v in bias]
    found = []
    for row in x:
        point = [Fraction(float(v)) for v in row]
        scores = [sum(a * v for a, v in zip(line, point, strict=True)) + c for line, c in zip(w, b, strict=True)]
        best = max(range(len(scores)), key=lambda k: scores[k])
        distances = []
        for other in range(len(scores)):
            if other == best:
                continue
            gap = scores[best] - scores[other]
            apart = [a - c for a, c in zip(w[best], w[other], strict=True)]
            if norm is Norm.L2:
                distances.append(gap * gap / sum(a * a for a in apart))
            elif norm is Norm.LINF:
                distances.append(gap / sum(abs(a) for a in apart))
            else:
                distances.append(gap / max(abs(a) for a in apart))
        found.append(min(distances))
    return found


@pytest.mark.parametrize("norm", list(Norm))
def test_linear_classifiers_get_their_exact_radius_and_never_more(norm: Norm):
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(4, 6, generator=generator)
    bias, x = torch.randn(4, generator=generator), torch.randn(20, 6, generator=generator)
    result = certify(chain((6,), linear(weight, bias)), x, torch.zeros(20, dtype=torch.long), norm=norm, options=QUIET)
    for radius, exact in zip(result.radii.tolist(), exact_radii(weight, bias, x, norm), strict=True):
        proved = Fraction(radius) ** (2 if norm is Norm.L2 else 1)
        assert proved <= exact, "a radius above the distance to the boundary is unsound"
        assert float(proved / exact) > 1 - 1e-11, "one part in a million more would be unsound"


def test_ties_have_radius_zero_and_are_never_certified():
    weight = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    x = torch.tensor([[1.0, 1.0], [3.0, -1.0]])
    result = certify(chain((2,), linear(weight)), x, torch.zeros(2, dtype=torch.long), epsilon=[1e-9], options=QUIET)
    assert result.radii.tolist() == [0.0, 0.0]
    assert bool(result.undecided.all())
    assert result.certified_accuracy[0].count == 0


def test_a_margin_below_the_evaluation_error_is_undecided():
    # 1e16 + 1 - 1e16: the float64 logit is off by one, the margin of 0.5 is not proved.
    weight = torch.tensor([[1e16, 1.0, -1e16], [0.0, 0.0, 0.0]])
    x = torch.tensor([[1.0, 0.5, 1.0]])
    result = certify(chain((3,), linear(weight)), x, torch.zeros(1, dtype=torch.long), options=QUIET)
    assert bool(result.undecided.all())
    assert result.radii.tolist() == [0.0]


def test_a_single_score_is_decided_at_zero():
    network = chain((2,), linear(torch.tensor([[3.0, 4.0]]), torch.tensor([-5.0])), Elementwise(activation("sigmoid")))
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    result = certify(network, x, torch.tensor([1, 1]), epsilon=[1.0], options=QUIET)
    assert result.cut == "sigmoid"
    assert result.predictions.tolist() == [1, 0]
    assert result.radii.tolist() == pytest.approx([4.0, 1.0], rel=1e-12)
    assert result.certified_accuracy[0].count == 1


def test_softmax_is_cut_and_changes_no_radius():
    network = mlp(5, 8, 4, seed=1)
    nodes = network.nodes
    soft = chain((5,), *(node.kind for node in nodes), softmax(4))  # type: ignore[arg-type]
    x, y = torch.randn(10, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(10, dtype=torch.long)
    plain = certify(network, x, y, options=QUIET)
    cut = certify(soft, x, y, options=QUIET)
    assert cut.cut.startswith("softmax")
    assert torch.equal(plain.radii, cut.radii)


@pytest.mark.parametrize("norm", list(Norm))
def test_pair_gains_bound_every_difference_and_beat_the_joint_gain(norm: Norm):
    network = mlp(6, 20, 15, 5, seed=2)
    analysis = with_pairs(analyse(network, norm))
    gains = pair_gains(analysis)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 6, dtype=torch.float64, generator=generator)
    step = 1e-3 * torch.randn(4000, 6, dtype=torch.float64, generator=generator)
    change = network(x + step) - network(x)
    apart = (change[:, :, None] - change[:, None, :]).abs() / norm.of(step)[:, None, None]
    assert bool((apart.amax(0) <= gains * (1 + 1e-9)).all())
    joint = {Norm.L1: 1.0, Norm.L2: math.sqrt(2), Norm.LINF: 2.0}[norm] * analysis.enclosure.upper.value
    assert bool((gains <= joint * (1 + 1e-12)).all())
    assert float(gains[0, 1]) < 0.99 * joint
    assert torch.allclose(gains, gains.T, rtol=1e-12)


@pytest.mark.parametrize("norm", list(Norm))
def test_no_attack_enters_a_certified_ball(norm: Norm):
    network = mlp(8, 16, 16, 3, seed=5)
    x = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    labels = network(x.double()).argmax(1)
    result = certify(network, x, labels, norm=norm, options=QUIET)
    assert float(result.radii.min()) > 0
    for row in range(0, 60, 12):
        ball = Ball(norm, float(result.radii[row]))
        alive = survivors(PGD(steps=30, starts=2), network, x[row : row + 1].double(), labels[row : row + 1], ball)
        assert bool(alive.all())


def test_attacks_find_the_boundary_of_a_linear_classifier():
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    network = chain((2,), linear(weight))
    x, labels = torch.tensor([[0.5, 0.0]], dtype=torch.float64), torch.tensor([0])
    for norm in Norm:
        attack = PGD(steps=20)
        assert bool(survivors(attack, network, x, labels, Ball(norm, 0.499)).all())
        assert not bool(survivors(attack, network, x, labels, Ball(norm, 0.51)).any())


def test_certified_attacked_and_clean_are_ordered():
    network = mlp(10, 32, 32, 4, seed=7)
    x = torch.rand(120, 10, generator=torch.Generator().manual_seed(2))
    labels = network(x.double()).argmax(1)
    labels[:20] = (labels[:20] + 1) % 4
    options = CertifyOptions(attack=PGD(steps=10), subset=60, seed=4)
    result = certify(network, x, labels, epsilon=[0.01, 0.05, 0.2], options=options)
    assert result.clean_accuracy.count == 100
    for certified, attacked in zip(result.certified_on_attacked, result.attacked_accuracy, strict=True):
        assert certified.samples == attacked.samples == 60
        assert certified.count <= attacked.count
    counts = [rate.count for rate in result.certified_accuracy]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 0


class Liar(AbstractAttack):
    """Returns points far outside of the ball."""

    def __str__(self) -> str:
        return "liar"

    def search(self, network, x, labels, ball, progress):  # type: ignore[no-untyped-def]
        return (x + 100.0).expand(3, *x.shape)


def test_an_attack_cannot_claim_what_lies_outside_the_ball():
    network = chain((1,), linear(torch.tensor([[1.0], [-1.0]])))
    x, labels = torch.tensor([[-5.0]], dtype=torch.float64), torch.tensor([1])
    assert bool(survivors(Liar(), network, x, labels, Ball(Norm.L2, 1.0)).all())
    assert not bool(survivors(Liar(), network, x, labels, Ball(Norm.L2, 6.0)).any())


def test_a_beaten_certificate_is_an_error_not_a_number(monkeypatch: pytest.MonkeyPatch):
    from netgain.certification import cascade as module

    monkeypatch.setattr(module, "survivors", lambda attack, network, x, *rest: torch.zeros(len(x), dtype=torch.bool))
    network = chain((2,), linear(torch.eye(2)))
    with pytest.raises(CertificateError, match="NG030"):
        certify(network, torch.tensor([[5.0, 0.0]]), torch.tensor([0]), epsilon=[0.1])


def test_constant_differences_have_a_huge_radius():
    network = chain((2,), linear(torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([1.0, 0.0])))
    result = certify(network, torch.tensor([[0.3, 0.4]]), torch.tensor([0]), options=QUIET)
    assert result.radii[0] > 1e12


@pytest.mark.parametrize(
    ("x", "y", "error"),
    [
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), EmptyDataError),
        (torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), DataMismatchError),
        (torch.zeros(2, 2), torch.zeros(3, dtype=torch.long), DataMismatchError),
        (torch.zeros(2, 2), torch.tensor([0, 2]), LabelError),
        (torch.zeros(2, 2), torch.tensor([0, -1]), LabelError),
    ],
)
def test_data_that_do_not_fit_are_refused(x: torch.Tensor, y: torch.Tensor, error: type[Exception]):
    with pytest.raises(error):
        certify(chain((2,), linear(torch.eye(2))), x, y, options=QUIET)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_epsilon_must_be_positive(epsilon: float):
    with pytest.raises(UsageError):
        certify(chain((2,), linear(torch.eye(2))), torch.ones(1, 2), torch.tensor([0]), epsilon=[epsilon])


def test_the_public_name_is_this_function():
    assert netgain.certify is certify


@pytest.mark.parametrize("norm", list(Norm))
def test_weights_that_overflow_give_radius_zero_not_infinity(norm: Norm):
    # h = relu(1e300 x), logits 1e10 h + 1 and 2e10 h: tied at x = 1e-310, and inf - inf in the gain of the difference.
    relu = Elementwise(activation("relu"))
    wide = linear(1e150 * torch.eye(2, dtype=torch.float64))
    last = linear(torch.tensor([[1e10, 0.0], [2e10, 0.0]]), torch.tensor([1.0, 0.0]))
    network = chain((2,), wide, relu, wide, relu, last)
    result = certify(network, torch.zeros(1, 2), torch.tensor([0]), norm=norm, options=QUIET)
    assert result.radii.tolist() == [0.0]
    assert bool((pair_gains(analyse(network, norm))[0, 1] == math.inf).all())


def test_a_second_sigmoid_and_the_softmax_of_one_score_stay():
    one, sigmoid, tanh = linear(torch.tensor([[1.0, 0.0]])), activation("sigmoid"), activation("tanh")
    x, y = torch.tensor([[-3.0, 0.0], [3.0, 0.0]]), torch.ones(2, dtype=torch.long)
    for kinds, cut in (
        ((Elementwise(sigmoid), Elementwise(sigmoid)), "sigmoid"),
        ((Elementwise(sigmoid), Elementwise(tanh)), "tanh"),
        ((softmax(1),), ""),
    ):
        result = certify(chain((2,), one, *kinds), x, y, options=QUIET)
        assert result.predictions.tolist() == [1, 1], "sigmoid(sigmoid(-3)) is above 1/2"
        assert result.cut == cut
    both = certify(chain((2,), one, Elementwise(tanh), Elementwise(sigmoid)), x, y, options=QUIET)
    assert both.predictions.tolist() == [0, 1]


def test_arrays_and_a_single_epsilon_are_taken():
    x, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    network = mlp(4, 5, 3)
    expected = certify(network, x, y, epsilon=[0.1], options=QUIET)
    found = certify(network, x.numpy(), y.numpy(), epsilon=0.1, options=QUIET)
    assert torch.equal(found.radii, expected.radii)
    assert found.certified_accuracy == expected.certified_accuracy
    assert repr(found).startswith("<Certification l2: 6 samples; clean ")
    assert "at 0.1" in repr(found)
    assert len(repr(found)) < 120
    assert netgain.audit(network, x.numpy(), y.numpy()).certification is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_inputs_that_are_not_finite_are_refused(bad: float):
    x, y = torch.rand(3, 4), torch.tensor([0, 1, 2])
    x[1, 2] = bad
    with pytest.raises(DataError, match="sample 1"):
        certify(mlp(4, 5, 3), x, y, options=QUIET)
    with pytest.raises(DataError, match="sample 1"):
        netgain.audit(mlp(4, 5, 3), x, y)


def test_arguments_of_the_wrong_kind_are_named():
    x, y = torch.rand(3, 4), torch.tensor([0, 1, 2])
    network = mlp(4, 5, 3)
    bare, bare_audit = inspect.unwrap(certify), inspect.unwrap(netgain.audit)  # as users have them, unchecked
    with pytest.raises(UsageError, match=r"netgain\.read"):
        bare(torch.nn.Linear(4, 3), x, y)
    with pytest.raises(UsageError, match=r"netgain\.read"):
        bare_audit(torch.nn.Linear(4, 3))
    with pytest.raises(UsageError, match="l3"):
        bare(network, x, y, norm="l3")
    with pytest.raises(UsageError, match="inputs must be a tensor or a NumPy array, got list"):
        bare(network, x.tolist(), y)
    with pytest.raises(LabelError, match="float32"):
        bare(network, x, y.float(), options=QUIET)


@pytest.mark.parametrize("single", [False, True])
def test_a_positive_computed_margin_within_the_error_is_undecided(single: bool):
    # 1e16 + 1.5 - 1e16 against 1.75: the computed margin is +-0.25, its sign a matter of the order of the sum.
    rows = [[1e16, 1.5, -1e16]] if single else [[1e16, 1.5, -1e16], [0.0, 1.75, 0.0]]
    bias = torch.tensor([-1.75] if single else [0.0, 0.0])
    network = chain((3,), linear(torch.tensor(rows, dtype=torch.float64), bias))
    result = certify(network, torch.ones(1, 3), torch.zeros(1, dtype=torch.long), options=QUIET)
    assert bool(result.undecided.all())
    assert result.radii.tolist() == [0.0]


def test_a_folded_last_layer_is_uncertain_in_both_rows_of_a_difference():
    weight, error = torch.tensor([[3.0, 0.0], [1.0, 0.0]]).double(), torch.tensor([[0.5, 0.0], [0.25, 0.0]]).double()
    network = chain((2,), Affine(Dense(weight, (), error)))
    gains = pair_gains(analyse(network, Norm.LINF))
    assert 2.75 <= gains[0, 1] < 2.75 + 1e-12
