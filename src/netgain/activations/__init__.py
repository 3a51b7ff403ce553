"""Scalar activations: slope and value ranges, one family a file."""

from netgain.activations import broken_lines, exponential, gated, powers, sigmoidal, steps, waves
from netgain.activations.base import Activation, Range
from netgain.activations.table import ACTIVATIONS, activation

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Range",
    "activation",
    "broken_lines",
    "exponential",
    "gated",
    "powers",
    "sigmoidal",
    "steps",
    "waves",
]
