"""The absolute product: magnitudes of all weights multiplied through the graph, where signs do not cancel."""

import dataclasses
from collections.abc import Mapping
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.activations.base import Activation
from netgain.core.errors import NoSoundRuleError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.rounding import mul_up, sqrt_up, tensor_up
from netgain.gain.layers import LayerGain
from netgain.gain.product import upper
from netgain.gain.recursion import ancestors, sum_weights
from netgain.gain.result import GainBound, Tail
from netgain.network.graph import Affine, Bilinear, Concat, Elementwise, Network, Node, Opaque, Sum, Vector
from netgain.propagate.magnitude import Magnitude
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.pool import MaxPool

_FLOOR = 1e-9  # least entry of a weight vector relative to its greatest
_PROGRESS = 1e-10  # relative gain of one power step below which it stops


@dataclasses.dataclass(frozen=True)
class AbsoluteProduct:
    """Entrywise magnitudes of the Jacobian, bounded by products of |A|, without forming any of them.

    For v > 0 let forward(v) bound sum_k |d f_i / d x_k| v_k for each output i, and for w >= 0 let backward(w) bound
    sum_i w_i |d f_i / d x_k| for each input k, for every x at which f is differentiable: |A| and |A|^T for an affine
    node, the greatest |slope| for an activation, sums for sums, the window's maximum for max-pooling, gain times the
    greatest entry (backward through max-pooling: of the channel) for vector functions. Then

        L_inf <= max forward(1),   L_1 <= max backward(1),   L_2^2 <= max_k backward(forward(v))_k / v_k for any v > 0.

    For a chain the first two are the least product over all diagonal rescalings of its layers. The third is exact for
    networks of non-negative weights whose activations can all be at full slope; v comes from a power iteration.

    Guarantee:
        Upper bound of the global Lipschitz constant, rounded up. A Lipschitz function has its constant as the
        essential supremum of its Jacobian norm (Rademacher).

    Attributes:
        iterations: power steps for v (l2).

    Cost:
        One evaluation forward (linf) or backward (l1), or both for each iteration (l2), on one sample.

    Source:
        l2: Schur's test with weights v and w = forward(v); for matrices the Collatz-Wielandt bound. Rescaling:
        the optimum of diagonal scalings in l1 and linf by Perron-Frobenius (Bauer 1963, Optimally scaled matrices).
    """

    iterations: int = 60

    @property
    def name(self) -> str:
        """As the registry of methods has it."""
        return "absolute product"

    def __call__(
        self,
        network: Network,
        norm: Norm,
        layers: Mapping[str, LayerGain],
        *,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> GainBound:
        """The bound of a network; `layers` tells that each node has one."""
        last = next((node for node in network.nodes if node.name == network.output), None)
        front = None
        if last is not None and isinstance(last.kind, Affine):
            front = dataclasses.replace(network, output=last.inputs[0])
        if norm is Norm.LINF:
            rows = _Sweep(network).forward(torch.ones(1, *network.input_shape, dtype=torch.float64))
            tail = None if last is None or front is None else _row_tail(last.name, rows[front.output][0])
            return GainBound(upper(_greatest(rows[network.output]), norm, self.name), tail)
        bound = upper(self._gain(network, norm), norm, self.name)
        if last is None or front is None:
            return GainBound(bound)
        ones = torch.ones(front.output_shape, dtype=torch.float64)
        return GainBound(bound, Tail(last.name, ones, self._gain(front, norm)))

    def _gain(self, network: Network, norm: Norm) -> float:
        """The bound of a network in l1 or l2."""
        sweep = _Sweep(network)
        if norm is Norm.L2:
            return self._l2(sweep)
        return _greatest(sweep.backward(torch.ones(1, *network.output_shape, dtype=torch.float64)))

    def _l2(self, sweep: "_Sweep") -> float:
        """The least weighted Schur bound over the iterates of the power method; each is proved."""
        v = torch.ones(1, *sweep.network.input_shape, dtype=torch.float64)
        best = torch.inf
        for _ in range(self.iterations):
            image = sweep.backward(sweep.forward(v)[sweep.network.output])
            ratio = _greatest(tensor_up(image / v))
            largest = _greatest(image)
            if not ratio < best * (1.0 - _PROGRESS) or not 0.0 < largest < torch.inf:
                best = min(best, ratio)
                break
            best = ratio
            v = (image / largest).clamp_min(_FLOOR)
        return sqrt_up(best)


def _row_tail(node: str, sums: Tensor) -> Tail | None:
    """|h_k(x) - h_k(y)| <= sums_k ||x - y|| in linf, so scale 1 / sums has gain 1; None where a sum is infinite."""
    scale = torch.nextafter(1.0 / sums.clamp_min(1e-280), torch.zeros((), dtype=torch.float64))
    return Tail(node, scale, 1.0) if bool(scale.gt(0).all()) else None


def _greatest(x: Tensor) -> float:
    """The greatest entry, infinity for NaN, 0 for none."""
    return float(torch.where(x.isnan(), torch.inf, x).max()) if x.numel() else 0.0


class _Sweep:
    """Forward and backward sweeps over one network, with what does not change between them computed once."""

    def __init__(self, network: Network):
        self.network = network
        self._nodes = ancestors(network)
        self._magnitudes: dict[str, Magnitude] = {}
        self._slopes: dict[str, Tensor] = {}
        self._gains: dict[str, tuple[float, float]] = {}
        for node in self._nodes:
            if isinstance(node.kind, Affine):
                self._magnitudes[node.name] = Magnitude.of(node.kind.map)
            elif isinstance(node.kind, Elementwise):
                self._slopes[node.name] = _steepest(node.kind.activation)
            elif isinstance(node.kind, Vector):
                self._gains[node.name] = node.kind.function.gain(Norm.LINF), node.kind.function.gain(Norm.L1)

    def forward(self, v: Float[Tensor, "1 *in"]) -> dict[str, Tensor]:
        """For each node an entrywise upper bound of |Jacobian| v."""
        rows = {self.network.input: v}
        for node in self._nodes:
            inputs = [rows[name] for name in node.inputs]
            kind = node.kind
            match kind:
                case Affine():
                    rows[node.name] = self._magnitudes[node.name].apply(inputs[0])
                case Elementwise():
                    rows[node.name] = tensor_up(self._slopes[node.name] * inputs[0])
                case Vector(function=MaxPool() as pool):
                    rows[node.name] = pool.value(inputs[0])
                case Vector():
                    peak = mul_up(self._gains[node.name][0], _greatest(inputs[0]))
                    rows[node.name] = torch.full((1, *node.shape), peak, dtype=torch.float64)
                case Sum():
                    rows[node.name] = _weighted([(w, rows[name]) for name, w in sum_weights(node).items()])
                case Concat(axis=axis):
                    rows[node.name] = torch.cat(inputs, dim=axis + 1)
                case Bilinear() | Opaque():
                    raise NoSoundRuleError(f"{node.source} has no factor")
                case _:
                    assert_never(kind)
        return rows

    def backward(self, w: Float[Tensor, "1 *out"]) -> Float[Tensor, "1 *in"]:
        """An entrywise upper bound of |Jacobian|^T w."""
        pulled: dict[str, Tensor] = {self.network.output: w}
        for node in reversed(self._nodes):
            if node.name not in pulled:
                continue
            for name, part in self._pull(node, pulled.pop(node.name)):
                pulled[name] = tensor_up(pulled[name] + part) if name in pulled else part
        zero = torch.zeros(1, *self.network.input_shape, dtype=torch.float64)
        return pulled.get(self.network.input, zero)

    def _pull(self, node: Node, w: Tensor) -> list[tuple[str, Tensor]]:
        """What one node's weights put on each of its inputs."""
        kind, source = node.kind, node.inputs[0]
        match kind:
            case Affine():
                return [(source, self._magnitudes[node.name].adjoint(w))]
            case Elementwise():
                return [(source, tensor_up(self._slopes[node.name] * w))]
            case Vector(function=function):
                return [(source, _pull_vector(function, self._gains[node.name][1], w))]
            case Sum():
                return [(name, tensor_up(weight * w)) for name, weight in sum_weights(node).items()]
            case Concat(axis=axis):
                shapes = self.network.shapes()
                parts = torch.split(w, [shapes[name][axis] for name in node.inputs], dim=axis + 1)
                return list(zip(node.inputs, parts, strict=True))
            case Bilinear() | Opaque():
                raise NoSoundRuleError(f"{node.source} has no factor")
            case _:
                assert_never(kind)


def _pull_vector(function: AbstractVectorFunction, gain: float, w: Tensor) -> Tensor:
    """An upper bound of |Jacobian|^T w: the l1 gain times the greatest weight (max-pooling: of each channel)."""
    if isinstance(function, MaxPool):
        axes = tuple(range(-len(function.kernel), 0))
        peaks = tensor_up(gain * w.amax(axes, keepdim=True))
        return peaks.expand(1, *function.in_shape).clone()
    return torch.full((1, *function.in_shape), mul_up(gain, _greatest(w)), dtype=torch.float64)


def _steepest(activation: Activation) -> Tensor:
    """The greatest |slope| over the whole line, of the activation's own (broadcastable) shape."""
    line = torch.tensor(torch.inf, dtype=torch.float64)
    least, greatest = activation.slope_range(-line, line)
    return torch.maximum(least.abs(), greatest.abs())


def _weighted(parts: list[tuple[float, Tensor]]) -> Tensor:
    """An upper bound of the weighted sum of non-negative tensors."""
    total = torch.zeros_like(parts[0][1])
    for weight, part in parts:
        total = tensor_up(total + tensor_up(weight * part))
    return total
