"""Gradient, Hessian and third derivatives of the barrier against automatic differentiation."""

import pytest
import torch
from torch import Tensor

from netgain.gain.metric.derivatives import Model, factored, implied
from netgain.gain.metric.program import Block, Program, assembled
from netgain.gain.metric.region import region
from netgain.gain.metric.stack import stack
from netgain.gain.metric.start import closed_form
from netgain.network.fold import fold
from netgain.network.graph import Network
from tests.gain.networks import branches, mlp, normal, normalized, residual


def program_of(network: Network) -> tuple[Program, Tensor]:
    network = fold(network)
    one = stack(region(network, network.input, network.output))
    return one.program, closed_form(one)


def two_blocks() -> tuple[Program, Tensor]:
    """A complex batch with weights and ties and a real block that share variables; one variable needs its logarithm."""
    left = torch.complex(normal(0, 3, 4, 6), normal(1, 3, 4, 6))
    right = torch.complex(normal(2, 3, 4, 6), normal(3, 3, 4, 6))
    unit = torch.eye(4, dtype=torch.complex128).expand(3, 4, 4)
    ties = torch.tensor([1, 1, 2, 2, 3, 3])
    first = Block(
        constant=-0.1 * (left @ left.mH),
        left=torch.cat([unit, left], 2),
        right=torch.cat([unit, right], 2),
        ties=torch.cat([torch.zeros(4, dtype=torch.int64), ties]),
        weights=torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64),
    )
    second = Block(
        constant=torch.eye(3, dtype=torch.float64).unsqueeze(0),
        left=torch.eye(3, dtype=torch.float64).unsqueeze(0),
        right=torch.eye(3, dtype=torch.float64).unsqueeze(0),
        ties=torch.tensor([0, 2, 3]),
        weights=torch.ones(1, dtype=torch.float64),
    )
    names = (("rho", 0, 1), ("a", 1, 3), ("b", 3, 4))
    program = Program(blocks=(first, second), names=names, positive=torch.tensor([True, True, False, True]))
    return program, torch.tensor([40.0, 0.5, -0.3, 0.7], dtype=torch.float64)


def barrier(program: Program, x: Tensor) -> Tensor:
    logs = program.positive & ~implied(program)
    value = -x[logs].log().sum()
    for block in program.blocks:
        value = value - block.weights @ torch.linalg.slogdet(assembled(block, x)).logabsdet
    return value


CASES = {
    "chain": lambda: program_of(mlp(0, 3, 6, 5, 2)),
    "smooth": lambda: program_of(mlp(1, 3, 6, 5, 2, name="gelu")),
    "leaky": lambda: program_of(mlp(1, 3, 6, 5, 2, name="leaky_relu", negative_slope=0.3)),
    "residual": lambda: program_of(residual(2)),
    "branches": lambda: program_of(branches(3)),
    "gain": lambda: program_of(normalized(4)),
    "complex": two_blocks,
}


@pytest.mark.parametrize("name", CASES)
def test_against_automatic_differentiation(name: str) -> None:
    program, x = CASES[name]()
    x = x * torch.linspace(1.0, 1.05, x.numel(), dtype=torch.float64)
    model = Model(program)
    factors = model.factors(x)
    assert factors is not None
    found = model.derivatives(x, factors)
    gradient = torch.autograd.functional.jacobian(lambda z: barrier(program, z), x)
    hessian = torch.autograd.functional.hessian(lambda z: barrier(program, z), x)
    assert isinstance(gradient, Tensor)
    assert isinstance(hessian, Tensor)
    torch.testing.assert_close(-found.pull, gradient, rtol=1e-9, atol=1e-9 * float(gradient.abs().max()))
    torch.testing.assert_close(found.hessian, hessian, rtol=1e-9, atol=1e-9 * float(hessian.abs().max()))
    assert model.merit(x, factors, 2.0) == pytest.approx(float(barrier(program, x) + x[0] / 2), rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_curvature_is_the_derivative_of_the_hessian(name: str) -> None:
    program, x = CASES[name]()
    model = Model(program)
    direction = normal(9, x.numel()) * x * 0.01
    step = 1e-3

    def hessian(z: Tensor) -> Tensor:
        factors = model.factors(z)
        assert factors is not None
        return model.derivatives(z, factors).hessian

    factors = model.factors(x)
    assert factors is not None
    exact = model.curvature(x, model.derivatives(x, factors), direction)
    slope = -(hessian(x + step * direction) - hessian(x - step * direction)) @ direction / (2 * step)
    torch.testing.assert_close(exact, slope, rtol=1e-4, atol=1e-5 * float(slope.abs().max()))


def test_positive_variables_that_the_forms_imply() -> None:
    program, _ = two_blocks()
    assert implied(program).tolist() == [False, False, False, False]
    for network in (mlp(0, 3, 6, 5, 2), mlp(0, 3, 6, 5, 2, name="gelu"), residual(2)):
        assert bool(implied(program_of(network)[0]).all())
    steep = mlp(0, 3, 6, 5, 2, name="leaky_relu", negative_slope=0.5)  # the second layer could pay for the first
    known = implied(program_of(steep)[0])
    assert not bool(known[1:7].any())
    assert bool(known[7:].all())


def test_outside_the_domain_there_is_no_factor() -> None:
    program, x = program_of(mlp(0, 3, 6, 5, 2))
    assert Model(program).factors(torch.zeros_like(x)) is None
    assert Model(program).factors(x * torch.nan) is None


def test_solving_with_a_hessian_of_any_scales() -> None:
    scale = 10.0 ** torch.linspace(-120, 120, 8, dtype=torch.float64)
    base = torch.eye(8, dtype=torch.float64) + 0.1
    hessian = factored(base * scale * scale[:, None])
    assert hessian is not None
    right = normal(0, 8, 2) * scale[:, None]
    expected = torch.linalg.solve(base, right / scale[:, None]) / scale[:, None]
    torch.testing.assert_close(hessian.solve(right), expected, rtol=1e-13, atol=0.0)
    assert factored(-base) is None
