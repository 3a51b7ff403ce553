import pytest
import torch

from netgain.core.norms import Norm
from netgain.core.results import Side
from netgain.gain.lower import Ascent, difference_quotients, prove
from netgain.gain.search import Candidates
from netgain.network.fold import fold
from netgain.network.graph import Network, Sum
from tests.gain.networks import REFERENCE, act, case, chain, convolutional, linear, matrix_norm, mlp, node, normal

QUICK = Ascent(restarts=6, steps=60)


@pytest.mark.parametrize("norm", list(Norm))
def test_linear_networks_are_reached_and_never_exceeded(norm: Norm):
    weight = normal(0, 4, 5)
    exact = matrix_norm(weight, norm)
    bound = QUICK(chain((5,), linear(weight, normal(1, 4))), norm)
    assert bound.side is Side.LOWER
    assert exact * (1 - 1e-7) <= bound.value <= exact * (1 + 1e-15)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize(
    ("name", "slope"), [("relu", 1.0), ("tanh", 1.0), ("sigmoid", 0.25), ("gelu", 1.1289041451852)]
)
def test_one_neuron(norm: Norm, name: str, slope: float):
    network = chain((1,), linear(torch.tensor([[2.0]])), act(name), linear(torch.tensor([[-3.0]])))
    bound = Ascent(restarts=8, steps=200)(network, norm)
    assert 0.98 * 6 * slope <= bound.value <= 6 * slope * (1 + 1e-12)


def test_a_kink_that_the_function_does_not_have():
    # relu(x) - relu(-x) - x is zero; automatic differentiation at 0 says -1.
    nodes = (
        node("n", linear(torch.tensor([[-1.0]])), ("x",), (1,)),
        node("a", act("relu"), ("x",), (1,)),
        node("b", act("relu"), ("n",), (1,)),
        node("s", Sum((1.0, -1.0, -1.0)), ("a", "b", "x"), (1,)),
    )
    zero = Network("x", (1,), nodes, "s")
    x = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(zero(x).sum(), x)
    assert float(slope) != 0
    for norm in Norm:
        assert QUICK(zero, norm).value == 0.0
    at_kink = Candidates(torch.zeros(1, 1).double(), torch.ones(1, 1).double(), torch.ones(1).double())
    assert prove(zero, Norm.L2, at_kink) == 0.0


def test_power_iteration_trap():
    # The obvious start, all ones, is mapped to zero.
    weight = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    assert QUICK(chain((2,), linear(weight)), Norm.L2).value == pytest.approx(2, rel=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_difference_quotients_are_below_the_exact_ones(seed: int):
    weight = normal(seed, 3, 4)
    a, b = normal(seed + 1, 20, 4), normal(seed + 2, 20, 4)
    b[10:] = a[10:] + 1e-15 * b[10:]
    for norm in Norm:
        found = difference_quotients(chain((4,), linear(weight, normal(3, 3) * 1e6)), norm, a, b)
        assert bool((found >= 0).all())
        assert bool((found <= matrix_norm(weight, norm) * (1 + 1e-14)).all())


def test_equal_points_and_overflow_prove_nothing():
    network = chain((1,), linear(torch.tensor([[1e200]], dtype=torch.float64)))
    a = torch.tensor([[1.0], [1e300], [0.0]], dtype=torch.float64)
    b = torch.tensor([[1.0], [-1e300], [torch.inf]], dtype=torch.float64)
    assert difference_quotients(network, Norm.L2, a, b).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("path", ["eclipse_4-80-1.npz", "lipsdp_random_2-10-30-20-2.npz"])
@pytest.mark.parametrize("seed", [0, 1, 17])
def test_networks_whose_constant_is_known_are_reached(path: str, seed: int):
    exact = REFERENCE[path]["best_upper"]
    assert exact * (1 - 5e-7) <= Ascent()(fold(case(path)), Norm.L2, seed).value <= exact * (1 + 1e-9)


@pytest.mark.parametrize(
    ("path", "least"),
    [
        ("lipsdp_mnist_784-50-10.npz", 24.1214),
        ("lirpa_mnist_fc_784-128-64-10.pth", 29.792),
        pytest.param("lirpa_mnist_conv_kw.pth", 39.04, marks=pytest.mark.slow),
        pytest.param("lirpa_cifar_conv_2c2f.pth", 3.766, marks=pytest.mark.slow),
    ],
)
def test_public_networks_beyond_what_was_published(path: str, least: float):
    value = Ascent()(fold(case(path)), Norm.L2, 3).value
    assert least <= value <= REFERENCE[path]["best_upper"] * (1 + 1e-9)


def test_same_seed_same_result_and_data_as_starts():
    network = mlp(0, 3, 8, 2)
    first, second = QUICK(network, Norm.L2, 3).value, QUICK(network, Norm.L2, 3).value
    assert first == second
    assert QUICK(network, Norm.L2, starts=normal(0, 5, 3)).value > 0
    assert QUICK(network, Norm.L2, starts=torch.zeros(0, 3)).value > 0


@pytest.mark.parametrize("norm", list(Norm))
def test_a_hint_leads_to_a_place_that_chance_does_not_find(norm: Norm):
    # Slope 5 only beyond x0 = 500; random starts reach about 300, and one step goes nowhere.
    bias, last = torch.tensor([-500.0, 0.0]).double(), torch.tensor([[5.0, 1.0]])
    network = chain((2,), linear(torch.eye(2), bias), act("relu"), linear(last))
    blind = Ascent(restarts=16, steps=1, rounds=0)
    assert blind(network, norm).value <= 4.0
    assert blind(network, norm, hints=torch.tensor([[3.0, 0.0]])).value >= 5.0 * (1 - 1e-9)


def test_pooling_and_convolutions_are_searched():
    network = convolutional(0)
    for norm in Norm:
        assert QUICK(network, norm).value > 0


def test_time_limit_and_constant_networks():
    assert Ascent(seconds=0.01, restarts=2)(mlp(0, 3, 8, 2), Norm.L2).value >= 0
    constant = chain((2,), linear(torch.zeros(2, 2), normal(0, 2)))
    assert QUICK(constant, Norm.L2).value == 0.0
