"""What every attack shares: its interface, and the float64 check of success."""

import abc
import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.certification.attacks.ball import Ball, inside
from netgain.core.progress import Progress, silent
from netgain.core.rounding import tensor_down, tensor_up
from netgain.network.graph import Network
from netgain.propagate.evaluate import evaluate


class AbstractAttack(abc.ABC):
    """A search for inputs of a ball that are misclassified. Subclasses are final frozen dataclasses.

    A subclass writes `search` only; it may return anything, since `survivors` projects and checks it.
    """

    @abc.abstractmethod
    def search(
        self,
        network: Network,
        x: Float[Tensor, "batch *shape"],
        labels: Int[Tensor, " batch"],
        ball: Ball,
        progress: Progress,
    ) -> Float[Tensor, "candidates batch *shape"]:
        """Candidate inputs, several for each row of x."""

    @abc.abstractmethod
    def __str__(self) -> str:
        """The attack in words, for reports."""


@dataclasses.dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack left standing.

    Attributes:
        epsilon: radius in raw input units.
        indices: which inputs were attacked.
        survived: for each of them, whether it is classified correctly and the attack found nothing.
    """

    epsilon: float
    indices: Int[Tensor, " attacked"]
    survived: Bool[Tensor, " attacked"]


def misclassified(
    network: Network, x: Float[Tensor, "batch *shape"], labels: Int[Tensor, " batch"]
) -> Bool[Tensor, " batch"]:
    """Whether another class than the label wins at x, proved in float64 with error bounds."""
    found = evaluate(network, x)
    scores, errors = found.value.reshape(len(x), -1), found.error.reshape(len(x), -1)
    if scores.shape[1] == 1:
        signed = torch.where(labels > 0, scores[:, 0], -scores[:, 0])
        return tensor_up(signed + errors[:, 0]) < 0
    own, slack = scores.gather(1, labels[:, None]), errors.gather(1, labels[:, None])
    lead = tensor_down(tensor_down(scores - own) - tensor_up(errors + slack))
    return lead.scatter(1, labels[:, None], -torch.inf).amax(1) > 0


def survivors(
    attack: AbstractAttack,
    network: Network,
    x: Float[Tensor, "batch *shape"],
    labels: Int[Tensor, " batch"],
    ball: Ball,
    progress: Progress = silent,
) -> Bool[Tensor, " batch"]:
    """Which inputs are classified correctly and resist the attack.

    Guarantee:
        An input that is not returned is truly vulnerable: a point of the domain at exact distance <= epsilon (or the
        input itself) is misclassified, proved in float64. An input that is returned may still be vulnerable.

    Args:
        attack: the search.
        network: the classifier up to its logits.
        x: inputs in float64.
        labels: their classes.
        ball: norm, radius and domain.
        progress: told how far the search is.
    """
    alive = network(x).reshape(len(x), -1)
    alive = alive.argmax(1) == labels if alive.shape[1] > 1 else (alive[:, 0] > 0).long() == labels
    open_ = alive.nonzero()[:, 0]
    if len(open_) == 0:
        return alive
    within = ball.rows(open_)
    for candidate in attack.search(network, x[open_], labels[open_], within, progress):
        broken = misclassified(network, inside(x[open_], candidate, within), labels[open_])
        alive[open_[broken]] = False
    return alive
