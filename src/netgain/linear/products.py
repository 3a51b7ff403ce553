"""Products of matrices and entries known up to an error: the float64 result with a proved error bound.

Each operand is a float64 tensor a with an entrywise bound of |a - exact| (None for zero). A result that overflows is
refused by returning None: the caller then keeps the factors.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.rounding import SMALLEST_NORMAL, UNDERFLOW, UNIT_ROUNDOFF, add_up, gamma, mul_up, tensor_up

_SLACK = 1.0 + 16.0 * UNIT_ROUNDOFF
_SUBNORMALS = 2.0**-1070
Known = tuple[Tensor, Tensor | None]


def matrix_product(
    a: Float[Tensor, "*b m k"],
    a_error: Float[Tensor, "*b m k"] | None,
    b: Float[Tensor, "*b k n"],
    b_error: Float[Tensor, "*b k n"] | None,
) -> Known | None:
    """fl(A B) and an entrywise bound of its distance to the exact product of the true matrices.

    With computed P = fl(A B) and M = fl(|A| |B|), for any order of summation, fused or not,
    |P - A B| <= gamma_k |A| |B| + underflow <= gamma_k (1 + 2 gamma_k) M + underflow (Higham, Accuracy and Stability,
    section 3.5, with |A| |B| (1 - gamma_k) <= M + underflow), and the operands' errors E, F add |A| F + E (|B| + F).

    Args:
        a: stored A.
        a_error: E.
        b: stored B.
        b_error: F.

    Returns:
        The product and its error, or None where either overflows.

    Cost:
        Two float64 matrix products, one more for each operand with an error.
    """
    factor = gamma(a.shape[-1])
    slack = add_up(1.0, 2.0 * factor)
    product, magnitude = a @ b, a.abs() @ b.abs()
    # 2 UNDERFLOW: once for the product, once for the magnitudes (where it is multiplied by gamma < 1).
    error = tensor_up(tensor_up(magnitude * mul_up(factor, slack)) + 2.0 * UNDERFLOW)
    propagated: list[Tensor] = []
    if b_error is not None:
        propagated.append(a.abs() @ b_error)
    if a_error is not None:
        widened = b.abs() if b_error is None else tensor_up(b.abs() + b_error)
        propagated.append(a_error @ widened)
    for part in propagated:
        error = tensor_up(error + tensor_up(tensor_up(part * slack) + 2.0 * UNDERFLOW))
    return _finite(product, error)


def entry_product(a: Tensor, a_error: Tensor | None, b: Tensor, b_error: Tensor | None) -> Known | None:
    """fl(a b), entry by entry with broadcasting, and a bound of its distance to the product of the true numbers.

    A product with a zero or a power of two is exact unless it underflows; any other is within u |fl(a b)|, or half the
    smallest subnormal number.

    Args:
        a: stored numbers.
        a_error: their error bounds, of a's shape.
        b: stored numbers, broadcastable against a.
        b_error: their error bounds, of b's shape.

    Returns:
        The products and their error (None where all are exact), or None where either overflows.
    """
    product = a * b
    size = product.abs()
    exact = (_power_of_two_or_zero(a) | _power_of_two_or_zero(b)) & (size >= SMALLEST_NORMAL) | (a == 0) | (b == 0)
    # No part takes more than six roundings, which the slack of 16 u covers, nor more than a few underflows.
    error = size.mul_(UNIT_ROUNDOFF).mul_(_SLACK).add_(_SUBNORMALS).masked_fill_(exact, 0.0)
    if b_error is not None:
        error = error + (a.abs() * b_error * _SLACK + _SUBNORMALS)
    if a_error is not None:
        widened = b.abs() if b_error is None else b.abs() + b_error
        error = error + (a_error * widened * _SLACK + _SUBNORMALS)
    return _finite(product, error if bool(error.any()) else None)


def entry_sum(a: Tensor, a_error: Tensor | None, b: Tensor, b_error: Tensor | None) -> Known | None:
    """fl(a + b), entry by entry with broadcasting, and a bound of its distance to the sum of the true numbers.

    Args:
        a: stored numbers.
        a_error: their error bounds.
        b: stored numbers, broadcastable against a.
        b_error: their error bounds.

    Returns:
        The sums and their error (None where all are exact), or None where either overflows.
    """
    total = a + b
    # A floating-point sum is exact where it underflows; elsewhere it is within u |fl(a + b)|.
    error = total.abs().mul_(UNIT_ROUNDOFF).add_(_SUBNORMALS).masked_fill_((a == 0) | (b == 0), 0.0)
    for part in (a_error, b_error):
        if part is not None:
            error = (error + part) * _SLACK
    return _finite(total, error if bool(error.any()) else None)


def _power_of_two_or_zero(x: Tensor) -> Tensor:
    """Whether the 52 fraction bits are zero; no subnormal number but zero passes."""
    return (x.view(torch.int64) & (2**52 - 1)) == 0


def _finite(value: Tensor, error: Tensor | None) -> Known | None:
    """The pair, or None where a number overflowed."""
    finite = bool(torch.isfinite(value).all()) and (error is None or bool(torch.isfinite(error).all()))
    return (value, error) if finite else None
