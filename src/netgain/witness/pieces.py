"""What proofs of pieces share: nodes between two cuts, weights spread over entries, one output as the output."""

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.linear.chain import Chain
from netgain.linear.dense import Dense
from netgain.linear.reshape import Reshape
from netgain.network.graph import Affine, Elementwise, Network, Node, Source
from netgain.norms.evaluate import image
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.extrema import GroupSort, Sort


def between(network: Network, start: str, stop: str) -> tuple[Node, ...]:
    """The nodes that `stop` depends on, up to `start`, in order.

    Args:
        network: the folded network.
        start: name of the node (or input) in front, not included.
        stop: name of the last node.

    Raises:
        RefusedCertificateError: if a name is unknown, or something is read from in front of `start`.
    """
    shapes = network.shapes()
    for name in (start, stop):
        if name not in shapes:
            raise RefusedCertificateError(f"the network has no node {name!r}")
    needed, kept = {stop}, list[Node]()
    for node in reversed(network.nodes):
        if node.name in needed and node.name != start:
            needed.update(node.inputs)
            kept.append(node)
    if start not in needed or (network.input in needed and start != network.input):
        raise RefusedCertificateError(f"{start!r} does not separate {stop!r} from the network's input")
    return tuple(reversed(kept))


def spread(values: Tensor, shape: tuple[int, ...], what: str) -> Float[Tensor, " entries"]:
    """One number, one a channel or one an entry as one an entry.

    Args:
        values: the numbers.
        shape: of the value they belong to.
        what: for messages.

    Raises:
        RefusedCertificateError: if they are of another number or kind.
    """
    entries = torch.Size(shape).numel()
    if values.dim() == 1 and values.dtype == torch.float64:
        if values.shape[0] in (1, entries):
            return values.expand(entries)
        if shape and values.shape[0] == shape[0]:
            return values.repeat_interleave(entries // shape[0])
    given = "x".join(map(str, values.shape))
    raise RefusedCertificateError(f"{what} has {given} numbers for a value of shape {shape}")


def metric(values: Float[Tensor, " weights"], shape: tuple[int, ...], name: str) -> Float[Tensor, " entries"]:
    """The weights of a metric, one an entry.

    Args:
        values: one number, one a channel or one an entry.
        shape: of the value at the cut.
        name: of the cut.

    Raises:
        RefusedCertificateError: if one is not positive and finite, or their number does not fit.
    """
    if not bool((values > 0).all() & values.isfinite().all()):
        raise RefusedCertificateError(f"the metric at {name!r} is not positive and finite")
    return spread(values, shape, f"the metric at {name!r}")


def slopes(node: Node) -> tuple[Float[Tensor, " entries"], Float[Tensor, " entries"]]:
    """The least and greatest slope of each entry of an elementwise node over the whole line.

    Args:
        node: a node of kind Elementwise.

    Raises:
        RefusedCertificateError: if one is unbounded.
        TypeError: if the node is of another kind.
    """
    if not isinstance(node.kind, Elementwise):
        raise TypeError(f"{node.name} is not elementwise")
    line = torch.full(node.shape, torch.inf, dtype=torch.float64)
    low, high = (end.expand(node.shape).reshape(-1) for end in node.kind.activation.slope_range(-line, line))
    if not bool(low.isfinite().all() & high.isfinite().all()):
        raise RefusedCertificateError(f"{node.source}: the slope of {node.kind.activation.name} is unbounded")
    return low, high


def sorted_groups(function: AbstractVectorFunction) -> Int[Tensor, "groups size"] | None:
    """The flat entries that are sorted among themselves, a row each, or None if the function does not sort.

    Args:
        function: the vector function.
    """
    if not isinstance(function, Sort | GroupSort):
        return None
    size = function.group_size if isinstance(function, GroupSort) else function.in_shape[function.axis]
    entries = torch.arange(torch.Size(function.in_shape).numel()).reshape(function.in_shape)
    return entries.movedim(function.axis, -1).reshape(-1, size)


def aimed(network: Network, target: tuple[int, int]) -> Network:
    """The network whose output is one entry of the flat output, or the difference of two.

    An affine output node becomes the row A^T w with its rounding as uncertainty; else a row is appended.

    Args:
        network: the folded network.
        target: (i, j) for output i minus output j, (i, -1) for output i.

    Raises:
        RefusedCertificateError: if there are no such outputs.
    """
    size = torch.Size(network.output_shape).numel()
    first, second = target
    if not (0 <= first < size and -1 <= second < size and first != second):
        raise RefusedCertificateError(f"there is no target {target} among {size} outputs")
    row = torch.zeros(1, size, dtype=torch.float64)
    row[0, first] = 1.0
    if second >= 0:
        row[0, second] = -1.0
    last = next((node for node in network.nodes if node.name == network.output), None)
    error, shape, inputs, name = None, network.output_shape, (network.output,), f"{network.output}[{target}]"
    while name in network.shapes():
        name += "'"
    kept = network.nodes
    if last is not None and isinstance(last.kind, Affine):
        row, error = image(last.kind.map, row.reshape(1, *last.kind.map.out_shape), transposed=True)
        row, error, shape, inputs, name = (
            row.reshape(1, -1),
            error.reshape(1, -1),
            row.shape[1:],
            last.inputs,
            last.name,
        )
        kept = tuple(node for node in kept if node.name != last.name)
    flat = Chain((Reshape(tuple(shape), (row.shape[1],)), Dense(row, (), error)))
    source = Source("difference of outputs") if last is None else last.source
    node = Node(name, Affine(flat), inputs, (1,), source)
    return dataclasses.replace(network, nodes=(*kept, node), output=name)
