"""Proved gains of linear functions of the output over many regions at once."""

import dataclasses
import math
import time

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm
from netgain.core.rounding import check_arithmetic, gamma, norm_upper, tensor_down, tensor_up
from netgain.gain.local.interior import solve
from netgain.propagate.ranges import Ranges
from netgain.propagate.restrict import Localized, localized
from netgain.witness.condensed import Condensed, Known, condense
from netgain.witness.slack import holds, pencils

# Numbers in the matrices of one batch.
_NUMBERS = 20_000_000
# A level that is not proved is tried again lower by these parts.
_LOWER = (0.0, 1e-9, 1e-7, 1e-5, 1e-3, 3e-2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard to look for multipliers.

    Attributes:
        rtol: relative gap of the squared gain to the best at which a search ends.
        steps: most steps.
        seconds: time for all regions, about; None for no limit. Bounds stay proved, however short the time.
    """

    rtol: float = 1e-3
    steps: int = 40
    seconds: float | None = None


def local_gains(
    ranges: Ranges,
    rows: Float[Tensor, "batch k *out"],
    norm: Norm | None = None,
    *,
    effort: Effort | None = None,
) -> Float[Tensor, "batch k"]:
    """For each region of a batch upper bounds of the Lipschitz constants of linear functions of the output over it.

    Guarantee:
        |row . f(x) - row . f(y)| <= bound ||x - y|| for all x, y of the region, in real numbers; rounding and the
        uncertainty of weights included.

    Args:
        ranges: of the network, folded and expanded.
        rows: for each region several linear functions of the output, exact.
        norm: of the inputs; None for that of the region's ball.
        effort: of the search in l2; the bounds in l1 and linf need none.

    Raises:
        NoSoundRuleError: for an operation that has no rule, or where matrices would be too large.

    Cost:
        About four evaluations of the network for each entry of its first layer and each bent unit; in l2 for each
        function some twenty Newton steps of 12 n^3 multiplications with n bent units.
    """
    goals = rows.reshape(*rows.shape[:2], 1, -1)
    return goal_gains(ranges, goals, norm or ranges.region.norm, effort=effort)


def region_gains(ranges: Ranges, norm: Norm | None = None, *, effort: Effort | None = None) -> Float[Tensor, " batch"]:
    """For each region of a batch an upper bound of the Lipschitz constant of the whole output over it.

    Guarantee: as `local_gains`.

    Args:
        ranges: of the network, folded and expanded.
        norm: of inputs and outputs; None for that of the region's ball.
        effort: of the search in l2.

    Raises:
        NoSoundRuleError: for an operation that has no rule, or where matrices would be too large.
    """
    size = math.prod(ranges.network.output_shape)
    goals = torch.eye(size, dtype=torch.float64).expand(len(ranges.region), 1, size, size)
    return goal_gains(ranges, goals, norm or ranges.region.norm, effort=effort).squeeze(1)


@torch.no_grad()
def goal_gains(
    ranges: Ranges, goals: Float[Tensor, "batch k p out"], norm: Norm, *, effort: Effort | None = None
) -> Float[Tensor, "batch k"]:
    """Upper bounds of the Lipschitz constants of goal f over each region, goals being matrices.

    Args:
        ranges: of the network, folded and expanded.
        goals: several matrices for each region, exact, applied to the flat output.
        norm: of inputs and outputs.
        effort: of the search in l2.

    Raises:
        NoSoundRuleError: for an operation that has no rule, or where matrices would be too large.
    """
    check_arithmetic()
    effort = effort or Effort()
    local = localized(ranges)
    frozen = ranges.region.low == ranges.region.high
    began, total = time.monotonic(), len(frozen)
    found = goals.new_full(goals.shape[:2], math.inf)
    count = _at_once(local, goals)
    for first in range(0, total, count):
        rows = slice(first, min(total, first + count))
        left = None
        if effort.seconds is not None:
            share = (rows.stop - first) / (total - first)
            left = max(0.0, effort.seconds - (time.monotonic() - began)) * share
        condensed = condense(local[rows], frozen[rows])
        found[rows] = _chunk(condensed, goals[rows], norm, dataclasses.replace(effort, seconds=left))
    return found


def _chunk(condensed: Condensed, goals: Tensor, norm: Norm, effort: Effort) -> Float[Tensor, "batch k"]:
    """The gains of one batch that fits into memory."""
    plain = _entrywise(condensed, goals, norm)
    if norm is not Norm.L2:
        return plain
    deadline = math.inf if effort.seconds is None else time.monotonic() + effort.seconds
    every = pencils(condensed, goals)
    size = every.gram.value.shape[1]
    bound = torch.full((len(every),), math.inf, dtype=torch.float64)
    step = max(1, _NUMBERS // (12 * size * size))
    for first in range(0, len(every), step):
        rows = slice(first, first + step)
        pencil = every[rows]
        solved = solve(
            pencil,
            list(condensed.groups.values()),
            rtol=effort.rtol,
            steps=effort.steps,
            over=lambda: time.monotonic() > deadline,
        )
        level = torch.zeros_like(solved.level)
        for lower in _LOWER:
            tried = solved.level * (1.0 - lower)
            proved = (level == 0) & (tried > 0)
            proved &= holds(pencil, solved.tau, torch.where(proved, tried, 0.0))
            level = torch.where(proved, tried, level)
            if bool((level > 0).all()):
                break
        root = tensor_down(level.sqrt())
        bound[rows] = torch.where(level > 0, tensor_up(1.0 / root), math.inf)
    return torch.minimum(bound.reshape(plain.shape), plain)


def _entrywise(condensed: Condensed, goals: Tensor, norm: Norm) -> Float[Tensor, "batch k"]:
    """The norm of a matrix that no entry of a goal's Jacobian exceeds: |C| + |G| M with |w| <= M |D start|."""
    outer, inner, split = condensed.outer, condensed.inner, condensed.outputs
    if condensed.front is not None:
        outer = outer.times(condensed.front)
    reach = torch.zeros(len(outer.value), condensed.units, outer.value.shape[2], dtype=torch.float64)
    size, others = outer.magnitude, inner.magnitude
    factor = 1 + 4 * gamma(condensed.units + 8)
    for group in condensed.groups.values():
        rows = slice(split + group.start, split + group.stop)
        reached = size[:, rows] + others[:, rows, : group.start] @ reach[:, : group.start] * factor
        reach[:, group] = tensor_up(condensed.radius[:, group].unsqueeze(2) * reached * factor)
    batch, count, rows, out = goals.shape
    aims = Known(goals.flatten(1, 2), torch.zeros(batch, count * rows, out, dtype=torch.float64))
    ahead = aims.times(Known(outer.value[:, :split], outer.error[:, :split])).magnitude
    bent = aims.times(Known(inner.value[:, :split], inner.error[:, :split])).magnitude
    entries = tensor_up((ahead + bent @ reach * factor) * factor).reshape(batch * count, rows, -1)
    if norm is Norm.LINF:
        found = norm_upper(entries.flatten(0, 1), Norm.L1).reshape(batch * count, rows).amax(1)
    elif norm is Norm.L1:
        found = norm_upper(entries.mT.flatten(0, 1), Norm.L1).reshape(batch * count, -1).amax(1)
    else:
        found = norm_upper(entries, Norm.L2)
    return torch.where(found.isnan(), math.inf, found).reshape(batch, count)


def _at_once(local: Localized, goals: Tensor) -> int:
    """How many regions are condensed together."""
    shapes = local.network.shapes()
    bent = sum(int(((high > low).flatten(1).sum(1)).max()) for low, high in local.slopes.values())
    start = math.prod(local.network.input_shape)
    widest = max(map(math.prod, shapes.values()))
    columns = start + bent
    rows = goals.shape[1] * goals.shape[2] + bent
    each = columns * widest + rows * columns + rows * rows + goals.shape[1] * (goals.shape[2] + bent) ** 2
    return max(1, _NUMBERS // (6 * max(1, each)))
