"""Metric pullback of convolutional networks at a cost that does not depend on the number of pixels."""

import dataclasses
import math
from collections.abc import Mapping

from netgain.core.errors import NoSoundRuleError, RefusedCertificateError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.results import Estimate
from netgain.gain.grid.joint import Joint, pieces
from netgain.gain.grid.plan import Choice, plan
from netgain.gain.grid.search import Found, search
from netgain.gain.grid.stage import Stage, frequencies
from netgain.gain.grid.tail import Tail
from netgain.gain.layers import LayerGain
from netgain.gain.metric.claim import proved
from netgain.gain.product import upper
from netgain.gain.result import GainBound, InterruptedSearchError
from netgain.network.graph import Network
from netgain.witness.certificate import Claim

_GRIDS = (  # shifts, and by how many steps the grid is larger than it must be
    ((0.5,), (0,)),
    ((0.0,), (0,)),
    ((0.0, 0.5), (0,)),
    ((0.5, 0.0), (0,)),
    ((0.5,), (1,)),
    ((0.0, 0.5), (0, 1)),
    ((0.5, 0.0), (1, 0)),
)
_SMALL = 1e7  # operations of one look at all forms up to which all of these are tried
_STEPS = 150  # Newton steps of a search, about
_RETREATS = (0.0, 1e-8, 1e-6, 1e-4, 1e-2)  # towards a point well inside, where rounding refuses a proof


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convolutional:
    """Metric pullback with one multiplier a channel, on shifted circulant grids.

    The network is cut into convolutional stages, one Hermitian form a frequency each, and the dense end behind them.
    All parts meet in weights of the cuts' channels, and one convex program finds all weights and multipliers at once.

    Guarantee:
        Upper bound of the global Lipschitz constant in l2, proved by the checker. The gap is an estimate: how far the
        bound is above the least that these cuts and grids allow.

    Attributes:
        rows: rows of a form up to which neighbouring parts become one stage: more rows are tighter, at a cost of
            the third power.
        rtol: relative gap wanted, of the squared bound.
        work: operations that one Newton step may take in the beginning, about; decides on how many frequencies the
            search looks at first.

    Cost:
        Some 50 Newton steps on forms of channels x (product of the strides behind)^2 rows; looking at all frequencies
        a few times; the proof.

    Source:
        The conditions are those of LipSDP (Fazlyab et al. 2019), tied by channel and block diagonal in frequency;
        docs/theory/grid_pullback.md has the proof.
    """

    rows: int = 96
    rtol: float = 3e-4
    work: float = 2e9

    @property
    def name(self) -> str:
        """As the registry of methods has it."""
        return "convolutional"

    def __call__(
        self,
        network: Network,
        norm: Norm,
        layers: Mapping[str, LayerGain],
        *,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> GainBound:
        """The bound of a network.

        Args:
            network: the folded network.
            norm: l2.
            layers: as `layer_gains` returns them.
            seconds: time to spend, about; the proof takes its own.
            progress: told after each step; behind a colon the value so far.

        Raises:
            InterruptedSearchError: on Ctrl-C, with the bound that the best multipliers by then prove.
            NoSoundRuleError: in another norm, or where no part of the network acts on a grid.
        """
        if norm is not Norm.L2:
            raise NoSoundRuleError(f"{self.name} is a method for l2, not {norm}")
        factors = {name: layer.factor for name, layer in layers.items()}
        best: Found | None = None
        steps = 0
        for shifts, more in _GRIDS:
            parts = plan(network, factors, Choice(rows=self.rows, shifts=shifts, more=more))
            if best is not None and (best.interrupted or _size(parts) > _SMALL):
                break
            found = search(parts, work=self.work, rtol=self.rtol, seconds=seconds, progress=progress)
            steps += found.steps
            if best is None or found.square < best.square:
                best = found
        if best is None:
            raise NoSoundRuleError(f"{self.name}: nothing found")
        claim = _claim(network, best, self.name)
        gap = Estimate(
            value=max(0.0, claim.bound / math.sqrt(best.lower) - 1.0) if best.lower > 0 else math.inf,
            quantity="relative gap to the least bound of one multiplier a channel with these cuts and grids",
            method="a dual point",
        )
        bound = GainBound(upper(claim.bound, Norm.L2, self.name), claim=claim, gap=gap, steps=steps)
        if best.interrupted:
            raise InterruptedSearchError(bound)
        return bound


def search_work(network: Network) -> float:
    """About the multiplications of a search with the usual effort; 1 where no part of the network acts on a grid.

    Args:
        network: the folded network.
    """
    shifts, more = _GRIDS[0]
    try:
        parts = plan(
            network,
            {node.name: 1.0 for node in network.nodes},
            Choice(rows=Convolutional().rows, shifts=shifts, more=more),
        )
    except NoSoundRuleError:
        return 1.0
    total = 0.0
    for part in parts.parts:
        if isinstance(part, Stage):
            total += 500.0 * part.size**3
        elif isinstance(part, Tail):
            total += 100.0 * math.prod(network.shapes()[part.start]) * part.size**2
    return _STEPS * total


def _size(parts: Joint) -> float:
    """About the operations of one look at all forms."""
    stages = [part for part in parts.parts if isinstance(part, Stage)]
    return sum(8.0 * len(frequencies(one)[0]) * one.size**3 for one in stages)


def _claim(network: Network, found: Found, name: str) -> Claim:
    """The proved claim; where rounding refuses it, from a point a little further inside.

    Raises:
        NoSoundRuleError: if no such point is proved either.
    """
    reason = ""
    for share in _RETREATS:
        x = (1 - share) * found.x + share * found.safe
        try:
            return proved(network, pieces(found.joint, x), name)
        except RefusedCertificateError as error:
            reason = error.detail
    raise NoSoundRuleError(f"{name}: the multipliers could not be proved: {reason}")
