"""Diagonal scales that commute: which scales a map admits, how they pass through it, and the map rescaled by them.

A *partition* of the entries of a shape is an integer tensor of that shape: entries with the same number must have the
same scale. Scales themselves are positive tensors of the full shape.
"""

import torch
from jaxtyping import Float, Int64
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from netgain.core.rounding import UNIT_ROUNDOFF, tensor_up
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.separable import Separable

Shape = tuple[int, ...]
Partition = Int64[Tensor, "..."]


def finest(shape: Shape) -> Partition:
    """Each entry on its own."""
    return torch.arange(int(torch.Size(shape).numel())).reshape(shape)


def by_axes(shape: Shape, axes: tuple[int, ...]) -> Partition:
    """Entries with the same position along `axes` together.

    Args:
        shape: the shape.
        axes: axes of the shape, counted from 0.
    """
    kept = tuple(size if axis in axes else 1 for axis, size in enumerate(shape))
    return finest(kept).expand(shape).clone()


def join(a: Partition, b: Partition) -> Partition:
    """The finest partition that is coarser than both.

    Args:
        a: a partition.
        b: another one of the same shape.
    """
    left, right = a.reshape(-1), b.reshape(-1)
    offset = int(left.max()) + 1 if left.numel() else 0
    size = offset + (int(right.max()) + 1 if right.numel() else 0)
    ones = torch.ones(left.numel(), dtype=torch.int8).numpy()
    graph = coo_matrix((ones, (left.numpy(), (right + offset).numpy())), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    labels = torch.as_tensor(component, dtype=torch.int64)[left]
    return torch.unique(labels, return_inverse=True)[1].reshape(a.shape)


def scalable(linear_map: AbstractLinearMap) -> bool:
    """Whether `rescaled` has a rule for the map that keeps its kind, so that its norm stays as cheap and as tight."""
    match linear_map:
        case Dense() | Conv() | ConvTransposed():
            return True
        case Chain(maps=maps):
            core = [one for one in maps if not isinstance(one, Reshape)]
            return len(core) == 1 and scalable(core[0])
        case _:
            return False


def output_partition(linear_map: AbstractLinearMap) -> Partition:
    """The finest scales that a scalable map admits on its outputs.

    Args:
        linear_map: a scalable map.
    """
    match linear_map:
        case Chain(maps=maps):
            core = next(one for one in maps if not isinstance(one, Reshape))
            return output_partition(core).reshape(linear_map.out_shape)
        case Dense():
            return by_axes(linear_map.out_shape, (len(linear_map.out_shape) - 1,))
        case _:
            return by_axes(linear_map.out_shape, (0,))


def input_partition(linear_map: AbstractLinearMap) -> Partition:
    """The finest scales that a scalable map admits on its inputs.

    Args:
        linear_map: a scalable map.
    """
    match linear_map:
        case Chain(maps=maps):
            core = next(one for one in maps if not isinstance(one, Reshape))
            return input_partition(core).reshape(linear_map.in_shape)
        case Dense():
            return by_axes(linear_map.in_shape, (len(linear_map.in_shape) - 1,))
        case _:
            return by_axes(linear_map.in_shape, (0,))


def kept_axes(linear_map: AbstractLinearMap) -> tuple[int, ...] | None:
    """The axes along which a map acts entry by entry, if it otherwise only mixes along the others; None if unknown.

    Args:
        linear_map: any map.
    """
    match linear_map:
        case Separable(matrices=matrices):
            return tuple(axis for axis, matrix in enumerate(matrices) if matrix is None)
        case Diagonal():
            return tuple(range(len(linear_map.in_shape)))
        case _:
            return None


def rescaled(
    linear_map: AbstractLinearMap, before: Float[Tensor, "*in"], after: Float[Tensor, "*out"]
) -> AbstractLinearMap:
    """The map diag(after) A diag(before)^-1, with its rounding in the entrywise error.

    Guarantee:
        The result describes the scaled real map: two roundings an entry, underflow and the old error included.

    Args:
        linear_map: a scalable map.
        before: positive scales of its inputs, constant on `input_partition`.
        after: positive scales of its outputs, constant on `output_partition`.

    Returns:
        A map of the same kind.

    Raises:
        TypeError: if the map is not scalable.
    """
    match linear_map:
        case Chain(maps=maps):
            core = next(one for one in maps if not isinstance(one, Reshape))
            inner = rescaled(core, before.reshape(core.in_shape), after.reshape(core.out_shape))
            return Chain(tuple(inner if one is core else one for one in maps))
        case Dense(weight=weight, lead=lead, error=error):
            last = before.reshape(-1, before.shape[-1])[0], after.reshape(-1, after.shape[-1])[0]
            weight, error = _scaled(weight, error, last[0].unsqueeze(0), last[1].unsqueeze(1))
            return Dense(weight, lead, error)
        case Conv() | ConvTransposed():
            columns = before.reshape(linear_map.in_shape[0], -1)[:, 0]
            rows = after.reshape(linear_map.out_shape[0], -1)[:, 0]
            return _rescaled_convolution(linear_map, columns, rows)
        case _:
            raise TypeError(f"no rescaling of {type(linear_map).__name__}")


def _rescaled_convolution(conv: Conv | ConvTransposed, columns: Tensor, rows: Tensor) -> Conv | ConvTransposed:
    """A convolution with a scale for each channel; a weight's second axis counts channels within its group."""
    shape, groups = conv.weight.shape, conv.groups
    own, other = (rows, columns) if isinstance(conv, Conv) else (columns, rows)
    second = other.reshape(groups, 1, -1).expand(groups, shape[0] // groups, -1).reshape(shape[0], shape[1])
    spread = (*second.shape, *([1] * (len(shape) - 2)))
    first = own.unsqueeze(1).expand_as(second)
    over, under = (first, second) if isinstance(conv, Conv) else (second, first)
    weight, error = _scaled(conv.weight, conv.error, under.reshape(spread), over.reshape(spread))
    if isinstance(conv, Conv):
        return Conv(weight, conv.in_shape, conv.stride, conv.padding, conv.dilation, conv.groups, error, conv.circular)
    return ConvTransposed(
        weight,
        conv.in_shape,
        conv.stride,
        conv.padding,
        conv.output_padding,
        conv.dilation,
        conv.groups,
        error,
    )


def _scaled(weight: Tensor, error: Tensor | None, under: Tensor, over: Tensor) -> tuple[Tensor, Tensor]:
    """weight * over / under with an entrywise error; 2^-1000 covers underflow of both steps for ratios below 2^70."""
    scaled = weight * over / under
    rounding = 4.0 * UNIT_ROUNDOFF * scaled.abs() + 2.0**-1000 * (weight != 0).to(weight)
    if error is not None:
        rounding = rounding + tensor_up(tensor_up(error * over) / under) * (1.0 + 4.0 * UNIT_ROUNDOFF)
    return scaled, tensor_up(rounding)
