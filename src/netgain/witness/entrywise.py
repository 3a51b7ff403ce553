"""A centre and a radius for every entry of the Jacobian, in any of the three norms."""

import dataclasses
from collections.abc import Sequence
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.core.norms import Norm
from netgain.core.rounding import UNIT_ROUNDOFF, tensor_up
from netgain.linear.dense import Dense
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Node, Opaque, Sum, Vector
from netgain.norms.evaluate import image, magnitude
from netgain.norms.operator import operator_norm
from netgain.vectors.pool import AdaptiveMaxPool, MaxPool
from netgain.witness.arithmetic import above
from netgain.witness.form import sector
from netgain.witness.pieces import slopes
from netgain.witness.product import RTOL

# Entries of the largest Jacobian, and of one with the deviations of the units among its rows.
_LARGEST, _STACKED = 25_000_000, 4_000_000
# Columns: it begins as the identity.
_WIDEST = 14_000
_TINY = 2.0**-1073


def entrywise_gain(nodes: Sequence[Node], start: tuple[str, tuple[int, ...]], norm: Norm) -> float:
    """An upper bound of the Lipschitz constant from `start` to the last node.

    A difference of two evaluations is J D start for a matrix J. A unit with slopes in c +- r gives D y = c D z + w,
    where the deviation w = M D start has |M| <= r |J_z| entry by entry. So each value is linear in D start and in the
    deviations of all units before it, D v = C D start + sum over k of G_k w_k: affine maps, sums and concatenations act
    on C and on every G_k with their signs, and

        |J_v - C| <= sum over k of |G_k| |M_k|.

    The bound is that of the norm of all matrices within this of C. Where the rows become too many, the deviations so
    far are summed up into a radius R of each entry, which affine maps take to |A| R.

    Guarantee: proved, rounding and uncertainty included.

    Args:
        nodes: the nodes behind `start`, in order.
        start: name and shape of the value in front.
        norm: of inputs and outputs.

    Raises:
        RefusedCertificateError: for a vector function other than max-pooling, for a node without a rule, where the
            Jacobian is too large, or where numbers overflow.
    """
    inputs = torch.Size(start[1]).numel()
    if inputs > _WIDEST:
        raise RefusedCertificateError(f"a Jacobian with {inputs} columns is too large to be written out")
    eye = torch.eye(inputs, dtype=torch.float64).reshape(inputs, *start[1])
    jacobians = {start[0]: (eye, torch.zeros_like(eye))}
    last, known = jacobians[start[0]], _Deviations(torch.zeros(inputs, 0, dtype=torch.float64))
    for node in nodes:
        size = torch.Size(node.shape).numel()
        if inputs * size > _LARGEST:
            raise RefusedCertificateError(f"{node.source}: its Jacobian is too large to be written out")
        parts = [jacobians[name] for name in node.inputs]
        if max(len(centre) for centre, _ in parts) * size > _STACKED:
            parts = [known.summed(part) for part in parts]
        last, known = _through(node, parts, known)
        jacobians[node.name] = last
    centre, radius = (part.reshape(inputs, -1).T for part in known.summed(last))
    if not bool(centre.isfinite().all() & radius.isfinite().all()):
        raise RefusedCertificateError("the entries of a Jacobian overflow")
    if norm is not Norm.L2:
        centre, radius = tensor_up(centre.abs() + radius), torch.zeros_like(radius)
    return operator_norm(Dense(centre, (), radius), norm, rtol=RTOL).upper.value


@dataclasses.dataclass(frozen=True)
class _Deviations:
    """The deviations w of the units so far: upper bounds of the entries |M|, a column each.

    A value is a pair of centre and radius, whose rows belong to the entries of the start, then to the deviations; a
    value from before the last of them has fewer rows.
    """

    sizes: Float[Tensor, "inputs units"]

    def summed(self, value: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The value with its deviations in the radii of the start's entries."""
        centre, radius = value
        inputs, units = len(self.sizes), len(centre) - len(self.sizes)
        if units == 0:
            return value
        rows = tensor_up(centre[inputs:].abs() + radius[inputs:]).reshape(units, -1)
        spread = above(self.sizes[:, :units] @ rows, units).reshape(inputs, *centre.shape[1:])
        return centre[:inputs], _sum(radius[:inputs], spread)

    def reach(self, value: tuple[Tensor, Tensor]) -> Tensor:
        """Upper bounds of the magnitudes of the value's Jacobian."""
        centre, radius = self.summed(value)
        return tensor_up(centre.abs() + radius)

    def added(self, value: tuple[Tensor, Tensor], sizes: Tensor) -> tuple[tuple[Tensor, Tensor], "_Deviations"]:
        """The value with a deviation of its own in each entry where a size is positive, and the longer list."""
        bent = (sizes != 0).flatten(1).any(0).nonzero().squeeze(1)
        entries, shape = sizes[0].numel(), value[0].shape[1:]
        known = len(self.sizes) + self.sizes.shape[1]
        if (known + len(bent)) * entries > _STACKED:
            centre, radius = self.summed(value)
            return (centre, _sum(radius, sizes)), self
        own = torch.zeros(len(bent), entries, dtype=torch.float64)
        own[torch.arange(len(bent)), bent] = 1.0
        rows = known + len(bent)
        centre = torch.cat([_longer(value[0], known), own.reshape(-1, *shape)])
        more = _Deviations(torch.cat([self.sizes, sizes.flatten(1)[:, bent]], 1))
        return (centre, _longer(value[1], rows)), more


def _longer(rows: Tensor, count: int) -> Tensor:
    """Zero rows appended."""
    return torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])


def _through(
    node: Node, inputs: list[tuple[Tensor, Tensor]], known: _Deviations
) -> tuple[tuple[Tensor, Tensor], _Deviations]:
    """Centre and radius behind one node, and the deviations so far."""
    rows = max(len(centre) for centre, _ in inputs)
    inputs = [(_longer(centre, rows), _longer(radius, rows)) for centre, radius in inputs]
    centre, radius = inputs[0]
    match node.kind:
        case Affine(map=linear_map):
            value, error = image(linear_map, centre)
            return (value, tensor_up(error + magnitude(linear_map, radius))), known
        case Elementwise():
            c, r = (part.reshape(node.shape) for part in sector(*slopes(node)))
            value = c * centre
            behind = value, _sum(tensor_up(c.abs() * radius), value.abs() * UNIT_ROUNDOFF)
            return known.added(behind, tensor_up(r * known.reach(inputs[0])) * (r > 0))
        case Vector(function=MaxPool() | AdaptiveMaxPool() as pool):
            # The Jacobian of a maximum is a mean of rows of its window, so no entry exceeds the window's largest.
            largest = pool.value(known.reach(inputs[0]))
            nothing = torch.zeros(rows, *node.shape, dtype=torch.float64)
            return known.added((nothing, torch.zeros_like(nothing)), largest)
        case Sum():
            return _total(node, inputs), known
        case Concat(axis=axis):
            return (torch.cat([c for c, _ in inputs], axis + 1), torch.cat([r for _, r in inputs], axis + 1)), known
        case Vector() | Bilinear() | Opaque():
            raise RefusedCertificateError(f"{node.source} has no rule for entries of the Jacobian")
        case _:
            assert_never(node.kind)


def _total(node: Node, inputs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The scaled sum of values.

    Raises:
        TypeError: if the node is no sum.
    """
    if not isinstance(node.kind, Sum):
        raise TypeError(f"{node.name} is not a sum")
    total, spread = torch.zeros_like(inputs[0][0]), torch.zeros_like(inputs[0][1])
    for scale, (one, width) in zip(node.kind.scales, inputs, strict=True):
        term = scale * one
        total = total + term
        rounding = tensor_up((term.abs() + total.abs()) * UNIT_ROUNDOFF)
        spread = _sum(spread, tensor_up(abs(scale) * width), rounding)
    return total, spread


def _sum(*parts: Tensor) -> Tensor:
    """An upper bound of a sum, and of what underflows."""
    total = parts[0]
    for part in parts[1:]:
        total = tensor_up(total + tensor_up(part))
    return tensor_up(total + _TINY)
