"""What a certificate costs: its size, the time to check it, and what rounding adds to the bound."""

import math
import time
from typing import Any

from benchmarks.measure import subject
from benchmarks.networks import DENSE_CASES, case_weights, contractive_weights, convolutional_case, he_weights, mlp
from netgain.core.norms import Norm
from netgain.gain.metric.prepared import prepare
from netgain.gain.metric.region import region
from netgain.gain.metric.sweep import sweep
from netgain.network.digest import digest
from netgain.network.graph import Network
from netgain.witness.certificate import Certificate, Claim
from netgain.witness.check import check
from netgain.witness.document import dumps

TITLE = "Certificates"
HEADERS = (
    "network",
    "parameters",
    "method",
    "search seconds",
    "check/search time",
    "inflation",
    "kB",
    "kB/Mparameters",
)
TARGETS = (
    "Target: the check takes under a fifth of the time of the search, a file under 100 kB for a million parameters, "
    "inflation below 1e-8. Inflation: the claimed bound over the value of the same multipliers in ordinary float64, "
    "minus 1: what proving costs. It holds the margin of 2^-33 = 1.2e-10 that a claim has for machines that add in "
    "another order."
)


def run(quick: bool) -> list[dict[str, Any]]:
    """One row a network and method."""
    nets: dict[str, Network] = {name.rsplit(".", 1)[0]: mlp(case_weights(name)) for name in DENSE_CASES}
    nets |= {"he 10 x 64": mlp(he_weights(10, 64)), "contractive 64 x 16": mlp(contractive_weights())}
    if not quick:
        nets |= {"he 4 x 512": mlp(he_weights(4, 512)), "he 50 x 128": mlp(he_weights(50, 128))}
    rows = [_row(name, network, method) for name, network in nets.items() for method in ("lbfgs", "newton")]
    if not quick:
        rows.append(_row("lirpa_mnist_conv_kw", convolutional_case("lirpa_mnist_conv_kw.pth"), "convolutional"))
        rows.append(_row("lirpa_mnist_conv_kw", convolutional_case("lirpa_mnist_conv_kw.pth"), "lbfgs"))
    return [row for row in rows if row]


def _row(name: str, network: Network, method: str) -> dict[str, Any]:
    """Measure one certificate; empty where the method does not apply."""
    measured = subject(network).measure(method, 60.0)
    if measured.found is None or measured.found.claim is None:
        return {}
    claim = measured.found.claim
    certificate = Certificate(digest=digest(network), norm=Norm.L2, claims=(claim,))
    began = time.perf_counter()
    check(certificate, network)
    seconds = time.perf_counter() - began
    size = len(dumps(certificate).encode()) / 1000
    parameters = sum(_weights(node.kind) for node in network.nodes)
    believed = _believed(network, claim)
    return {
        "network": name,
        "parameters": parameters,
        "method": method,
        "search seconds": measured.seconds,
        "check/search time": seconds / measured.seconds,
        "inflation": None if believed is None else claim.bound / believed - 1.0,
        "kB": size,
        "kB/Mparameters": size / parameters * 1e6,
    }


def _weights(kind: Any) -> int:
    """The number of weights of a node."""
    return getattr(getattr(getattr(kind, "map", None), "weight", None), "numel", lambda: 0)()


def _believed(network: Network, claim: Claim) -> float | None:
    """The bound of a claim of one dense piece in ordinary arithmetic; None for several pieces."""
    if len(claim.pieces) != 1:
        return None
    (piece,) = claim.pieces
    folded = subject(network).network
    prepared = prepare(region(folded, piece.start, piece.stop))
    logs = {key: value.log().unsqueeze(0) for key, value in piece.multipliers.items()}
    return math.exp(float(sweep(prepared, logs, many=1).log_factor[0]) / 2) if logs else None
