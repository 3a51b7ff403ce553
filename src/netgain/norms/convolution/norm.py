"""The l2 operator norm of a convolution, enclosed: the choice between the proofs of this package."""

import dataclasses
import math
import time

import torch

from netgain.core.errors import UsageError
from netgain.core.norms import Norm
from netgain.core.results import Enclosure, tightest
from netgain.core.rounding import (
    UNDERFLOW,
    add_up,
    check_arithmetic,
    down,
    gamma,
    mul_up,
    sqrt_up,
    up,
)
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.norms.convolution.cells import Cover, Grid, sampling_factor
from netgain.norms.convolution.embedding import Peak, grids, peaks
from netgain.norms.convolution.lower import normalized, witness
from netgain.norms.convolution.matrices import matrix_norm, matrix_work
from netgain.norms.convolution.stencil import Stencil, axes_of, grouped, stencil, stencils
from netgain.norms.convolution.symbol import Symbol
from netgain.norms.dense import spectral_norm
from netgain.norms.enclose import operator_enclosure
from netgain.norms.sums import vector_lower

# An operator is written out as a matrix if m n^2 operations are below the first number, and where the Fourier methods
# leave a gap above `_GAP` below the second.
_CHEAP, _DEAR = 1.5e10, 7e10
_GAP = 2e-3
# Operations of a matrix proof a second, to keep to a time limit.
_SPEED = 1e10
_MATRIX_RTOL = 1e-6
# The Fourier methods do not try to get closer than this to the symbol's maximum.
_FINEST = 1e-4
# Constant symbols of at most so many groups are decided one by one.
_GROUPS = 1024
# Grids tried for one convolution.
_GRIDS = 3
# Grids with at most so many points (half of them for mirror symmetry) are decided point by point.
_POINTS = 300
# Operations that one cover may take, and the least and the most cells a group.
_EFFORT, _FEWEST, _MOST = 3e11, 150.0, 4_000.0


@dataclasses.dataclass(frozen=True)
class _Upper:
    """An upper bound and how it was proved."""

    value: float
    method: str


def conv_norm(conv: Conv | ConvTransposed, *, rtol: float = 1e-3, seconds: float | None = None) -> Enclosure:
    """Enclose ||A||_2 = max ||A x||_2 / ||x||_2 of a convolution A between its fixed grids.

    A is a multilevel block Toeplitz matrix (`stencil`) with symbol K^(x), x in the torus. Upper bounds, of which the
    least is returned:

    - max ||K^|| on a shifted grid, from embedding A in an omega-circulant matrix; equality for circular padding;
    - sup ||K^|| on the torus, by branch and bound;
    - the matrix itself where it is small, or where the symbol is constant;
    - sqrt(||A||_1 ||A||_inf) and the Frobenius norm.

    The lower bound is ||A v|| / ||v|| for a vector v from Lanczos.

    Guarantee: both sides are proved, rounding and `conv.error` included, assuming that torch's float64 sin and cos are
    within 4 units in the last place.

    Args:
        conv: the convolution.
        rtol: relative width wanted between the sides. The effort stops there; it is not always reached.
        seconds: time to spend, about; None for no limit. Less time gives weaker bounds, never wrong ones.

    Returns:
        The enclosure, quantity "operator norm".

    Raises:
        UsageError: if `rtol` is not positive.

    Cost:
        For c channels on both sides about 14 c^3 operations a frequency; 30 to 2000 frequencies, whatever the size of
        the image. Memory about 250 MB at most beyond the kernel.

    Source:
        docs/theory/convolution_norms.md, theorems 1 (embedding) and 2 (cells).
    """
    if not rtol > 0:
        raise UsageError(f"rtol must be positive, got {rtol}")
    check_arithmetic()
    forms = stencils(conv)
    if matrix_work(conv) <= _CHEAP and any(any(form.degrees) for form in forms):
        return matrix_norm(conv, min(rtol, _MATRIX_RTOL))
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    error = _error_norm(conv)
    lower, best = 0.0, _Upper(math.inf, "none")
    for found in forms:
        search = _Search(conv, found, rtol, deadline)
        below, upper = search.enclose()
        lower = max(lower, _shifted_down(below, found.exponent))
        scale = sqrt_up(float(found.repeats)) if found.repeats > 1 else 1.0
        value = add_up(_shifted_up(mul_up(scale, upper.value), found.exponent), error)
        if value < best.value:
            best = _Upper(value, upper.method)
    if not forms:
        best = _Upper(error, "zero kernel")
    result = operator_enclosure(
        lower, best.value, Norm.L2, lower_method="Rayleigh quotient of a Lanczos vector", upper_method=best.method
    )
    affordable = min(_DEAR, _SPEED * (deadline - time.monotonic()))
    if result.ratio > 1.0 + max(rtol, _GAP) and matrix_work(conv) <= affordable:
        other = matrix_norm(conv, rtol)
        return Enclosure(tightest(result.lower, other.lower), tightest(result.upper, other.upper))
    return result


class _Search:
    """One run of `conv_norm` on the kernel scaled to entries of at most 1; norms in units of 2^exponent."""

    def __init__(self, conv: Conv | ConvTransposed, found: Stencil, rtol: float, deadline: float):
        self.conv = conv
        self.found = found
        self.rtol = max(rtol, 4 * _FINEST)
        self.deadline = deadline
        self.symbol = Symbol(found)
        self.sigma = self.symbol.crude
        self.cells = min(max(_EFFORT / self.symbol.work, _FEWEST), _MOST)
        self.best = _Upper(self.symbol.crude, "geometric mean of row and column sums")
        self._improve(_frobenius(conv, found.exponent), "Frobenius norm")

    def enclose(self) -> tuple[float, _Upper]:
        """Lower bound of the norm of the convolution, upper bound of the norm of its stencil."""
        if not any(self.found.degrees):
            return self._constant(), self.best
        found = peaks(self.symbol)
        lower = self._lower(found[0])
        self._symbol_bounds(found, lower)
        return lower, self.best

    def _constant(self) -> float:
        """Bounds from a symbol that is one matrix a group; the lower one."""
        if self.symbol.groups > _GROUPS:
            lower = self._lower(None)
            self._everywhere(max(lower, 0.5), self.rtol / 8)
            return lower
        parts = [spectral_norm(block[:, :, 0], rtol=_MATRIX_RTOL) for block in self.symbol.kernel]
        self._improve(up(max(part.upper.value for part in parts) + UNDERFLOW), "constant symbol, shifted Cholesky")
        if self.conv.error is None and all(axis.whole for axis in axes_of(self.conv)):
            return max(0.0, down(max(part.lower.value for part in parts) - UNDERFLOW))
        return self._lower(None)

    def _lower(self, peak: Peak | None) -> float:
        """A proved lower bound, in units of 2^exponent."""
        conv = normalized(self.conv, self.found.exponent)
        tolerance = max(self.rtol / 20, 1e-6)
        vector = witness(conv, peak, self.found.levels, tolerance=tolerance, deadline=self.deadline)
        # Scaling the kernel rounds subnormal entries.
        return max(0.0, down(vector_lower(conv, vector, Norm.L2) - UNDERFLOW))

    def _symbol_bounds(self, found: list[Peak], lower: float) -> None:
        """Bounds from shifted grids and from the whole torus, until the sides are within rtol."""
        top = found[0].value
        ranked = grids(self.found.levels, self.symbol, found)
        wanted = lower * (1.0 + self.rtol) / math.sqrt(self.found.repeats)
        if self.deadline < math.inf:
            # Cheap, and much better than nothing should the time run out.
            self._sampled(tuple(4 * d for d in self.symbol.degrees), top, math.inf)
        enough = top * (1.0 + self.rtol / 2) <= wanted
        flat = False
        if enough or ranked[0][1].points > _POINTS:
            # All frequencies: enough by itself on large grids, and what the cells of a grid are measured with.
            flat = not self._everywhere(top, self.rtol / 4 if enough else 0.01)
        for estimate, grid in ranked[:_GRIDS]:
            before = self.best.value
            if before <= wanted or estimate >= before or (flat and grid.points > 6 * self.cells):
                break
            slack = self.rtol / 8
            cells = math.inf if flat or grid.points <= _POINTS else self.cells
            cover = Cover(slack=slack, cells=cells, deadline=self.deadline)
            self._improve(cover(self.symbol, grid, estimate * (1.0 + slack), self.sigma, before), str(grid))
            # A grid that gained less than a tenth of what is missing is a sign to stop.
            if grid is not ranked[0][1] and before - self.best.value < 0.1 * (before - wanted):
                break

    def _everywhere(self, top: float, slack: float) -> bool:
        """Bound the norm on the whole torus by cells; where they become too many, from a full grid, and False."""
        torus = Grid((None,) * len(self.found.levels), (0.0,) * len(self.found.levels))
        cover = Cover(slack=slack, cells=self.cells, deadline=self.deadline)
        proved = cover(self.symbol, torus, top * (1.0 + slack), math.inf)
        self._improve(proved, "branch and bound over all frequencies")
        self.sigma = min(self.sigma, proved)
        if math.isinf(proved) and any(self.symbol.degrees):
            varying = sum(d > 0 for d in self.symbol.degrees)
            each = (2.0 * self.cells / math.prod(d for d in self.symbol.degrees if d)) ** (1.0 / varying)
            self._sampled(tuple(math.ceil(d * each) for d in self.symbol.degrees), top, self.deadline)
        return math.isfinite(proved)

    def _sampled(self, sizes: tuple[int, ...], top: float, deadline: float) -> None:
        """Bound the norm on the whole torus by its maximum on a full uniform grid of these sizes."""
        grid = Grid(tuple(max(1, size) for size in sizes), (0.5,) * len(sizes))
        slack = self.rtol / 8
        cover = Cover(slack=slack, cells=math.inf, deadline=deadline)
        value = mul_up(sampling_factor(self.symbol, grid), cover(self.symbol, grid, top * (1.0 + slack), self.sigma))
        self._improve(value, "full grid of frequencies")
        self.sigma = min(self.sigma, value)

    def _improve(self, value: float, method: str) -> None:
        """Keep a bound if it is the least so far."""
        if value < self.best.value:
            self.best = _Upper(value, method)


def _frobenius(conv: Conv | ConvTransposed, exponent: int) -> float:
    """An upper bound of the Frobenius norm of the largest group, in units of 2^exponent; infinite if circular."""
    if isinstance(conv, Conv) and conv.circular:
        return math.inf
    kernel = grouped(normalized(conv, exponent).weight, conv.groups)
    squares = kernel.square().sum((1, 2))
    for axis in reversed(axes_of(conv)):
        counts = torch.tensor([float(axis.count(k)) for k in range(axis.taps)], dtype=torch.float64)
        squares = squares @ counts
    value = float(squares.max())
    return add_up(sqrt_up(mul_up(1.0 + gamma(kernel.numel() + 64), value)), 2.0**-400)


def _error_norm(conv: Conv | ConvTransposed) -> float:
    """An upper bound of the norm of the convolution with kernel `conv.error`."""
    if conv.error is None:
        return 0.0
    found = stencil(dataclasses.replace(conv, weight=conv.error, error=None))
    if found is None:
        return 0.0
    return _shifted_up(mul_up(sqrt_up(float(found.repeats)), Symbol(found).crude), found.exponent)


def _shifted_up(value: float, exponent: int) -> float:
    """A float64 not below 2^exponent value."""
    try:
        return up(math.ldexp(value, exponent))
    except OverflowError:
        return math.inf


def _shifted_down(value: float, exponent: int) -> float:
    """A float64 not above 2^exponent value, at least 0."""
    try:
        return max(0.0, down(math.ldexp(value, exponent)))
    except OverflowError:
        return math.nextafter(math.inf, 0.0)
