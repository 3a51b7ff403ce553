"""Predictions, proved margins and the radii that global gains of score differences prove."""

import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.core.progress import Progress, silent
from netgain.core.rounding import tensor_down, tensor_up
from netgain.network.graph import Network
from netgain.propagate.evaluate import evaluate

_BATCH = 256
_DWARFS = 1e5  # margins this many times above the l2 error bound lose at most 1e-5 of their radius to it


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Scored:
    """What the scores of inputs and global gains say.

    Attributes:
        predictions: the class with the greatest score; for a single score whether it is above 0.
        margins: proved lower bounds of the margin over the runner-up, 0 where none is proved.
        radii: within which the decision is proved.
    """

    predictions: Int[Tensor, " samples"]
    margins: Float[Tensor, " samples"]
    radii: Float[Tensor, " samples"]


def scored(
    network: Network,
    inputs: Float[Tensor, "samples *shape"],
    gains: Float[Tensor, "classes classes"],
    factors: Mapping[str, float] | None,
    progress: Progress = silent,
) -> Scored:
    """Margins from evaluation in float64 with its error bound, and radii margin / gain.

    Guarantee:
        Radii and margins are proved, rounding included, if the gains are upper bounds.

    Args:
        network: up to its scores.
        inputs: one a row.
        gains: of each difference of two scores; infinite where unknown.
        factors: l2 operator norms by node name, for tighter error bounds.
        progress: told how many inputs are done.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(inputs), _BATCH):
        progress("certifying inputs", start, len(inputs))
        x = inputs[start : start + _BATCH]
        found = evaluate(network, x, gains=factors, entrywise=False)
        error = found.error.clone()
        # The cheap bound serves where the margin dwarfs it; the others deserve the sharp one.
        close = (_decide(found.value, error, gains)[1] < _DWARFS * found.error_l2).nonzero()[:, 0]
        if len(close):
            error[close] = evaluate(network, x[close], gains=factors).error
        parts.append(_decide(found.value, error, gains))
    progress("certifying inputs", len(inputs), len(inputs))
    return Scored(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _decide(value: Tensor, error: Tensor, gains: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Winner, least proved margin and proved radius for a batch of logits with error bounds."""
    scores, errors = value.reshape(len(value), -1), error.reshape(len(value), -1)
    if scores.shape[1] == 1:
        winner = (scores[:, 0] > 0).long()
        proved = tensor_down(scores.abs() - errors)
        limits = gains.expand(len(scores), 1)
    else:
        winner = scores.argmax(1)
        top, own = scores.gather(1, winner[:, None]), errors.gather(1, winner[:, None])
        # Two rounded subtractions, each one step down: a number not above f_i - f_j.
        proved = tensor_down(tensor_down(top - scores) - tensor_up(errors + own))
        proved = proved.scatter(1, winner[:, None], torch.inf)
        limits = gains[winner]
    safe = proved.clamp_min(0.0)
    # A logit difference that does not depend on the input (gain 0) keeps its sign everywhere.
    ratio = torch.where(limits == 0, torch.where(safe > 0, torch.inf, 0.0), tensor_down(safe / limits))
    ratio = torch.where(torch.isnan(ratio) | (proved <= 0), torch.zeros_like(ratio), ratio).clamp_min(0.0)
    return winner, torch.nan_to_num(safe.amin(1), nan=0.0, posinf=torch.inf), ratio.amin(1)
