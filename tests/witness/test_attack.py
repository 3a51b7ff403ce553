"""Certificates and networks built to mislead the checker: refused with a reason, or bounded from above all the same."""

import dataclasses

import pytest
import torch

from netgain.certification.certificates import verify
from netgain.core.errors import RefusedCertificateError
from netgain.core.norms import Norm
from netgain.linear.reshape import Reshape
from netgain.network.digest import digest
from netgain.network.graph import Affine, Network, Sum, Vector
from netgain.vectors.softmax import Softmax
from netgain.witness.certificate import Certificate, Claim, Grid, Piece, Proof
from netgain.witness.exact import proved_exactly
from netgain.witness.prove import prove
from tests.gain.networks import act, chain, conv, jacobian, linear, mlp, node, normal


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def piece(start: str, stop: str, proof: Proof = Proof.DENSE, **fields) -> Piece:
    return Piece(start=start, stop=stop, proof=proof, **fields)


@pytest.mark.parametrize("proof", [Proof.DENSE, Proof.PRODUCT, Proof.ENTRYWISE])
def test_a_cut_that_does_not_exist_is_refused(proof):
    with pytest.raises(RefusedCertificateError, match="no node 'nowhere'"):
        prove(mlp(0, 3, 4, 2), [piece("x", "nowhere", proof), piece("nowhere", "n2", proof)])


@pytest.mark.parametrize("given", [{"metric": numbers(1.0, 2.0)}, {"multipliers": {"n2": numbers(5.0, 6.0)}}])
def test_a_scalar_value_takes_one_number(given):
    network = chain((3,), linear(normal(0, 1, 3)), Affine(Reshape((1,), ())), act("relu"), Affine(Reshape((), (1,))))
    last = piece("n1", "n3", **({"multipliers": {"n2": numbers(5.0)}} | given))
    with pytest.raises(RefusedCertificateError, match="2 numbers for a value of shape"):
        prove(network, [piece("x", "n1"), last])


def test_a_wide_jacobian_is_refused_before_it_takes_memory():
    network = chain((200_000,), linear(torch.ones(2, 200_000).double()))
    with pytest.raises(RefusedCertificateError, match="200000 columns"):
        prove(network, [piece("x", "n0", Proof.ENTRYWISE)])


def test_an_infinite_factor_is_refused():
    pieces = [piece("x", "n0", Proof.PRODUCT), piece("n0", "n2", Proof.PRODUCT, metric=numbers(1.7e308, 1, 1, 5e-324))]
    with pytest.raises(RefusedCertificateError, match="exceeds"):
        prove(mlp(0, 3, 4, 2), pieces)


def test_numbers_of_another_precision_are_refused():
    with pytest.raises(RefusedCertificateError, match="float64"):
        prove(mlp(0, 3, 4, 2), [piece("x", "n2", multipliers={"n1": torch.tensor([50.0])})])


@pytest.mark.parametrize("name", ["mask:c1", "c2#1"])
def test_a_node_called_like_a_step_of_the_grid_misleads_nobody(name):
    shape = (1, 6)
    small = Affine(conv(numbers(1e-9).reshape(1, 1, 1), shape))
    network = Network(
        "x",
        shape,
        (
            node("c1", Affine(conv(normal(0, 1, 1, 3), shape, padding=1)), ("x",), shape),
            node(name, small, ("x",), shape),
            node("c2", Affine(conv(5 * normal(1, 1, 1, 3), shape, padding=1)), ("c1",), shape),
            node("o", Sum((1.0, 1.0)), ("c2", name), shape),
        ),
        "o",
    )
    grid = Grid(sizes=(12,), shifts=(0.0,))
    gain = float(torch.linalg.matrix_norm(jacobian(network, torch.zeros(shape).double()), 2))
    with pytest.raises(RefusedCertificateError, match="mask:c1"):
        prove(network, [piece("x", "o", Proof.GRID, grid=grid)])
    masked = piece("x", "o", Proof.GRID, grid=grid, multipliers={"mask:c1": numbers(1e4)})
    if name == "mask:c1":
        with pytest.raises(RefusedCertificateError, match="two values"):
            prove(network, [masked])
    else:
        assert prove(network, [masked]) >= gain


def test_a_bound_of_the_scores_does_not_pass_for_one_of_the_model():
    scores = chain((3,), linear(torch.eye(3).double()))
    model = chain((3,), linear(torch.eye(3).double()), Vector(Softmax((3,), 0, 0.01)))
    claim = Claim(bound=1.0 + 1e-9, pieces=(piece("x", "n0"),))
    (bound,) = verify(Certificate(digest=digest(scores), norm=Norm.L2, claims=(claim,)), model)
    steep = jacobian(model, numbers(0.0, 0.0, -9.0))
    assert float(torch.linalg.matrix_norm(steep, 2)) > 49
    assert "scores in front of softmax" in bound.quantity
    (bound,) = verify(Certificate(digest=digest(scores), norm=Norm.L2, claims=(claim,)), scores)
    assert bound.quantity == "Lipschitz constant"


def test_rational_arithmetic_refuses_numbers_that_float64_cannot_guess():
    network = chain((2,), linear(1e100 * normal(0, 3, 2)), act("relu"), linear(1e100 * normal(1, 2, 3)))
    last = piece("n0", "n2", metric=numbers(1e150), multipliers={"n1": numbers(1e250)})
    claim = Claim(bound=1e300, pieces=(piece("x", "n0"), last))
    with pytest.raises(RefusedCertificateError, match="out of range"):
        proved_exactly(network, claim)


def test_a_target_is_another_name_than_all_nodes():
    inner = mlp(0, 3, 3, 3)
    taken = dataclasses.replace(inner.nodes[1], name="n3[(0, 1)]")
    nodes = (inner.nodes[0], taken, dataclasses.replace(inner.nodes[2], inputs=(taken.name,)))
    network = Network("x", (3,), (*nodes, node("n3", act("relu"), ("n2",), (3,))), "n3")
    claim = piece("x", "n3", multipliers={taken.name: numbers(1e3), "n3": numbers(10.0)})
    assert prove(network, [claim], target=(0, 1)) <= 2**0.5 * prove(network, [claim]) * (1 + 1e-9)
