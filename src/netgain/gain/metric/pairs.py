"""Bounds of all differences of two outputs, searched together and warm-started from the bound of the whole output."""

import dataclasses
import time
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.core.progress import Progress, silent
from netgain.gain.metric.claim import dense_piece, proved
from netgain.gain.metric.improve import Schedule, improve
from netgain.gain.metric.prepared import Prepared, prepare
from netgain.gain.metric.region import expanded, region
from netgain.gain.metric.rules import scalar_rule
from netgain.gain.metric.sweep import Logs, Swept, sweep
from netgain.network.graph import Network
from netgain.witness.certificate import Claim, Piece

# Forms of a batch have at most so many entries together.
_ENTRIES = 40_000_000
_SCHEDULE = Schedule(sharpness=(100.0, 1e5), many=4, evaluations=150, tolerance=1e-5, patience=6)
_SEARCH = 0.7  # of a batch's time; the rest is for proofs

Pair = tuple[int, int]


def pair_claims(
    network: Network,
    pieces: Sequence[Piece],
    pairs: Sequence[Pair],
    *,
    seconds: float | None = None,
    progress: Progress = silent,
) -> dict[Pair, Claim]:
    """Proved bounds of |f_i(x) - f_i(y) - f_j(x) + f_j(y)| / ||x - y|| in l2, one claim a pair.

    Only the last piece is searched again, with the row e_i - e_j at the output in place of the identity; the pieces in
    front of it serve all pairs. Its multipliers start from twice those of the whole output, which are feasible because
    (e_i - e_j)(e_i - e_j)^T <= 2 I, or from a closed form, and all pairs of a batch descend together.

    Guarantee:
        Each claim is proved by `witness.prove.prove` for its target.

    Args:
        network: the folded network.
        pieces: of a claim about the whole output.
        pairs: (i, j) for f_i - f_j, (i, -1) for f_i, of the flattened output.
        seconds: time for all pairs, about; pairs that it does not suffice for are left out. None for a fixed amount of
            work.
        progress: told how many pairs are done.

    Raises:
        NoSoundRuleError: if the last piece is too large for one form, or has an operation without multipliers.

    Cost:
        For each pair about 100 sweeps of the last piece and one proof.
    """
    last = pieces[-1]
    area = region(network, last.start, network.output)
    sizes = {name: torch.Size(shape).numel() for name, shape in network.shapes().items()}
    metric = expanded(last.metric, network.shapes()[last.start])
    first = prepare(area, metric=metric, goals=_goals(pairs[:1], sizes[network.output]))
    widest = max(first.sizes[name] for name in (area.start, *first.tunable()))
    count = max(1, min(len(pairs), _ENTRIES // (widest * widest)))
    began = time.monotonic()
    claims: dict[Pair, Claim] = {}
    for at in range(0, len(pairs), count):
        progress("pairs", at, len(pairs))
        chunk = tuple(pairs[at : at + count])
        left = None
        if seconds is not None:
            left = (seconds - (time.monotonic() - began)) * len(chunk) / (len(pairs) - at)
            if left <= 0 or (claims and time.monotonic() - began > seconds):
                break
        prepared = first.aimed(_goals(chunk, sizes[network.output]))
        swept = _searched(prepared, last, left)
        for element, pair in enumerate(chunk):
            if claims and seconds is not None and time.monotonic() - began > seconds:
                break
            piece = dense_piece(area, swept.multipliers(element), last.metric)
            try:
                claims[pair] = proved(network, [*pieces[:-1], piece], "pairs", pair)
            except RefusedCertificateError:
                continue
    progress("pairs", len(pairs), len(pairs))
    return claims


def _goals(pairs: Sequence[Pair], outputs: int) -> Float[Tensor, "batch 1 outputs"]:
    """The rows e_i - e_j, or e_i."""
    goals = torch.zeros(len(pairs), 1, outputs, dtype=torch.float64)
    for k, (i, j) in enumerate(pairs):
        goals[k, 0, i] = 1.0
        if j >= 0:
            goals[k, 0, j] = -1.0
    return goals


def _searched(prepared: Prepared, last: Piece, seconds: float | None) -> Swept:
    """The best multipliers found for each pair of a batch."""
    gains = dict.fromkeys(prepared.sizes, 1.0)
    closed = sweep(prepared, scalar_rule(prepared, gains, 0.5))
    if not closed.logs:
        return closed
    start = dict(closed.logs)
    given = warm_logs(prepared, last.multipliers)
    if given is not None:
        warm = sweep(prepared, given)
        better = warm.log_factor < closed.log_factor
        for name, logs in warm.logs.items():
            start[name] = torch.where(better.reshape(-1, *(1,) * (logs.dim() - 1)), logs, closed.logs[name])
    schedule = _SCHEDULE if seconds is None else _limited(_SEARCH * seconds)
    return sweep(prepared, improve(prepared, start, schedule).logs)


def _limited(seconds: float) -> Schedule:
    """The schedule of a batch with a time limit."""
    return dataclasses.replace(_SCHEDULE, evaluations=10 * _SCHEDULE.evaluations, seconds=seconds)


def warm_logs(prepared: Prepared, multipliers: Mapping[str, Tensor], scale: float = 2.0) -> Logs | None:
    """Logarithms of a piece's multipliers, times a scale; None if some are missing or not positive.

    Args:
        prepared: the region of the piece.
        multipliers: as a piece has them.
        scale: for all of them.
    """
    found: dict[str, Tensor] = {}
    for name in prepared.tunable():
        value = multipliers.get(name)
        if value is None:
            return None
        shape = prepared.region.network.shapes()[name]
        if name in prepared.groups:
            groups, size = prepared.groups[name].shape
            if value.dim() != 2:
                value = torch.stack([value.reshape(-1)[:1], torch.zeros(1, dtype=torch.float64)])
            value = torch.stack([value[0], value[0] + size * value[1]]).expand(2, groups).unsqueeze(0)
        elif name in prepared.sectors:
            value = expanded(value.reshape(1, -1), shape)
        else:
            value = value.reshape(1, 1, 1)
        if not bool((value > 0).all()):
            return None
        found[name] = (scale * value).log().expand(prepared.batch, *value.shape[1:])
    return found
