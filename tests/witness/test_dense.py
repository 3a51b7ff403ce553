"""Dense pieces whose start is read twice."""

import torch

from netgain.activations.table import activation
from netgain.linear.dense import Dense
from netgain.network.graph import Affine, Concat, Elementwise, Network
from netgain.witness.certificate import Piece, Proof
from netgain.witness.prove import prove
from tests.gain.networks import node, normal


def test_a_wide_map_whose_input_is_read_again_keeps_both_in_the_form():
    first, last = normal(1, 3, 10), normal(2, 2, 13)
    network = Network(
        "x",
        (10,),
        (
            node("a", Affine(Dense(first)), ("x",), (3,)),
            node("b", Elementwise(activation("relu")), ("a",), (3,)),
            node("c", Concat(0), ("x", "b"), (13,)),
            node("d", Affine(Dense(last)), ("c",), (2,)),
        ),
        "d",
    )
    multipliers = {"b": torch.full((1,), 100.0, dtype=torch.float64)}
    bound = prove(network, (Piece(start="x", stop="d", proof=Proof.DENSE, multipliers=multipliers),))
    patterns = [torch.diag(torch.tensor([(k >> i) & 1 for i in range(3)], dtype=torch.float64)) for k in range(8)]
    exact = max(float(torch.linalg.matrix_norm(last[:, :10] + last[:, 10:] @ d @ first, 2)) for d in patterns)
    assert exact <= bound
