"""Proofs of claims: known constants, random networks with feasible multipliers, conditions that fail."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from netgain.activations.table import activation
from netgain.core.errors import RefusedCertificateError
from netgain.core.norms import Norm
from netgain.linear.dense import Dense
from netgain.linear.reshape import Reshape
from netgain.network.fold import fold
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Form, Kind, Network, Sum, Vector
from netgain.vectors.extrema import GroupSort, Sort
from netgain.vectors.softmax import Softmax
from netgain.witness.certificate import Claim, Piece, Proof
from netgain.witness.exact import proved_exactly
from netgain.witness.prove import prove
from tests.gain.networks import (
    act,
    averaging,
    branches,
    chain,
    convolutional,
    linear,
    matrix_norm,
    mlp,
    node,
    normal,
    normalized,
    residual,
    sampled,
)
from tests.witness.networks import feasible


def dense(stop: str, **multipliers: float | list[float]) -> Piece:
    given = {key: torch.tensor(value, dtype=torch.float64).reshape(-1) for key, value in multipliers.items()}
    return Piece(start="x", stop=stop, proof=Proof.DENSE, multipliers=given)


def whole(network: Network, proof: Proof) -> list[Piece]:
    return [Piece(start=network.input, stop=network.output, proof=proof)]


def number(value: float) -> Tensor:
    return torch.full((1, 1), value, dtype=torch.float64)


def nonlinear(seed: int) -> Kind:
    """An activation or a vector function on six entries."""
    names = ["relu", "tanh", "silu", "leaky_relu", "abs", "softplus"]
    kinds: list[Kind] = [act(name) for name in names]
    slopes = torch.linspace(-0.8, 1.5, 6, dtype=torch.float64)
    kinds += [Elementwise(activation("prelu", weight=slopes)), act("leaky_relu", negative_slope=-0.5)]
    kinds += [
        Vector(Softmax((6,), 0)),
        Vector(GroupSort((6,), 0, 2)),
        Vector(GroupSort((6,), 0, 3)),
        Vector(Sort((6,), 0)),
    ]
    return kinds[seed % len(kinds)]


def zoo(seed: int) -> Network:
    """A random graph: two nonlinear stages, a skip past both, a concatenation."""
    return Network(
        "x",
        (4,),
        (
            node("a", linear(normal(seed, 6, 4), normal(seed + 1, 6)), ("x",), (6,)),
            node("b", nonlinear(seed), ("a",), (6,)),
            node("c", linear(normal(seed + 2, 6, 6) / 2), ("b",), (6,)),
            node("d", Sum((1.0, -0.7)), ("c", "a"), (6,)),
            node("e", nonlinear(3 * seed + 1), ("d",), (6,)),
            node("f", Concat(0), ("e", "x", "b"), (16,)),
            node("g", linear(normal(seed + 3, 3, 16) / 2), ("f",), (3,)),
        ),
        "g",
    )


def test_one_matrix():
    weight = normal(0, 5, 7)
    norm = float(torch.linalg.matrix_norm(weight, 2))
    for net in (
        chain((7,), linear(weight)),
        chain((5,), linear(weight.T.contiguous())),
        chain((1,), linear(normal(2, 5, 1))),
    ):
        expected = norm if net.input_shape != (1,) else float(torch.linalg.vector_norm(normal(2, 5, 1)))
        value = prove(net, [dense("n0")])
        assert expected * (1 - 1e-15) <= value <= expected * (1 + 1e-12)


def test_one_relu_is_exact():
    net = chain((1,), linear(number(3.0)), act("relu"), linear(number(2.0)))
    assert 6.0 <= prove(net, [dense("n2", n1=8.0)]) <= 6.0 * (1 + 1e-13)


def test_closed_form_of_a_shallow_net():
    """T = 2 lambda_max(Q) gives lambda_max(Q) / 4 (I - Q / T)^-1 scaled: for Q = q I exactly sqrt(q) ||W||."""
    weight = normal(0, 4, 6)
    net = chain((6,), linear(weight), act("relu"), linear(3.0 * torch.eye(4, dtype=torch.float64)))
    expected = 3.0 * float(torch.linalg.matrix_norm(weight, 2))
    assert expected <= prove(net, [dense("n2", n1=18.0)]) <= expected * (1 + 1e-12)


@pytest.mark.parametrize("slope", [-1.0, -0.25, 0.5])
def test_slopes_of_either_sign(slope):
    """T = Q (1 + c / r) is optimal for one unit with slopes in [slope, 1]: nothing is lost."""
    net = chain((1,), linear(number(3.0)), act("leaky_relu", negative_slope=slope), linear(number(2.0)))
    t = 4.0 * (1.0 + (1.0 + slope) / (1.0 - slope)) * (1.0 + 1e-9)
    assert 6.0 <= prove(net, [dense("n2", n1=t)]) <= 6.0 * (1 + 1e-8)


def test_a_residual_sum_is_not_one_plus_the_product():
    """x - relu(x) / 1 has slopes 0 and 1: the form over live variables sees it."""
    net = Network("x", (1,), (node("r", act("relu"), ("x",), (1,)), node("s", Sum((1.0, -1.0)), ("x", "r"), (1,))), "s")
    value = prove(net, [dense("s", r=2.0)])
    assert 1.0 <= value <= 1.0 + 1e-12


@pytest.mark.parametrize("seed", range(24))
def test_proved_is_sandwiched(seed):
    for net in (zoo(seed), *([mlp(seed, 4, 6, 5, 3), residual(seed), branches(seed)] if seed < 6 else [])):
        piece = feasible(net, seed, sort=seed % 2 == 0)
        value = prove(net, [piece])
        assert value >= sampled(net, Norm.L2)
        assert proved_exactly(net, Claim(bound=value, pieces=(piece,)))
        assert not proved_exactly(net, Claim(bound=value * (1 - 1e-9), pieces=(piece,)))


@pytest.mark.parametrize("seed", range(4))
def test_pieces_multiply_in_their_metrics(seed):
    net = mlp(seed, 4, 6, 5, 3)
    metric = 10.0 ** normal(seed, 5)
    multipliers = {"n1": 1e6 * feasible(net, seed).multipliers["n1"], "n3": 3.0 * metric}
    first = Piece(start="x", stop="n3", proof=Proof.DENSE, multipliers=multipliers)
    second = Piece(start="n3", stop="n4", proof=Proof.DENSE, metric=metric)
    value = prove(net, [first, second])
    assert value >= sampled(net, Norm.L2)
    assert proved_exactly(net, Claim(bound=value * (1 + 2.0**-33), pieces=(first, second)))
    assert not proved_exactly(net, Claim(bound=value * (1 - 1e-9), pieces=(first, second)))
    third = dataclasses.replace(second, proof=Proof.PRODUCT)
    assert prove(net, [first, third]) >= value * (1 - 1e-11)


@pytest.mark.parametrize("seed", range(4))
def test_targets_are_single_outputs_and_differences(seed):
    net = zoo(seed)
    piece = feasible(net, seed)
    every = prove(net, [piece])
    for target in ((0, 1), (2, -1)):
        aimed = chain(
            (3,), linear(torch.tensor([[1.0, -1.0, 0.0]] if target == (0, 1) else [[0.0, 0.0, 1.0]]).double())
        )
        joined = Network("x", (4,), (*net.nodes, node("h", aimed.nodes[0].kind, ("g",), (1,))), "h")
        for proof in (Proof.DENSE, Proof.PRODUCT):
            one = piece if proof is Proof.DENSE else whole(net, proof)[0]
            big = {k: 2.0 * v for k, v in one.multipliers.items()}
            value = prove(net, [dataclasses.replace(one, multipliers=big)], target=target)
            assert value >= sampled(joined, Norm.L2)
        assert prove(net, [piece], target=(2, -1)) <= every
    for bad in ((3, 0), (0, 0), (-1, 0), (0, -2), (0, 3)):
        with pytest.raises(RefusedCertificateError, match="target"):
            prove(net, [piece], target=bad)


def test_a_target_behind_an_activation():
    net = chain((2,), linear(torch.eye(2, dtype=torch.float64)), act("relu"))
    value = prove(net, [dense("n1", n1=4.0)], target=(0, 1))
    assert math.sqrt(2) <= value < 2.0
    assert prove(net, whole(net, Proof.PRODUCT), norm=Norm.LINF, target=(0, 1)) == pytest.approx(2.0)
    assert prove(net, whole(net, Proof.ENTRYWISE), norm=Norm.L1, target=(0, 1)) == pytest.approx(1.0)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("seed", range(3))
def test_products_and_entries_in_every_norm(seed, norm):
    for net in (
        mlp(seed, 3, 5, 4, 2, name="tanh"),
        residual(seed),
        branches(seed),
        convolutional(seed),
        averaging(seed),
        normalized(seed),
    ):
        folded = fold(net)
        lower = sampled(net, norm, 20)
        assert prove(folded, whole(folded, Proof.PRODUCT), norm=norm) >= lower
        if not any(isinstance(one.kind, Vector) for one in net.nodes):
            assert prove(folded, whole(folded, Proof.ENTRYWISE), norm=norm) >= lower


def test_entries_of_a_linear_network_are_exact():
    first, second = normal(0, 4, 3), normal(1, 2, 4)
    net = chain((3,), linear(first), act("identity"), linear(second))
    for norm in Norm:
        expected = matrix_norm(second @ first, norm)
        value = prove(net, whole(net, Proof.ENTRYWISE), norm=norm)
        assert expected * (1 - 1e-15) <= value <= expected * (1 + 1e-9)


def test_entries_with_slopes_by_hand():
    """relu between [[1, 1]] and [[2], [-3]]: entries 1 +- 1 and -1.5 +- 1.5, so at most 3 in magnitude."""
    net = chain((2,), linear(torch.ones(1, 2).double()), act("relu"), linear(torch.tensor([[2.0], [-3.0]]).double()))
    assert prove(net, whole(net, Proof.ENTRYWISE), norm=Norm.LINF) == pytest.approx(6.0, rel=1e-14)
    assert prove(net, whole(net, Proof.ENTRYWISE), norm=Norm.L1) == pytest.approx(5.0, rel=1e-14)


def test_many_inputs_and_uncertain_weights():
    weight = normal(0, 3, 12)
    plain = chain((12,), linear(weight), act("relu"), linear(normal(1, 2, 3)))
    wide = Affine(Dense(weight, (), weight.abs() * 1e-3))
    unsure = dataclasses.replace(plain, nodes=(dataclasses.replace(plain.nodes[0], kind=wide), *plain.nodes[1:]))
    piece = feasible(plain)
    value, more = prove(plain, [piece]), prove(unsure, [piece])
    shaken = chain((12,), linear(weight * (1 + 0.999e-3 * torch.sign(weight))), *[n.kind for n in plain.nodes[1:]])
    assert value * (1 - 1e-11) <= prove(chain((12,), linear(weight), *[n.kind for n in plain.nodes[1:]]), [piece])
    assert more >= prove(shaken, [piece])
    with pytest.raises(RefusedCertificateError, match="not stored exactly"):
        proved_exactly(unsure, Claim(bound=more, pieces=(piece,)))


@pytest.mark.parametrize("scale", [1e-2, 1e2])
def test_deep_contractive_and_expanding_chains(scale):
    size, depth = 3, 64
    kinds: list[Kind] = []
    for i in range(depth):
        kinds += [linear(scale * torch.linalg.qr(normal(i, size, size)).Q.contiguous()), act("relu")]
    net = chain((size,), *kinds[:-1])
    # Q = q I behind each activation: T = 2 q is optimal and the bound is the product of the norms.
    pieces = {f"n{2 * i + 1}": 2.0 * scale ** (2 * (depth - 1 - i)) for i in range(depth - 1)}
    value = prove(net, [dense(net.output, **pieces)])
    assert math.log10(value) == pytest.approx(depth * math.log10(scale), abs=1e-12)


def test_inflation_is_small():
    for sizes in ((6, *(16,) * 64, 3), (20, 96, 96, 96, 5)):
        net = mlp(0, *sizes)
        q, t = torch.eye(sizes[-1], dtype=torch.float64), {}
        for one in reversed(net.nodes):
            if isinstance(one.kind, Affine):
                q = one.kind.map.matrix().T @ q @ one.kind.map.matrix()
            else:
                t[one.name] = 2.0 * float(torch.linalg.eigvalsh(q)[-1])
                inner = t[one.name] * torch.eye(len(q), dtype=torch.float64)
                q = (q + q @ torch.linalg.solve(inner - q, q) + inner) / 4
        plain = math.sqrt(float(torch.linalg.eigvalsh(q)[-1]))
        assert plain * (1 - 1e-12) <= prove(net, [dense(net.output, **t)]) <= plain * (1 + 1e-10)


def test_refusals_name_the_operation():
    net = chain((1,), linear(number(3.0)), act("relu"), linear(number(2.0)))
    with pytest.raises(RefusedCertificateError, match=r"test\.elementwise in net\.n1 \(net\.py:12\).*exceed"):
        prove(net, [dense("n2", n1=4.0)])
    with pytest.raises(RefusedCertificateError, match="no multiplier"):
        prove(net, [dense("n2")])
    steep = chain((1,), linear(number(3.0)), act("exp"))
    with pytest.raises(RefusedCertificateError, match=r"net\.n1.*slope"):
        prove(steep, [dense("n1", n1=4.0)])
    product = Network("x", (2,), (node("p", Bilinear(Form.PRODUCT), ("x", "x"), (2,)),), "p")
    for proof in (Proof.DENSE, Proof.PRODUCT, Proof.ENTRYWISE):
        with pytest.raises(RefusedCertificateError, match=r"net\.p"):
            prove(product, whole(product, proof))


def test_too_large_forms_are_refused_by_name():
    net = chain((7000,), Affine(Reshape((7000,), (7000, 1))), act("relu"))
    with pytest.raises(RefusedCertificateError, match="too large"):
        prove(net, [dense("n1", n1=4.0)])
    with pytest.raises(RefusedCertificateError, match="too large"):
        prove(net, whole(net, Proof.ENTRYWISE), norm=Norm.L1)
