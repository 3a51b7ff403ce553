"""Multipliers in closed form: one sweep, one largest eigenvalue a layer."""

import dataclasses
from collections.abc import Mapping

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.gain.layers import LayerGain
from netgain.gain.metric.claim import bound_of
from netgain.gain.metric.prepared import Prepared, prepare
from netgain.gain.metric.region import region
from netgain.gain.metric.rules import closed_form
from netgain.gain.recursion import node_gains
from netgain.gain.result import GainBound
from netgain.network.graph import Network


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """Metric pullback with multipliers T = d (1 + |c| / r) lambda_max(d^-1/2 Q d^-1/2), node by node.

    d = 1 and d = diag(Q)^1/2 are tried from the output to the input and, for chains, from the input to the output; the
    best is proved. For a chain and d = 1 the bound is at most the product of the layers' norms.

    Guarantee:
        Upper bound of the global Lipschitz constant in l2, rounded up, with a claim.

    Cost:
        Up to five sweeps of about 2 n^3 multiplications a layer of width n, and a proof of about twelve.

    Source:
        Xu and Sivaranjani (2024), ECLipsE, for d = 1 from the input to the output: ECLipsE-Fast.
    """

    @property
    def name(self) -> str:
        """As the registry of methods has it."""
        return "closed form"

    def __call__(
        self,
        network: Network,
        norm: Norm,
        layers: Mapping[str, LayerGain],
        *,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> GainBound:
        """The bound of a network; `seconds` is not needed.

        Args:
            network: the folded network.
            norm: l2.
            layers: as `layer_gains` returns them.
            seconds: ignored.
            progress: told about sweep and proof.

        Raises:
            NoSoundRuleError: in another norm, for an operation without multipliers, or if a form would be too large.
        """
        progress(self.name, 0, 2)
        prepared, gains = whole(network, norm, layers, self.name)
        swept = closed_form(prepared, gains)
        progress(self.name, 1, 2)
        found = bound_of(network, swept, self.name)
        progress(self.name, 2, 2)
        return found


def whole(
    network: Network, norm: Norm, layers: Mapping[str, LayerGain], method: str
) -> tuple[Prepared, dict[str, float]]:
    """A whole network as one region, and the product bounds of its nodes.

    Args:
        network: the folded network.
        norm: the norm wanted.
        layers: as `layer_gains` returns them.
        method: for the message.

    Raises:
        NoSoundRuleError: if the norm is not l2, or the network does not fit.
    """
    if norm is not Norm.L2:
        raise NoSoundRuleError(f"{method} is a method for l2, not {norm}")
    gains = node_gains(network, norm, {name: layer.factor for name, layer in layers.items()})
    return prepare(region(network, network.input, network.output)), gains
