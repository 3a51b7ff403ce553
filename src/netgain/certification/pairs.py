"""Lipschitz constants of all differences of two logits: what a decision between two classes needs."""

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm
from netgain.core.rounding import UNDERFLOW, UNIT_ROUNDOFF, gamma, norm_upper, tensor_up
from netgain.gain.lipschitz import Analysis
from netgain.gain.result import Tail
from netgain.linear.base import AbstractLinearMap
from netgain.network.graph import Affine, Network


def pair_gains(analysis: Analysis) -> Float[Tensor, "classes classes"]:
    """Upper bounds of the Lipschitz constants of f_i - f_j, for all classes i, j.

    |f_i(x) - f_i(y) - f_j(x) + f_j(y)| <= gain_ij ||x - y||_p, as the least of
    ||e_i - e_j||_q G (q the dual norm, G the gain of all logits) and, where the logits are w_k h(x) + b_k,
    ||(w_i - w_j) / s||_q G_s, with ||diag(s) (h(x) - h(y))||_p <= G_s ||x - y||_p, for each method with such a tail.
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
    if classes > 1:
        gains.fill_diagonal_(0.0)
    return gains


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
