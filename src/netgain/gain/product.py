"""The product bound over the graph."""

import dataclasses
from collections.abc import Mapping

import torch

from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.results import Bound, Side
from netgain.gain.layers import LayerGain
from netgain.gain.recursion import node_gains
from netgain.gain.result import GainBound, Tail
from netgain.network.graph import Affine, Network


def upper(value: float, norm: Norm, method: str) -> Bound:
    """An upper bound of the network's global Lipschitz constant.

    Args:
        value: the proved number.
        norm: the norm of inputs and outputs.
        method: how it was proved.
    """
    return Bound(value=value, side=Side.UPPER, quantity="Lipschitz constant", norm=norm, method=method)


@dataclasses.dataclass(frozen=True)
class Product:
    """The product of the factors along the graph: chains multiply, sums add, concatenations take the norm.

    The chain rule and submultiplicativity, ||J_2 J_1|| <= ||J_2|| ||J_1||, node by node; `recursion.node_gains` has
    the rules. A residual sum x + f(x) has 1 + L.

    Guarantee:
        Upper bound of the global Lipschitz constant in l1, l2 or linf, rounded up.

    Cost:
        Nothing beside the factors.

    Source:
        Szegedy et al. (2014), Intriguing properties of neural networks, section 4.3, for chains.
    """

    @property
    def name(self) -> str:
        """As the registry of methods has it."""
        return "product"

    def __call__(
        self,
        network: Network,
        norm: Norm,
        layers: Mapping[str, LayerGain],
        *,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> GainBound:
        """The bound of a network from the factors of its nodes; it takes no time."""
        gains = node_gains(network, norm, {name: layer.factor for name, layer in layers.items()})
        return GainBound(upper(gains[network.output], norm, self.name), _tail(network, gains))


def _tail(network: Network, gains: Mapping[str, float]) -> Tail | None:
    """The gain in front of the last affine node, if the network ends in one."""
    node = next((node for node in network.nodes if node.name == network.output), None)
    if node is None or not isinstance(node.kind, Affine):
        return None
    return Tail(node.name, torch.ones(node.kind.map.in_shape, dtype=torch.float64), gains[node.inputs[0]])
