"""Interval arithmetic on float64 tensors: every result encloses the exact one, library functions included."""

import dataclasses
import math
import sys
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.rounding import UNDERFLOW, gamma, tensor_down, tensor_up

# Assumed of exp, log, tanh, erf and their kin: 8 units in the last place, and subnormal results may be lost.
LIBRARY_ERROR = 2.0**-49
TINY = 2.0**-1021


@dataclasses.dataclass(frozen=True)
class Interval:
    """Real numbers known to lie in [lo, hi], entry by entry.

    *Guarantee*: if the operands contain the exact operands, the result contains the exact result. IEEE 754 operations
    are widened by one unit in the last place; library functions by `LIBRARY_ERROR`, which is an assumption about the
    platform that the tests check against 60-digit arithmetic.

    Attributes:
        lo: lower ends.
        hi: upper ends.
    """

    lo: Float[Tensor, "*shape"]
    hi: Float[Tensor, "*shape"]

    @staticmethod
    def exactly(x: Tensor | float) -> "Interval":
        """The interval of one point, converted to float64 without error."""
        point = torch.as_tensor(x, dtype=torch.float64)
        return Interval(point, point)

    @staticmethod
    def decimal(text: str) -> "Interval":
        """The interval of a decimal number that float64 does not hold; `text` errs by far less than its last bit."""
        near = torch.tensor(float(text), dtype=torch.float64)
        return Interval(tensor_down(near), tensor_up(near))

    def __neg__(self) -> "Interval":
        return Interval(-self.hi, -self.lo)

    def __add__(self, other: "Interval | float") -> "Interval":
        lo, hi = _ends(other)
        return Interval(tensor_down(self.lo + lo), tensor_up(self.hi + hi))

    def __radd__(self, other: float) -> "Interval":
        return self + other

    def __sub__(self, other: "Interval | float") -> "Interval":
        lo, hi = _ends(other)
        return Interval(tensor_down(self.lo - hi), tensor_up(self.hi - lo))

    def __rsub__(self, other: float) -> "Interval":
        return -self + other

    def __mul__(self, other: "Interval | float") -> "Interval":
        lo, hi = _ends(other)
        return _hull(self.lo * lo, self.lo * hi, self.hi * lo, self.hi * hi)

    def __rmul__(self, other: float) -> "Interval":
        return self * other

    def __truediv__(self, other: "Interval | float") -> "Interval":
        """The quotient, for a denominator that does not contain 0 (else every real number)."""
        lo, hi = _ends(other)
        quotient = _hull(self.lo / lo, self.lo / hi, self.hi / lo, self.hi / hi)
        pole = torch.as_tensor((lo <= 0) & (hi >= 0))
        return Interval(
            torch.where(pole, -math.inf, quotient.lo),
            torch.where(pole, math.inf, quotient.hi),
        )

    def __rtruediv__(self, other: float) -> "Interval":
        return Interval.exactly(other) / self

    def abs(self) -> "Interval":
        """Magnitudes."""
        lo = torch.maximum(self.lo, -self.hi).clamp_min(0.0)
        return Interval(lo, torch.maximum(self.hi, -self.lo))

    def square(self) -> "Interval":
        """Squares, without the dependency that x * x ignores."""
        size = self.abs()
        return Interval(tensor_down(size.lo * size.lo).clamp_min(0.0), tensor_up(size.hi * size.hi))

    def sqrt(self) -> "Interval":
        """Square roots of the non-negative part."""
        return Interval(
            tensor_down(self.lo.clamp_min(0.0).sqrt()).clamp_min(0.0),
            tensor_up(self.hi.sqrt()),
        )

    def reciprocal(self) -> "Interval":
        """1 / x for x >= 0; infinite at 0."""
        size = self.abs()
        return Interval(tensor_down(1.0 / size.hi).clamp_min(0.0), tensor_up(1.0 / size.lo))

    def exp(self) -> "Interval":
        """Exponentials."""
        return self._increasing(torch.exp).clamp(0.0, math.inf)

    def expm1(self) -> "Interval":
        """e^x - 1."""
        return self._increasing(torch.expm1).clamp(-1.0, math.inf)

    def log(self) -> "Interval":
        """Logarithms of positive numbers."""
        return self._increasing(torch.log)

    def log1p(self) -> "Interval":
        """log(1 + x)."""
        return self._increasing(torch.log1p)

    def tanh(self) -> "Interval":
        """Hyperbolic tangents."""
        return self._increasing(torch.tanh).clamp(-1.0, 1.0)

    def erf(self) -> "Interval":
        """The error function."""
        return self._increasing(torch.erf).clamp(-1.0, 1.0)

    def erfc(self) -> "Interval":
        """1 - erf, accurate where it is small."""
        return (-self)._increasing(lambda x: torch.erfc(-x)).clamp(0.0, 2.0)

    def sigmoid(self) -> "Interval":
        """1 / (1 + e^-x)."""
        return (1.0 / ((-self).exp() + 1.0)).clamp(0.0, 1.0)

    def power(self, exponent: float) -> "Interval":
        """x^exponent for x >= 0."""
        if exponent < 0:
            return self.power(-exponent).reciprocal()
        if exponent in {0.5, 1.0, 2.0}:
            return {0.5: self.sqrt, 1.0: lambda: self, 2.0: self.square}[exponent]()
        return self._increasing(lambda x: torch.pow(x, exponent)).clamp(0.0, math.inf)

    def sin(self) -> "Interval":
        """Sines, by |sin x - sin y| <= |x - y|: sharp for narrow intervals only."""
        return self._nonexpansive(torch.sin)

    def cos(self) -> "Interval":
        """Cosines; sharp for narrow intervals only."""
        return self._nonexpansive(torch.cos)

    def sum(self, axes: tuple[int, ...], keepdim: bool = False) -> "Interval":
        """Sums along axes, in whatever order torch takes."""
        count = math.prod(self.lo.shape[axis] for axis in axes)
        # Twice gamma: the second covers the rounding of the sum of magnitudes and of the products here.
        factor = 2 * gamma(count + 2)

        def error(x: Tensor) -> Tensor:
            return factor * x.abs().sum(axes, keepdim) + UNDERFLOW

        lo, hi = self.lo.sum(axes, keepdim), self.hi.sum(axes, keepdim)
        return Interval(tensor_down(lo - error(self.lo)), tensor_up(hi + error(self.hi)))

    def clamp(self, lo: float, hi: float) -> "Interval":
        """The part in [lo, hi], where the exact number is known to lie."""
        return Interval(self.lo.clamp(lo, hi), self.hi.clamp(lo, hi))

    def where(self, condition: Tensor, other: "Interval") -> "Interval":
        """Own ends where the condition holds, the other's elsewhere."""
        return Interval(torch.where(condition, self.lo, other.lo), torch.where(condition, self.hi, other.hi))

    def halves(self) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """A finite middle m and a radius r with [m - r, m + r] around the interval; r = 0 for a point, or infinite."""
        point = self.lo == self.hi
        middle = torch.where(point, self.lo, self.lo / 2 + self.hi / 2).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        radius = torch.maximum(tensor_up(self.hi - middle), tensor_up(middle - self.lo))
        return middle, torch.where(point & self.lo.isfinite(), 0.0, radius)

    def meet(self, other: "Interval") -> "Interval":
        """What lies in both; for two enclosures of one number."""
        return Interval(torch.maximum(self.lo, other.lo), torch.minimum(self.hi, other.hi))

    def distance(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """A number not below |x - t| for every t in the interval; 0 only where it is {x}, infinity where undefined."""
        far = torch.maximum(x - self.lo, self.hi - x)
        far = torch.where((x == self.lo) & (x == self.hi), 0.0, far)
        return torch.where(far > 0, tensor_up(far), far).nan_to_num(nan=math.inf, posinf=math.inf)

    def _increasing(self, function: Callable[[Tensor], Tensor]) -> "Interval":
        """The image under an increasing library function."""
        # A lower end that overflowed is only known to exceed the largest number.
        lo, hi = function(self.lo).clamp_max(sys.float_info.max), function(self.hi)
        return Interval(lo - (lo.abs() * LIBRARY_ERROR + TINY), hi + (hi.abs() * LIBRARY_ERROR + TINY))

    def _nonexpansive(self, function: Callable[[Tensor], Tensor]) -> "Interval":
        """The image under sin or cos."""
        width = tensor_up(self.hi - self.lo)
        width = torch.where(self.hi == self.lo, 0.0, width)
        centre = function(self.lo)
        slack = centre.abs() * LIBRARY_ERROR + TINY + width
        return Interval(tensor_down(centre - slack), tensor_up(centre + slack)).clamp(-1.0, 1.0)


def _ends(x: Interval | float) -> tuple[Tensor, Tensor]:
    """Both ends of an operand."""
    interval = x if isinstance(x, Interval) else Interval.exactly(x)
    return interval.lo, interval.hi


def _hull(*products: Tensor) -> Interval:
    """The rounded hull of correctly rounded numbers."""
    lo, hi = products[0], products[0]
    for product in products[1:]:
        lo, hi = torch.minimum(lo, product), torch.maximum(hi, product)
    return Interval(tensor_down(lo), tensor_up(hi))
