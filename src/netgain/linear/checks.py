"""Checks that every linear map makes of its tensors when it is built."""

from typing import Any

import torch
from torch import Tensor

from netgain.core.errors import ModelError, NonFiniteWeightError


def stored(value: Tensor, name: str) -> Tensor:
    """The tensor in float64, detached: exact for the floating-point dtypes up to 64 bits.

    Args:
        value: a real tensor.
        name: what messages call it.

    Raises:
        ModelError: if it is complex or not strided.
        NonFiniteWeightError: if an entry is NaN or infinite.
    """
    if value.is_complex() or value.layout is not torch.strided:
        raise ModelError(f"{name} must be a dense real tensor, got {value.dtype}, {value.layout}")
    converted = value.detach().to(torch.float64)
    if not bool(torch.isfinite(converted).all()):
        raise NonFiniteWeightError(f"{name} of shape {tuple(value.shape)} has an entry that is NaN or infinite")
    return converted


def stored_error(error: Tensor | None, weight: Tensor, name: str) -> Tensor | None:
    """The entrywise error bound in float64, checked; None where it is zero everywhere.

    Args:
        error: the bound, of the weight's shape, or None.
        weight: the tensor it belongs to.
        name: what messages call that tensor.

    Raises:
        ModelError: if its shape differs from the weight's or an entry is negative.
    """
    if error is None:
        return None
    converted = stored(error, f"error of {name}")
    if converted.shape != weight.shape:
        raise ModelError(f"error of {name} has shape {tuple(error.shape)}, expected {tuple(weight.shape)}")
    if bool((converted < 0).any()):
        raise ModelError(f"error of {name} has a negative entry; it bounds magnitudes")
    return converted if bool((converted > 0).any()) else None


def require(holds: bool, message: str) -> None:
    """Raise unless the condition holds.

    Args:
        holds: the condition.
        message: what was expected and what was given.

    Raises:
        ModelError: if it does not hold.
    """
    if not holds:
        raise ModelError(message)


def sizes(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The shape as plain integers, each at least 1.

    Args:
        shape: a shape without batch axis.
        name: what messages call it.

    Raises:
        ModelError: if an axis is empty.
    """
    plain = tuple(int(size) for size in shape)
    if any(size < 1 for size in plain):
        raise ModelError(f"{name} {plain} has an empty axis; every axis needs at least one entry")
    return plain


def assign(target: object, **values: Any) -> None:
    """Set fields of a frozen dataclass while it is being built."""
    for name, value in values.items():
        object.__setattr__(target, name, value)
