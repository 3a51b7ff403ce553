"""Projected gradient descent in l2, linf and l1."""

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.certification.attacks.attack import AbstractAttack
from netgain.certification.attacks.ball import Ball
from netgain.core.norms import Norm
from netgain.core.progress import Progress
from netgain.network.graph import Network


@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD(AbstractAttack):
    """Steepest ascent of a loss inside the ball, projected after each step.

    The first start is the input itself with the margin loss max_j f_j - f_y, further starts are random points of the
    ball and alternate with cross-entropy. Inputs that a start broke are not attacked again.

    No guarantee: what it does not find may exist.

    Attributes:
        steps: gradient steps a start.
        starts: how many starts.
        stride: step length in units of epsilon / steps.
        batch: inputs attacked at once.
        seed: of the random starts.

    Cost:
        steps * starts forward and backward passes in float32 for each input that resists.

    Source:
        Madry et al. (2018), Towards deep learning models resistant to adversarial attacks.
    """

    steps: int = 20
    starts: int = 2
    stride: float = 2.5
    batch: int = 128
    seed: int = 0

    def __str__(self) -> str:
        return f"PGD, {self.steps} steps, {self.starts} starts"

    def search(
        self,
        network: Network,
        x: Float[Tensor, "batch *shape"],
        labels: Int[Tensor, " batch"],
        ball: Ball,
        progress: Progress,
    ) -> Float[Tensor, "candidates batch *shape"]:
        """The best point of each start."""
        generator = torch.Generator().manual_seed(self.seed)
        found = x.float().expand(self.starts, *x.shape).clone()
        what = f"attacking within {float(ball.widths(x).max()):g}"
        alive = torch.ones(len(x), dtype=torch.bool)
        for start in range(self.starts):
            rows = alive.nonzero()[:, 0]
            if len(rows) == 0:
                break
            for chunk in rows.split(self.batch):
                centre, classes = x[chunk].float(), labels[chunk]
                part = ball.rows(chunk)
                delta = _start(centre, part, generator) if start else torch.zeros_like(centre)
                best, lead = self._ascend(network, centre, classes, delta, (part, start % 2 == 0))
                found[start, chunk] = centre + best
                alive[chunk[lead > 0]] = False
                progress(what, (start * len(x) + int(chunk[-1]) + 1) // self.starts, len(x))
        progress(what, len(x), len(x))
        return found.double()

    def _ascend(
        self, network: Network, centre: Tensor, labels: Tensor, delta: Tensor, how: tuple[Ball, bool]
    ) -> tuple[Tensor, Tensor]:
        """The perturbation with the greatest margin for another class on the path, and that margin."""
        ball, by_margin = how
        best, lead = delta, torch.full((len(centre),), -torch.inf)
        step = self.stride * ball.widths(centre) / self.steps
        for number in range(self.steps + 1):
            delta = delta.detach().requires_grad_(True)
            scores = network(centre + delta).reshape(len(centre), -1)
            margins = _margin(scores, labels)
            better = margins.detach() > lead
            lead = torch.where(better, margins.detach(), lead)
            best = torch.where(better.reshape(-1, *[1] * (centre.ndim - 1)), delta.detach(), best)
            if number == self.steps or bool((lead > 0).all()):
                break
            loss = margins.sum() if by_margin or scores.shape[1] == 1 else _cross_entropy(scores, labels)
            (gradient,) = torch.autograd.grad(loss, delta)
            delta = ball.project(delta.detach() + step * _steepest(gradient, ball.norm), centre)
        return best, lead


def _margin(scores: Tensor, labels: Tensor) -> Tensor:
    """How far another class leads over the label; positive means misclassified."""
    if scores.shape[1] == 1:
        return torch.where(labels > 0, -scores[:, 0], scores[:, 0])
    own = scores.gather(1, labels[:, None])[:, 0]
    return scores.scatter(1, labels[:, None], -torch.inf).amax(1) - own


def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """The summed cross-entropy, so that rows do not share a scale."""
    return torch.nn.functional.cross_entropy(scores, labels, reduction="sum")


def _steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The unit direction along which the loss rises fastest (for l1: spread over the largest 1 % of entries)."""
    flat = gradient.reshape(len(gradient), -1)
    if norm is Norm.LINF:
        direction = flat.sign()
    elif norm is Norm.L2:
        direction = flat / flat.norm(dim=1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    else:
        count = max(1, flat.shape[1] // 100)
        chosen = flat.abs().topk(count, dim=1).indices
        direction = torch.zeros_like(flat).scatter(1, chosen, flat.gather(1, chosen).sign() / count)
    return direction.reshape(gradient.shape)


def _start(centre: Tensor, ball: Ball, generator: torch.Generator) -> Tensor:
    """A random perturbation in the ball."""
    noise, width = torch.empty_like(centre), ball.widths(centre)
    if ball.norm is Norm.LINF:
        return ball.project(width * noise.uniform_(-1.0, 1.0, generator=generator), centre)
    noise.normal_(generator=generator)
    size = ball.norm.of(noise).reshape(width.shape)
    radius = width * torch.rand(size.shape, generator=generator)
    return ball.project(noise * (radius / size.clamp_min(1e-30)), centre)
