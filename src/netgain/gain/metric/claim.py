"""From multipliers to a proved claim: one dense piece over a region, proved by the checker's own arithmetic."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from netgain.core.errors import NoSoundRuleError, RefusedCertificateError
from netgain.core.norms import Norm
from netgain.gain.claims import claim
from netgain.gain.metric.region import Region
from netgain.gain.metric.sweep import Swept
from netgain.gain.product import upper
from netgain.gain.result import GainBound
from netgain.network.graph import Elementwise, Network, Vector
from netgain.witness.certificate import Claim, Piece, Proof
from netgain.witness.document import rounded

# Multipliers of the k-th nonlinear node, counted from the stop, are raised by (1 + step)^k where a proof is refused.
_RAISES = (0.0, 1e-9, 1e-7, 1e-5)


def dense_piece(region: Region, multipliers: Mapping[str, Tensor], metric: Tensor | None = None) -> Piece:
    """The piece of a region under multipliers.

    Args:
        region: the nodes.
        multipliers: by node, as `Swept.multipliers` returns them.
        metric: at the start; None for 1.
    """
    weights = torch.ones(1, dtype=torch.float64) if metric is None else metric
    return Piece(
        start=region.start, stop=region.stop, proof=Proof.DENSE, metric=weights, multipliers=_compact(multipliers)
    )


def proved(network: Network, pieces: Sequence[Piece], method: str, target: tuple[int, int] | None = None) -> Claim:
    """A proved claim from pieces.

    Guarantee:
        `bound` is what `witness.prove.prove` proved, times 1 + 2^-33, rounded up.

    Args:
        network: the folded network.
        pieces: from its input to its output; those of kind dense are raised a little where the proof is refused.
        method: how the multipliers were found.
        target: as in `Claim`.

    Raises:
        RefusedCertificateError: if no raise helps.
    """
    last: RefusedCertificateError | None = None
    for step in _RAISES:
        tried = rounded([_raised(network, piece, step) for piece in pieces])
        try:
            return claim(network, Norm.L2, tried, method, target)
        except RefusedCertificateError as error:
            last = error
    raise RefusedCertificateError("no proof of the multipliers found" if last is None else last.detail)


def bound_of(network: Network, swept: Swept, method: str, steps: int = 0) -> GainBound:
    """A proved bound of the whole output from one sweep of the whole network.

    Args:
        network: the folded network.
        swept: with the best multipliers.
        method: the method's name.
        steps: of its search.

    Raises:
        NoSoundRuleError: if there is no finite factor.
    """
    if not bool(torch.isfinite(swept.log_factor[0])) and float(swept.log_factor[0]) > 0:
        raise NoSoundRuleError(f"{method}: no feasible multipliers found")
    piece = dense_piece(swept.prepared.region, swept.multipliers())
    claim = proved(network, [piece], method)
    return GainBound(upper(claim.bound, Norm.L2, method), claim=claim, steps=steps)


def _compact(multipliers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Equal numbers as one."""
    found: dict[str, Tensor] = {}
    for name, value in multipliers.items():
        rows = value.reshape(2, -1) if value.dim() == 2 and value.shape[0] == 2 else value.reshape(1, -1)
        rows = rows[:, :1] if bool((rows == rows[:, :1]).all()) else rows
        found[name] = rows if value.dim() == 2 and value.shape[0] == 2 else rows.squeeze(0)
    return found


def _raised(network: Network, piece: Piece, step: float) -> Piece:
    """The piece with multipliers raised by (1 + step)^k, k counted from its stop."""
    if step == 0.0 or piece.proof is not Proof.DENSE:
        return piece
    names = [node.name for node in reversed(network.nodes) if isinstance(node.kind, Elementwise | Vector)]
    order = {name: k + 1 for k, name in enumerate(name for name in names if name in piece.multipliers)}
    raised = {
        name: value * math.exp(order[name] * math.log1p(step)) if name in order else value
        for name, value in piece.multipliers.items()
    }
    return dataclasses.replace(piece, multipliers=raised)
