"""What every attack shares: the ball, exact projection, and the float64 check of success."""

import abc
import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.rounding import UNIT_ROUNDOFF, norm_upper, tensor_down, tensor_up
from netgain.network.graph import Network
from netgain.propagate.evaluate import evaluate


@dataclasses.dataclass(frozen=True)
class Ball:
    """The perturbations of norm at most `epsilon`, in raw input units."""

    norm: Norm
    epsilon: float

    def project(self, delta: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The nearest point of the ball (Euclidean for l2 and l1, entrywise for linf), in ordinary arithmetic.

        Source:
            For l1: Duchi et al. (2008), Efficient projections onto the l1-ball, figure 1.
        """
        if self.norm is Norm.LINF:
            return delta.clamp(-self.epsilon, self.epsilon)
        flat = delta.reshape(len(delta), -1)
        if self.norm is Norm.L2:
            size = flat.norm(dim=1, keepdim=True).clamp_min(torch.finfo(delta.dtype).tiny)
            return (flat * (self.epsilon / size).clamp_max(1.0)).reshape(delta.shape)
        ordered = flat.abs().sort(1, descending=True).values
        excess = (ordered.cumsum(1) - self.epsilon) / torch.arange(1, flat.shape[1] + 1, dtype=delta.dtype)
        last = (ordered > excess).sum(1, keepdim=True).clamp_min(1) - 1
        threshold = excess.gather(1, last).clamp_min(0.0)
        return (flat.sign() * (flat.abs() - threshold).clamp_min(0.0)).reshape(delta.shape)


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


def inside(
    x: Float[Tensor, "batch *shape"], candidate: Float[Tensor, "batch *shape"], ball: Ball
) -> Float[Tensor, "batch *shape"]:
    """The candidate moved so that its exact distance from x is at most epsilon.

    Guarantee:
        ||result - x|| <= epsilon for the float64 numbers as they are; rows that cannot be brought inside become x.
    """
    delta = ball.project(candidate.double() - x)
    result, todo = x.clone(), torch.ones(len(x), dtype=torch.bool)
    for shrink in (1.0, 1 - 2.0**-40, 1 - 2.0**-20, 1 - 2.0**-10):
        moved = x + shrink * delta
        # The computed difference is within u of the exact one, entry by entry.
        apart = tensor_up((moved - x).abs() * (1 + 2 * UNIT_ROUNDOFF))
        within = todo & (norm_upper(apart, ball.norm) <= ball.epsilon)
        result[within] = moved[within]
        todo = todo & ~within
    return result


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
        An input that is not returned is truly vulnerable: a point at exact distance <= epsilon (or the input itself) is
        misclassified, proved in float64. An input that is returned may still be vulnerable.

    Args:
        attack: the search.
        network: the classifier up to its logits.
        x: inputs in float64.
        labels: their classes.
        ball: norm and radius.
        progress: told how far the search is.
    """
    alive = network(x).reshape(len(x), -1)
    alive = alive.argmax(1) == labels if alive.shape[1] > 1 else (alive[:, 0] > 0).long() == labels
    open_ = alive.nonzero()[:, 0]
    if len(open_) == 0:
        return alive
    for candidate in attack.search(network, x[open_], labels[open_], ball, progress):
        broken = misclassified(network, inside(x[open_], candidate, ball), labels[open_])
        alive[open_[broken]] = False
    return alive
