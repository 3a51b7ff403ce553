"""Chains: terms, moves, and the uncertainty of a product of uncertain maps."""

from fractions import Fraction

import pytest
import torch

from netgain.core.errors import ModelError
from netgain.linear.chain import Chain, ChainUncertainty
from netgain.linear.dense import Dense
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection

from .examples import distance_within, exact, examples, random, spread, true_matrix


def scalar(value, error=None):
    return Dense(torch.tensor([[value]]), (), None if error is None else torch.tensor([[error]]))


def test_uncertainty_of_two_numbers_is_the_known_value():
    chain = Chain((scalar(2.0, 0.5), scalar(-3.0, 0.25)))
    uncertainty = chain.uncertainty()
    assert isinstance(uncertainty, ChainUncertainty)
    # (3 + 1/4)(2 + 1/2) - 3 * 2, exactly representable: smaller would be wrong, larger wasteful.
    assert float(uncertainty.matrix()) == 2.125
    assert float(uncertainty.adjoint(torch.ones(1, 1, dtype=torch.float64))) == 2.125


def test_uncertainty_of_one_uncertain_map_is_a_plain_chain():
    uncertainty = Chain((scalar(2.0), scalar(-3.0, 0.25), scalar(-4.0))).uncertainty()
    assert isinstance(uncertainty, Chain)
    assert float(uncertainty.matrix()) == 2.0


def test_exact_chains_have_no_uncertainty():
    assert Chain((scalar(2.0), scalar(3.0))).uncertainty() is None


@pytest.mark.parametrize("seed", range(10))
def test_uncertainty_covers_any_true_maps(seed):
    first, second = Dense(random(3, 4, seed=seed), (), spread(3, 4)), Dense(random(2, 3), (), spread(2, 3, seed=seed))
    chain = Chain((first, second, Dense(random(3, 2), (), spread(3, 2))))
    truth = true_matrix(chain, seed)
    exact_error = [
        [abs(a - b) for a, b in zip(ra, rb, strict=True)] for ra, rb in zip(exact(chain.matrix()), truth, strict=True)
    ]
    allowed = exact(chain.uncertainty().matrix())
    slack = Fraction(1, 10**12)  # `matrix` and `apply` of the bound round; the proofs that use it add that
    assert all(e <= a + slack for es, rs in zip(exact_error, allowed, strict=True) for e, a in zip(es, rs, strict=True))


def test_terms_add_up_and_moves_are_free():
    chain = Chain((Reshape((2, 2), (4,)), Dense(random(3, 4)), Selection(torch.tensor([2, 0]), (3,), (2,))))
    assert chain.terms == 4
    assert not chain.moves
    assert Chain((Reshape((2, 2), (4,)), Selection(torch.tensor([2, 0]), (4,), (2,)))).moves


def test_separable_uncertainty_covers_true_matrices():
    separable = examples()["separable"]
    stages = Chain(tuple(separable.stages()))
    assert torch.equal(stages.matrix(), separable.matrix())
    plus = dataclass_with_errors(separable)
    assert bool(((plus - separable.matrix()).abs() <= separable.uncertainty().matrix() * (1 + 1e-12)).all())
    assert bool((plus - separable.matrix()).abs().max() >= separable.uncertainty().matrix().max() * 0.3)


def dataclass_with_errors(separable):
    """The Kronecker product of the magnitudes grown by their errors, with the signs of the stored matrices."""
    grown = [None if m is None else m + m.sign() * e for m, e in zip(separable.matrices, separable.errors, strict=True)]
    return type(separable)(tuple(grown), separable.in_shape).matrix()


def test_bad_chains():
    with pytest.raises(ModelError, match="at least one"):
        Chain(())
    with pytest.raises(ModelError, match=r"map 0 of a chain gives \(3,\), but map 1 takes \(2,\)"):
        Chain((Dense(random(3, 4)), Dense(random(3, 2))))


def test_the_reference_of_these_tests_notices_a_small_error():
    one = Dense(random(2, 2), (), spread(2, 2))
    small = Dense(one.weight, (), one.error * (1 - 1e-6))
    assert distance_within(one, true_matrix(one, 0))
    assert not distance_within(small, true_matrix(one, 0))
