"""Folding: neighbouring affine nodes as one, so that norms are taken of products instead of factors.

A frozen batch normalization disappears into its convolution, a flatten into the layer behind it, two matrices without
activation between them into their product. The function stays the same: every rounded number carries an error bound.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from netgain.core.rounding import tensor_up
from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.merge import MODERATE_SIZE, chain, is_identity
from netgain.linear.products import Known, entry_product, entry_sum
from netgain.network.graph import Affine, Concat, Elementwise, Network, Node, Sum
from netgain.norms.evaluate import image, magnitude


def fold(network: Network) -> Network:
    """The same function with fewer nodes.

    Affine nodes are merged with the affine node they alone read, sums of sums are flattened, sums of matrices of one
    input are added, and nodes without effect (identities, nodes that the output does not need) are dropped.
    A merged node is called after its members, joined by "+", and keeps the source of the one with the most weights.

    Guarantee: both networks are the same real function. Where merged float64 numbers differ from it, the maps'
    `uncertainty` and the nodes' `bias_error` bound the difference.

    Args:
        network: any network; it is not changed.

    Cost:
        Linear in the nodes, plus the products of the matrices that merge.
    """
    folder = _Folder(network)
    for node in folder.pending:
        folder.add(node)
    return dataclasses.replace(network, nodes=tuple(folder.nodes.values()), output=folder.current(network.output))


def affine_after(first: Affine, second: Affine) -> Affine | None:
    """second after first as one node: x -> A2 (A1 x + b1) + b2.

    Args:
        first: the node applied first.
        second: the node that reads it.

    Returns:
        The merged node, or None where its bias overflows.
    """
    merged = chain(first.map, second.map)
    if first.bias is None:
        return Affine(merged, second.bias, second.bias_error)
    known = _moved(second.map, first.bias, first.bias_error)
    if known is not None and second.bias is not None:
        known = entry_sum(*known, second.bias, second.bias_error)
    return None if known is None else Affine(merged, *known)


def _moved(linear_map: AbstractLinearMap, x: Tensor, error: Tensor | None) -> Known | None:
    """The map applied to one vector known up to `error`: |A' x' - value| <= |A' x - value| + (|A| + E) |x' - x|."""
    value, bound = (one.squeeze(0) for one in image(linear_map, x.unsqueeze(0)))
    if error is not None:
        bound = tensor_up(bound + magnitude(linear_map, error.unsqueeze(0)).squeeze(0))
    finite = bool(torch.isfinite(value).all()) and bool(torch.isfinite(bound).all())
    return (value, bound if bool(bound.any()) else None) if finite else None


@dataclasses.dataclass(frozen=True, eq=False)
class _Term:
    """One input of a sum, seen from what it reads: scale * kind(source), the identity where kind is None."""

    scale: float
    name: str
    source: str
    kind: Affine | None


class _Folder:
    """The folded nodes so far, in order; each step adds one node of the original network."""

    def __init__(self, network: Network):
        self.pending = _needed(network)
        self.nodes: dict[str, Node] = {}
        self.names = set(network.shapes())
        self.alias: dict[str, str] = {}
        self.weights: dict[str, int] = {}
        self.uses = dict.fromkeys(self.names, 0)
        for node in self.pending:
            for name in node.inputs:
                self.uses[name] += 1
        self.uses[network.output] += 1

    def current(self, name: str) -> str:
        """The name under which an original node's value is found now."""
        while name in self.alias:
            name = self.alias[name]
        return name

    def add(self, node: Node) -> None:
        """Fold one node into those before it."""
        node = dataclasses.replace(node, inputs=tuple(self.current(name) for name in node.inputs))
        match node.kind:
            case Sum(scales=scales):
                self._sum(node, list(zip(scales, node.inputs, strict=True)))
            case Affine():
                self._affine(node, node.kind)
            case Elementwise(activation=activation) if activation.name == "identity":
                self._skip(node)
            case Concat() if len(node.inputs) == 1:
                self._skip(node)
            case _:
                self.nodes[node.name] = node

    def _skip(self, node: Node) -> None:
        """Let the node's only input stand for it."""
        (source,) = node.inputs
        self.alias[node.name] = source
        self.uses[source] += self.uses[node.name] - 1

    def _affine(self, node: Node, kind: Affine, members: tuple[Node, ...] = ()) -> None:
        """Add an affine node in place of `node` and `members`, merged with the affine node that it alone reads."""
        (source,) = node.inputs
        before = self.nodes.get(source)
        if before is not None and isinstance(before.kind, Affine) and self.uses[source] == 1:
            merged = affine_after(before.kind, kind)
            if merged is not None:
                del self.nodes[source]
                members, kind, node = (before, *members), merged, dataclasses.replace(node, inputs=before.inputs)
        if kind.bias is None and is_identity(kind.map):
            self._skip(node)
            return
        self._join((*members, node), dataclasses.replace(node, kind=kind))

    def _join(self, members: tuple[Node, ...], node: Node) -> None:
        """Add `node`, which stands for all members and for the value of the last, under their joined name."""
        last = members[-1].name
        name = "+".join(member.name for member in members)
        while len(members) > 1 and name in self.names:
            name += "+"
        if name != last:
            self.names.add(name)
            self.alias[last] = name
            self.uses[name] = self.uses[last]
        for member in members:
            self.weights.setdefault(member.name, _weights(member))
        heaviest = max(members, key=lambda member: self.weights[member.name])
        operations = " + ".join(member.source.operation for member in members)
        self.nodes[name] = dataclasses.replace(
            node, name=name, source=dataclasses.replace(heaviest.source, operation=operations)
        )
        self.weights[name] = sum(self.weights[member.name] for member in members)

    def _sum(self, node: Node, terms: list[tuple[float, str]]) -> None:
        """Flatten a sum, add equal inputs and matrices of one input, and drop it where one term is left."""
        terms = self._collected(self._flattened(terms))
        grouped: dict[str, list[_Term]] = {}
        for scale, name in terms:
            before = self.nodes.get(name)
            if before is not None and isinstance(before.kind, Affine) and self.uses[name] == 1:
                grouped.setdefault(before.inputs[0], []).append(_Term(scale, name, before.inputs[0], before.kind))
            else:
                grouped.setdefault(name, []).append(_Term(scale, name, name, None))
        kept: list[tuple[float, str]] = []
        for source, group in grouped.items():
            alike = _alike(group)
            added = _added(alike) if len(alike) > 1 else None
            if added is None:
                kept += [(term.scale, term.name) for term in group]
                continue
            kept += [(term.scale, term.name) for term in group if term not in alike]
            members = tuple(self.nodes.pop(term.name) for term in alike if term.kind is not None)
            self.uses[source] -= len(alike) - 1
            if len(grouped) == 1 and len(alike) == len(group):
                self._affine(dataclasses.replace(node, inputs=(source,)), added, members)
                return
            part = dataclasses.replace(node, name=self._fresh(node.name), inputs=(source,), kind=added)
            self.uses[part.name] = 1
            self._affine(part, added, members)
            kept.append((1.0, self.current(part.name)))
        if len(kept) > 1:
            scales, inputs = zip(*kept, strict=True)
            self.nodes[node.name] = dataclasses.replace(node, kind=Sum(scales), inputs=inputs)
            return
        ((scale, source),) = kept
        shape = (1,) * len(node.shape)
        factor = Affine(Diagonal(torch.full(shape, scale, dtype=torch.float64), node.shape))
        self._affine(dataclasses.replace(node, inputs=(source,)), factor)

    def _flattened(self, terms: list[tuple[float, str]]) -> list[tuple[float, str]]:
        """The terms with those sums opened that nothing else reads, where the products of scales are exact."""
        opened: list[tuple[float, str]] = []
        for scale, name in terms:
            before = self.nodes.get(name)
            if before is not None and isinstance(before.kind, Sum) and self.uses[name] == 1:
                inner = [_exact(Fraction(scale) * Fraction(factor)) for factor in before.kind.scales]
                if None not in inner:
                    del self.nodes[name]
                    opened += [
                        (factor, n) for factor, n in zip(inner, before.inputs, strict=True) if factor is not None
                    ]
                    continue
            opened.append((scale, name))
        return opened

    def _collected(self, terms: list[tuple[float, str]]) -> list[tuple[float, str]]:
        """The terms with the scales of equal inputs added, where the sum is exact."""
        totals: dict[str, float] = {}
        for scale, name in terms:
            total = _exact(Fraction(totals.get(name, 0.0)) + Fraction(scale))
            if total is None:
                return terms
            totals[name] = total
        for _, name in terms:
            self.uses[name] -= 1
        for name in totals:
            self.uses[name] += 1
        return [(scale, name) for name, scale in totals.items()]

    def _fresh(self, name: str) -> str:
        """A name derived from that one that no node has."""
        while name in self.names:
            name += "'"
        self.names.add(name)
        return name


def _needed(network: Network) -> tuple[Node, ...]:
    """The nodes that the output depends on, in order."""
    needed = {network.output}
    for node in reversed(network.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return tuple(node for node in network.nodes if node.name in needed)


def _weights(node: Node) -> int:
    """The number of weights of an affine node, to find the member that a merged node is named after in messages."""
    return _count(node.kind.map) if isinstance(node.kind, Affine) else 0


def _count(linear_map: AbstractLinearMap) -> int:
    """The number of weights of a map; maps without learned weights count as less than any with."""
    match linear_map:
        case Chain():
            return sum(_count(part) for part in linear_map.maps)
        case Dense() | Conv() | ConvTransposed():
            return 1 + linear_map.weight.numel()
        case Diagonal():
            return 1
        case _:
            return 0


def _exact(value: Fraction) -> float | None:
    """The float64 of exactly that value, or None."""
    try:
        nearest = float(value)
    except OverflowError:
        return None
    return nearest if Fraction(nearest) == value else None


def _alike(group: list[_Term]) -> list[_Term]:
    """The terms that are matrices on the same axes as the first one that is; none where that is too large to add."""
    first = _first_dense(group)
    if first is None or first.weight.numel() > MODERATE_SIZE:
        return []
    return [term for term in group if _matrix_like(term.kind, first) is not None]


def _first_dense(group: list[_Term]) -> Dense | None:
    """The first matrix among the terms."""
    maps = (term.kind.map for term in group if term.kind is not None)
    return next((one for one in maps if isinstance(one, Dense)), None)


def _added(group: list[_Term]) -> Affine | None:
    """The sum of affine maps of one input as one matrix, or None where it overflows."""
    first = _first_dense(group)
    if first is None:
        return None
    matrices: list[Known | None] = []
    biases: list[Known | None] = []
    for term in group:
        factor = torch.tensor(term.scale, dtype=torch.float64)
        matrix = _matrix_like(term.kind, first)
        matrices.append(None if matrix is None else entry_product(*matrix, factor, None))
        if term.kind is not None and term.kind.bias is not None:
            biases.append(entry_product(term.kind.bias, term.kind.bias_error, factor, None))
    weight = _summed(matrices)
    if weight is None:
        return None
    merged = Dense(weight[0], first.lead, weight[1])
    if not biases:
        return Affine(merged)
    bias = _summed(biases)
    return None if bias is None else Affine(merged, bias[0], bias[1])


def _summed(parts: Sequence[Known | None]) -> Known | None:
    """The sum, or None where a part is None or the sum overflows."""
    total = parts[0]
    for part in parts[1:]:
        if total is None or part is None:
            return None
        total = entry_sum(*total, *part)
    return total


def _matrix_like(kind: Affine | None, first: Dense) -> Known | None:
    """The matrix of an affine map (None: the identity) on the same axes as `first`, or None where it has none."""
    size = first.weight.shape[1]
    if kind is None:
        return torch.eye(size, dtype=torch.float64), None
    match kind.map:
        case Dense(lead=lead) if lead == first.lead:
            return kind.map.weight, kind.map.error
        case Diagonal():
            scale = kind.map.constant_along(tuple(range(len(first.lead))))
            if scale is None:
                return None
            error = None if scale.error is None else torch.diag(scale.error.reshape(-1).expand(size))
            return torch.diag(scale.scale.reshape(-1).expand(size)), error
        case _:
            return None
