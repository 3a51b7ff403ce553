"""Softmax, log-softmax and log-sum-exp along one axis."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import UsageError
from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.core.rounding import UNDERFLOW, div_up, gamma, sqrt_up, tensor_up
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.ranges import box, check_axis, known, others, reduced

# Infinite entries are shifted as if they were this large.
_LARGEST = 2.0**1000


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
        return self.range(box(x, radius)).distance(self.value(x.double()))

    def range(self, box: Interval) -> Interval:
        """Exact up to rounding: p_i is greatest with x_i up and all others down, and least the other way."""
        low, high = (odds.ratio for odds in _odds(box, self.axis, self.temperature))
        return known(Interval((1.0 / (low + 1.0)).lo, (1.0 / (high + 1.0)).hi).clamp(0.0, 1.0), box)

    def local_gain(self, box: Interval, norm: Norm) -> Float[Tensor, " batch"]:
        """The greatest 2 p (1 - p) / T over the range of any entry; in l2 also the greatest p / T."""
        p = self.range(box)
        nearest = torch.full_like(p.lo, 0.5).clamp(p.lo, p.hi)
        steep = 2 * nearest * (1 - nearest)
        if norm is Norm.L2:
            steep = torch.minimum(steep, p.hi)
        most = tensor_up(steep * (1 + 2.0**-50) + UNDERFLOW).flatten(1).amax(1)
        return tensor_up(most / self.temperature).clamp_max(self.gain(norm))

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
        return self.range(box(x, radius)).distance(self.value(x.double()))

    def range(self, box: Interval) -> Interval:
        """Exact up to rounding: greatest with x_i up and all others down, and least the other way."""
        low, high = (odds.log1p() for odds in _odds(box, self.axis, 1.0))
        return known(Interval(-low.hi, -high.lo).clamp(-math.inf, 0.0), box)

    def local_gain(self, box: Interval, norm: Norm) -> Float[Tensor, " batch"]:
        """1 + (n - 2) max p, sqrt(n) |p|_2 with |p|_2^2 <= max p, or 2 (1 - min p), over the range of p."""
        count = self.in_shape[self.axis]
        p = Softmax(self.in_shape, self.axis).range(box)
        most, least = p.hi.flatten(1).amax(1), p.lo.flatten(1).amin(1)
        square = torch.minimum(most, p.hi.square().sum(self.axis + 1).reshape(len(p.hi), -1).amax(1))
        steep = {
            Norm.L1: 1 + (count - 2) * most,
            Norm.L2: (count * square).sqrt(),
            Norm.LINF: 2 * (1 - least),
        }[norm]
        found = tensor_up(steep * (1 + 2 * gamma(count + 16)))
        return found.nan_to_num(nan=torch.inf, posinf=torch.inf).clamp_max(self.gain(norm))

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
        return self.range(box(x, radius)).distance(self.value(x.double()))

    def range(self, box: Interval) -> Interval:
        """Exact up to rounding: it rises in every input."""
        axis = self.axis + 1
        ends = [_log_of_sum(end, axis, self.keepdim) for end in (box.lo, box.hi)]
        return known(Interval(ends[0].lo, ends[1].hi), box)

    def gain(self, norm: Norm) -> float:
        """1 in every norm."""
        return 1.0


def _half_over(temperature: float) -> float:
    """1 / (2 T), rounded up; 2 T is exact."""
    half = 0.5 / temperature
    return half if half * temperature == 0.5 and math.frexp(temperature)[0] == 0.5 else div_up(0.5, temperature)


def _finite_top(x: Tensor, axis: int) -> Tensor:
    """The largest entry along the axis, which shifts the exponents; any finite number would be right."""
    return x.amax(axis, keepdim=True).nan_to_num(nan=0.0).clamp(-_LARGEST, _LARGEST)


def _log_of_sum(x: Tensor, axis: int, keepdim: bool) -> Interval:
    """An enclosure of log sum_j e^(x_j) at a point, whose entries may be infinite."""
    top = _finite_top(x, axis)
    total = (Interval.exactly(x) - Interval.exactly(top)).exp().sum((axis,), keepdim)
    return total.clamp(0.0, math.inf).log() + Interval.exactly(top if keepdim else top.squeeze(axis))


@dataclasses.dataclass(frozen=True)
class _Odds:
    """sum_{j != i} e^(x_j - x_i) for each entry i, as rest * e^shift.

    Attributes:
        rest: sum_{j != i} e^(x_j - top).
        shift: top - x_i.
    """

    rest: Interval
    shift: Interval

    @property
    def ratio(self) -> Interval:
        """The sum itself; infinite where it overflows."""
        ratio = self.rest * self.shift.exp()
        # 0 times infinity is no number: nothing is known then.
        return Interval(
            ratio.lo.nan_to_num(nan=0.0, posinf=math.inf), ratio.hi.nan_to_num(nan=math.inf, posinf=math.inf)
        ).clamp(0.0, math.inf)

    def log1p(self) -> Interval:
        """log(1 + sum), also where the sum overflows: then it is log(sum), up to 2^-900."""
        ratio = self.ratio
        large = self.rest.log() + self.shift + Interval(torch.zeros(()).double(), torch.full((), 2.0**-900).double())
        return ratio.log1p().where(ratio.hi < 2.0**1000, large)


def _odds(box: Interval, axis: int, temperature: float) -> tuple[_Odds, _Odds]:
    """The odds against each entry where they are greatest over a box, and where they are least."""
    found: list[_Odds] = []
    for own, other in ((box.lo, box.hi), (box.hi, box.lo)):
        top = Interval.exactly(_finite_top(other, axis + 1))
        exponents = [Interval.exactly(other) - top, top - Interval.exactly(own)]
        if temperature != 1:
            exponents = [one / temperature for one in exponents]
        found.append(_Odds(others(exponents[0].exp(), axis + 1).clamp(0.0, math.inf), exponents[1]))
    return found[0], found[1]
