from fractions import Fraction
from itertools import pairwise

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netgain.activations.table import activation
from netgain.core.errors import DataMismatchError, DiscreteInputError, NoSoundRuleError, UsageError
from netgain.linear.dense import Dense
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Form, Network, Opaque, Sum, Vector
from netgain.propagate.evaluate import evaluate
from netgain.vectors.pool import MaxPool
from netgain.vectors.softmax import Softmax
from tests.gain.networks import chain, node, normal
from tests.propagate.exact import as_tensor, distance, outputs, rational

RELU = Elementwise(activation("relu"))


def mlp(seed: int, *sizes: int, spread: float = 0.0) -> Network:
    kinds: list[Affine | Elementwise] = []
    for i, (n, m) in enumerate(pairwise(sizes)):
        weight = normal(seed + 10 * i, m, n) * 10.0 ** (spread * normal(seed + 10 * i + 1, m, n))
        kinds += [Affine(Dense(weight), normal(seed + 10 * i + 2, m)), RELU]
    return chain((sizes[0],), *kinds[:-1])


@pytest.mark.parametrize("entrywise", [True, False])
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 3.0]))
def test_error_covers_the_exact_output(entrywise: bool, seed: int, spread: float):
    network = mlp(seed, 3, 6, 5, 2, spread=spread)
    x = normal(seed + 5, 4, 3) * 100
    found = evaluate(network, x, entrywise=entrywise)
    for row in range(4):
        off = distance(found.value[row], outputs(network, rational(x[row])))
        assert all(a <= b for a, b in zip(off, rational(found.error[row]), strict=True))
        assert sum(a * a for a in off) <= Fraction(float(found.error_l2[row])) ** 2
    assert torch.allclose(found.value, network(x))


def test_error_of_a_huge_cancellation_is_seen_and_small_for_plain_networks():
    big = 1e16
    cancel = chain(
        (1,),
        Affine(Dense(torch.tensor([[1.0], [1.0]])), torch.tensor([big, big], dtype=torch.float64)),
        RELU,
        Affine(Dense(torch.tensor([[1.0, -1.0]]))),
        Affine(Dense(torch.tensor([[1.0]])), torch.tensor([0.5], dtype=torch.float64)),
    )
    x = torch.tensor([[0.3]], dtype=torch.float64)
    found = evaluate(cancel, x)
    assert float(found.error) > 0.3
    assert distance(found.value[0], outputs(cancel, rational(x)))[0] <= Fraction(float(found.error))
    plain = evaluate(mlp(1, 8, 16, 4), normal(3, 2, 8))
    assert float(plain.error.max()) < 1e-12


def test_radius_is_attained_by_a_linear_map_with_a_corner_of_the_box():
    weight = normal(0, 4, 6)
    network = chain((6,), Affine(Dense(weight)))
    x, radius = normal(1, 1, 6), normal(2, 1, 6).abs()
    found = evaluate(network, x, radius)
    for k in range(4):
        corner = (
            rational(x)
            if k < 0
            else [
                a + b * (1 if float(w) > 0 else -1)
                for a, b, w in zip(rational(x), rational(radius), weight[k], strict=True)
            ]
        )
        off = distance(found.value[0], outputs(network, corner))[k]
        bound = Fraction(float(found.error[0, k]))
        assert off <= bound <= off * (1 + Fraction(1, 10**9))


@pytest.mark.parametrize("entrywise", [True, False])
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 3))
def test_radius_covers_points_of_the_box(entrywise: bool, seed: int, radius: float):
    network = mlp(seed, 3, 6, 5, 2)
    x = normal(seed + 5, 1, 3)
    found = evaluate(network, x, radius, entrywise=entrywise)
    for i in range(5):
        z = [a + Fraction(radius) * Fraction(float(t)) for a, t in zip(rational(x), normal(i, 3).sign(), strict=True)]
        off = distance(found.value[0], outputs(network, z))
        assert all(a <= b for a, b in zip(off, rational(found.error[0]), strict=True))


def test_l2_errors_do_not_explode_with_depth():
    weights = [torch.linalg.qr(normal(i, 32, 32)).Q for i in range(40)]
    kinds = [Affine(Dense(w)) for w in weights]
    network = chain((32,), *kinds)
    x = normal(99, 1, 32)
    gains = {one.name: 1.0 + 1e-12 for one in network.nodes}
    entrywise_only = evaluate(network, x)
    with_gains = evaluate(network, x, gains=gains)
    assert float(with_gains.error_l2) < 1e-9 < float(entrywise_only.error_l2)
    off = distance(with_gains.value[0], outputs(network, rational(x)))
    assert sum(a * a for a in off) <= Fraction(float(with_gains.error_l2)) ** 2


@pytest.mark.parametrize("entrywise", [True, False])
@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "softplus", "sigmoid", "elu", "erf"])
def test_activations_against_mpmath(entrywise: bool, name: str):
    mpmath.mp.prec = 200
    functions = {
        "tanh": mpmath.tanh,
        "gelu": lambda z: z * mpmath.ncdf(z),
        "silu": lambda z: z / (1 + mpmath.exp(-z)),
        "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
        "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
        "elu": lambda z: z if z > 0 else mpmath.expm1(z),
        "erf": mpmath.erf,
    }
    network = chain((3,), Affine(Dense(normal(0, 3, 3))), Elementwise(activation(name)), Affine(Dense(normal(1, 2, 3))))
    x = normal(2, 5, 3) * 3
    found = evaluate(network, x, entrywise=entrywise)
    first, last = network.nodes[0].kind, network.nodes[2].kind
    assert isinstance(first, Affine)
    assert isinstance(last, Affine)
    for row in range(5):
        z = mpmath.matrix(first.map.matrix().tolist()) * mpmath.matrix(x[row].tolist())
        z = z.apply(functions[name])
        z = mpmath.matrix(last.map.matrix().tolist()) * z
        for k in range(2):
            assert abs(z[k] - mpmath.mpf(float(found.value[row, k]))) <= mpmath.mpf(float(found.error[row, k]))
    assert float(found.error.max()) < 1e-7


@pytest.mark.parametrize("entrywise", [True, False])
def test_uncertain_weights_and_biases_are_covered(entrywise: bool):
    weight, error = normal(0, 2, 3), normal(1, 2, 3).abs() * 1e-3
    bias, bias_error = normal(2, 2), normal(3, 2).abs() * 1e-3
    network = chain((3,), Affine(Dense(weight, error=error), bias, bias_error))
    x = normal(4, 1, 3)
    found = evaluate(network, x, entrywise=entrywise)
    expected = error @ x[0].abs() + bias_error
    assert bool((found.error[0] >= expected).all())
    assert not entrywise or torch.allclose(found.error[0], expected, rtol=1e-9)


def test_sums_concatenations_products_and_vectors():
    nodes = (
        node("a", Affine(Dense(normal(0, 4, 4))), ("x",), (4,)),
        node("sum", Sum((1.0, -0.3)), ("x", "a"), (4,)),
        node("cat", Concat(0), ("sum", "a"), (8,)),
        node("soft", Vector(Softmax((8,), 0)), ("cat",), (8,)),
        node("product", Bilinear(Form.PRODUCT), ("soft", "cat"), (8,)),
        node("row", Affine(Reshape((8,), (2, 4))), ("product",), (2, 4)),
        node("column", Affine(Reshape((8,), (4, 2))), ("cat",), (4, 2)),
        node("matmul", Bilinear(Form.MATMUL), ("row", "column"), (2, 2)),
    )
    network = Network("x", (4,), nodes, "matmul")
    x = normal(1, 3, 4)
    small = evaluate(network, x)
    assert float(small.error.max()) < 1e-11
    wide = evaluate(network, x, 0.01)
    for i in range(20):
        z = x + 0.01 * normal(i, 3, 4).clamp(-1, 1)
        assert bool(((network(z) - wide.value).abs() <= wide.error).all())
        assert bool(((network(z) - wide.value).norm(dim=(1, 2)) <= wide.error_l2).all())


def test_max_pooling_is_exact_and_its_radius_attained():
    network = chain((1, 4), Vector(MaxPool((1, 4), (2,), (2,), (0,), (1,))))
    x = torch.tensor([[[1.0, 3.0, -1.0, 2.0]]], dtype=torch.float64)
    assert float(evaluate(network, x).error.max()) <= 1e-300
    assert torch.allclose(evaluate(network, x, 0.25).error, torch.tensor(0.25, dtype=torch.float64), rtol=1e-12)


def test_a_step_inside_the_box_is_bounded_by_its_range():
    network = chain((1,), Elementwise(activation("sign")))
    assert float(evaluate(network, torch.tensor([[0.1]]), 0.2).error) == pytest.approx(2.0)
    assert float(evaluate(network, torch.tensor([[0.1]]), 0.05).error) < 1e-12


@pytest.mark.parametrize("entrywise", [True, False])
def test_overflow_gives_an_infinite_error_not_nan(entrywise: bool):
    network = chain(
        (1,),
        Affine(Dense(torch.tensor([[1e200], [1.0]], dtype=torch.float64))),
        Affine(Dense(torch.tensor([[1e200, 0.0]], dtype=torch.float64))),
    )
    found = evaluate(network, torch.ones(1, 1, dtype=torch.float64), entrywise=entrywise)
    assert float(found.error) == torch.inf
    assert float(found.error_l2) == torch.inf


@pytest.mark.parametrize("entrywise", [True, False])
def test_subnormal_weights_keep_a_sound_error(entrywise: bool):
    network = chain((2,), Affine(Dense(torch.full((1, 2), 1e-310, dtype=torch.float64))))
    x = torch.full((1, 2), 1e-5, dtype=torch.float64)
    found = evaluate(network, x, entrywise=entrywise)
    assert distance(found.value[0], outputs(network, rational(x)))[0] <= Fraction(float(found.error))


def test_chunks_agree_with_one_pass(monkeypatch: pytest.MonkeyPatch):
    network, x = mlp(3, 4, 9, 2), normal(0, 50, 4)
    whole = evaluate(network, x)
    monkeypatch.setattr("netgain.propagate.evaluate._MEMORY", 8 * 6 * 18 * 7)
    parts = evaluate(network, x)
    assert torch.allclose(whole.value, parts.value, rtol=1e-12)
    assert torch.allclose(whole.error, parts.error, rtol=1e-9)


def test_float32_inputs_are_widened_exactly():
    network = chain((1,), Affine(Dense(torch.tensor([[1.0]]))))
    x = torch.tensor([[0.1]], dtype=torch.float32)
    assert float(evaluate(network, x).value) == float(x)


def test_the_identity_and_an_empty_batch():
    identity = Network("x", (2,), (), "x")
    assert as_tensor(rational(evaluate(identity, torch.ones(1, 2)).value)).tolist() == [1.0, 1.0]
    assert evaluate(mlp(0, 3, 4, 2), torch.zeros(0, 3)).value.shape == (0, 2)


def test_bad_input():
    network = mlp(0, 3, 4, 2)
    with pytest.raises(DataMismatchError, match=r"\(4,\).*\(3,\)"):
        evaluate(network, torch.zeros(1, 4))
    with pytest.raises(UsageError, match="non-negative"):
        evaluate(network, torch.zeros(1, 3), -1.0)
    odd = chain((3,), Affine(Dense(normal(0, 3, 3))))
    opaque = node("o", Opaque(lambda x: x, "NG010", "nobody knows it"), ("n0",), (3,))
    with pytest.raises(NoSoundRuleError, match="nobody knows it"):
        evaluate(Network("x", (3,), (*odd.nodes, opaque), "o"), torch.zeros(1, 3))
    token = node("o", Opaque(lambda x: x, "NG013", "tokens"), ("n0",), (3,))
    with pytest.raises(NoSoundRuleError) as caught:
        evaluate(Network("x", (3,), (*odd.nodes, token), "o"), torch.zeros(1, 3))
    assert caught.value.code == DiscreteInputError.code


@pytest.mark.parametrize("entrywise", [True, False])
@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.1, 0.7), (1.0, -1.0, 1.0)])
def test_rounding_of_a_sum_is_covered(entrywise: bool, scales: tuple[float, ...]):
    """The inputs are exact, so that the rounding of products and sums is all the error there is."""
    nodes = (
        node("a", Affine(Reshape((64,), (64,))), ("x",), (64,)),
        node("b", Affine(Selection(torch.arange(64).flip(0), (64,), (64,))), ("x",), (64,)),
        node("sum", Sum(scales), ("a", "b", "x")[: len(scales)], (64,)),
    )
    x = normal(3, 64) * 10.0 ** normal(4, 64)
    found = evaluate(Network("x", (64,), nodes, "sum"), x.unsqueeze(0))
    rows = zip(x.tolist(), x.flip(0).tolist(), x.tolist(), strict=True)
    for value, error, row in zip(found.value[0].tolist(), found.error[0].tolist(), rows, strict=True):
        exact = sum(Fraction(scale) * Fraction(entry) for scale, entry in zip(scales, row, strict=False))
        assert abs(Fraction(value) - exact) <= Fraction(error)
