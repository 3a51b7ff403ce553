"""Global l2 bounds of fully connected ReLU networks, from shallow to deep, beside eclipse-nn."""

from typing import Any

from torch import Tensor

from benchmarks import rivals
from benchmarks.measure import cheapest, subject
from benchmarks.networks import DENSE_CASES, case_weights, contractive_weights, he_weights, mlp

TITLE = "Global bounds of fully connected networks"
HEADERS = (
    "network",
    "product",
    "ECLipsE-Fast",
    "its seconds",
    "netgain as good in",
    "closed form",
    "best",
    "method",
    "seconds",
    "gap",
    "ECLipsE-Fast/best",
)
TARGETS = (
    "Target: never above eclipse-nn, at least 5 times tighter at depth 20, as good as its fast mode in no more time, "
    "1024-1024-1024-10 within 1 % of the optimum (column gap) in two minutes. ECLipsE-Fast: eclipse-nn 0.1.7, method "
    "ECLipsE_Fast, whose value is not proved. Random networks: He initialization, as many inputs as units a layer."
)
_METHODS = ("closed form", "lbfgs", "newton")


def run(quick: bool) -> list[dict[str, Any]]:
    """One row a network."""
    rivals.warm_up()
    nets: dict[str, list[Tensor]] = {name.rsplit(".", 1)[0]: case_weights(name) for name in DENSE_CASES}
    for depth in (2, 5, 20) if quick else (2, 5, 10, 20, 50):
        for width in (64,) if quick else (64, 128, 256):
            nets[f"he {depth} x {width}"] = he_weights(depth, width)
    nets["contractive 64 x 16"] = contractive_weights()
    if not quick:
        nets["he 1024-1024-1024-10"] = he_weights(3, 1024)
    return [_row(name, weights, 10.0 if quick else 120.0 if "1024" in name else 30.0) for name, weights in nets.items()]


def _row(name: str, weights: list[Tensor], seconds: float) -> dict[str, Any]:
    """Measure one network."""
    net = subject(mlp(weights))
    rival = rivals.eclipse_fast(weights)
    measured = {method: net.measure(method, seconds) for method in _METHODS}
    best = min(measured, key=lambda method: measured[method].value if measured[method].found else float("inf"))
    found = measured[best]
    return {
        "network": name,
        "product": net.measure("product").value,
        "ECLipsE-Fast": None if rival is None else rival.value,
        "its seconds": None if rival is None else rival.seconds,
        "netgain as good in": None if rival is None else cheapest([*measured.values()], rival.value),
        "closed form": measured["closed form"].value,
        "best": found.value,
        "method": best,
        "seconds": found.seconds,
        "gap": found.gap,
        "ECLipsE-Fast/best": None if rival is None else rival.value / found.value,
    }
