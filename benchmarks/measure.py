"""One method on one network, timed."""

import dataclasses
import math
import time

from netgain.core.errors import NetgainError
from netgain.core.norms import Norm
from netgain.gain.layers import LayerGain, layer_gains
from netgain.gain.methods import METHODS
from netgain.gain.result import GainBound
from netgain.network.fold import fold
from netgain.network.graph import Network


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a method proved.

    Attributes:
        value: the proved bound; NaN where it does not apply.
        seconds: wall time with its proof.
        found: all of it; None where it does not apply.
    """

    value: float
    seconds: float
    found: GainBound | None

    @property
    def gap(self) -> float | None:
        """The estimated relative gap to the least that the method can reach."""
        return None if self.found is None or self.found.gap is None else self.found.gap.value


@dataclasses.dataclass(frozen=True)
class Subject:
    """A folded network with the factors of its layers, which all methods share."""

    network: Network
    layers: dict[str, LayerGain]

    def measure(self, method: str, seconds: float | None = None) -> Measured:
        """Run one method.

        Args:
            method: its name.
            seconds: time it may take.
        """
        began = time.perf_counter()
        try:
            found = METHODS[method].make(1.0)(self.network, Norm.L2, self.layers, seconds=seconds)
        except NetgainError:
            return Measured(math.nan, time.perf_counter() - began, None)
        return Measured(found.bound.value, time.perf_counter() - began, found)


def subject(network: Network) -> Subject:
    """Fold a network and bound its layers."""
    folded = fold(network)
    return Subject(folded, layer_gains(folded, Norm.L2))


def cheapest(measured: list[Measured], value: float) -> float | None:
    """The least time in which one of the methods reached a value; None if none did.

    Args:
        measured: what the methods gave.
        value: the bound to reach.
    """
    times = [one.seconds for one in measured if one.value <= value]
    return min(times) if times else None
