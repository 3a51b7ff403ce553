"""The factor of a dense piece: one form over all live variables, pulled back node by node."""

import math
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import RefusedCertificateError
from netgain.core.norms import Norm
from netgain.core.rounding import tensor_up
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Network, Node, Opaque, Sum, Vector
from netgain.witness.certificate import Piece
from netgain.witness.factor import Factor, factor, factor_behind
from netgain.witness.form import Form, begin, elementwise, gain, groups, substitute
from netgain.witness.operators import Linear, Part, multiple
from netgain.witness.pieces import between, metric, slopes, sorted_groups, spread

# The form over live variables has at most so many rows.
_LARGEST = 6000
# Entries of the largest matrix of a map with many inputs.
_NUMBERS = 1 << 28
# One map with so many times more inputs than outputs is bounded through the Gram matrix of its rows.
_WIDE = 1.5


def dense_factor(network: Network, piece: Piece, stop: Float[Tensor, " entries"]) -> Factor:
    """A proved factor of ||D stop||^2 <= factor ||D start||^2 in the metrics of the two cuts.

    Args:
        network: the folded network.
        piece: the piece with its multipliers.
        stop: the weights of the metric at its stop, one an entry.

    Returns:
        The factor, rounded up.

    Raises:
        RefusedCertificateError: where a condition fails or a node has no rule.

    Cost:
        About a dozen n^3 for each layer of width n.
    """
    nodes = between(network, piece.start, piece.stop)
    shapes = network.shapes()
    start = metric(piece.metric, shapes[piece.start], piece.start)
    _check_names(nodes, piece)
    _check_size({piece.stop: stop.shape[0]}, piece.stop)
    form = begin(piece.stop, torch.diag(stop).unsqueeze(0))
    for left, node in zip(range(len(nodes), 0, -1), reversed(nodes), strict=True):
        alone = left == 1 and len(form.variables) == 1
        if alone and isinstance(node.kind, Affine) and node.kind.map.in_size > _WIDE * node.kind.map.out_size:
            if node.kind.map.in_size * node.kind.map.out_size > _NUMBERS:
                raise RefusedCertificateError(f"{node.source}: its matrix is too large to be written out")
            return factor_behind(form, Linear(node.kind.map), start)
        inputs = {name: torch.Size(shapes[name]).numel() for name in node.inputs}
        kept = {key: entries for key, entries in form.variables.items() if key != node.name}
        _check_size(kept | inputs, f"{node.source}")
        form = _through(form, node, [shapes[name] for name in node.inputs], piece.multipliers.get(node.name))
    return factor(form, start)


def _through(form: Form, node: Node, shapes: list[tuple[int, ...]], multiplier: Tensor | None) -> Form:
    """The form in front of one node."""
    name, where, before = node.name, f"{node.source}", node.inputs[0]
    entries = torch.Size(shapes[0]).numel()
    match node.kind:
        case Affine(map=linear_map):
            return substitute(form, name, [(before, Linear(linear_map))])
        case Sum(scales=scales):
            terms = zip(node.inputs, scales, strict=True)
            return substitute(form, name, [(key, multiple(entries, scale)) for key, scale in terms])
        case Concat(axis=axis):
            places = torch.arange(torch.Size(node.shape).numel()).reshape(node.shape)
            parts = torch.split(places, [shape[axis] for shape in shapes], dim=axis)
            joined = zip(node.inputs, parts, strict=True)
            return substitute(form, name, [(key, Part(part.reshape(-1), places.numel())) for key, part in joined])
        case Elementwise():
            t = torch.ones(1, dtype=torch.float64) if multiplier is None else multiplier
            bounds = slopes(node)
            if multiplier is None and bool((bounds[0] != bounds[1]).any()):
                raise RefusedCertificateError(f"{where}: the certificate has no multiplier for {name!r}")
            return elementwise(form, name, before, bounds, spread(t, node.shape, f"the multiplier of {name!r}"), where)
        case Vector(function=function):
            members = sorted_groups(function)
            if multiplier is None:
                raise RefusedCertificateError(f"{where}: the certificate has no multiplier for {name!r}")
            if members is not None and multiplier.dim() == 2:
                if multiplier.shape not in ((2, 1), (2, members.shape[0])):
                    raise RefusedCertificateError(f"{where}: the multiplier has shape {tuple(multiplier.shape)}")
                return groups(form, name, before, members, multiplier.expand(2, members.shape[0]), where)
            if multiplier.shape != (1,):
                raise RefusedCertificateError(f"{where}: a vector function takes one multiplier")
            most = function.gain(Norm.L2)
            if not math.isfinite(most):
                raise RefusedCertificateError(f"{where}: {function.name} has no global Lipschitz constant")
            squares = tensor_up(tensor_up(torch.full((1,), most, dtype=torch.float64).square()) * multiplier)
            t = multiplier.expand(form.variables[name])
            return gain(form, name, (before, entries), t, squares.expand(entries), where)
        case Bilinear() | Opaque():
            raise RefusedCertificateError(f"{where} has no global Lipschitz constant that could be proved")
        case _:
            assert_never(node.kind)


def _check_names(nodes: tuple[Node, ...], piece: Piece) -> None:
    """Every multiplier belongs to a nonlinear node of the piece."""
    known = {node.name for node in nodes if isinstance(node.kind, Elementwise | Vector)}
    for name in piece.multipliers:
        if name not in known:
            raise RefusedCertificateError(
                f"{name!r} is not a nonlinear node between {piece.start!r} and {piece.stop!r}"
            )


def _check_size(variables: dict[str, int], where: str) -> None:
    """Refuse a form that would not fit into memory."""
    if sum(variables.values()) > _LARGEST:
        raise RefusedCertificateError(
            f"{where}: a form over {sum(variables.values())} entries is too large to be proved"
        )
