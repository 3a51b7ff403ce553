"""The proof of one claim: a factor of each piece, and their product."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.core.norms import Norm
from netgain.core.rounding import check_arithmetic, div_up, mul_up, sqrt_up, up
from netgain.network.graph import Network
from netgain.witness.certificate import Piece, Proof
from netgain.witness.dense import dense_factor
from netgain.witness.entrywise import entrywise_gain
from netgain.witness.factor import Factor
from netgain.witness.grid import grid_factor
from netgain.witness.pieces import aimed, between, metric
from netgain.witness.product import product_gain


def prove(
    network: Network, pieces: Sequence[Piece], *, norm: Norm = Norm.L2, target: tuple[int, int] | None = None
) -> float:
    """An upper bound of the global Lipschitz constant of a network, proved from pieces and multipliers.

    Guarantee:
        A bound for the network in real numbers with the stored weights, rounding and their uncertainty included.

    Args:
        network: the folded network.
        pieces: from the input to the output; nothing about them is trusted.
        norm: of inputs and outputs.
        target: None for the whole output; (i, j) for output i minus output j, (i, -1) for output i alone.

    Returns:
        The bound, not squared.

    Raises:
        RefusedCertificateError: where the pieces do not join, or a condition of one fails.
    """
    check_arithmetic()
    pieces = _joined(network, pieces)
    if target is not None:
        network = aimed(network, target)
        pieces[-1] = dataclasses.replace(pieces[-1], stop=network.output)
    shapes = network.shapes()
    total, exponent = 1.0, 0
    for k, piece in enumerate(pieces):
        values = pieces[k + 1].metric if k + 1 < len(pieces) else torch.ones(1, dtype=torch.float64)
        if norm is not Norm.L2 and not bool((values == 1).all()):
            raise RefusedCertificateError(f"metrics are for l2; the one at {piece.stop!r} is used in {norm}")
        value, power = _factor(network, piece, metric(values, shapes[piece.stop], piece.stop), norm)
        total, more = math.frexp(mul_up(total, value))
        exponent += power + more
    if not math.isfinite(total):
        raise RefusedCertificateError("the proved number exceeds the largest float64")
    half = exponent // 2
    root = sqrt_up(total if exponent % 2 == 0 else 2.0 * total)
    try:
        return root if root == 0.0 else up(math.ldexp(root, half))
    except OverflowError:
        raise RefusedCertificateError("the proved number exceeds the largest float64") from None


def _factor(network: Network, piece: Piece, stop: Float[Tensor, " entries"], norm: Norm) -> Factor:
    """The proved factor of one piece."""
    if piece.proof in (Proof.DENSE, Proof.GRID):
        if norm is not Norm.L2:
            raise RefusedCertificateError(f"a {piece.proof} piece proves l2, not {norm}")
        if piece.proof is Proof.GRID:
            return grid_factor(network, piece, stop)
        return dense_factor(network, piece, stop)
    if piece.multipliers:
        raise RefusedCertificateError(f"a {piece.proof} piece takes no multipliers")
    nodes = between(network, piece.start, piece.stop)
    shape = network.shapes()[piece.start]
    start = metric(piece.metric, shape, piece.start)
    if piece.proof is Proof.PRODUCT:
        gain = product_gain(nodes, piece.start, norm)
    else:
        gain = entrywise_gain(nodes, (piece.start, shape), norm)
    if not math.isfinite(gain):
        raise RefusedCertificateError(f"no finite gain from {piece.start!r} to {piece.stop!r}")
    value, exponent = math.frexp(gain)
    return Factor(mul_up(value, value, div_up(float(stop.max()), float(start.min()))), 2 * exponent)


def _joined(network: Network, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces, if they lead from the input to the output."""
    if not pieces:
        raise RefusedCertificateError("the claim has no pieces")
    at, known = network.input, network.shapes()
    for piece in pieces:
        if piece.stop not in known:
            raise RefusedCertificateError(f"the network has no node {piece.stop!r}")
        if any(values.dtype != torch.float64 for values in (piece.metric, *piece.multipliers.values())):
            raise RefusedCertificateError(f"the numbers of the piece from {piece.start!r} are not float64")
        if piece.start != at:
            raise RefusedCertificateError(f"the pieces do not join: {piece.start!r} follows {at!r}")
        if (piece.grid is not None) != (piece.proof is Proof.GRID):
            raise RefusedCertificateError(f"the piece from {piece.start!r} has a grid without need, or lacks it")
        at = piece.stop
    if at != network.output:
        raise RefusedCertificateError(f"the pieces end at {at!r}, not at the output {network.output!r}")
    if not bool((pieces[0].metric == 1).all()):
        raise RefusedCertificateError("the metric at the network's input must be 1")
    return list(pieces)
