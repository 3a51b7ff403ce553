"""Lower bounds of the Lipschitz constant: found by ascent, proved by a difference quotient."""

import dataclasses
import time
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm
from netgain.core.results import Bound, Side
from netgain.core.rounding import UNIT_ROUNDOFF, norm_lower, norm_upper, tensor_down, tensor_up
from netgain.gain.search import Candidates, Climb, direction
from netgain.network.graph import Affine, Network
from netgain.propagate.evaluate import evaluate

_WORK = 2e10  # multiplications that search and proof may each spend where no time limit is given
_STEPS_LEAST = 4
_LARGE = 1e7  # multiplications of one evaluation from which the search runs in float32, which is twice as fast
_LADDER = (-3, -1, -5, 0, -2, -6, -4, -7, 1, -8, 2)  # decimal exponents of the relative step, the likeliest first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ascent:
    """Ascent on the Jacobian norm from several starts, then a proved difference quotient along the best directions.

    For any two points L >= ||f(x) - f(y)|| / ||x - y||. The search only proposes x and y; what is reported is the
    quotient with the evaluation error of both outputs taken off, so a slope that automatic differentiation reports at
    a kink, but that the function does not have, cannot enter.

    Guarantee:
        Lower bound of the global Lipschitz constant, rounded down; 0 where the evaluation error swallows everything.

    Attributes:
        restarts: starting points; fewer for networks too large for the work allowed.
        steps: ascent steps from each; fewer for networks too large for the work allowed.
        seconds: time of the search, used up by ever new starts; None for a limit on arithmetic instead, which gives the
            same result on every machine for one seed.
        proved: how many of the best points are tried in the proof.

    Cost:
        restarts * steps * about six evaluations of the network.
    """

    restarts: int = 24
    steps: int = 200
    seconds: float | None = None
    proved: int = 4

    def __call__(
        self,
        network: Network,
        norm: Norm,
        seed: int = 0,
        *,
        starts: Float[Tensor, "batch *in"] | None = None,
        gains: Mapping[str, float] | None = None,
    ) -> Bound:
        """The best lower bound found.

        Args:
            network: the network.
            norm: the norm of inputs and outputs.
            seed: of the random starts.
            starts: inputs to start from as well, such as data.
            gains: proved l2 operator norms by node, for smaller evaluation errors.
        """
        cost = _cost(network)
        generator = torch.Generator().manual_seed(seed)
        began = time.monotonic()
        found = self._round(network, norm, generator, starts, self.seconds)
        while self.seconds is not None and (left := self.seconds - (time.monotonic() - began)) > 0.1 * self.seconds:
            found = _best(found, self._round(network, norm, generator, starts, left), self.restarts)
        count = max(1, min(self.proved, int(_WORK / (10 * cost))))
        ladder = _LADDER[: max(3, int(_WORK / (10 * cost * count)))]
        value = prove(network, norm, found, count, ladder=ladder, gains=gains)
        return Bound(
            value=value, side=Side.LOWER, quantity="Lipschitz constant", norm=norm, method="difference quotient"
        )

    def _round(
        self,
        network: Network,
        norm: Norm,
        generator: torch.Generator,
        starts: Tensor | None,
        seconds: float | None,
    ) -> Candidates:
        """One ascent from fresh starts."""
        cost = _cost(network)
        restarts, steps = self._effort(cost)
        x, v = _starts(network, norm, restarts, generator)
        if starts is not None and starts.shape[0] > 0:
            chosen = torch.randperm(starts.shape[0], generator=generator)[: max(1, restarts // 2)]
            x[: len(chosen)] = starts[chosen].double()
        if cost > _LARGE:
            x, v = x.float(), v.float()
        found = Climb(steps=steps, polish=max(3, min(30, steps)), seconds=seconds)(network, norm, x, v)
        return Candidates(found.x.double(), found.v.double(), found.stretch.double())

    def _effort(self, cost: int) -> tuple[int, int]:
        """Restarts and steps that the work limit allows; a step is about six evaluations."""
        if self.seconds is not None:
            return max(1, min(self.restarts, int(_WORK / cost))), self.steps
        restarts = max(1, min(self.restarts, int(_WORK / (6 * cost * 5 * _STEPS_LEAST))))
        return restarts, max(_STEPS_LEAST, min(self.steps, int(_WORK / (6 * cost * restarts))))


def _best(first: Candidates, second: Candidates, count: int) -> Candidates:
    """The best of two sets of candidates."""
    stretch = torch.cat([first.stretch, second.stretch])
    order = stretch.nan_to_num(0.0).argsort(descending=True)[:count]
    return Candidates(torch.cat([first.x, second.x])[order], torch.cat([first.v, second.v])[order], stretch[order])


def _cost(network: Network) -> int:
    """About the number of multiplications of one evaluation."""
    maps = (node.kind.map for node in network.nodes if isinstance(node.kind, Affine))
    return max(1, sum(one.terms * one.out_size for one in maps))


def _starts(network: Network, norm: Norm, restarts: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random inputs at sizes from 0.1 to 100, and random directions."""
    shape = (restarts, *network.input_shape)
    size = 10.0 ** torch.linspace(-1, 2, restarts, dtype=torch.float64).reshape(-1, *([1] * len(network.input_shape)))
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * size
    v = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x, v if norm is Norm.L1 else direction(v, norm)


@torch.no_grad()
def prove(
    network: Network,
    norm: Norm,
    found: Candidates,
    count: int = 4,
    *,
    ladder: Sequence[int] = _LADDER,
    gains: Mapping[str, float] | None = None,
) -> float:
    """The greatest proved difference quotient over a ladder of steps along the best directions.

    With a, b = x +- h v / 2 as stored, |value(a) - f(a)| <= e_a and so for b,

        L >= (||value(a) - value(b)|| - ||e_a + e_b||) / ||a - b||,

    each norm rounded to the safe side. In one linear region of a network the exact quotient does not depend on h;
    large h makes the errors small, small h stays in the region.

    Args:
        network: the network.
        norm: the norm of inputs and outputs.
        found: points and directions in float64, best first.
        count: how many of them to try.
        ladder: decimal exponents of h relative to the size of x.
        gains: proved l2 operator norms by node.

    Returns:
        A proved lower bound of the Lipschitz constant, at least 0.
    """
    count = min(count, found.x.shape[0])
    if count == 0 or found.x[0].numel() == 0:
        return 0.0
    x, v = found.x[:count].detach(), found.v[:count].detach()
    size = norm.of(x).clamp_min(1e-3) / norm.of(v).clamp_min(1e-300) / 2
    steps = [(size * 10.0**exponent).reshape(-1, *([1] * (x.dim() - 1))) * v for exponent in ladder]
    ahead, behind = torch.cat([x + step for step in steps]), torch.cat([x - step for step in steps])
    return float(difference_quotients(network, norm, ahead, behind, gains).max())


def difference_quotients(
    network: Network, norm: Norm, a: Tensor, b: Tensor, gains: Mapping[str, float] | None = None
) -> Float[Tensor, " batch"]:
    """For each pair of rows a number not above ||f(a) - f(b)|| / ||a - b||, and at least 0.

    Args:
        network: the network f in real numbers.
        norm: the norm of inputs and outputs.
        a: float64 inputs.
        b: as many others.
        gains: proved l2 operator norms by node.
    """
    both = evaluate(network, torch.cat([a, b]), gains=gains)
    rows = a.shape[0]
    apart = norm_lower(both.value[:rows] - both.value[rows:], norm) * (1.0 - 4.0 * UNIT_ROUNDOFF)
    if norm is Norm.L2:
        error = tensor_up(both.error_l2[:rows] + both.error_l2[rows:])
    else:
        error = norm_upper(tensor_up(both.error[:rows] + both.error[rows:]), norm)
    # Each difference is one rounded subtraction, so the exact one is within u of it.
    distance = norm_upper(a - b, norm) * (1.0 + 4.0 * UNIT_ROUNDOFF)
    quotient = tensor_down(tensor_down(apart - error) / distance)
    sound = (distance > 0) & distance.isfinite() & apart.isfinite() & error.isfinite()
    return torch.where(sound, quotient, 0.0).clamp_min(0.0)
