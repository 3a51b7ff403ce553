"""Balls within a domain: the nearest point is found, and what is kept lies inside in exact arithmetic."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netgain.certification.attacks.ball import Ball, inside
from netgain.core.norms import Norm
from netgain.core.rounding import norm_lower


def lies_inside(moved: torch.Tensor, x: torch.Tensor, norm: Norm, epsilon: float) -> bool:
    """Whether each row is within epsilon of its centre, in rational arithmetic."""
    limit = Fraction(epsilon)
    for one, other in zip(moved, x, strict=True):
        pairs = zip(one.flatten().tolist(), other.flatten().tolist(), strict=True)
        apart = [abs(Fraction(a) - Fraction(b)) for a, b in pairs]
        size = {Norm.L1: sum(apart) <= limit, Norm.LINF: max(apart) <= limit}
        if not size.get(norm, sum(a * a for a in apart) <= limit * limit):
            return False
    return True


@pytest.mark.parametrize("norm", list(Norm))
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    epsilon=st.floats(1e-6, 10.0),
    scale=st.floats(1e-3, 1e3),
    domain=st.sampled_from([None, (0.0, 1.0), (-0.1, 1.5)]),
)
def test_nothing_ends_outside_the_ball_or_the_domain(
    norm: Norm, seed: int, epsilon: float, scale: float, domain: tuple[float, float] | None
):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(5, 2, 3, dtype=torch.float64, generator=generator)
    x[0].clamp_(0.3, 0.4).round_()
    candidate = x + scale * torch.randn(5, 2, 3, dtype=torch.float64, generator=generator)
    moved = inside(x, candidate, Ball(norm, epsilon, domain))
    assert lies_inside(moved, x, norm, epsilon)
    if domain is not None:
        assert bool(((moved >= domain[0]) & (moved <= domain[1])).all())


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("domain", [None, (0.0, 1.0)])
def test_the_projection_is_the_nearest_point(norm: Norm, domain: tuple[float, float] | None):
    """Optimality: (v - p) . (z - p) <= 0 for every z of the set; for linf the nearest point entry by entry."""
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(40, 9, dtype=torch.float64, generator=generator)
    epsilon = 2.0 * torch.rand(40, dtype=torch.float64, generator=generator)
    ball = Ball(norm, epsilon, domain)
    v = 1.5 * torch.randn(40, 9, dtype=torch.float64, generator=generator)
    nearest = ball.project(v, x)
    for _ in range(50):
        other = ball.project(2.0 * torch.randn(40, 9, dtype=torch.float64, generator=generator), x)
        assert float(((v - nearest) * (other - nearest)).sum(1).max()) <= 1e-12
    # Where something is cut off, the ball or the domain is reached.
    left = norm.of(nearest) < epsilon * (1 - 1e-12)
    low, high = (-torch.inf, torch.inf) if domain is None else domain
    within = torch.minimum(torch.maximum(x + v, torch.tensor(low)), torch.tensor(high)) - x
    torch.testing.assert_close(nearest[left], within[left], rtol=0, atol=1e-12)


def test_each_row_has_its_own_radius():
    x = torch.zeros(3, 2, dtype=torch.float64)
    ball = Ball(Norm.L2, torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64))
    moved = inside(x, torch.tensor([[3.0, 4.0]] * 3, dtype=torch.float64), ball)
    torch.testing.assert_close(moved.norm(dim=1), torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64))
    assert float(ball.rows(torch.tensor([2])).widths(x[:1])) == 5.0


def test_projection_onto_the_l1_ball_is_the_nearest_point():
    ball, zero = Ball(Norm.L1, 1.0), torch.zeros(1, 2)
    torch.testing.assert_close(ball.project(torch.tensor([[3.0, 0.0]]), zero), torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(ball.project(torch.tensor([[1.0, 1.0]]), zero), torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(ball.project(torch.tensor([[0.2, -0.3]]), zero), torch.tensor([[0.2, -0.3]]))


def test_candidates_on_the_boundary_stay_there():
    x = torch.zeros(1, 4, dtype=torch.float64)
    candidate = torch.tensor([[3.0, 4.0, 0.0, 0.0]], dtype=torch.float64)
    moved = inside(x, candidate, Ball(Norm.L2, 1.0))
    assert float(norm_lower(moved, Norm.L2)) > 1 - 1e-8
