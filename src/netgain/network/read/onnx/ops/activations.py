"""Activations: functions of one variable, entry by entry."""

import math
from fractions import Fraction

import numpy as np
import torch

from netgain.activations import activation
from netgain.core.errors import ModelError
from netgain.network.read.onnx.lower import (
    Constant,
    DynamicOperandError,
    Lowering,
    Operation,
    Result,
    Signal,
    against,
    broadcast_shape,
    lowers,
    real,
)
from netgain.network.read.onnx.ops.arithmetic import apply, plus, scale
from netgain.network.read.onnx.patterns import Term
from netgain.network.read.onnx.statistics import match_root

_PLAIN = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Mish": "mish",
    "HardSwish": "hardswish",
    "Erf": "erf",
    "Sin": "sin",
    "Cos": "cos",
    "Exp": "exp",
    "Log": "log",
    "Reciprocal": "reciprocal",
    "Abs": "abs",
    "Sign": "sign",
    "Floor": "floor",
    "Round": "round",
}


@lowers(*_PLAIN)
def plain(lowering: Lowering, op: Operation) -> Result:
    """An activation without parameters."""
    return apply(lowering, op, op.signal(0), _PLAIN[op.type])


@lowers("Sqrt")
def sqrt(lowering: Lowering, op: Operation) -> Result:
    """The square root, or the l2 norm where squares stand under it."""
    return root(lowering, op, op.signal(0))


def root(lowering: Lowering, op: Operation, x: Signal) -> Signal:
    """The square root of x."""
    norm = match_root(lowering, op, x, lowering.squares)
    return apply(lowering, op, x, "sqrt") if norm is None else norm


@lowers("Ceil")
def ceil(lowering: Lowering, op: Operation) -> Result:
    """The next integer above: -floor(-x)."""
    turned = scale(lowering, op, op.signal(0), Fraction(-1))
    return scale(lowering, op, apply(lowering, op, turned, "floor"), Fraction(-1))


@lowers("LeakyRelu")
def leaky_relu(lowering: Lowering, op: Operation) -> Result:
    """x for x >= 0, alpha x below."""
    return apply(lowering, op, op.signal(0), "leaky_relu", negative_slope=float(op.attributes.get("alpha", 0.01)))


@lowers("PRelu")
def prelu(lowering: Lowering, op: Operation) -> Result:
    """Leaky ReLU with a constant slope for each entry."""
    x, slope = op.signal(0), op.need(1)
    if not isinstance(slope, Constant):
        raise DynamicOperandError("its slope is computed")
    if broadcast_shape(op, x.shape, slope.shape) != x.shape:
        raise ModelError(f"{op.source} has slopes of shape {slope.shape} for {x.shape}")
    return apply(lowering, op, x, "prelu", weight=against(real(slope, op), x.shape))


@lowers("Elu")
def elu(lowering: Lowering, op: Operation) -> Result:
    """x for x >= 0, alpha (exp(x) - 1) below."""
    return apply(lowering, op, op.signal(0), "elu", alpha=float(op.attributes.get("alpha", 1.0)))


@lowers("Selu")
def selu(lowering: Lowering, op: Operation) -> Result:
    """gamma times an ELU, with the file's own constants."""
    alpha = float(op.attributes.get("alpha", 1.67326319217681884765625))
    gamma = float(op.attributes.get("gamma", 1.05070102214813232421875))
    return scale(lowering, op, apply(lowering, op, op.signal(0), "elu", alpha=alpha), Fraction(gamma))


@lowers("Celu")
def celu(lowering: Lowering, op: Operation) -> Result:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return apply(lowering, op, op.signal(0), "celu", alpha=float(op.attributes.get("alpha", 1.0)))


@lowers("ThresholdedRelu")
def thresholded_relu(lowering: Lowering, op: Operation) -> Result:
    """x above alpha, 0 below: a jump unless alpha is 0."""
    alpha = float(op.attributes.get("alpha", 1.0))
    if alpha == 0.0:
        return apply(lowering, op, op.signal(0), "relu")
    return apply(lowering, op, op.signal(0), "threshold", threshold=alpha, value=0.0)


@lowers("Shrink")
def shrink(lowering: Lowering, op: Operation) -> Result:
    """x - bias above lambd, x + bias below -lambd, 0 between."""
    lambd, bias = float(op.attributes.get("lambd", 0.5)), float(op.attributes.get("bias", 0.0))
    if bias not in (0.0, lambd) or lambd < 0:
        raise DynamicOperandError(f"a shrink by {bias} outside {lambd} is neither soft nor hard")
    return apply(lowering, op, op.signal(0), "softshrink" if bias == lambd else "hardshrink", lambd=lambd)


@lowers("HardSigmoid")
def hard_sigmoid(lowering: Lowering, op: Operation) -> Result:
    """clip(alpha x + beta, 0, 1)."""
    alpha, beta = float(op.attributes.get("alpha", 0.2)), float(op.attributes.get("beta", 0.5))
    scaled = scale(lowering, op, op.signal(0), Fraction(alpha))
    moved = plus(lowering, op, scaled, Constant(np.asarray(beta, dtype=np.float64), "beta"), 1.0)
    return apply(lowering, op, moved, "clamp", min=0.0, max=1.0)


@lowers("Gelu")
def gelu(lowering: Lowering, op: Operation) -> Result:
    """GELU, exact or by tanh."""
    tanh = str(op.attributes.get("approximate", "none")) == "tanh"
    return apply(lowering, op, op.signal(0), "gelu_tanh" if tanh else "gelu")


@lowers("Swish")
def swish(lowering: Lowering, op: Operation) -> Result:
    """x sigmoid(alpha x) = silu(alpha x) / alpha."""
    alpha = Fraction(float(op.attributes.get("alpha", 1.0)))
    if alpha == 0:
        return scale(lowering, op, op.signal(0), Fraction(1, 2))
    return scale(lowering, op, apply(lowering, op, scale(lowering, op, op.signal(0), alpha), "silu"), 1 / alpha)


@lowers("Clip")
def clip(lowering: Lowering, op: Operation) -> Result:
    """The value kept between two constants."""
    limits: dict[str, float | torch.Tensor] = {}
    for index, name in ((1, "min"), (2, "max")):
        array = op.array(index)
        value = op.attributes.get(name) if array is None else np.asarray(array, dtype=np.float64).reshape(-1)[0]
        if value is not None and math.isnan(float(value)):
            raise ModelError(f"{op.source} clips at NaN")
        if value is not None:
            limits[name] = float(value)
    if limits.get("min", -math.inf) == -math.inf and limits.get("max", math.inf) == math.inf:
        return op.signal(0)
    if set(limits) == {"min"} and limits["min"] == 0.0:
        return apply(lowering, op, op.signal(0), "relu")
    return apply(lowering, op, op.signal(0), "clamp", **limits)


@lowers("Pow")
def power(lowering: Lowering, op: Operation) -> Result:
    """A constant power."""
    x, array = op.signal(0), op.array(1)
    values = np.unique(np.asarray(array, dtype=np.float64))
    if len(values) != 1:
        raise DynamicOperandError("its exponents differ from entry to entry")
    exponent = float(values[0])
    x = lowering.broadcast(op, x, broadcast_shape(op, x.shape, op.need(1).shape))
    if exponent == 1.0:
        return x
    if exponent == 0.5:
        return root(lowering, op, x)
    if exponent == -0.5:
        return apply(lowering, op, x, "rsqrt")
    if exponent == -1.0:
        return apply(lowering, op, x, "reciprocal")
    if exponent == 2.0:
        return lowering.squared(op, x)
    result = lowering.elementwise(op, x, activation("power", exponent=exponent))
    if exponent == 3.0:
        lowering.patterns[result.node] = Term("power", (x.node,), (Fraction(exponent),))
    return result
