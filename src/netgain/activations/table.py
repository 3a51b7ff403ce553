"""The table of activations by name."""

from collections.abc import Callable

import torch
from torch import Tensor

from netgain.activations.base import Activation
from netgain.core.errors import UsageError
from netgain.core.registry import Registry

Parameter = float | Tensor

ACTIVATIONS: Registry[Callable[..., Activation]] = Registry("activation")


def activation(name: str, **parameters: Parameter) -> Activation:
    """The activation of that name with its proved facts.

    Args:
        name: as in torch.nn.functional: "relu", "gelu" (the erf form), "gelu_tanh", "leaky_relu", ...
        parameters: named as in torch.nn.functional; numbers, or tensors that broadcast against the input.

    Returns:
        Its value, error, slope range and value range.

    Raises:
        UsageError: if the name is unknown, or a parameter is unknown, missing or outside its range.

    Example:
        >>> activation("leaky_relu", negative_slope=0.2).slope()
        (0.2, 1.0)
    """
    factory = ACTIVATIONS[name]
    try:
        return factory(**parameters)
    except TypeError as error:
        raise UsageError(f"activation {name!r}: {error}") from error


def exact(name: str, value: Parameter, *, positive: bool = False) -> Tensor:
    """A parameter as a float64 tensor, without error.

    Args:
        name: for messages.
        value: the parameter.
        positive: whether it must be above 0.

    Raises:
        UsageError: if it is not a finite number, or not positive where it must be.
    """
    tensor = _double(value)
    if not bool(torch.isfinite(tensor).all()):
        raise UsageError(f"{name} must be finite real numbers, got {describe(tensor)}")
    if positive and not bool((tensor > 0).all()):
        raise UsageError(f"{name} must be positive, got {describe(tensor)}")
    return tensor


def ordered(low: tuple[str, Parameter], high: tuple[str, Parameter]) -> tuple[Tensor, Tensor]:
    """Two bounds as float64 tensors, infinite ones allowed.

    Raises:
        UsageError: if one is NaN or they are in the wrong order.
    """
    lower, upper = (_double(value) for _, value in (low, high))
    if not bool((lower <= upper).all()):
        raise UsageError(f"{low[0]} must be at most {high[0]}, got {describe(lower)} and {describe(upper)}")
    return lower, upper


def describe(value: Parameter) -> str:
    """A parameter in a few characters: "0.2", or "64 values"."""
    tensor = _double(value)
    return f"{float(tensor):g}" if tensor.numel() == 1 else f"{tensor.numel()} values"


def number(name: str, value: Parameter) -> float:
    """A parameter that must be one finite number.

    Raises:
        UsageError: if it is not.
    """
    tensor = exact(name, value)
    if tensor.numel() != 1:
        raise UsageError(f"{name} must be one number, got {describe(tensor)}")
    return float(tensor)


def like(parameter: Tensor, x: Tensor) -> Tensor:
    """A parameter in the dtype and on the device of the argument."""
    return parameter.to(device=x.device, dtype=x.dtype)


def _double(value: Parameter) -> Tensor:
    """A real number or tensor in float64.

    Raises:
        UsageError: if it is not real.
    """
    if isinstance(value, complex) or (isinstance(value, Tensor) and value.is_complex()):
        raise UsageError("activation parameters must be real")
    return torch.as_tensor(value, dtype=torch.float64).detach()
