"""Lowering rules, one family a file; importing the package files them all."""

from netgain.network.read.onnx.ops import (
    activations,
    arithmetic,
    linear,
    normalization,
    opaque,
    pooling,
    reductions,
    resize,
    shapes,
    structure,
)

__all__ = [
    "activations",
    "arithmetic",
    "linear",
    "normalization",
    "opaque",
    "pooling",
    "reductions",
    "resize",
    "shapes",
    "structure",
]
