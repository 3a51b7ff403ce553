"""The optimum of the multipliers of a whole network, as one dense piece, by the barrier method."""

import dataclasses
import math
import time
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import NoSoundRuleError, RefusedCertificateError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.results import Estimate
from netgain.gain.layers import LayerGain
from netgain.gain.metric.barrier import Iterate, Solution, solve
from netgain.gain.metric.claim import proved
from netgain.gain.metric.compose import nonlinear_size
from netgain.gain.metric.region import region
from netgain.gain.metric.stack import Stack, piece, stack
from netgain.gain.metric.start import closed_form
from netgain.gain.product import upper
from netgain.gain.result import GainBound, InterruptedSearchError
from netgain.network.graph import Network
from netgain.witness.certificate import Claim

_CLOSE = 1.0 + 1e-8  # a proof this near to the search's own number needs no further try
_KEPT = 12  # iterates kept to back off to


@dataclasses.dataclass(frozen=True, kw_only=True)
class Newton:
    """The least bound that metric pullback with one multiplier a neuron can prove (LipSDP-Neuron), to a small gap.

    The barrier method on the program of the multipliers (`barrier.path`), from multipliers in closed form. Every
    iterate is feasible, so a search that is stopped still proves its best. Where rounding refuses the proof of the
    last one, an earlier iterate, further from the boundary, is proved.

    Guarantee:
        Upper bound of the global Lipschitz constant in l2, proved by the checker. The gap is an estimate.

    Attributes:
        rtol: relative gap wanted, of the squared bound.
        limit: nonlinear neurons up to which the method applies; memory is about ten matrices of that order.

    Cost:
        30 to 60 Newton steps; with N the neurons and the rank of the first layers, each about 2 N^3 multiplications and
        4 N^2 times the width of a layer.

    Source:
        Fazlyab et al. (2019), Efficient and accurate estimation of Lipschitz constants for deep neural networks, for
        the conditions; Nesterov and Nemirovskii (1994) for the method.
    """

    rtol: float = 1e-8
    limit: int = 6000

    @property
    def name(self) -> str:
        """As the registry of methods has it."""
        return "newton"

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
            layers: not needed.
            seconds: time to spend, about; a step under way is finished, and the proof takes its own time.
            progress: told after each step: tenths of decades of the gap, behind a colon the value so far.

        Raises:
            InterruptedSearchError: on Ctrl-C, with the bound that the best multipliers by then prove.
            NoSoundRuleError: in another norm, for an operation without a quadratic rule, or for too large a network.
        """
        began = time.monotonic()
        stacked = self._stacked(network, norm)
        start = closed_form(stacked)
        met: list[Iterate] = []
        interrupted = False
        left = None if seconds is None else max(1e-3, 0.9 * seconds - (time.monotonic() - began))
        try:
            found = solve(
                stacked.program,
                start,
                rtol=self.rtol,
                seconds=left,
                progress=lambda _, done, total: progress(_told(stacked, met), done, total),
                watch=met.append,
            )
        except KeyboardInterrupt:
            best = min(met, key=lambda iterate: iterate.value, default=None)
            found = Solution(start, math.inf, 0, False) if best is None else _solution(best, met)
            interrupted = True
        bound = self._bound(network, stacked, found, met)
        if interrupted:
            raise InterruptedSearchError(bound)
        return bound

    def _stacked(self, network: Network, norm: Norm) -> Stack:
        """The program of the whole network.

        Raises:
            NoSoundRuleError: if the method does not apply.
        """
        if norm is not Norm.L2:
            raise NoSoundRuleError(f"{self.name} is a method for l2, not {norm}")
        whole = region(network, network.input, network.output)
        size = nonlinear_size(whole)
        if size > self.limit:
            raise NoSoundRuleError(
                f"{self.name}: {size} nonlinear neurons are more than the {self.limit} that one dense form may have"
            )
        return stack(whole)

    def _bound(self, network: Network, stacked: Stack, found: Solution, met: list[Iterate]) -> GainBound:
        """The bound that the last iterates prove: the best of the first few that the checker accepts.

        Raises:
            NoSoundRuleError: if it accepts none.
        """
        best: Claim | None = None
        reason = ""
        for x in _candidates(found, met):
            try:
                claim = proved(network, [piece(stacked, x)], self.name)
            except RefusedCertificateError as error:
                reason = error.detail
                continue
            if best is None or claim.bound < best.bound:
                best = claim
            if claim.bound <= stacked.gain(found.x) * _CLOSE:
                break
        if best is None:
            raise NoSoundRuleError(f"{self.name}: no iterate could be proved: {reason}")
        gap = None
        if math.isfinite(found.gap):
            gap = Estimate(
                value=found.gap / (1 + math.sqrt(1 - found.gap)),
                quantity="relative gap to the least bound of one multiplier a neuron",
                method="a dual point",
            )
        return GainBound(upper(best.bound, Norm.L2, self.name), claim=best, gap=gap, steps=found.steps)


def _solution(best: Iterate, met: list[Iterate]) -> Solution:
    """The best of some iterates as a solution."""
    lower = max(iterate.lower for iterate in met)
    gap = math.inf if lower == -math.inf else max(0.0, 1 - lower / best.value)
    return Solution(best.x, gap, len(met), False)


def _told(stacked: Stack, met: list[Iterate]) -> str:
    """The value so far, an estimate until it is proved."""
    return f"newton: {stacked.gain(min(met, key=lambda iterate: iterate.value).x):.6g}" if met else "newton"


def _candidates(found: Solution, met: list[Iterate]) -> list[Float[Tensor, " variables"]]:
    """Points to prove: the best, then earlier ones, each with a larger mu."""
    points = [found.x]
    last = min((iterate.mu for iterate in met if torch.equal(iterate.x, found.x)), default=math.inf)
    for iterate in reversed(met):
        if iterate.mu > 3 * last and len(points) < _KEPT:
            points.append(iterate.x)
            last = iterate.mu
    return points
