"""Preprocessing as the first node of the network, so that radii are in raw input units."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from netgain.core.errors import UsageError
from netgain.linear.diagonal import Diagonal
from netgain.network.graph import Affine, Network, Node, Source
from netgain.network.read.rounding import reciprocal, shift

Numbers = float | Sequence[float] | Tensor
Preprocess = str | tuple[Numbers, Numbers]


def parse(preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation.

    Args:
        preprocess: (mean, std), each a number or one number a channel; or the text "mean,std" or
            "m1,m2,m3;s1,s2,s3".

    Returns:
        Two float64 vectors of one length.

    Raises:
        UsageError: if it is neither, or a deviation is not positive.
    """
    if isinstance(preprocess, str):
        halves = preprocess.split(";") if ";" in preprocess else preprocess.split(",")
        try:
            pairs = [[float(number) for number in half.split(",")] for half in halves]
        except ValueError:
            pairs = []
    else:
        pairs = [torch.as_tensor(part, dtype=torch.float64).flatten().tolist() for part in preprocess]
    if len(pairs) != 2 or len(pairs[0]) != len(pairs[1]):
        raise UsageError(
            f"preprocess {preprocess!r} is not a mean and a standard deviation; expected 'mean,std' or "
            "'m1,m2,m3;s1,s2,s3'"
        )
    mean, std = (torch.tensor(part, dtype=torch.float64) for part in pairs)
    if not bool(torch.isfinite(mean).all() & torch.isfinite(std).all() & (std > 0).all()):
        raise UsageError(f"preprocess {preprocess!r}: means must be finite and deviations positive")
    return mean, std


def prepend(network: Network, preprocess: Preprocess) -> Network:
    """The network of x -> f((x - mean) / std), the first node with its rounding errors.

    Args:
        network: f.
        preprocess: see `parse`; one number, or one a channel (the first axis of a sample).

    Raises:
        UsageError: if the number of channels differs.
    """
    mean, std = parse(preprocess)
    shape = network.input_shape
    if mean.numel() not in (1, shape[0] if shape else 1):
        raise UsageError(f"preprocess has {mean.numel()} channels, the model's input {shape} has {shape[:1]}")
    column = (-1, *([1] * (len(shape) - 1))) if shape else ()
    scale, scale_error = reciprocal(std)
    error = torch.zeros_like(scale) if scale_error is None else scale_error
    offset, offset_error = shift(mean, scale, error, None)
    bias, bias_error = (part.reshape(column).broadcast_to(shape) for part in (offset, offset_error))
    name, taken = "preprocess", {node.name for node in network.nodes}
    while name in taken or name == network.input:
        name = f"{name}_"
    scaling = Diagonal(scale.reshape(column), shape, error.reshape(column))
    first = Node(name, Affine(scaling, bias, bias_error), (network.input,), shape, Source("preprocess"))
    renamed = [
        dataclasses.replace(node, inputs=tuple(name if read == network.input else read for read in node.inputs))
        for node in network.nodes
    ]
    output = name if network.output == network.input else network.output
    return dataclasses.replace(network, nodes=(first, *renamed), output=output)
