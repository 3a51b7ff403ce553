"""Multipliers by L-BFGS in log T, every iterate feasible."""

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.results import Side
from netgain.gain.layers import LayerGain
from netgain.gain.metric.claim import bound_of
from netgain.gain.metric.closed_form import whole
from netgain.gain.metric.improve import Schedule, improve
from netgain.gain.metric.rules import closed_form
from netgain.gain.metric.sweep import sweep
from netgain.gain.result import GainBound, InterruptedSearchError
from netgain.network.graph import Network

_SEARCH = 0.85  # of the time; the rest is for the proof


@dataclasses.dataclass(frozen=True, kw_only=True)
class LBFGS:
    """Metric pullback with one multiplier an entry, improved from the closed form by descent.

    The objective is the logarithm of the factor as a function of log T, with the largest eigenvalue replaced by a
    smoothed one that sharpens in stages; steps are taken only where it falls, and infeasible points count as infinite,
    so that the search can end at any time. Its least value is the bound of LipSDP with one multiplier a neuron.

    Guarantee:
        Upper bound of the global Lipschitz constant in l2, rounded up, with a claim; never above the closed form.

    Attributes:
        evaluations: most sweeps.
        memory: steps remembered.
        tolerance: relative improvement over a few steps at which a stage ends.

    Cost:
        A sweep and one forward pass an evaluation; a few hundred of them.

    Source:
        Fazlyab et al. (2019) for the bound; docs/theory/metric_pullback.md for the gradient.
    """

    evaluations: int = 600
    memory: int = 30
    tolerance: float = 1e-6

    @property
    def name(self) -> str:
        """As the registry of methods has it."""
        return "lbfgs"

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
            seconds: time for search and proof, about.
            progress: told the bound so far.

        Raises:
            NoSoundRuleError: in another norm, for an operation without multipliers, or if a form would be too large.
            InterruptedSearchError: on Ctrl-C, with what was found.
        """
        prepared, gains = whole(network, norm, layers, self.name)
        start = closed_form(prepared, gains)
        limit = None if seconds is None else _SEARCH * seconds
        schedule = Schedule(
            evaluations=self.evaluations if seconds is None else 100 * self.evaluations,
            memory=self.memory,
            tolerance=self.tolerance,
            seconds=limit,
        )

        def told(best: Tensor, done: int) -> None:
            shown = Side.UPPER.shown(math.exp(min(700.0, float(best[0]) / 2)))
            progress(f"{self.name}: {shown}", min(done, self.evaluations), self.evaluations)

        found = improve(prepared, start.logs, schedule, told)
        swept = sweep(prepared, found.logs) if found.evaluations else start
        best = swept if bool(torch.isfinite(swept.log_factor).all()) else start
        bound = bound_of(network, best, self.name, found.evaluations)
        if found.interrupted:
            raise InterruptedSearchError(bound)
        return bound
