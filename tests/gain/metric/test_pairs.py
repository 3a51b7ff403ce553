import itertools
import math

import pytest
import torch
from torch import Tensor

from netgain.core.norms import Norm
from netgain.gain.layers import layer_gains
from netgain.gain.metric.lbfgs import LBFGS
from netgain.gain.metric.pairs import pair_claims
from netgain.network.fold import fold
from netgain.network.graph import Affine, Network, Vector
from netgain.vectors.extrema import GroupSort
from netgain.witness.certificate import Piece, Proof
from netgain.witness.prove import prove
from tests.gain.networks import act, chain, jacobian, linear, mlp, normal, residual


def joint(network: Network) -> tuple[float, tuple[Piece, ...]]:
    found = LBFGS(evaluations=150)(network, Norm.L2, layer_gains(network, Norm.L2))
    assert found.claim is not None
    return found.bound.value, found.claim.pieces


def pairs_of(network: Network) -> list[tuple[int, int]]:
    return list(itertools.combinations(range(math.prod(network.output_shape)), 2))


def sort_net() -> Network:
    sort = Vector(GroupSort((8,), 0, 2))
    return chain((6,), linear(normal(1, 8, 6)), sort, linear(normal(2, 8, 8)), act("relu"), linear(normal(3, 4, 8)))


def rows(network: Network, count: int = 20) -> list[Tensor]:
    return [jacobian(network, normal(k, *network.input_shape) * 10.0 ** (k % 3 - 1)) for k in range(count)]


@pytest.mark.parametrize(
    "network",
    [residual(1), pytest.param(sort_net(), marks=pytest.mark.slow), mlp(2, 5, 9, 3, name="gelu")],
)
def test_between_jacobians_and_the_whole_output(network: Network):
    network = fold(network)
    total, pieces = joint(network)
    wanted = pairs_of(network)
    claims = pair_claims(network, pieces, wanted)
    assert list(claims) == wanted
    for (i, j), claim in claims.items():
        assert claim.target == (i, j)
        low = max(float((jac[i] - jac[j]).norm()) for jac in rows(network))
        # The start is feasible at 2 L^2; 1e-6 allows for the proof.
        assert low <= claim.bound <= math.sqrt(2) * total * (1 + 1e-6)
        assert prove(network, claim.pieces, target=(i, j)) <= claim.bound


@pytest.mark.slow
def test_a_pair_is_the_network_of_its_difference():
    network = fold(mlp(4, 6, 12, 9, 4))
    _, pieces = joint(network)
    last = network.nodes[-1].kind
    assert isinstance(last, Affine)
    matrix = last.map.matrix()
    claims = pair_claims(network, pieces, [(0, 2), (1, -1)])
    for (i, j), claim in claims.items():
        row = matrix[i : i + 1] - (matrix[j : j + 1] if j >= 0 else 0.0)
        kinds = [node.kind for node in network.nodes[:-1]]
        alone = LBFGS()(net := chain((6,), *kinds, linear(row)), Norm.L2, layer_gains(net, Norm.L2))
        # Both are within 1e-4 of the same optimum; alone it is searched longer.
        assert claim.bound == pytest.approx(alone.bound.value, rel=2e-4)


def test_pieces_in_front_are_kept():
    network = fold(mlp(5, 6, 10, 8, 3))
    cut = network.nodes[1].name
    weights = torch.linspace(1.0, 2.0, 10, dtype=torch.float64)
    front = Piece(start="x", stop=cut, proof=Proof.PRODUCT)
    whole = prove(network, [front, Piece(start=cut, stop=network.output, proof=Proof.PRODUCT, metric=weights)])
    name = network.nodes[3].name
    dense = Piece(
        start=cut,
        stop=network.output,
        proof=Proof.DENSE,
        metric=weights,
        multipliers={name: torch.full((1,), 100.0, dtype=torch.float64)},
    )
    claims = pair_claims(network, [front, dense], pairs_of(network))
    for claim in claims.values():
        assert claim.pieces[0] == front
        torch.testing.assert_close(claim.pieces[1].metric, weights, rtol=1e-11, atol=0)  # written with 12 digits
        assert claim.bound <= math.sqrt(2) * whole


def test_little_time_gives_fewer_claims_or_looser_ones():
    network = fold(mlp(6, 10, 20, 15, 6))
    _, pieces = joint(network)
    claims = pair_claims(network, pieces, pairs_of(network), seconds=0.05)
    assert 1 <= len(claims) <= 15
    assert all(claim.bound < math.inf for claim in claims.values())
