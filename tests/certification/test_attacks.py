"""Attacks: projection is exact, success is re-checked, nothing outside the ball counts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netgain.certification.attacks.attack import Ball, inside
from netgain.core.norms import Norm
from netgain.core.rounding import norm_lower


@pytest.mark.parametrize("norm", list(Norm))
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), epsilon=st.floats(1e-6, 10.0), scale=st.floats(1e-3, 1e3))
def test_nothing_ends_outside_the_ball(norm: Norm, seed: int, epsilon: float, scale: float):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(5, 2, 3, dtype=torch.float64, generator=generator)
    candidate = x + scale * torch.randn(5, 2, 3, dtype=torch.float64, generator=generator)
    ball = Ball(norm, epsilon)
    moved = inside(x, candidate, ball)
    # Distances in exact rational arithmetic.
    from fractions import Fraction

    for one, other in zip(moved, x, strict=True):
        apart = [
            abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(one.flatten(), other.flatten(), strict=True)
        ]
        limit = Fraction(epsilon)
        size = {Norm.L1: sum(apart) <= limit, Norm.LINF: max(apart) <= limit}
        assert size.get(norm, sum(a * a for a in apart) <= limit * limit)


def test_projection_onto_the_l1_ball_is_the_nearest_point():
    ball = Ball(Norm.L1, 1.0)
    torch.testing.assert_close(ball.project(torch.tensor([[3.0, 0.0]])), torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(ball.project(torch.tensor([[1.0, 1.0]])), torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(ball.project(torch.tensor([[0.2, -0.3]])), torch.tensor([[0.2, -0.3]]))


def test_candidates_on_the_boundary_stay_there():
    x = torch.zeros(1, 4, dtype=torch.float64)
    candidate = torch.tensor([[3.0, 4.0, 0.0, 0.0]], dtype=torch.float64)
    moved = inside(x, candidate, Ball(Norm.L2, 1.0))
    assert float(norm_lower(moved, Norm.L2)) > 1 - 1e-8
