"""Symbols of convolutions at the frequencies of a shifted circulant grid, with a bound of each entry's error.

Frequencies are (k + a) / N in turns, k = 0 .. N - 1, a the shift. A convolution with stride s takes the s^d frequencies
of its input that agree modulo N / s to one of its output. All values of a piece whose frequencies are tied in this way
form one *block*; blocks are numbered by kappa in Z_M, M = N / S an axis, with S a common multiple of all steps.
"""

import dataclasses
import math

import torch
from jaxtyping import Complex, Float, Int64
from torch import Tensor

from netgain.core.errors import NoSoundRuleError
from netgain.core.rounding import UNDERFLOW, UNIT_ROUNDOFF, gamma, tensor_up
from netgain.witness.geometry import Place, Sizes, Taps

# Shifts are multiples of 2^-32, so that turns are exact in 64-bit integers.
SHIFT_BITS = 32
# Turns are quotients of integers below 2^52, which float64 holds.
_LARGEST = 2**52
# |computed exp(2 pi i f) - exact|: fl(f) is off by u/4, f <= 1/2; 2 pi f then by 3 pi u in all; sine and cosine by 8 u
# each (assumed within 4 units in the last place on [-pi, pi]). 3 pi + 8 sqrt 2 < 24.
PHASE_ERROR = 24 * UNIT_ROUNDOFF
ASSUMPTION = "torch's float64 sin and cos are within 4 units in the last place on [-pi, pi]"


@dataclasses.dataclass(frozen=True)
class Lattice:
    """The circulant grid of a piece.

    Attributes:
        sizes: N, points an axis at the start's resolution.
        shifts: a, one number an axis, in units of 2^-32.
        coarsest: S, positions of the start's grid a position of the coarsest common grid, an axis.
    """

    sizes: Sizes
    shifts: Sizes
    coarsest: Sizes

    @property
    def blocks(self) -> Sizes:
        """M, blocks an axis."""
        return tuple(n // s for n, s in zip(self.sizes, self.coarsest, strict=True))

    def aliases(self, place: Place) -> Sizes:
        """How many frequencies of a value a block holds, an axis."""
        return tuple(s // step for s, step in zip(self.coarsest, place.step, strict=True))

    def representatives(self) -> Int64[Tensor, "block axis"]:
        """The blocks to look at: all, or one of each pair of conjugates where all shifts are 0 or 1/2."""
        sizes = torch.tensor(self.blocks)
        every = torch.cartesian_prod(*(torch.arange(m) for m in self.blocks)).reshape(-1, len(self.blocks))
        twice = torch.tensor([2 * a for a in self.shifts])
        if bool((twice % 2**SHIFT_BITS).any()):
            return every
        mirrored = (-every - twice // 2**SHIFT_BITS) % sizes
        weights = torch.tensor([math.prod(self.blocks[axis + 1 :]) for axis in range(len(self.blocks))])
        return every[(every * weights).sum(1) <= (mirrored * weights).sum(1)]


def symbol(
    lattice: Lattice, taps: Taps, before: Place, behind: Place, blocks: Int64[Tensor, "block axis"]
) -> tuple[Complex[Tensor, "block out in"], Float[Tensor, "out in"]]:
    """The matrices of a convolution between the frequencies of its input and output, block by block.

    With the unitary transform y^(l) = s^(-d/2) sum of K^((k + a)/N) x^(k) over the k that agree with l modulo N / s,
    N the period of x and K^(f) = sum over taps of K_t exp(2 pi i <t, f>). Rows and columns are (channel, alias).

    Guarantee: each entry is within the second result of the exact one, for every kernel within `taps.error`.

    Args:
        lattice: the circulant grid.
        taps: the convolution.
        before: place of its input.
        behind: place of its output.
        blocks: numbers of the blocks.

    Raises:
        NoSoundRuleError: if turns on that grid are not exact in 64-bit integers.
    """
    out, inner, count = taps.weight.shape
    columns, rows = lattice.aliases(before), lattice.aliases(behind)
    phases = _phases(lattice, taps, before, blocks)
    kernel = taps.weight.permute(2, 0, 1).reshape(count, -1)
    values = torch.complex(phases.real @ kernel, phases.imag @ kernel).unflatten(-1, (out, inner))
    scale = 1.0 / math.sqrt(math.prod(taps.stride))
    met = _met(rows, columns)
    matrix = torch.einsum("buoi,vu->boviu", values * scale, met.to(values.dtype))
    # sqrt 2 gamma_T + phases for the sum, 4 u for the scale and the product with it; exact where there is one tap at 0.
    magnitude = taps.weight.abs().sum(2) * (1.0 + gamma(count + 2))
    exact = not bool(taps.offsets.any()) and scale in {1.0, 0.5, 0.25}
    relative = 0.0 if exact else 2 * gamma(count + 2) + PHASE_ERROR + 8 * UNIT_ROUNDOFF
    error = (relative * magnitude + taps.error.sum(2)) * scale * (1.0 + 2 * gamma(count + 8))
    allowance = 0.0 if exact else UNDERFLOW
    error = torch.where((error == 0) & ((magnitude == 0) | exact), 0.0, tensor_up(error) + allowance)
    errors = torch.einsum("oi,vu->oviu", error, met.to(error.dtype))
    size = (out * math.prod(rows), inner * math.prod(columns))
    return matrix.reshape(-1, *size), errors.reshape(size)


def _met(rows: Sizes, columns: Sizes) -> Float[Tensor, "row column"]:
    """1 where an alias of the input contributes to an alias of the output: where they agree modulo the latter."""
    met = torch.ones(1, 1, dtype=torch.float64)
    for fewer, more in zip(rows, columns, strict=True):
        met = torch.kron(met, (torch.arange(more) % fewer == torch.arange(fewer)[:, None]).double())
    return met


def _phases(
    lattice: Lattice, taps: Taps, before: Place, blocks: Int64[Tensor, "block axis"]
) -> Complex[Tensor, "block alias tap"]:
    """exp(2 pi i <t, (k + a) / N>) for the frequencies of a value and the taps that read it."""
    periods = [n // step for n, step in zip(lattice.sizes, before.step, strict=True)]
    whole = math.lcm(*periods) << SHIFT_BITS
    furthest = int(taps.offsets.abs().max()) * max(periods) << SHIFT_BITS
    if whole > _LARGEST or furthest >= 2**62:
        raise NoSoundRuleError(f"turns on a circulant grid of {periods} points are not exact in 64-bit integers")
    numbers = torch.cartesian_prod(*(torch.arange(q) for q in lattice.aliases(before))).reshape(-1, len(periods))
    turns = torch.zeros(1, dtype=torch.int64)
    for axis, period in enumerate(periods):
        frequency = blocks[:, axis, None] + lattice.blocks[axis] * numbers[:, axis]
        shifted = (frequency << SHIFT_BITS) + lattice.shifts[axis]
        turned = (shifted[:, :, None] * taps.offsets[:, axis]) % (period << SHIFT_BITS)
        turns = (turns + turned * (whole // (period << SHIFT_BITS))) % whole
    centred = torch.where(2 * turns > whole, turns - whole, turns)
    angle = centred.double() / whole * (2.0 * math.pi)
    return torch.complex(torch.cos(angle), torch.sin(angle))
