"""The running error: how each node kind carries the distance between computed and real values."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.activations.base import Activation
from netgain.core.norms import Norm
from netgain.core.rounding import UNDERFLOW, UNIT_ROUNDOFF, gamma, norm_upper, tensor_down, tensor_up, up
from netgain.linear.base import AbstractLinearMap
from netgain.network.graph import Affine, Concat, Form, Sum
from netgain.propagate.magnitude import Magnitude, inflate, schur_norm
from netgain.vectors.base import AbstractVectorFunction

# Covers the rounding of a handful of products and sums of non-negative numbers.
_SLACK = 1.0 + 64.0 * UNIT_ROUNDOFF


@dataclasses.dataclass(frozen=True)
class Running:
    """Computed values of one node with two bounds of their distance from the real ones.

    Attributes:
        value: the computed values x.
        error: entry by entry, not below |x - z| for the real values z.
        total: row by row, not below ||x - z||_2.
    """

    value: Float[Tensor, "batch *shape"]
    error: Float[Tensor, "batch *shape"]
    total: Float[Tensor, " batch"]


def settle(value: Tensor, error: Tensor, total: Tensor) -> Running:
    """Each bound improved by the other, |x - z| <= ||x - z||_2; infinite where the value is not finite."""
    broken = ~value.isfinite()
    error = torch.where(broken | error.isnan(), torch.inf, error)
    total = torch.where(broken.reshape(len(value), -1).any(1) | total.isnan(), torch.inf, total)
    total = torch.minimum(total, norm_upper(error, Norm.L2))
    return Running(value, torch.minimum(error, _spread(total, error)), total)


def _spread(rows: Tensor, like: Tensor) -> Tensor:
    """One number a row, shaped to broadcast against `like`."""
    return rows.reshape(-1, *([1] * (like.dim() - 1)))


@dataclasses.dataclass(frozen=True)
class AffineRule:
    """The rule of one affine node, with what does not depend on the input computed once.

    With A = stored A + D, |D| <= U, k products an entry, real input z, |x - z| <= E and ||x - z||_2 <= e:

        |fl(A x) - A z|  <=  |A| (E + gamma_k |x|) + U (|x| + E),
        ||fl(A x) - A z||_2  <=  s e + (gamma_k a + c) ||x||_2,

    where s >= ||A||_2, a >= || |A| ||_2, c >= ||U||_2; then the bias adds u |result| and its own error.

    Attributes:
        kind: the node's kind.
        magnitude: |A|.
        factor: s.
        rounding: gamma_k a + c.
    """

    kind: Affine
    magnitude: Magnitude
    factor: float
    rounding: float

    @classmethod
    def of(cls, kind: Affine, proved: float | None) -> "AffineRule":
        """The rule of a node.

        Args:
            kind: the node's kind.
            proved: a proved l2 norm of the map where the caller has one.
        """
        magnitude = Magnitude.of(kind.map)
        absolute, uncertain = schur_norm(magnitude.absolute), schur_norm(magnitude.uncertainty)
        factor = up(absolute + uncertain)
        factor = factor if proved is None else min(factor, proved)
        return cls(kind, magnitude, factor, up(up(_gamma(kind.map) * absolute) + uncertain))

    def __call__(self, x: Running, value: Tensor) -> Running:
        """The running error behind the node.

        Args:
            x: in front of it.
            value: the computed value behind it.
        """
        size = x.value.abs()
        if self.kind.map.moves:
            error, total = self.magnitude.apply(x.error), self.factor * x.total
        else:
            spread = tensor_up(x.error + tensor_up(_gamma(self.kind.map) * size))
            error = self.magnitude.absolute.apply(spread)
            error = inflate(error, self.magnitude.absolute.terms) + UNDERFLOW
            if self.magnitude.uncertainty is not None:
                wide = self.magnitude.uncertainty.apply(tensor_up(size + x.error))
                error = error + inflate(wide, self.magnitude.uncertainty.terms)
            total = self.factor * x.total + self.rounding * norm_upper(x.value, Norm.L2)
            total = total + UNDERFLOW * float(max(1, self.kind.map.out_size))
        if self.kind.bias is not None:
            bias = UNIT_ROUNDOFF * value.abs()
            bias = bias if self.kind.bias_error is None else bias + self.kind.bias_error
            bias = bias * _SLACK + UNDERFLOW
            error, total = error + bias, total + norm_upper(bias, Norm.L2)
        return settle(value, error * _SLACK + UNDERFLOW, total * _SLACK + UNDERFLOW)


def _gamma(linear_map: AbstractLinearMap) -> float:
    """The rounding factor of one `apply`."""
    return 0.0 if linear_map.moves else gamma(linear_map.terms)


def elementwise(activation: Activation, x: Running, value: Tensor) -> Running:
    """|fl(phi(x)) - phi(z)| <= max |slope over [x - E, x + E]| E + value error; from phi's range where infinite."""
    low, high = tensor_down(x.value - x.error), tensor_up(x.value + x.error)
    least, greatest = activation.slope_range(low, high)
    slope = torch.maximum(least.abs(), greatest.abs()).expand_as(x.value)
    local = activation.value_error(x.value).expand_as(x.value)
    error = torch.where(x.error == 0, 0.0, slope * x.error) * _SLACK + local
    if not bool(error.isfinite().all()):
        bottom, top = activation.value_range(low, high)
        error = torch.fmin(error, torch.maximum(tensor_up(top - value), tensor_up(value - bottom)))
    steepest = slope.reshape(len(value), -1).amax(1)
    total = torch.where(x.total == 0, 0.0, steepest * x.total) + norm_upper(local, Norm.L2)
    return settle(value, error * _SLACK + UNDERFLOW, total * _SLACK + UNDERFLOW)


def vector(function: AbstractVectorFunction, proved: float | None, x: Running, value: Tensor) -> Running:
    """The function's own error bound, and its l2 gain times the l2 error plus its rounding."""
    error = function.error(x.value, x.error)
    gain = function.gain(Norm.L2)
    gain = gain if proved is None else min(gain, proved)
    local = function.error(x.value, torch.zeros_like(x.value))
    total = torch.where(x.total == 0, 0.0, gain * x.total) + norm_upper(local, Norm.L2)
    return settle(value, error, total * _SLACK + UNDERFLOW)


def weighted_sum(kind: Sum, inputs: list[Running], value: Tensor) -> Running:
    """The sum of |scale| times each error, and the rounding of the sum."""
    error, total, size = torch.zeros_like(value), torch.zeros_like(inputs[0].total), torch.zeros_like(value)
    for scale, x in zip(kind.scales, inputs, strict=True):
        error = error + abs(scale) * x.error
        total = total + abs(scale) * x.total
        size = size + abs(scale) * x.value.abs()
    terms = len(inputs)
    local = inflate(gamma(terms + 1) * inflate(size, terms), 2)
    total = inflate(total, terms) + norm_upper(local, Norm.L2)
    return settle(value, tensor_up(inflate(error, terms) + local), tensor_up(total))


def concatenated(kind: Concat, inputs: list[Running], value: Tensor) -> Running:
    """The errors joined as the values are."""
    error = torch.cat([x.error for x in inputs], dim=kind.axis + 1)
    return settle(value, error, norm_upper(torch.stack([x.total for x in inputs], dim=1), Norm.L2))


def bilinear(form: Form, x: Running, y: Running, value: Tensor) -> Running:
    """|fl(x y) - z w| <= |x| (F + gamma |y|) + E (|y| + F) for |x - z| <= E, |y - w| <= F."""
    terms = 1 if form is Form.PRODUCT else x.value.shape[-1]
    left = tensor_up(y.error + tensor_up(gamma(terms) * y.value.abs()))
    right = tensor_up(y.value.abs() + y.error)
    if form is Form.PRODUCT:
        first, second = x.value.abs() * left, x.error * right
    else:
        first, second = x.value.abs() @ left, x.error @ right
    error = tensor_up(inflate(first, terms) + inflate(second, terms)) + UNDERFLOW
    return settle(value, error * _SLACK, torch.full_like(x.total, torch.inf))
