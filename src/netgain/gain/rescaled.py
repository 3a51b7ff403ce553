"""The product bound with the best diagonal scales between neighbouring layers."""

import dataclasses
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.rounding import mul_up
from netgain.gain.layers import LayerGain
from netgain.gain.product import upper
from netgain.gain.recursion import node_gains
from netgain.gain.result import GainBound, Tail
from netgain.gain.scaling import rescaled
from netgain.gain.segments import Segment, segments
from netgain.linear.base import AbstractLinearMap
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.network.graph import Affine, Network, Node
from netgain.norms.operator import operator_norm

_WORK = 3e10  # multiplications that the search for scales may spend
_CONV_RTOL = 5e-3  # relative width of the proved norms of rescaled convolutions
_BLOCK = 8  # singular vectors tracked a map
_WORTH = 0.995  # estimated improvement from which a segment's rescaled norms are proved


@dataclasses.dataclass(frozen=True)
class Rescaled:
    """Product of ||D_i A_i D_{i-1}^-1|| over each chain A_1, ..., A_m, with positive diagonals D_i, D_0 = D_m = I.

    Difference quotients of an activation form a diagonal matrix, which commutes with D_i (max-pooling, which acts
    channel by channel, with a D_i that is constant in each channel), so each choice of D gives a bound. The logarithm
    of the product is convex in log D for l2; the D are sought by subgradients from leading singular vectors, and what
    is found is proved by the operator norms of the scaled maps. Scales are per neuron for dense layers and per
    channel for convolutions.

    Guarantee:
        Upper bound of the global Lipschitz constant, rounded up, never above the product bound of the same layers.
        In l1 and linf the absolute product contains the best scales; there this method returns the product bound.

    Attributes:
        iterations: steps of the search; fewer for networks too large for the work allowed.
        rtol: relative width wanted of the proved norms.

    Cost:
        About 16 * iterations evaluations of the network, and one more operator norm a layer.

    Source:
        Sezginer and Overton (1990) for the convexity of ||e^D A e^-D|| in D.
    """

    iterations: int = 200
    rtol: float = 1e-6

    @property
    def name(self) -> str:
        """As the registry of methods has it."""
        return "rescaled product"

    def __call__(
        self,
        network: Network,
        norm: Norm,
        layers: Mapping[str, LayerGain],
        *,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> GainBound:
        """The bound of a network from the factors of its nodes and its linear maps."""
        factors = {name: layer.factor for name, layer in layers.items()}
        scales: dict[str, Tensor] = {}
        if norm is Norm.L2:
            found = segments(network)
            for segment in found:
                self._improve(segment, _WORK / len(found), factors, scales)
        gains = node_gains(network, norm, factors)
        return GainBound(upper(gains[network.output], norm, self.name), _tail(network, gains, scales))

    def _improve(self, segment: Segment, work: float, factors: dict[str, float], scales: dict[str, Tensor]) -> None:
        """Replace the factors of a segment's maps by those of its rescaled maps where their product is smaller."""
        before = mul_up(*(factors[node.name] for node in segment.maps))
        if not 0.0 < before < math.inf:
            return
        cost = 2 * _BLOCK * sum(_map(node).terms * _map(node).out_size for node in segment.maps)
        iterations = min(self.iterations, int(work / cost))
        if iterations < 10:
            return
        search = _Search(segment)
        try:
            logs, gain = search(iterations)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]  # squares of numbers near the ends of the range; the factors stay
            return
        if gain > math.log(_WORTH):
            return
        sides = search.sides(logs)
        proved = {
            node.name: operator_norm(rescaled(_map(node), *side), Norm.L2, rtol=self._tolerance(_map(node))).upper.value
            for node, side in zip(segment.maps, sides, strict=True)
        }
        if mul_up(*proved.values()) < before:
            factors.update(proved)
            scales[segment.maps[-1].name] = sides[-1][0]

    def _tolerance(self, linear_map: AbstractLinearMap) -> float:
        """Convolutions are proved once more at a width that spares writing them out as matrices."""
        return max(self.rtol, _CONV_RTOL) if isinstance(linear_map, Conv | ConvTransposed) else self.rtol


def _map(node: Node) -> AbstractLinearMap:
    """The linear map of an affine node.

    Raises:
        TypeError: if it is of another kind.
    """
    if not isinstance(node.kind, Affine):
        raise TypeError(f"{node.name} is not affine")
    return node.kind.map


def _tail(network: Network, gains: Mapping[str, float], scales: Mapping[str, Tensor]) -> Tail | None:
    """The gain in front of the last affine node, in the coordinates in which it was proved."""
    node = next((node for node in network.nodes if node.name == network.output), None)
    if node is None or not isinstance(node.kind, Affine):
        return None
    ones = torch.ones(node.kind.map.in_shape, dtype=torch.float64)
    return Tail(node.name, scales.get(node.name, ones), gains[node.inputs[0]])


class _Search:
    """Subgradient descent on the logarithm of the product of norms; estimates only, nothing here is proved."""

    def __init__(self, segment: Segment):
        self._segment = segment
        generator = torch.Generator().manual_seed(0)
        self._blocks = [
            torch.randn(_BLOCK, *_map(node).in_shape, generator=generator, dtype=torch.float64) for node in segment.maps
        ]

    def __call__(self, iterations: int) -> tuple[list[Tensor], float]:
        """Logarithms of the scales, one vector a gap, and the change of the product's logarithm (negative: better)."""
        logs = [torch.zeros(int(gap.partition.max()) + 1, dtype=torch.float64) for gap in self._segment.gaps]
        moments = [(torch.zeros_like(log), torch.zeros_like(log)) for log in logs]
        for _ in range(12):
            self._gradients(logs, 50.0)
        start, _ = self._gradients(logs, 50.0)
        best, chosen = start, [log.clone() for log in logs]
        for step in range(iterations):
            done = step / iterations
            value, gradients = self._gradients(logs, 5.0 * 100.0**done)
            if value < best:
                best, chosen = value, [log.clone() for log in logs]
            for log, (first, second), gradient in zip(logs, moments, gradients, strict=True):
                first.mul_(0.9).add_(gradient, alpha=0.1)
                second.mul_(0.99).add_(gradient.square(), alpha=0.01)
                mean = first / (1 - 0.9 ** (step + 1))
                size = (second / (1 - 0.99 ** (step + 1))).sqrt().clamp_min(1e-12)
                log.sub_(0.1 * (1 - 0.97 * done) * mean / size).clamp_(-20.0, 20.0)
        return chosen, best - start

    def sides(self, logs: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """For each map the scales of its inputs and of its outputs."""
        maps = [_map(node) for node in self._segment.maps]
        outer: list[Tensor] = []
        inner = [torch.ones(maps[0].in_shape, dtype=torch.float64)]
        for log, gap in zip(logs, self._segment.gaps, strict=True):
            outer.append(log.exp()[gap.partition])
            inner.append(gap.behind(outer[-1]))
        outer.append(torch.ones(maps[-1].out_shape, dtype=torch.float64))
        return list(zip(inner, outer, strict=True))

    def _gradients(self, logs: list[Tensor], sharpness: float) -> tuple[float, list[Tensor]]:
        """The sum of the maps' estimated log norms, and its gradient in each gap's logarithms."""
        total = 0.0
        gradients = [torch.zeros_like(log) for log in logs]
        for i, (node, (inner, outer)) in enumerate(zip(self._segment.maps, self.sides(logs), strict=True)):
            value, left, right = self._leading(i, _map(node), inner, outer, sharpness)
            total += value
            if i < len(logs):
                gradients[i].index_add_(0, self._segment.gaps[i].partition.reshape(-1), left)
            if i > 0:
                gap = self._segment.gaps[i - 1]
                gradients[i - 1].sub_(_collected(gap.behind(gap.partition.double()), right, len(logs[i - 1])))
        return total, gradients

    def _leading(
        self, i: int, linear_map: AbstractLinearMap, inner: Tensor, outer: Tensor, sharpness: float
    ) -> tuple[float, Float[Tensor, " out"], Float[Tensor, " in"]]:
        """One block power step of a scaled map: its log norm, and where its leading singular vectors put weight."""
        flat = torch.linalg.qr(self._blocks[i].reshape(_BLOCK, -1).T).Q.T
        rows = flat.shape[0]
        image = linear_map.apply(flat.reshape(rows, *linear_map.in_shape) / inner) * outer
        values, rotation = torch.linalg.eigh(_gram(image))
        sigma = values.clamp_min(0).sqrt().clamp_min(1e-150)
        weights = torch.softmax(sharpness * sigma.log(), 0)
        right = rotation.T @ flat
        left = (rotation.T @ image.reshape(rows, -1)) / sigma.unsqueeze(1)
        back = linear_map.adjoint(left.reshape(rows, *linear_map.out_shape) * outer) / inner
        self._blocks[i] = back if rows == _BLOCK else self._blocks[i]
        return float(sigma[-1].log()), weights @ left.square(), weights @ right.square()


def _gram(image: Tensor) -> Tensor:
    """The inner products of the rows."""
    flat = image.reshape(image.shape[0], -1)
    return flat @ flat.T


def _collected(groups: Tensor, weights: Tensor, size: int) -> Tensor:
    """The weights summed by group."""
    return torch.zeros(size, dtype=torch.float64).index_add_(0, groups.reshape(-1).long(), weights)
