"""Constants that rounding separates from the real numbers they stand for, with proved entrywise errors."""

import torch
from torch import Tensor

from netgain.core.rounding import SMALLEST_NORMAL, UNIT_ROUNDOFF, tensor_up


def relative_error(value: Tensor, roundings: int) -> Tensor:
    """An entrywise bound of the error of a value that is the product of `roundings` rounded operations.

    Each operation multiplies the exact value by 1 + d with |d| <= u; the excess of (1 + u)^k - 1 over k u, of dividing
    by the computed value, and underflow are covered by one more u and the smallest normal number.
    """
    return tensor_up(tensor_up(value.abs() * ((roundings + 1) * UNIT_ROUNDOFF)) + SMALLEST_NORMAL)


def reciprocal(value: Tensor) -> tuple[Tensor, Tensor | None]:
    """1 / value entrywise, and the error bound; None where every result is exact (powers of two)."""
    result = 1.0 / value
    powers = torch.frexp(value).mantissa.abs() == 0.5
    normal = (result.abs() >= SMALLEST_NORMAL) & torch.isfinite(result)
    exact = powers & normal
    if bool(exact.all()):
        return result, None
    return result, torch.where(exact, 0.0, relative_error(result, 1))


def normalizer(variance: Tensor, eps: float, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """w / sqrt(variance + eps) entrywise, and its error bound.

    The sum, the root, the division round once each; halving by the root only makes the first smaller.
    """
    scale = 1.0 / torch.sqrt(variance + eps) if weight is None else weight / torch.sqrt(variance + eps)
    return scale, relative_error(scale, 3)


def shift(mean: Tensor, scale: Tensor, scale_error: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """bias - mean * (true scale) entrywise, and its error bound.

    The error is |mean| scale_error, one rounding of the product and one of the difference.
    """
    product = mean * scale
    result = -product if bias is None else bias - product
    carried = tensor_up(mean.abs() * scale_error)
    rounding = relative_error(product, 1) + (relative_error(result, 1) if bias is not None else 0.0)
    return result, tensor_up(tensor_up(carried + rounding) * (1.0 + 4 * UNIT_ROUNDOFF))
