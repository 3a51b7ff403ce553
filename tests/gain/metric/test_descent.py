import torch
from torch import Tensor

from netgain.gain.metric.descent import Descent, Point
from tests.gain.networks import normal


def test_batch_of_quadratics_and_a_wall():
    # Three problems of different conditioning; the last is infinite beyond x_0 = 1.
    scales = torch.tensor([[1.0, 2.0, 3.0], [1.0, 50.0, 400.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    goals = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.1], [0.9, 0.0, 0.0]], dtype=torch.float64)

    def evaluate(x: Tensor) -> Point:
        value = (scales * (x - goals).square()).sum(1) / 2
        value = torch.where((x[:, 0] > 1.0) & (torch.arange(3) == 2), torch.inf, value)
        return Point(x, value, scales * (x - goals), torch.ones_like(x))

    descent = Descent(evaluate(normal(0, 3, 3).clamp(-1, 1)), memory=10)
    values = [descent.point.value]
    for _ in range(80):
        descent.step(evaluate)
        values.append(descent.point.value)
        assert bool((values[-1] <= values[-2]).all())
    torch.testing.assert_close(descent.point.x, goals, rtol=0, atol=1e-6)
