"""Vector functions: softmax, normalization, max-pooling, sorting; one family a file."""

from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.extrema import Extremum, GroupSort, Sort
from netgain.vectors.normalize import GroupNorm, LayerNorm, Normalize, RMSNorm
from netgain.vectors.pool import AdaptiveMaxPool, L2Pool, MaxPool
from netgain.vectors.softmax import LogSoftmax, LogSumExp, Softmax

__all__ = [
    "AbstractVectorFunction",
    "AdaptiveMaxPool",
    "Extremum",
    "GroupNorm",
    "GroupSort",
    "L2Pool",
    "LayerNorm",
    "LogSoftmax",
    "LogSumExp",
    "MaxPool",
    "Normalize",
    "RMSNorm",
    "Softmax",
    "Sort",
]
