"""Softmax, log-softmax and log-sum-exp along one axis."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import UsageError
from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.core.rounding import div_up, sqrt_up
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.ranges import box, check_axis, reduced


@dataclasses.dataclass(frozen=True)
class Softmax(AbstractVectorFunction):
    """p_i = e^(x_i / T) / sum_j e^(x_j / T).

    *Guarantee*: gain 1 / (2 T) in every l_p norm. The Jacobian (diag(p) - p p^T) / T is symmetric with row sums of
    magnitudes 2 p_i (1 - p_i) / T <= 1 / (2 T). It is approached where two entries share all the weight.

    Attributes:
        in_shape: shape of one input.
        axis: the axis, batch axis excluded.
        temperature: T > 0.
    """

    in_shape: tuple[int, ...]
    axis: int
    temperature: float = 1.0

    def __post_init__(self):
        """Refuse a missing axis or a temperature that is not positive.

        Raises:
            UsageError: if either holds.
        """
        check_axis("softmax", self.in_shape, self.axis)
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"softmax: the temperature must be positive and finite, got {self.temperature}")

    @property
    def name(self) -> str:
        """With axis and temperature."""
        return f"softmax(axis {self.axis}{f', T={self.temperature:g}' if self.temperature != 1 else ''})"

    @property
    def source(self) -> str:
        """The paper on all l_p norms; the proof is a line."""
        return "Nair 2025 (1/2 in every l_p norm); Gershgorin"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """As the input."""
        return self.in_shape

    def value(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The probabilities."""
        return torch.softmax(x if self.temperature == 1 else x / self.temperature, dim=self.axis + 1)

    def error(
        self, x: Float[Tensor, "batch *shape"], radius: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """From the exact range over the box: p_i is greatest with x_i up and all others down."""
        value = self.value(x.double())
        _, powers = _shifted(x, radius, self.axis, self.temperature)
        least, most = _others(powers, self.axis)
        upper = Interval.exactly(powers.hi) / (Interval.exactly(powers.hi) + least)
        lower = Interval.exactly(powers.lo) / (Interval.exactly(powers.lo) + most)
        ends = Interval(_or(lower.lo, 0.0), _or(upper.hi, 1.0)).clamp(0.0, 1.0)
        return ends.distance(value)

    def gain(self, norm: Norm) -> float:
        """1 / (2 T); 0 for a single entry."""
        return 0.0 if self.in_shape[self.axis] == 1 else _half_over(self.temperature)


@dataclasses.dataclass(frozen=True)
class LogSoftmax(AbstractVectorFunction):
    """x_i - log sum_j e^(x_j).

    *Guarantee*, for n >= 2 entries: the Jacobian I - 1 p^T has gain sqrt(n) |p|_2 <= sqrt(n) in l2 (it is an oblique
    projection, of the norm of its complement 1 p^T), largest column sum 1 + (n - 2) p_j <= n - 1 in l1, and largest
    row sum 2 (1 - p_i) <= 2 in linf. All are approached.

    Attributes:
        in_shape: shape of one input.
        axis: the axis, batch axis excluded.
    """

    in_shape: tuple[int, ...]
    axis: int

    def __post_init__(self):
        """Refuse a missing axis.

        Raises:
            UsageError: if it does not exist.
        """
        check_axis("log_softmax", self.in_shape, self.axis)

    @property
    def name(self) -> str:
        """With the axis."""
        return f"log_softmax(axis {self.axis})"

    @property
    def source(self) -> str:
        """The theorem behind the l2 gain."""
        return "a projection and its complement have one norm (Kato 1960); row and column sums"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """As the input."""
        return self.in_shape

    def value(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The logarithms of the probabilities."""
        return torch.log_softmax(x, dim=self.axis + 1)

    def error(
        self, x: Float[Tensor, "batch *shape"], radius: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """From the exact range over the box: greatest with x_i up and all others down."""
        value = self.value(x.double())
        shifted, powers = _shifted(x, radius, self.axis, 1.0)
        least, most = _others(powers, self.axis)
        top, bottom = Interval.exactly(shifted.hi), Interval.exactly(shifted.lo)
        upper = top - (top.exp() + least).log()
        lower = bottom - (bottom.exp() + most).log()
        return Interval(lower.lo, torch.minimum(upper.hi, torch.zeros_like(upper.hi))).distance(value)

    def gain(self, norm: Norm) -> float:
        """n - 1, sqrt(n) or 2; 0 for a single entry."""
        count = self.in_shape[self.axis]
        if count == 1:
            return 0.0
        return {Norm.L1: float(count - 1), Norm.L2: sqrt_up(float(count)), Norm.LINF: 2.0}[norm]


@dataclasses.dataclass(frozen=True)
class LogSumExp(AbstractVectorFunction):
    """log sum_j e^(x_j).

    *Guarantee*: gain 1 in every norm: the gradient p has |p|_q <= |p|_1 = 1.

    Attributes:
        in_shape: shape of one input.
        axis: the axis, batch axis excluded.
        keepdim: whether the axis stays, with length 1.
    """

    in_shape: tuple[int, ...]
    axis: int
    keepdim: bool = False

    def __post_init__(self):
        """Refuse a missing axis.

        Raises:
            UsageError: if it does not exist.
        """
        check_axis("logsumexp", self.in_shape, self.axis)

    @property
    def name(self) -> str:
        """With the axis."""
        return f"logsumexp(axis {self.axis})"

    @property
    def source(self) -> str:
        """A line of algebra."""
        return "the gradient is a probability vector"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Without the axis, or with length 1."""
        return reduced(self.in_shape, self.axis, self.keepdim)

    def value(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """The logarithm of the sum."""
        return torch.logsumexp(x, dim=self.axis + 1, keepdim=self.keepdim)

    def error(self, x: Float[Tensor, "batch *in"], radius: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """From the exact range over the box: it rises in every input."""
        axis = self.axis + 1
        value = self.value(x.double())
        _, powers = _shifted(x, radius, self.axis, 1.0)
        top = Interval.exactly(_top(x.double(), axis).amax(axis, keepdim=self.keepdim))
        return (top + powers.sum((axis,), self.keepdim).log()).distance(value)

    def gain(self, norm: Norm) -> float:
        """1 in every norm."""
        return 1.0


def _half_over(temperature: float) -> float:
    """1 / (2 T), rounded up; 2 T is exact."""
    half = 0.5 / temperature
    return half if half * temperature == 0.5 and math.frexp(temperature)[0] == 0.5 else div_up(0.5, temperature)


def _top(x: Tensor, axis: int) -> Tensor:
    """The largest entry along the axis, which shifts the exponents; any finite number would be right."""
    return x.amax(axis, keepdim=True)


def _shifted(x: Tensor, radius: Tensor, axis: int, temperature: float) -> tuple[Interval, Interval]:
    """(z - top) / T over the box, and its exponential."""
    exponent = box(x, radius) - Interval.exactly(_top(x.double(), axis + 1))
    if temperature != 1:
        exponent = exponent / temperature
    return exponent, exponent.exp()


def _others(powers: Interval, axis: int) -> tuple[Interval, Interval]:
    """Enclosures of the sums of all other entries' least and of their greatest powers."""
    sums: list[Interval] = []
    for end in (powers.lo, powers.hi):
        rest = Interval.exactly(end).sum((axis + 1,), keepdim=True) - Interval.exactly(end)
        sums.append(rest.clamp(0.0, math.inf))
    return sums[0], sums[1]


def _or(x: Tensor, default: float) -> Tensor:
    """x, or the default where it is NaN because powers overflowed."""
    return torch.where(x.isnan(), default, x)
