"""Scalar activations, one table row each."""

import math
from collections.abc import Callable
from typing import Any

import torch

from netgain.activations.base import Activation
from netgain.activations.table import Parameter, activation
from netgain.network.graph import Elementwise
from netgain.network.read.aten.opaque import opaque, unknown
from netgain.network.read.lowering import Call, Lowered, Value, constant_tensor, lowers

# aten name -> our name and, for each of our parameters, the aten argument it is.
_TABLE: dict[str, tuple[str, dict[str, str]]] = {
    "relu.default": ("relu", {}),
    "relu6.default": ("relu6", {}),
    "leaky_relu.default": ("leaky_relu", {"negative_slope": "negative_slope"}),
    "celu.default": ("celu", {"alpha": "alpha"}),
    "selu.default": ("selu", {}),
    "silu.default": ("silu", {}),
    "mish.default": ("mish", {}),
    "sigmoid.default": ("sigmoid", {}),
    "log_sigmoid.default": ("log_sigmoid", {}),
    "tanh.default": ("tanh", {}),
    "hardtanh.default": ("hardtanh", {"min_val": "min_val", "max_val": "max_val"}),
    "hardsigmoid.default": ("hardsigmoid", {}),
    "hardswish.default": ("hardswish", {}),
    "softshrink.default": ("softshrink", {"lambd": "lambd"}),
    "hardshrink.default": ("hardshrink", {"lambd": "lambd"}),
    "threshold.default": ("threshold", {"threshold": "threshold", "value": "value"}),
    "abs.default": ("abs", {}),
    "erf.default": ("erf", {}),
    "sin.default": ("sin", {}),
    "cos.default": ("cos", {}),
    "exp.default": ("exp", {}),
    "log.default": ("log", {}),
    "sqrt.default": ("sqrt", {}),
    "rsqrt.default": ("rsqrt", {}),
    "reciprocal.default": ("reciprocal", {}),
    "sign.default": ("sign", {}),
    "sgn.default": ("sign", {}),
    "round.default": ("round", {}),
    "floor.default": ("floor", {}),
}


@lowers(*(f"aten.{name}" for name in _TABLE))
def tabled(call: Call) -> Lowered:
    """An activation whose parameters are arguments."""
    name, parameters = _TABLE[str(call.node.target).removeprefix("aten.")]
    given = {ours: float(call[theirs]) for ours, theirs in parameters.items() if theirs in call.arguments}
    return elementwise(call, lambda: activation(name, **given))


def elementwise(call: Call, build: Callable[[], Activation]) -> Lowered:
    """The activation on the operation's only operand."""
    operands = call.operands
    if len(operands) != 1 or not operands[0].real:
        return unknown(call)
    return call.emit(Elementwise(build()), operands, operands[0].shape)


@lowers("aten.softplus.default")
def softplus(call: Call) -> Lowered:
    """Softplus. Torch's jumps by log(1 + e^-threshold) / beta at threshold / beta; where float32 shows it, so do we."""
    beta, threshold = float(call.get("beta", 1)), float(call.get("threshold", 20))
    if threshold <= 0 or math.log1p(math.exp(-threshold)) > threshold * 2.0**-24:
        return opaque(call, "NG011", f"{call.source} jumps where beta x = {threshold:g}, its threshold")
    return elementwise(call, lambda: activation("softplus", beta=beta, threshold=threshold))


@lowers("aten.gelu.default")
def gelu(call: Call) -> Lowered:
    """GELU, exact or by tanh."""
    return elementwise(call, lambda: activation("gelu_tanh" if call["approximate"] == "tanh" else "gelu"))


@lowers("aten.elu.default")
def elu(call: Call) -> Lowered:
    """ELU."""
    if call["scale"] != 1 or call["input_scale"] != 1:
        return opaque(call, "NG010", f"{call.source} with scale factors has no rule")
    return elementwise(call, lambda: activation("elu", alpha=float(call["alpha"])))


def clamping(**limits: Parameter) -> Activation:
    """Clamping between limits, by its best-known name: from 0 upwards it is ReLU."""
    if list(limits) == ["min"] and bool((constant_tensor(limits["min"]) == 0).all()):
        return activation("relu")
    return activation("clamp", **limits)


@lowers("aten.prelu.default", "aten._prelu_kernel.default")
def prelu(call: Call) -> Lowered:
    """PReLU, one slope or one a channel (axis 1)."""
    value, weight = call["self"], call["weight"]
    if not isinstance(value, Value) or isinstance(weight, Value):
        return unknown(call)
    if weight.ndim == 1 and weight.numel() > 1:
        axis = call.axis(value, 1)
        weight = weight.reshape(-1, *([1] * (len(value.shape) - axis - 1)))
    elif weight.numel() == 1:
        weight = weight.reshape(())
    else:
        weight = call.full(weight, call.full_shape(value), value.layout)
    return elementwise(call, lambda: activation("prelu", weight=weight.double()))


@lowers("aten.rrelu.default")
def rrelu(call: Call) -> Lowered:
    """RReLU in eval mode: LeakyReLU with the mean slope."""
    return elementwise(call, lambda: activation("rrelu", lower=float(call["lower"]), upper=float(call["upper"])))


@lowers(
    "aten.clamp.default", "aten.clamp.Tensor", "aten.clamp_min.default", "aten.clamp_max.default", "aten.clip.default"
)
def clamp(call: Call) -> Lowered:
    """Clamping by numbers or constant tensors."""
    (value, *others) = call.operands
    if others or not isinstance(call["self"], Value):
        return unknown(call)
    limits: dict[str, Any] = {}
    for key in ("min", "max"):
        limit = call.get(key)
        if limit is not None:
            shape = torch.broadcast_shapes(call.full_shape(value), torch.as_tensor(limit).shape)
            if shape != call.full_shape(value):
                return unknown(call)
            limits[key] = call.full(limit, shape, value.layout) if isinstance(limit, torch.Tensor) else float(limit)
    lowered = elementwise(call, lambda: clamping(**limits))
    norm = call.builder.norms.get(value.name)
    if isinstance(lowered, Value) and norm is not None and isinstance(limits.get("min"), float) and len(limits) == 1:
        call.builder.clamped_norms[lowered.name] = (*norm, limits["min"])
    return lowered
