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
from netgain.propagate.magnitude import Magnitude, Part, inflate, schur_norm
from netgain.vectors.base import AbstractVectorFunction

# Covers the rounding of a handful of products and sums of non-negative numbers.
_SLACK = 1.0 + 64.0 * UNIT_ROUNDOFF


@dataclasses.dataclass(frozen=True)
class Running:
    """Computed values of one node with two bounds of their distance from the real ones.

    Attributes:
        value: the computed values x.
        error: entry by entry, not below |x - z| for the real values z; None where only `total` is carried.
        total: row by row, not below ||x - z||_2.
    """

    value: Float[Tensor, "batch *shape"]
    error: Float[Tensor, "batch *shape"] | None
    total: Float[Tensor, " batch"]

    @property
    def entries(self) -> Float[Tensor, "batch *shape"]:
        """A bound entry by entry: the row's where no other is carried, since |x - z| <= ||x - z||_2."""
        if self.error is None:
            return _spread(self.total, self.value).expand_as(self.value)
        return self.error


def settle(value: Tensor, error: Tensor | None, total: Tensor) -> Running:
    """Each bound improved by the other, |x - z| <= ||x - z||_2; infinite where the value is not finite."""
    if error is None:
        # A sum with an infinity or a NaN in it is not finite.
        known = value.reshape(len(value), value.shape[1:].numel()).sum(1).isfinite() & ~total.isnan()
        return Running(value, None, torch.where(known, total, torch.inf))
    broken = ~value.isfinite()
    error = torch.where(broken | error.isnan(), torch.inf, error)
    total = torch.where(broken.reshape(len(value), -1).any(1) | total.isnan(), torch.inf, total)
    total = torch.minimum(total, norm_upper(error, Norm.L2))
    return Running(value, torch.minimum(error, _spread(total, error)), total)


def _spread(rows: Tensor, like: Tensor) -> Tensor:
    """One number a row, shaped to broadcast against `like`."""
    return rows.reshape(-1, *([1] * (like.dim() - 1)))


@dataclasses.dataclass(frozen=True)
class Stage:
    """The rule of one map of a chain, with what does not depend on the input computed once.

    With A = stored A + D, |D| <= U, k products an entry, real input z, |x - z| <= E and ||x - z||_2 <= e:

        |fl(A x) - A z|  <=  |A| (E + gamma_k |x|) + U (|x| + E),
        ||fl(A x) - A z||_2  <=  s e + (gamma_k a + c) ||x||_2,

    where s >= ||A||_2, a >= || |A| ||_2, c >= ||U||_2, underflow apart.

    Attributes:
        part: the map with its magnitudes.
        factor: s.
        rounding: gamma_k a + c.
    """

    part: Part
    factor: float
    rounding: float

    @classmethod
    def of(cls, part: Part) -> "Stage":
        """The rule of a map, with s, a and c from Schur's test."""
        absolute, uncertain = schur_norm(part.absolute), schur_norm(part.uncertainty)
        return cls(part, up(absolute + uncertain), up(up(_gamma(part.map) * absolute) + uncertain))

    def entrywise(self, value: Tensor, error: Tensor) -> Tensor:
        """The error entry by entry behind the map, from computed values and errors in front of it."""
        if self.part.map.moves:
            return self.part.absolute.apply(error)
        size = value.abs()
        spread = tensor_up(error + tensor_up(_gamma(self.part.map) * size))
        behind = inflate(self.part.absolute.apply(spread), self.part.absolute.terms) + UNDERFLOW
        if self.part.uncertainty is not None:
            wide = self.part.uncertainty.apply(tensor_up(size + error))
            behind = behind + inflate(wide, self.part.uncertainty.terms)
        return behind * _SLACK

    def rounded(self, value: Tensor) -> Tensor:
        """For each row, ||fl(A x) - A x||_2 from above."""
        if self.part.map.moves:
            return value.new_zeros(len(value))
        return (self.rounding * norm_upper(value, Norm.L2) + UNDERFLOW * float(self.part.map.out_size)) * _SLACK


@dataclasses.dataclass(frozen=True)
class AffineRule:
    """The rule of one affine node: its stages one after another, then the bias (u |result| and its own error).

    In l2 the distance is at most s ||x - z||_2 plus what the stages round, with s a norm of the whole map where one is
    known and of its stages otherwise.

    Attributes:
        kind: the node's kind.
        stages: the rules of the map's parts.
        factor: a proved l2 norm of the whole map; infinity where the caller has none.
    """

    kind: Affine
    stages: tuple[Stage, ...]
    factor: float

    @classmethod
    def of(cls, kind: Affine, proved: float | None) -> "AffineRule":
        """The rule of a node.

        Args:
            kind: the node's kind.
            proved: a proved l2 norm of the map where the caller has one.
        """
        stages = tuple(Stage.of(part) for part in Magnitude.of(kind.map).parts)
        return cls(kind, stages, torch.inf if proved is None else proved)

    def __call__(self, x: Running) -> Running:
        """The running error behind the node, entry by entry only if it is carried in front of it."""
        value, error, staged = x.value, x.error, x.total
        rounded = torch.zeros_like(staged)
        for stage in self.stages:
            error = None if error is None else stage.entrywise(value, error)
            added = stage.rounded(value)
            rounded = (stage.factor * rounded + added) * _SLACK + UNDERFLOW
            staged = (stage.factor * staged + added) * _SLACK + UNDERFLOW
            value = stage.part.map.apply(value)
        total = torch.fmin(staged, (self.factor * x.total + rounded) * _SLACK + UNDERFLOW)
        if self.kind.bias is not None:
            value = value + self.kind.bias
            total = total + self._biased(value)
            if error is not None:
                error = error + self._biased_entries(value)
        error = None if error is None else error * _SLACK + UNDERFLOW
        return settle(value, error, total * _SLACK + UNDERFLOW)

    def _biased_entries(self, value: Tensor) -> Tensor:
        """What adding the bias can lose, entry by entry: rounding of the sum and the bias's own error."""
        bias = UNIT_ROUNDOFF * value.abs()
        bias = bias if self.kind.bias_error is None else bias + self.kind.bias_error
        return bias * _SLACK + UNDERFLOW

    def _biased(self, value: Tensor) -> Tensor:
        """The same in l2, by the triangle inequality."""
        lost = UNIT_ROUNDOFF * norm_upper(value, Norm.L2) + UNDERFLOW * value.shape[1:].numel()
        if self.kind.bias_error is not None:
            lost = lost + norm_upper(self.kind.bias_error.unsqueeze(0), Norm.L2)
        return lost * _SLACK


def _gamma(linear_map: AbstractLinearMap) -> float:
    """The rounding factor of one `apply`."""
    return 0.0 if linear_map.moves else gamma(linear_map.terms)


def elementwise(activation: Activation, x: Running, value: Tensor) -> Running:
    """|fl(phi(x)) - phi(z)| <= max |slope over [x - E, x + E]| E + value error; from phi's range where infinite.

    In l2 alone, with the global slope.
    """
    if x.error is None:
        line = x.value.new_tensor(torch.inf)
        least, greatest = activation.slope_range(-line, line)
        steepest = torch.maximum(least.abs(), greatest.abs()).max()
        total = torch.where(x.total == 0, 0.0, steepest * x.total) + _size(activation.value_error(x.value), value)
        return settle(value, None, total * _SLACK + UNDERFLOW)
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
    error = None if x.error is None else function.error(x.value, x.error)
    gain = function.gain(Norm.L2)
    gain = gain if proved is None else min(gain, proved)
    total = torch.where(x.total == 0, 0.0, gain * x.total)
    if function.rounds:
        total = total + norm_upper(function.error(x.value, torch.zeros_like(x.value)), Norm.L2)
    return settle(value, error, total * _SLACK + UNDERFLOW)


def _size(error: Tensor, value: Tensor) -> Tensor:
    """The l2 norm of each row of errors, which may broadcast against the values."""
    if not bool((error != 0).any()):
        return value.new_zeros(len(value))
    return norm_upper(error.expand_as(value), Norm.L2)


def weighted_sum(kind: Sum, inputs: list[Running], value: Tensor) -> Running:
    """The sum of |scale| times each error, and the rounding of the sum."""
    entries = all(x.error is not None for x in inputs)
    error, total, size = torch.zeros_like(value), torch.zeros_like(inputs[0].total), torch.zeros_like(value)
    for scale, x in zip(kind.scales, inputs, strict=True):
        error = error + abs(scale) * x.entries if entries else error
        total = total + abs(scale) * x.total
        size = size + abs(scale) * x.value.abs()
    terms = len(inputs)
    local = inflate(gamma(terms + 1) * inflate(size, terms), 2)
    total = inflate(total, terms) + norm_upper(local, Norm.L2)
    return settle(value, tensor_up(inflate(error, terms) + local) if entries else None, tensor_up(total))


def concatenated(kind: Concat, inputs: list[Running], value: Tensor) -> Running:
    """The errors joined as the values are."""
    entries = all(x.error is not None for x in inputs)
    error = torch.cat([x.entries for x in inputs], dim=kind.axis + 1) if entries else None
    return settle(value, error, norm_upper(torch.stack([x.total for x in inputs], dim=1), Norm.L2))


def bilinear(form: Form, x: Running, y: Running, value: Tensor) -> Running:
    """|fl(x y) - z w| <= |x| (F + gamma |y|) + E (|y| + F) for |x - z| <= E, |y - w| <= F."""
    terms = 1 if form is Form.PRODUCT else x.value.shape[-1]
    left = tensor_up(y.entries + tensor_up(gamma(terms) * y.value.abs()))
    right = tensor_up(y.value.abs() + y.entries)
    if form is Form.PRODUCT:
        first, second = x.value.abs() * left, x.entries * right
    else:
        first, second = x.value.abs() @ left, x.entries @ right
    error = (tensor_up(inflate(first, terms) + inflate(second, terms)) + UNDERFLOW) * _SLACK
    total = norm_upper(error, Norm.L2)
    return settle(value, error if x.error is not None and y.error is not None else None, total)
