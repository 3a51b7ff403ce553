"""sin and cos."""

import torch

from netgain.activations.base import Activation
from netgain.activations.curve import Wave, assemble
from netgain.activations.table import ACTIVATIONS
from netgain.core.interval import Interval


@ACTIVATIONS.register("sin")
def sin() -> Activation:
    """sin x; slope cos x."""
    return assemble("sin", torch.sin, Interval.sin, slope=Wave(Interval.cos, 1), turns=Wave(Interval.sin, 0))


@ACTIVATIONS.register("cos")
def cos() -> Activation:
    """cos x; slope -sin x."""
    return assemble("cos", torch.cos, Interval.cos, slope=Wave(lambda x: -x.sin(), 2), turns=Wave(Interval.cos, 1))
