"""Lipschitz constants of all differences of two logits: what a decision between two classes needs."""

import collections
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.rounding import UNDERFLOW, UNIT_ROUNDOFF, gamma, norm_upper, tensor_up
from netgain.gain.claims import claim
from netgain.gain.lipschitz import Analysis
from netgain.gain.methods import METHODS, sweeping
from netgain.gain.metric.pairs import pair_claims
from netgain.gain.result import Run, Tail
from netgain.linear.base import AbstractLinearMap
from netgain.network.graph import Affine, Network
from netgain.witness.certificate import Claim, Piece, Proof

_SAMPLE = 2000  # inputs that say which pairs matter
_WORK = 1e12  # multiplications for all pairs where no time is given
_SWEEPS = 500  # sweeps that one pair takes, its proof included


def pair_gains(analysis: Analysis) -> Float[Tensor, "classes classes"]:
    """Upper bounds of the Lipschitz constants of f_i - f_j, for all classes i, j.

    |f_i(x) - f_i(y) - f_j(x) + f_j(y)| <= gain_ij ||x - y||_p, as the least of
    ||e_i - e_j||_q G (q the dual norm, G the gain of all logits) and, where the logits are w_k h(x) + b_k,
    ||(w_i - w_j) / s||_q G_s, with ||diag(s) (h(x) - h(y))||_p <= G_s ||x - y||_p, for each method with such a tail,
    and the claims about pairs that the analysis holds.
    For a single score f the one entry is the gain of f.

    Args:
        analysis: the gain of the network up to its logits.

    Guarantee:
        Upper bounds, rounding and the uncertainty of folded weights included. The diagonal is 0 (for several classes).

    Cost:
        classes^2 times the width of the last layer.
    """
    total, norm = analysis.enclosure.upper.value, analysis.norm
    classes = 1
    for length in analysis.network.output_shape:
        classes *= length
    if classes == 1:
        gains = torch.full((1, 1), total, dtype=torch.float64)
    else:
        apart = {Norm.L1: 1.0, Norm.L2: 2.0**0.5, Norm.LINF: 2.0}[norm]
        gains = tensor_up(torch.full((classes, classes), apart, dtype=torch.float64) * (1 + UNIT_ROUNDOFF * 4) * total)
    for bound in analysis.bounds:
        if bound.tail is not None:
            # Not minimum: where weights or scales overflow, a tail says nothing (NaN), and other bounds remain.
            gains = torch.fmin(gains, _through_tail(analysis.network, bound.tail, norm, classes))
    gains = torch.where(gains.isnan(), torch.inf, gains)
    for pair in analysis.pairs:
        if pair.target is not None and pair.target[1] >= 0:
            first, second = pair.target
            least = min(pair.bound, float(gains[first, second]))
            gains[first, second] = gains[second, first] = least
    if classes > 1:
        gains.fill_diagonal_(0.0)
    return gains


def with_pairs(
    analysis: Analysis,
    inputs: Float[Tensor, "samples *shape"] | None = None,
    *,
    seconds: float | None = None,
    progress: Progress = silent,
) -> Analysis:
    """The analysis with proved bounds of the differences of outputs, from the multipliers of its tightest claim.

    Pairs that decide most inputs come first; those beyond the work or time allowed keep what `pair_gains` has without.

    Args:
        analysis: with a claim of multipliers or of entries of the Jacobian; any other is returned as it is.
        inputs: what is to be certified.
        seconds: time for all pairs, about; None for a fixed amount of work.
        progress: told how many pairs are done.

    Returns:
        The analysis with `pairs`, and a line about them in `runs`.
    """
    network, found = analysis.network, analysis.claimed
    classes = math.prod(network.output_shape)
    if classes < 2 or found is None or found.claim is None or analysis.interrupted:
        return analysis
    if analysis.norm is not Norm.L2 and found.claim.pieces[0].proof is not Proof.ENTRYWISE:
        return analysis
    began = time.monotonic()
    pairs = _ordered(analysis, classes, inputs)
    search = pair_claims if analysis.norm is Norm.L2 else functools.partial(_entrywise, norm=analysis.norm)
    one = _SWEEPS * sweeping(network) if analysis.norm is Norm.L2 else METHODS["centred product"].work(network)
    wanted = pairs if seconds is not None else pairs[: max(1, int(_WORK / max(1.0, one)))]
    try:
        claims = search(network, found.claim.pieces, wanted, seconds=seconds, progress=progress)
        note = f"{len(claims)} of {len(pairs)} differences of outputs"
    except NoSoundRuleError as error:
        claims, note = {}, error.detail
    except KeyboardInterrupt:
        return dataclasses.replace(analysis, interrupted=True)
    run = Run(name="pairs", seconds=time.monotonic() - began, note=note)
    return dataclasses.replace(analysis, pairs=tuple(claims.values()), runs=(*analysis.runs, run))


def _entrywise(
    network: Network,
    pieces: Sequence[Piece],
    pairs: Sequence[tuple[int, int]],
    *,
    norm: Norm,
    seconds: float | None,
    progress: Progress,
) -> dict[tuple[int, int], Claim]:
    """The claims of pairs from entries of the Jacobian: one proof a pair, nothing to be searched."""
    began = time.monotonic()
    claims: dict[tuple[int, int], Claim] = {}
    for done, pair in enumerate(pairs):
        progress("differences of outputs", done, len(pairs))
        if seconds is not None and time.monotonic() - began > seconds:
            break
        claims[pair] = claim(network, norm, tuple(pieces), "centred product", pair)
    return claims


def _ordered(analysis: Analysis, classes: int, inputs: Tensor | None) -> list[tuple[int, int]]:
    """All pairs, those that decide most of some inputs first."""
    pairs = list(itertools.combinations(range(classes), 2))
    if inputs is None or len(inputs) == 0:
        return pairs
    scores = analysis.network(inputs[:_SAMPLE].double()).reshape(-1, classes)
    best, winner = scores.max(1)
    radii = (best.unsqueeze(1) - scores) / pair_gains(analysis)[winner]
    rival = radii.scatter(1, winner.unsqueeze(1), torch.inf).nan_to_num(torch.inf).argmin(1)
    votes = collections.Counter((min(pair), max(pair)) for pair in zip(winner.tolist(), rival.tolist(), strict=True))
    return sorted(pairs, key=lambda pair: -votes[pair])


def _through_tail(network: Network, tail: Tail, norm: Norm, classes: int) -> Tensor:
    """||(w_i - w_j) / scale||_dual times the gain of the scaled input of the last layer."""
    node = {node.name: node for node in network.nodes}[tail.node]
    if not isinstance(node.kind, Affine):
        raise TypeError(f"the tail of a gain bound names {node.name}, which is not affine")
    weights, errors = rows(node.kind.map)
    scale = tail.scale.double().expand(node.kind.map.in_shape).reshape(-1)
    weights, errors = weights / scale, tensor_up(errors / scale)
    errors = tensor_up(errors + UNIT_ROUNDOFF * weights.abs() + UNDERFLOW)
    if classes == 1:
        differences = norm_upper(tensor_up(weights.abs() + errors), norm.dual).reshape(1, 1)
    else:
        differences = torch.stack([_against(weights, errors, first, norm) for first in range(classes)])
    return tensor_up(differences * tail.gain)


def _against(weights: Tensor, errors: Tensor, first: int, norm: Norm) -> Tensor:
    """The dual norms of w_first - w_j for all j."""
    difference = (weights[first] - weights).abs()
    slack = tensor_up(errors[first] + errors)
    return norm_upper(tensor_up(difference * (1 + 2 * UNIT_ROUNDOFF) + slack), norm.dual)


def rows(linear_map: AbstractLinearMap) -> tuple[Float[Tensor, "out in"], Float[Tensor, "out in"]]:
    """The rows of a map and entrywise bounds of their errors.

    Args:
        linear_map: a map with few outputs.

    Returns:
        Rows as computed by the adjoint on unit vectors, and a bound of their distance to the exact rows.
    """
    unit = torch.eye(linear_map.out_size, dtype=torch.float64).reshape(-1, *linear_map.out_shape)
    weights = linear_map.adjoint(unit).reshape(linear_map.out_size, -1)
    factor = gamma(linear_map.adjoint_terms + 2)
    errors = factor * linear_map.abs().adjoint(unit).reshape(linear_map.out_size, -1) * (1 + 2 * factor) + UNDERFLOW
    uncertainty = linear_map.uncertainty()
    if uncertainty is not None:
        errors = errors + uncertainty.adjoint(unit).reshape(linear_map.out_size, -1) * (1 + 2 * factor)
    return weights, tensor_up(errors)
