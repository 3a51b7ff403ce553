"""The check of a certificate against a network: every claim is proved again, nothing is believed."""

import math

from netgain.core.errors import RefusedCertificateError
from netgain.core.results import Bound, Side
from netgain.network.digest import digest
from netgain.network.fold import fold
from netgain.network.graph import Network
from netgain.witness.certificate import Certificate
from netgain.witness.exact import proved_exactly
from netgain.witness.prove import prove


def check(certificate: Certificate, network: Network, *, exact: bool = False) -> tuple[Bound, ...]:
    """Prove every claim of a certificate.

    Guarantee:
        Each bound holds for the network in real numbers with its stored weights. The multipliers may come from
        anywhere; their origin does not matter.

    Args:
        certificate: the certificate.
        network: the network as read, not folded.
        exact: whether to prove each claim in rational arithmetic as well; for tiny networks.

    Returns:
        For each claim, in order, the bound that was proved; at most the claimed one.

    Raises:
        RefusedCertificateError: for another network, another region than all inputs, or a claim that is not proved.
    """
    found = digest(network)
    if certificate.digest != found:
        raise RefusedCertificateError(
            f"it is about another network (digest {certificate.digest[:12]}..., this one has {found[:12]}...): "
            "a weight, a layer or its parameters differ"
        )
    if certificate.region != "global":
        raise RefusedCertificateError(f"it is about the region {certificate.region!r}; only 'global' can be checked")
    if not certificate.claims:
        raise RefusedCertificateError("it claims nothing")
    if certificate.claims[0].target is not None:
        raise RefusedCertificateError("its first claim is not about the whole output")
    folded = fold(network)
    bounds: list[Bound] = []
    for claim in certificate.claims:
        about = "the output" if claim.target is None else f"outputs {claim.target}"
        if not (math.isfinite(claim.bound) and claim.bound >= 0):
            raise RefusedCertificateError(f"the bound claimed of {about} is {claim.bound}")
        proved = prove(folded, claim.pieces, norm=certificate.norm, target=claim.target)
        if not proved <= claim.bound:
            raise RefusedCertificateError(
                f"it claims {claim.bound!r} of {about}, but its multipliers prove only {proved!r}"
            )
        if exact and not proved_exactly(network, claim, certificate.norm):
            raise RefusedCertificateError(f"in rational arithmetic {claim.bound!r} of {about} is not proved")
        quantity = "Lipschitz constant" if claim.target is None else f"Lipschitz constant of {about}"
        method = "certificate, checked in rational arithmetic" if exact else "certificate"
        bounds.append(Bound(value=proved, side=Side.UPPER, quantity=quantity, norm=certificate.norm, method=method))
    return tuple(bounds)
