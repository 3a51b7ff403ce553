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
_MOST_GRIDS = 512
# Frequencies scanned for peaks, times columns of the symbol.
_SCANNED = 2**13
# Peaks followed, and how often the direction is renewed.
_FOLLOWED, _TURNS = 8, 3


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


def peaks(symbol: Symbol) -> list[Peak]:
    """Estimates of the largest local maxima of the norm of the symbol, best first. No guarantee.

    Args:
        symbol: the symbol.

    Returns:
        At least one peak.
    """
    items, width = torus_cells(symbol, max(_SCANNED // symbol.columns, 24))
    values = symbol.largest(items, steps=12)
    best = values.argsort(descending=True)[: _FOLLOWED if symbol.columns <= 128 else _FOLLOWED // 2]
    groups, places = items.groups[best], items.centres[best].clone()
    axes = [torch.linspace(-1.0, 1.0, 7 if w > 0 else 1, dtype=torch.float64) * (w > 0) for w in width]
    around = torch.cartesian_prod(*axes).reshape(-1, len(width))
    # Maximize ||K^(x) u|| over x and over u in turn.
    for turn in range(_TURNS):
        directions = symbol.direction(Items(groups, symbol.rounded(places)))
        for row in range(len(best)):
            waves = _waves(symbol, int(groups[row]), directions[row])
            places[row] = _climb(symbol, waves, places[row], width / 4.0**turn * around)
    items = Items(groups, symbol.rounded(places))
    values, directions = symbol.largest(items), symbol.direction(items)
    found: list[Peak] = []
    for row in values.argsort(descending=True).tolist():
        group, place = int(groups[row]), places[row]
        if not any(group == peak.group and _close(place, peak.place) for peak in found):
            found.append(Peak(group, place, float(values[row]), _waves(symbol, group, directions[row])))
    return found


def _climb(symbol: Symbol, waves: Tensor, place: Tensor, around: Tensor) -> Tensor:
    """The place near `place` at which the response to one direction is largest."""
    for shrink in range(6):
        places = place + around / 3.0**shrink
        place = places[int(_response(symbol, waves, places).argmax())]
    return place


def _close(x: Tensor, y: Tensor) -> bool:
    """Whether two frequencies are nearly the same, or mirror images."""
    return any(bool(((d - d.round()).abs() < 1e-3).all()) for d in (x - y, x + y))


def _waves(symbol: Symbol, group: int, direction: Tensor) -> Tensor:
    """K_q u for every offset q."""
    kernel = symbol.kernel[group].permute(2, 0, 1)
    return torch.complex(kernel @ direction.real, kernel @ direction.imag)


def _response(symbol: Symbol, waves: Tensor, places: Tensor) -> Tensor:
    """||sum over q of K_q u exp(2 pi i <q, x>)|| at each place: the norm of the symbol from below."""
    phases = torch.complex(*symbol.phases(places))
    if waves.shape[1] < waves.shape[0]:
        return (phases @ waves).norm(dim=1)
    gram = waves.conj() @ waves.T
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
    choices = list(itertools.product(*options))
    found_grids = [Grid(tuple(size for size, _ in c), tuple(shift for _, shift in c)) for c in choices]
    estimates = _predicted(found_grids, symbol, found).tolist()
    # Mirror-symmetric grids cost half.
    order = sorted(range(len(choices)), key=lambda i: estimates[i] * (1.0 if found_grids[i].symmetric else 1.0 + 1e-5))
    return [(estimates[i], found_grids[i]) for i in order]


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


def _predicted(candidates: list[Grid], symbol: Symbol, found: list[Peak]) -> Tensor:
    """For each grid the largest response at its points around each peak and its mirror image."""
    size = torch.tensor([grid.sizes for grid in candidates], dtype=torch.float64)[:, None]
    shift = torch.tensor([grid.shifts for grid in candidates], dtype=torch.float64)[:, None]
    corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=size.shape[2])), dtype=torch.float64)
    largest = torch.zeros(len(candidates), dtype=torch.float64)
    for peak in found:
        for sign in (1.0, -1.0):
            # Near -x the symbol is the conjugate of that near x.
            places = sign * ((sign * peak.place * size - shift).floor() + corners + shift) / size
            values = _response(symbol, peak.waves, places.flatten(0, 1)).reshape(places.shape[:2])
            largest = torch.maximum(largest, values.amax(1))
    return largest
