"""The barrier method: known optima, the gap of its dual point, feasibility, ties and complex forms."""

import pytest
import torch
from torch import Tensor

from netgain.core.errors import UsageError
from netgain.gain.metric.barrier import Iterate, path, solve
from netgain.gain.metric.program import Block, Program, assembled, feasible
from netgain.gain.metric.region import region
from netgain.gain.metric.stack import Stack, stack
from netgain.gain.metric.start import closed_form
from netgain.network.fold import fold
from netgain.network.graph import Network
from tests.gain.networks import REFERENCE, case, mlp, normal

DENSE = (
    "eclipse_4-80-1.npz",
    "lipsdp_random_2-10-30-20-2.npz",
    "lipsdp_mnist_784-50-10.npz",
    "lirpa_mnist_fc_784-128-64-10.pth",
)


def stacked(network: Network) -> Stack:
    network = fold(network)
    return stack(region(network, network.input, network.output))


def norms(matrices: Tensor, weights: Tensor | None = None) -> Program:
    """Minimize rho with rho I - A_b^H A_b >= 0 for all b: rho = the largest squared norm."""
    batch, _, size = matrices.shape
    unit = torch.eye(size, dtype=matrices.dtype).expand(batch, size, size)
    block = Block(
        constant=-(matrices.mH @ matrices),
        left=unit,
        right=unit,
        ties=torch.zeros(size, dtype=torch.int64),
        weights=torch.ones(batch, dtype=torch.float64) if weights is None else weights,
    )
    return Program(blocks=(block,), names=(("rho", 0, 1),), positive=torch.ones(1, dtype=torch.bool))


@pytest.mark.parametrize("name", DENSE)
def test_reference_optima(name: str) -> None:
    one = stacked(case(name))
    solution = solve(one.program, closed_form(one), rtol=1e-8)
    assert solution.converged
    assert one.gain(solution.x) == pytest.approx(REFERENCE[name]["best_upper"], rel=1e-8)
    assert feasible(one.program, solution.x)


def test_largest_squared_norm_of_complex_matrices() -> None:
    matrices = torch.complex(normal(0, 5, 4, 3), normal(1, 5, 4, 3))
    exact = float(torch.linalg.matrix_norm(matrices, 2).max().square())
    for weights in (None, torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0], dtype=torch.float64)):
        solution = solve(norms(matrices, weights), torch.tensor([3 * exact], dtype=torch.float64), rtol=1e-10)
        assert solution.converged
        assert float(solution.x[0]) == pytest.approx(exact, rel=1e-10)
        assert float(solution.x[0]) * (1 - solution.gap) <= exact * (1 + 1e-13) <= float(solution.x[0]) * (1 + 1e-13)


@pytest.mark.parametrize("seed", range(4))
def test_every_iterate_is_feasible_and_the_dual_value_never_exceeds_the_optimum(seed: int) -> None:
    one = stacked(mlp(seed, 4, 9, 7, 3, name="leaky_relu", negative_slope=0.1 * seed))
    seen: list[Iterate] = []
    solution = solve(one.program, closed_form(one), rtol=1e-9, watch=seen.append)
    best = float(solution.x[0])
    assert solution.converged
    assert len(seen) == solution.steps
    for iterate in seen:
        assert feasible(one.program, iterate.x)
        assert iterate.lower <= best * (1 + 1e-12)
        assert best * (1 - 1e-9) <= iterate.value


def test_stopped_early_it_has_a_feasible_point() -> None:
    one = stacked(mlp(1, 4, 9, 7, 3))
    start = closed_form(one)
    solution = solve(one.program, start, seconds=1e-9)
    assert solution.steps == 1
    assert not solution.converged
    assert feasible(one.program, solution.x)
    assert float(solution.x[0]) <= float(start[0])


def test_infeasible_start_is_refused() -> None:
    one = stacked(mlp(1, 4, 9, 7, 3))
    with pytest.raises(UsageError, match="feasible"):
        next(path(one.program, torch.zeros_like(closed_form(one))))


def test_tied_variables() -> None:
    """Doubling a network beside itself and tying the copies leaves the optimum."""
    one = stacked(mlp(3, 4, 9, 3))
    block = one.program.blocks[0]
    free = solve(one.program, closed_form(one), rtol=1e-9)
    tied = Block(
        constant=torch.block_diag(block.constant[0], block.constant[0]).unsqueeze(0),
        left=torch.block_diag(block.left[0], block.left[0]).unsqueeze(0),
        right=torch.block_diag(block.right[0], block.right[0]).unsqueeze(0),
        ties=torch.cat([block.ties, block.ties]),
        weights=block.weights,
    )
    program = Program(blocks=(tied,), names=one.program.names, positive=one.program.positive)
    again = solve(program, closed_form(one), rtol=1e-9)
    assert float(again.x[0]) == pytest.approx(float(free.x[0]), rel=3e-9)
    assert bool((torch.linalg.eigvalsh(assembled(tied, again.x)) > 0).all())
