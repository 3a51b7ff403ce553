"""From what an analysis proved to a certificate that others can check."""

import math
from collections.abc import Sequence

from netgain.core.norms import Norm
from netgain.core.rounding import mul_up
from netgain.gain.result import GainBound
from netgain.network.digest import digest
from netgain.network.graph import Network
from netgain.witness.certificate import Certificate, Claim, Piece, Proof
from netgain.witness.prove import prove

_ROOM = 1.0 + 2.0**-33  # above what is proved here, so that sums taken in another order prove it again


def claim(
    network: Network,
    norm: Norm,
    pieces: tuple[Piece, ...],
    method: str,
    target: tuple[int, int] | None = None,
) -> Claim:
    """A claim of what the checker proves from some pieces, with a little room for sums taken in another order.

    Args:
        network: the folded network.
        norm: the norm of inputs and outputs.
        pieces: from the input to the output, multipliers rounded as they are written.
        method: how the multipliers were found.
        target: None for the whole output; (i, j) for a difference of two outputs, (i, -1) for one.

    Raises:
        RefusedCertificateError: if the pieces prove nothing.
    """
    proved = prove(network, pieces, norm=norm, target=target)
    return Claim(bound=mul_up(proved, _ROOM), pieces=pieces, target=target, method=method)


def product_claim(network: Network, norm: Norm) -> Claim:
    """The product bound as a claim: the checker takes the factors of the nodes itself.

    Args:
        network: the folded network.
        norm: the norm of inputs and outputs.
    """
    whole = Piece(start=network.input, stop=network.output, proof=Proof.PRODUCT)
    return claim(network, norm, (whole,), "product")


def certificate(
    original: Network, network: Network, norm: Norm, bounds: Sequence[GainBound], pairs: Sequence[Claim] = ()
) -> Certificate:
    """The tightest bound that has a proof to write down, and the pairs.

    Args:
        original: the network as read.
        network: the same, folded.
        norm: the norm of inputs and outputs.
        bounds: of the whole output, tightest first.
        pairs: of differences of outputs.

    Returns:
        The certificate; where no bound has multipliers it claims the product.
    """
    whole = next((found.claim for found in bounds if found.claim is not None), None)
    if whole is None or not math.isfinite(whole.bound):
        whole = product_claim(network, norm)
    return Certificate(
        digest=digest(original),
        norm=norm,
        claims=(whole, *pairs),
        model=original.origin,
    )
