"""The operator norm of a matrix or of a linear layer."""

from typing import Any

import numpy
import numpy.typing
import torch
from torch import Tensor, nn

from netgain.core.errors import UsageError
from netgain.core.norms import Norm
from netgain.core.results import Enclosure
from netgain.linear.base import AbstractLinearMap
from netgain.linear.dense import Dense
from netgain.linear.reshape import Reshape
from netgain.network.fold import fold
from netgain.network.graph import Affine, Network
from netgain.network.read.read import read
from netgain.norms.operator import operator_norm


def opnorm(
    layer: nn.Module | Tensor | numpy.typing.NDArray[Any] | AbstractLinearMap,
    input_shape: tuple[int, ...] | None = None,
    norm: Norm | str = Norm.L2,
    rtol: float = 1e-6,
) -> Enclosure:
    """Enclose the operator norm max ||A x||_p / ||x||_p of a matrix or of a linear layer (without its bias).

    A layer's norm is that of the whole map on inputs of the given shape, with its padding, stride and groups; frozen
    statistics (BatchNorm in eval mode) and parametrizations are part of it.

    Guarantee:
        Both sides are proved, rounding included, for the stored weights as real numbers.

    Args:
        layer: a matrix (out, in), or a module that is linear up to its bias: Linear, convolutions, average pooling,
            upsampling, BatchNorm, or a Sequential of them.
        input_shape: shape of one input, batch axis excluded; not needed for matrices and nn.Linear.
        norm: "l1", "l2" or "linf", of inputs and outputs.
        rtol: relative width wanted. Reached for matrices; convolutions may stay wider.

    Returns:
        A proved lower and a proved upper bound.

    Raises:
        UsageError: if the layer is not linear, a matrix has not two axes, or an argument is out of range.

    Example:
        >>> norm = opnorm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
        >>> 3.99999 < norm.lower.value <= 4.0 <= norm.upper.value < 4.00001
        True
    """
    if norm not in tuple(Norm):
        raise UsageError(f"norm must be one of {', '.join(Norm)}, got {norm!r}")
    match layer:
        case AbstractLinearMap():
            linear_map = layer
        case nn.Module():
            linear_map = _map_of(layer, input_shape)
        case Tensor() | numpy.ndarray():
            linear_map = _matrix(layer)
        case _:
            raise UsageError(f"expected a matrix or an nn.Module, got {type(layer).__name__}")
    return operator_norm(linear_map, Norm(norm), rtol=rtol)


def _matrix(values: Tensor | numpy.typing.NDArray[Any]) -> Dense:
    """A matrix as a linear map.

    Raises:
        UsageError: if it has not two axes or holds no real numbers of float64.
    """
    if len(values.shape) != 2:
        raise UsageError(f"a matrix has two axes, got shape {tuple(values.shape)}; pass a layer with its input_shape")
    if isinstance(values, numpy.ndarray) and values.dtype.kind not in "biuf":
        raise UsageError(f"a matrix holds real numbers, got dtype {values.dtype}")
    matrix = torch.as_tensor(values)
    if matrix.is_complex():
        raise UsageError(f"a matrix holds real numbers, got dtype {matrix.dtype}")
    if not matrix.is_floating_point():
        wide = matrix.double()
        if not torch.equal(wide.to(matrix.dtype), matrix):
            raise UsageError("an integer of this matrix is too large for float64")
        matrix = wide
    return Dense(matrix)


def _map_of(layer: nn.Module, input_shape: tuple[int, ...] | None) -> AbstractLinearMap:
    """The linear map of a layer.

    Raises:
        UsageError: if the layer is not one linear map, or needs an input shape.
    """
    if input_shape is None:
        if not isinstance(layer, nn.Linear):
            raise UsageError(f"{type(layer).__name__} needs input_shape, the shape of one input without the batch axis")
        input_shape = (layer.in_features,)
    like = next((p for p in layer.parameters() if p.is_floating_point()), torch.zeros(()))
    example = torch.zeros(2, *input_shape, dtype=like.dtype, device=like.device)
    network = fold(read(layer, example))
    if not network.nodes:
        return Reshape(network.input_shape, network.output_shape)
    return _single(network, type(layer).__name__)


def _single(network: Network, name: str) -> AbstractLinearMap:
    """The map of a network of one affine node.

    Raises:
        UsageError: if it has more or other nodes.
    """
    odd = next((node for node in network.nodes if not isinstance(node.kind, Affine)), None)
    if odd is not None:
        raise UsageError(f"{name} is not linear: it contains {odd.source}; use netgain.lipschitz")
    first = network.nodes[0]
    if len(network.nodes) > 1 or not isinstance(first.kind, Affine):
        raise UsageError(f"{name} does not fold into one linear map; use netgain.lipschitz")
    return first.kind.map
