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
from netgain.gain.coordinates import Coordinates
from netgain.gain.patterns import Flips
from netgain.gain.search import Candidates, Climb, direction, negligible, power, typical
from netgain.network.graph import Affine, Network
from netgain.propagate.evaluate import evaluate

_WORK = 6e10  # multiplications that search and proof may each spend where no time limit is given
_SPEED = 1e10  # multiplications a second, about
_STEPS_LEAST = 4
_LARGE = 2e5  # multiplications of one evaluation from which the search runs in float32, which is twice as fast
_POLISH = 30  # power steps at the end
_SPREAD, _SIFT = 64, 4  # random points for each start of which the steepest are kept, after so many power steps
_KICKS = (0.15, 0.5, 0.05)  # sizes of the random moves, relative to the coordinates'
_FLIPS = 20  # flips of single units in each round
_FLIP = 200  # evaluations, about, that trying one unit costs, over the flips' share of the work
_TRIED, _TRIED_LEAST = 48, 4  # units tried at once: at most, and at least for the search to be worth it
_ENOUGH = 1e-9  # relative gain of a round below which the search stops
_LADDER = (-3, -1, -5, 0, -2, -6, -4, -7, 1, -8, 2)  # decimal exponents of the relative step, the likeliest first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ascent:
    """A search for the steepest place from several starts, then a proved difference quotient along the best directions.

    For any two points L >= ||f(x) - f(y)|| / ||x - y||. The search only proposes x and y; what is reported is the
    quotient with the evaluation error of both outputs taken off, so a slope that automatic differentiation reports at
    a kink, but that the function does not have, cannot enter.

    Guarantee:
        Lower bound of the global Lipschitz constant, rounded down; 0 where the evaluation error swallows everything.

    Attributes:
        restarts: starting points; fewer for networks too large for the work allowed.
        steps: ascent steps from each; fewer for networks too large for the work allowed.
        rounds: ascents from the best points moved at random, each followed by flips of single units.
        seconds: time of the search, used up by ever new starts; None for a limit on arithmetic instead, which gives the
            same result on every machine for one seed.
        proved: how many of the best points are tried in the proof.

    Cost:
        restarts * steps * (1.5 + 0.75 rounds) * about six evaluations of the network, and some 500 more a start.
    """

    restarts: int = 24
    steps: int = 200
    rounds: int = 4
    seconds: float | None = None
    proved: int = 4

    def __call__(
        self,
        network: Network,
        norm: Norm,
        seed: int = 0,
        *,
        starts: Float[Tensor, "batch *in"] | None = None,
        hints: Float[Tensor, "hints *in"] | None = None,
        gains: Mapping[str, float] | None = None,
    ) -> Bound:
        """The best lower bound found.

        Args:
            network: the network.
            norm: the norm of inputs and outputs.
            seed: of the random starts.
            starts: inputs to start from as well, such as data.
            hints: directions worth trying, such as the worst increment of an upper bound; starts lie along them, near
                and far, on both sides.
            gains: proved l2 operator norms by node, for smaller evaluation errors.
        """
        cost = _cost(network)
        generator = torch.Generator().manual_seed(seed)
        place = Coordinates.of(network)
        began = time.monotonic()
        found = self._search(network, norm, place, _Starts(generator, starts, hints), self.seconds)
        while self.seconds is not None and (left := self.seconds - (time.monotonic() - began)) > 0.1 * self.seconds:
            found = best(
                found, self._search(network, norm, place, _Starts(generator, starts, hints), left), self.restarts
            )
        count = max(1, min(self.proved, int(_WORK / (10 * cost))))
        ladder = _LADDER[: max(3, int(_WORK / (10 * cost * count)))]
        polished = power(network, norm, found.x[:count].double(), found.v[:count].double(), _POLISH)
        value = prove(network, norm, polished, count, ladder=ladder, gains=gains)
        return Bound(
            value=value, side=Side.LOWER, quantity="Lipschitz constant", norm=norm, method="difference quotient"
        )

    def _search(
        self, network: Network, norm: Norm, place: Coordinates, starts: "_Starts", seconds: float | None
    ) -> Candidates:
        """One ascent from fresh starts, then rounds around what it found until one brings nothing."""
        cost = _cost(network)
        restarts, steps = self._effort(cost)
        x, v = starts(network, norm, restarts)
        if cost > _LARGE:
            x, v = x.float(), v.float()
        deadline = None if seconds is None else time.monotonic() + seconds

        def left(share: float) -> float | None:
            return None if deadline is None else max(1e-3, share * (deadline - time.monotonic()))

        polish = max(3, min(_POLISH, steps))
        allowed = _WORK if seconds is None else min(_WORK, _SPEED * seconds)
        spread = int(min(_SPREAD * restarts, allowed / (8 * 4 * _SIFT * cost)))
        wide, along = starts.random(network, norm, max(restarts, spread))
        seen = power(network, norm, wide.to(x.dtype), along.to(x.dtype), _SIFT).first(restarts)
        x, v = torch.cat([x, seen.x[: restarts // 2]]), torch.cat([v, seen.v[: restarts // 2]])
        climb = Climb(steps=steps, polish=polish, seconds=left(0.5))
        found = best(climb(network, norm, x, v, place), seen, restarts)
        kept = max(1, restarts // 4)
        tried = int(_WORK / (_FLIP * cost * _FLIPS * max(1, self.rounds)))
        again = Climb(steps=max(1, steps // 2), rate=0.05, coarse=0.3, fine=0.01, polish=polish)
        for number in range(self.rounds):
            reached = float(found.stretch[0])
            if deadline is not None and time.monotonic() > deadline:
                break
            kick = _KICKS[number % len(_KICKS)]
            x, v = starts.around(found.first(kept), place, max(restarts, spread // 2), kick)
            seen = power(network, norm, x, v, _SIFT).first(restarts)
            x, v = (
                torch.cat([x[:restarts], seen.x[: restarts // 2]]),
                torch.cat([v[:restarts], seen.v[: restarts // 2]]),
            )
            limited = dataclasses.replace(again, seconds=left(0.5))
            found = best(best(found, seen, restarts), limited(network, norm, x, v, place), restarts)
            if tried >= _TRIED_LEAST:
                flips = Flips(tried=min(_TRIED, tried), steps=_FLIPS, seconds=left(0.3))
                found = best(found, flips(network, norm, found.x[:1], found.v[:1], place), restarts)
            if number > 0 and not float(found.stretch[0]) > reached * (1 + _ENOUGH):
                break
        return found

    def _effort(self, cost: int) -> tuple[int, int]:
        """Restarts and steps that the work limit allows; a step is about six evaluations."""
        work = _WORK / (1 + self.rounds / 2)
        if self.seconds is not None:
            return max(1, min(self.restarts, int(work / cost))), self.steps
        restarts = max(1, min(self.restarts, int(work / (6 * cost * 5 * _STEPS_LEAST))))
        return restarts, max(_STEPS_LEAST, min(self.steps, int(work / (6 * cost * restarts))))


def best(first: Candidates, second: Candidates, count: int) -> Candidates:
    """The best of two sets of candidates, the first set's first among equals.

    Args:
        first: candidates.
        second: others.
        count: how many to keep.
    """
    stretch = torch.cat([first.stretch, second.stretch])
    order = stretch.nan_to_num(0.0).argsort(descending=True, stable=True)[:count]
    return Candidates(torch.cat([first.x, second.x])[order], torch.cat([first.v, second.v])[order], stretch[order])


def _cost(network: Network) -> int:
    """About the number of multiplications of one evaluation."""
    maps = (node.kind.map for node in network.nodes if isinstance(node.kind, Affine))
    return max(1, sum(one.terms * one.out_size for one in maps))


@dataclasses.dataclass(frozen=True)
class _Starts:
    """Where a search starts: at random, at given inputs, along given directions, around what was found."""

    generator: torch.Generator
    given: Tensor | None
    hints: Tensor | None

    def __call__(self, network: Network, norm: Norm, count: int) -> tuple[Tensor, Tensor]:
        """Random inputs and directions, up to half of the inputs as given, half of both as hinted."""
        column = (-1, *([1] * len(network.input_shape)))
        x, v = self.random(network, norm, count)
        if self.given is not None and len(self.given) > 0:
            chosen = torch.randperm(len(self.given), generator=self.generator)[: max(1, count // 2)]
            x[: len(chosen)] = self.given[chosen].double()
        if self.hints is not None and len(self.hints) > 0:
            rows = max(1, count // 2)
            picked = self.hints.double()[torch.arange(rows) % len(self.hints)]
            sign = 1.0 - 2.0 * ((torch.arange(rows) // len(self.hints)) % 2)
            far = 10.0 ** (torch.arange(rows) // (2 * len(self.hints)) % 4).double()
            v[-rows:] = picked / typical(picked).clamp_min(negligible(picked))
            x[-rows:] = v[-rows:] * (sign * far).reshape(column)
        return x, v

    def random(self, network: Network, norm: Norm, count: int) -> tuple[Tensor, Tensor]:
        """Random inputs at sizes from 0.1 to 100 and random directions."""
        shape = (count, *network.input_shape)
        size = 10.0 ** torch.linspace(-1, 2, count, dtype=torch.float64).reshape(-1, *([1] * len(network.input_shape)))
        x = torch.randn(shape, generator=self.generator, dtype=torch.float64) * size
        v = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return x, v if norm is Norm.L1 else direction(v, norm)

    def around(self, found: Candidates, place: Coordinates, count: int, kick: float) -> tuple[Tensor, Tensor]:
        """Copies of candidates, each moved at random in the coordinates."""
        rows = torch.arange(count) % len(found.x)
        y, v = place.coordinates(found.x[rows]), found.v[rows]
        noise = torch.randn(y.shape, generator=self.generator, dtype=torch.float64).to(y)
        x = place.input(y + kick * typical(y) * noise)
        return x, v


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
