"""Branch and bound over frequencies: prove that the norm of a symbol is below one limit on a whole set.

Let sigma bound ||K^|| on the whole torus and let a cell have centre c and half-widths delta_a (in turns). Put
rho = pi sum_a D_a delta_a for the degrees D_a. If rho <= pi/2 and

    ||K^(c)|| <= t cos(rho) - sqrt(sigma^2 - t^2) sin(rho),        0 <= t <= sigma,

then ||K^(x)|| <= t on the cell. If the cells cover the torus, sigma = t may be taken: ||K^(c)|| <= t cos(rho) for all
cells proves ||K^|| <= t everywhere. Proof by the Bernstein-Szego inequality: docs/theory/convolution_norms.md.
"""

import dataclasses
import itertools
import math
import time

import torch
from jaxtyping import Float, Int
from torch import Tensor

from netgain.core.rounding import UNIT_ROUNDOFF, div_up, mul_up
from netgain.norms.convolution.symbol import Items, Symbol

# Cells per level whose norm is estimated, so that the limit keeps up; more of them where splitting has ended.
_SAMPLES = 12
_SMALL_SAMPLES = 64
# Most rounds of splitting.
_LEVELS = 80


@dataclasses.dataclass(frozen=True)
class Grid:
    """A product of uniform shifted grids x = (k + shift) / size, one an axis; size None is the whole circle.

    Attributes:
        sizes: points an axis.
        shifts: shift of each axis, a fraction in [0, 1).
    """

    sizes: tuple[int | None, ...]
    shifts: tuple[float, ...]

    @property
    def symmetric(self) -> bool:
        """Whether the set is its own mirror image x -> -x, so that half of it is enough for a real kernel."""
        return all(size is None or shift in (0.0, 0.5) for size, shift in zip(self.sizes, self.shifts, strict=True))

    @property
    def points(self) -> float:
        """Number of points, infinite for a continuous axis."""
        return float(math.prod(math.inf if size is None else size for size in self.sizes))

    def __str__(self) -> str:
        if None in self.sizes:
            return "all frequencies"
        size = "x".join(str(size) for size in self.sizes)
        return f"circulant of size {size}, shifts {', '.join(f'{shift:g}' for shift in self.shifts)}"


@dataclasses.dataclass(frozen=True)
class _Boxes:
    """Cells as closed ranges of grid indices (continuous axes: in turns), with their groups."""

    groups: Int[Tensor, " cell"]
    low: Float[Tensor, "cell axis"]
    high: Float[Tensor, "cell axis"]

    def __len__(self) -> int:
        return self.groups.shape[0]

    def __getitem__(self, which: Tensor) -> "_Boxes":
        return _Boxes(self.groups[which], self.low[which], self.high[which])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cover:
    """Prove sup ||K^|| on a grid or on the torus, by cells.

    Attributes:
        slack: relative distance that the limit keeps from the largest norm seen.
        cells: cells that may be tested before giving up, for each group; infinite to decide a grid point by point.
        deadline: `time.monotonic()` at which to give up.
    """

    slack: float
    cells: float
    deadline: float = math.inf

    def __call__(self, symbol: Symbol, grid: Grid, start: float, sigma: float, enough: float = math.inf) -> float:
        """A proved upper bound of the norm of the symbol on the grid, over all groups.

        Guarantee: upper bound, rounding included; infinity where the proof was given up.

        Args:
            symbol: the symbol.
            grid: where.
            start: the limit tried first, best a little above the largest norm.
            sigma: a proved upper bound on the whole torus; not used on a continuous grid.
            enough: give up as soon as the limit exceeds this.

        Returns:
            The smallest limit for which every cell passed.
        """
        limit, slack = start, self.slack
        boxes = _roots(symbol, grid, single=math.isinf(self.cells))
        continuous = None in grid.sizes
        budget = self.cells * symbol.groups
        for _ in range(_LEVELS):
            budget -= len(boxes)
            if not limit < enough or budget < 0 or time.monotonic() > self.deadline:
                break
            items, rho = _centres(symbol, grid, boxes)
            allowed = _allowed(limit, limit if continuous else max(sigma, limit), rho)
            open_cells = ~symbol.below(items, allowed, self.deadline)
            if not bool(open_cells.any()):
                return limit
            boxes, rho = boxes[open_cells], rho[open_cells]
            # A cell this small fails because the norm in it is too close to the limit, or above it.
            small = rho.cos() >= 1.0 - self.slack / 8 if continuous else (boxes.low == boxes.high).all(1)
            seen = _sample(symbol, grid, boxes, small) * (1.0 + slack)
            if bool(small.any()) and seen <= limit:
                slack *= 2.0
                seen = limit * (1.0 + slack)
            limit = max(limit, seen)
            boxes = _split(symbol, grid, boxes)
        return math.inf


def sampling_factor(symbol: Symbol, grid: Grid) -> float:
    """An upper bound of sup ||K^|| on the torus over its maximum on a full uniform grid; infinite if it is too coarse.

    The product over the axes of 1 / cos(pi D_a / (2 N_a)), see theorem 3 in docs/theory/convolution_norms.md.
    """
    factor = 1.0
    for size, degree in zip(grid.sizes, symbol.degrees, strict=True):
        if size is None or size <= degree:
            return math.inf
        # The angle errs by at most 4 u of pi / 2, the cosine by less than 4 u: together less than 16 u, which counts
        # absolutely, because near pi / 2 the cosine is as small as pi / (2 N).
        least = math.cos(math.pi * degree / (2 * size)) - 16 * UNIT_ROUNDOFF
        if least <= 0.0:
            return math.inf
        factor = mul_up(factor, div_up(1.0, least))
    return factor


def torus_cells(symbol: Symbol, most: int) -> tuple[Items, Float[Tensor, " axis"]]:
    """Centres of a cover of half the torus by up to `most` cells (or the coarsest cover), and their half-widths."""
    grid = Grid((None,) * len(symbol.degrees), (0.0,) * len(symbol.degrees))
    boxes = _roots(symbol, grid)
    while 2 * len(boxes) <= most and any(symbol.degrees):
        boxes = _split(symbol, grid, boxes)
    return _centres(symbol, grid, boxes)[0], (boxes.high - boxes.low)[0] / 2


def _roots(symbol: Symbol, grid: Grid, *, single: bool = False) -> _Boxes:
    """The first cells: points or about 2 D + 2 an axis, half of the first varying axis where the grid is symmetric."""
    pieces: list[list[tuple[float, float]]] = []
    halved = not grid.symmetric
    for size, shift, degree in zip(grid.sizes, grid.shifts, symbol.degrees, strict=True):
        count = 2 * degree + 2
        if degree == 0:
            pieces.append([(0.0, 0.0)])
        elif size is None:
            width = 2.0 ** -math.ceil(math.log2(count))
            stop = 1.0 if halved else 0.5
            pieces.append([(k * width, (k + 1) * width) for k in range(round(stop / width))])
            halved = True
        else:
            # Representatives of k and its mirror image -k - 2 shift modulo the size.
            stop = size if halved else (size // 2 + 1 if shift == 0.0 else (size + 1) // 2)
            halved = True
            count = stop if single else count
            cuts = sorted({round(stop * j / count) for j in range(count + 1)})
            pieces.append([(float(a), float(b - 1)) for a, b in itertools.pairwise(cuts)])
    boxes = torch.tensor(list(itertools.product(*pieces)), dtype=torch.float64)
    count = len(boxes)
    groups = torch.arange(symbol.groups).repeat_interleave(count)
    boxes = boxes.repeat(symbol.groups, 1, 1)
    return _Boxes(groups, boxes[:, :, 0], boxes[:, :, 1])


def _centres(symbol: Symbol, grid: Grid, boxes: _Boxes) -> tuple[Items, Tensor]:
    """Centres of the cells in turns, and upper bounds of rho."""
    centres: list[Tensor] = []
    rho = torch.zeros(len(boxes), dtype=torch.float64)
    for axis, (size, shift, degree) in enumerate(zip(grid.sizes, grid.shifts, symbol.degrees, strict=True)):
        middle = (boxes.low[:, axis] + boxes.high[:, axis]) / 2
        half = (boxes.high[:, axis] - boxes.low[:, axis]) / 2
        if size is not None:
            middle, half = (middle + shift) / size, half / size
        centres.append(middle)
        # One step of the resolution covers the rounding of the centre; the factor that of everything else.
        rho += math.pi * degree * (half + symbol.resolution) * (1.0 + 64 * UNIT_ROUNDOFF)
    return Items(boxes.groups, symbol.rounded(torch.stack(centres, 1))), rho


def _sample(symbol: Symbol, grid: Grid, boxes: _Boxes, small: Tensor) -> float:
    """The largest norm estimated at one point of some cells: of small ones first, then of others."""
    chosen = boxes[torch.cat([_spread(small, _SMALL_SAMPLES), _spread(~small, _SAMPLES)])]
    point = (chosen.low + chosen.high) / 2
    if None not in grid.sizes:
        point = point.floor()
    items, _ = _centres(symbol, grid, _Boxes(chosen.groups, point, point))
    return float(symbol.largest(items).max())


def _spread(which: Tensor, count: int) -> Tensor:
    """At most `count` positions at which `which` holds, evenly spread."""
    positions = which.nonzero().squeeze(1)
    return positions[:: max(1, math.ceil(len(positions) / count))]


def _allowed(limit: float, sigma: float, rho: Tensor) -> Tensor:
    """t cos(rho) - sqrt(sigma^2 - t^2) sin(rho) rounded down; negative where rho is too large."""
    # sigma^2 - t^2 = (sigma - t)(sigma + t), the difference exact or within one rounding.
    rest = math.sqrt(mul_up((sigma - limit) * (1.0 + 4 * UNIT_ROUNDOFF), sigma + limit)) * (1.0 + 8 * UNIT_ROUNDOFF)
    angle = rho.clamp_max(math.pi / 2)
    value = limit * angle.cos() - rest * angle.sin() - 64 * UNIT_ROUNDOFF * (limit + rest)
    return torch.where(rho < 1.57, value, -torch.ones_like(rho))


def _split(symbol: Symbol, grid: Grid, boxes: _Boxes) -> _Boxes:
    """Halve each cell along the axis that contributes most to rho; single points stay."""
    scale = torch.tensor(
        [d / (size or 1) for size, d in zip(grid.sizes, symbol.degrees, strict=True)], dtype=torch.float64
    )
    extent = (boxes.high - boxes.low) * scale
    widest, axis = extent.max(1)
    single = widest == 0
    keep = boxes[single]
    cut = boxes[~single]
    axis = axis[~single]
    row = torch.arange(len(cut))
    low, high = cut.low[row, axis], cut.high[row, axis]
    discrete = torch.tensor([size is not None for size in grid.sizes])[axis]
    middle = torch.where(discrete, ((low + high) / 2).floor(), (low + high) / 2)
    first_high, second_low = cut.high.clone(), cut.low.clone()
    first_high[row, axis] = middle
    second_low[row, axis] = torch.where(discrete, middle + 1, middle)
    return _Boxes(
        torch.cat([keep.groups, cut.groups, cut.groups]),
        torch.cat([keep.low, cut.low, second_low]),
        torch.cat([keep.high, first_high, cut.high]),
    )
