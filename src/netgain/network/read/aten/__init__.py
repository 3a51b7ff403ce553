"""Lowerings of aten operations, one family a file; importing this package fills the table."""

from netgain.network.read.aten import (
    activations,
    arithmetic,
    choice,
    convolution,
    dense,
    movement,
    normalization,
    opaque,
    pooling,
    reduction,
)

__all__ = [
    "activations",
    "arithmetic",
    "choice",
    "convolution",
    "dense",
    "movement",
    "normalization",
    "opaque",
    "pooling",
    "reduction",
]
