"""Which shifted circulant matrix to embed a convolution in: every choice is sound, some are tighter.

A multilevel block Toeplitz matrix is a submatrix of an omega-circulant one on a grid of N_a >= `Level.least` points an
axis, for every shift (docs/theory/convolution_norms.md). Its norm is therefore at most the largest norm of the symbol
on the points (k + shift_a) / N_a. The best grid keeps its points away from the peaks of the symbol, like the ends of
a vibrating string.
"""

import dataclasses
import itertools
import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from netgain.norms.convolution.cells import Grid, torus_cells
from netgain.norms.convolution.stencil import Level
from netgain.norms.convolution.symbol import Items, Symbol

# Grids ranked by the model of the peaks.
_MOST_GRIDS = 4096


@dataclasses.dataclass(frozen=True)
class Peak:
    """A local maximum of the norm of the symbol. An estimate, used to choose where to prove.

    Attributes:
        group: number of the group.
        place: frequency in turns, one number an axis.
        value: estimate of the norm there, from below.
        waves: K_q u for the top right singular vector u there, one row an offset.
    """

    group: int
    place: Float[Tensor, " axis"]
    value: float
    waves: Complex[Tensor, "offset row"]


def peaks(symbol: Symbol, count: int = 3) -> list[Peak]:
    """Estimates of the largest local maxima of the norm of the symbol, best first. No guarantee.

    Args:
        symbol: the symbol.
        count: how many starting points to follow.

    Returns:
        At least one peak.
    """
    items, width = torus_cells(symbol)
    values = symbol.largest(items, steps=10)
    chosen: list[Peak] = []
    for index in values.argsort(descending=True)[:count].tolist():
        chosen.append(_climb(symbol, int(items.groups[index]), items.centres[index], width))
    return sorted(chosen, key=lambda peak: -peak.value)


def _climb(symbol: Symbol, group: int, place: Tensor, width: Tensor) -> Peak:
    """Maximize ||K^(x) u|| over x near `place` and over u in turn."""
    index = torch.tensor([group])
    axes = [torch.linspace(-1.0, 1.0, 7, dtype=torch.float64) if w > 0 else torch.zeros(1).double() for w in width]
    stencil = torch.cartesian_prod(*axes).reshape(-1, len(width))
    for _ in range(3):
        waves = _waves(symbol, group, symbol.direction(Items(index, symbol.rounded(place[None])))[0])
        reach = width
        for _ in range(6):
            places = place + reach * stencil
            place = places[int(_response(symbol, waves, places).argmax())]
            reach = reach / 3
        width = width / 4
    item = Items(index, symbol.rounded(place[None]))
    waves = _waves(symbol, group, symbol.direction(item)[0])
    return Peak(group, place, float(symbol.largest(item)[0]), waves)


def _waves(symbol: Symbol, group: int, direction: Tensor) -> Tensor:
    """K_q u for every offset q."""
    kernel = symbol.kernel[group].permute(2, 0, 1)
    return torch.complex(kernel @ direction.real, kernel @ direction.imag)


def _response(symbol: Symbol, waves: Tensor, places: Tensor) -> Tensor:
    """||sum over q of K_q u exp(2 pi i <q, x>)|| at each place: the norm of the symbol from below."""
    gram = waves.conj() @ waves.T
    phases = torch.complex(*symbol.phases(places))
    return torch.einsum("iq,qr,ir->i", phases.conj(), gram, phases).real.clamp_min(0.0).sqrt()


def grids(levels: tuple[Level, ...], symbol: Symbol, found: list[Peak]) -> list[tuple[float, Grid]]:
    """Grids that prove an upper bound, with an estimate of the norm there (from below), most promising first.

    Args:
        levels: the axes of the stencil.
        symbol: its symbol.
        found: its peaks.

    Returns:
        Pairs of estimate and grid, at least one.
    """
    options = [_axis_options(level) for level in levels]
    while math.prod(len(o) for o in options) > _MOST_GRIDS:
        longest = max(range(len(options)), key=lambda axis: len(options[axis]))
        options[longest] = options[longest][: max(1, len(options[longest]) // 2)]
    ranked: list[tuple[float, Grid]] = []
    for choice in itertools.product(*options):
        grid = Grid(tuple(size for size, _ in choice), tuple(shift for _, shift in choice))
        ranked.append((_predicted(grid, symbol, found), grid))
    # Mirror-symmetric grids cost half.
    return sorted(ranked, key=lambda pair: pair[0] * (1.0 if pair[1].symmetric else 1.0 + 1e-5))


def _axis_options(level: Level) -> list[tuple[int, float]]:
    """Sizes and shifts to try for one axis, the usual best first."""
    if level.circulant is not None:
        return [(level.circulant, 0.0)]
    if level.degree == 0:
        return [(1, 0.0)]
    return [(level.least + more, shift) for more in (0, 1) for shift in (0.5, 0.0)] + [
        (level.least, 0.25),
        (level.least, 0.75),
        (level.least + 2, 0.5),
        (level.least + 2, 0.0),
    ]


def _predicted(grid: Grid, symbol: Symbol, found: list[Peak]) -> float:
    """The largest response at the grid points around each peak and its mirror image."""
    size = torch.tensor(grid.sizes, dtype=torch.float64)
    shift = torch.tensor(grid.shifts, dtype=torch.float64)
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=len(grid.sizes))), dtype=torch.float64)
    largest = 0.0
    for peak in found:
        for sign in (1.0, -1.0):
            # Near -x the symbol is the conjugate of that near x.
            places = ((sign * peak.place * size - shift).floor() + corners + shift) / size
            largest = max(largest, float(_response(symbol, peak.waves, sign * places).max()))
    return largest
