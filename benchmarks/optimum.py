"""The barrier method beside semidefinite programming: is it the same optimum, and how much faster."""

from typing import Any

from torch import Tensor

from benchmarks import rivals
from benchmarks.measure import subject
from benchmarks.networks import DENSE_CASES, case_weights, he_weights, mlp

TITLE = "The optimum of one multiplier a neuron"
HEADERS = ("network", "hidden", "netgain", "netgain/Clarabel - 1", "gap", "seconds", "Clarabel/netgain time", "SCS - 1")
TARGETS = (
    "Target: within 1e-5 of the interior-point solver wherever it finishes, at least 500 times faster at 150 hidden "
    "neurons. netgain's value is proved, rounding included; the solvers' values are not. Both get the network with its "
    "input reduced to the rank of the first matrix. SCS - 1: its value over netgain's, minus 1; below 0 it is no bound."
)


def run(quick: bool) -> list[dict[str, Any]]:
    """One row a network."""
    rivals.warm_up()
    nets: dict[str, list[Tensor]] = {name.rsplit(".", 1)[0]: case_weights(name) for name in DENSE_CASES[:3]}
    nets |= {"he 16-16-16-10": he_weights(3, 16), "he 25-25-25-25-10": he_weights(4, 25)}
    if not quick:
        nets["he 50-50-50-50-10"] = he_weights(4, 50)
    return [_row(name, weights) for name, weights in nets.items()]


def _row(name: str, weights: list[Tensor]) -> dict[str, Any]:
    """Measure one network."""
    ours = subject(mlp(weights)).measure("newton")
    hidden = sum(weight.shape[0] for weight in weights[:-1])
    clarabel = rivals.lipsdp(weights, "CLARABEL")
    scs = rivals.lipsdp(weights, "SCS") if hidden <= 100 else None
    return {
        "network": name,
        "hidden": hidden,
        "netgain": ours.value,
        "netgain/Clarabel - 1": None if clarabel is None else ours.value / clarabel.value - 1.0,
        "gap": ours.gap,
        "seconds": ours.seconds,
        "Clarabel/netgain time": None if clarabel is None else clarabel.seconds / ours.seconds,
        "SCS - 1": None if scs is None else scs.value / ours.value - 1.0,
    }
