"""The l1 and linf operator norms: largest column sum and largest row sum of magnitudes, with proved sides."""

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm
from netgain.core.results import Enclosure
from netgain.core.rounding import div_down, norm_lower, norm_upper, sub_down
from netgain.linear.base import AbstractLinearMap
from netgain.norms.enclose import operator_enclosure
from netgain.norms.evaluate import image, magnitude


def l1_norm(linear_map: AbstractLinearMap) -> Enclosure:
    """Enclose ||A||_1 = max over j of sum over i of |a_ij|.

    The upper side is the largest entry of (|A| + E)^T 1, the lower side ||A e_j||_1 for the column j where it is
    attained.

    Guarantee: both sides proved, rounding and stored errors included. Equal up to (terms) u, except for chains, whose
    upper side is that of the product of magnitudes.

    Args:
        linear_map: A.

    Returns:
        The enclosure in the l1 norm.

    Cost:
        About six applications to one vector.
    """
    sums = magnitude(linear_map, _ones(linear_map.out_shape), transposed=True).reshape(-1)
    column = torch.zeros_like(sums)
    column[int(sums.argmax())] = 1.0
    lower = vector_lower(linear_map, column.reshape(1, *linear_map.in_shape), Norm.L1)
    return operator_enclosure(
        lower, _largest(sums), Norm.L1, lower_method="one column", upper_method="column sums of magnitudes"
    )


def linf_norm(linear_map: AbstractLinearMap) -> Enclosure:
    """Enclose ||A||_inf = max over i of sum over j of |a_ij|.

    The upper side is the largest entry of (|A| + E) 1, the lower side ||A x||_inf for x the signs of the row where it
    is attained.

    Guarantee: both sides proved, rounding and stored errors included. Equal up to (terms) u, except for chains, whose
    upper side is that of the product of magnitudes.

    Args:
        linear_map: A.

    Returns:
        The enclosure in the linf norm.

    Cost:
        About seven applications to one vector.
    """
    sums = magnitude(linear_map, _ones(linear_map.in_shape)).reshape(-1)
    row = torch.zeros_like(sums)
    row[int(sums.argmax())] = 1.0
    signs = linear_map.adjoint(row.reshape(1, *linear_map.out_shape)).sign()
    lower = vector_lower(linear_map, signs, Norm.LINF)
    return operator_enclosure(
        lower, _largest(sums), Norm.LINF, lower_method="signs of one row", upper_method="row sums of magnitudes"
    )


def vector_lower(linear_map: AbstractLinearMap, x: Float[Tensor, "1 *in"], norm: Norm) -> float:
    """A proved lower bound ||A x|| / ||x|| of the operator norm; 0 where x is zero or the image overflows."""
    length = float(norm_upper(x, norm))
    value, error = image(linear_map, x)
    lost, size = float(norm_upper(error, norm)), float(norm_lower(value, norm))
    if not (0.0 < length < float("inf") and lost < size < float("inf")):
        return 0.0
    return div_down(sub_down(size, lost), length)


def _ones(shape: tuple[int, ...]) -> Tensor:
    """One row of ones."""
    return torch.ones(1, *shape, dtype=torch.float64)


def _largest(sums: Tensor) -> float:
    """The largest entry; infinity where one overflowed."""
    return float(sums.nan_to_num(nan=float("inf"), posinf=float("inf")).max())
