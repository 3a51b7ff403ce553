"""Global l2 bounds of convolutional and residual networks."""

import math
from typing import Any

from benchmarks.measure import Subject, subject
from benchmarks.networks import convolutional_case, convolutional_chain, resnet
from netgain.core.norms import Norm
from netgain.gain.lower import Ascent
from netgain.network.graph import Elementwise

TITLE = "Global bounds of convolutional networks"
HEADERS = ("network", "product", "closed form", "per channel", "seconds", "per neuron", "its seconds", "gap", "lower")
TARGETS = (
    "Target: per channel within 15 % of the per-neuron optimum on the three chains (3x3 He kernels, stride 1, padding "
    "1); below 153.4 and 10.58 on the two public networks in three minutes; a tenth of the product on the ResNet "
    "(eight residual blocks of 16, 32, 64 channels) in two minutes. Per channel: one multiplier a channel, on a "
    "shifted circulant grid. Per neuron: the best of the barrier method and first-order search over one multiplier a "
    "neuron. gap: estimated relative distance of the per-neuron bound from its optimum."
)


def run(quick: bool) -> list[dict[str, Any]]:
    """One row a network."""
    chains = (("8x8 1-4-4-2", 8, (1, 4, 4, 2)), ("8x8 2-6-6-6", 8, (2, 6, 6, 6)), ("10x10 1-4-4", 10, (1, 4, 4)))
    rows = [_row(name, subject(convolutional_chain(size, channels)), 60.0) for name, size, channels in chains]
    if not quick:
        for name in ("lirpa_mnist_conv_kw.pth", "lirpa_cifar_conv_2c2f.pth"):
            rows.append(_row(name.rsplit(".", 1)[0], subject(convolutional_case(name)), 180.0))
        rows.append(_row("ResNet 16/32/64, 8 blocks", subject(resnet()), 120.0, dense=False))
    return rows


def _row(name: str, net: Subject, seconds: float, dense: bool = True) -> dict[str, Any]:
    """Measure one network."""
    tied = net.measure("convolutional", seconds)
    full = [net.measure(method, seconds) for method in _methods(net)] if dense else []
    full = [one for one in full if one.found is not None]
    best = min(full, key=lambda one: one.value) if full else None
    lower = Ascent(seconds=20.0)(net.network, Norm.L2)
    return {
        "network": name,
        "product": net.measure("product").value,
        "closed form": _number(net.measure("closed form").value) if dense else None,
        "per channel": tied.value,
        "seconds": tied.seconds,
        "per neuron": None if best is None else best.value,
        "its seconds": None if best is None else best.seconds,
        "gap": None if best is None else best.gap,
        "lower": lower.value,
    }


def _methods(net: Subject) -> tuple[str, ...]:
    """The barrier method for up to a thousand neurons, else first-order search."""
    shapes = net.network.shapes()
    units = sum(math.prod(shapes[node.name]) for node in net.network.nodes if isinstance(node.kind, Elementwise))
    return ("newton",) if units <= 1000 else ("lbfgs",)


def _number(value: float) -> float | None:
    """None for NaN."""
    return None if math.isnan(value) else value
