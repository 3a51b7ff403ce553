"""Seeded convolution kernels for benchmarks and tests: independent entries, and kernels shaped like trained ones."""

import math

import torch
from torch import Tensor

_ATOMS, _NOISE = 24, 0.15


def random_kernel(rows: int, columns: int, taps: tuple[int, ...], seed: int) -> Tensor:
    """Independent normal entries with He's variance."""
    generator = torch.Generator().manual_seed(seed)
    deviation = math.sqrt(2.0 / (columns * math.prod(taps)))
    return deviation * torch.randn(rows, columns, *taps, generator=generator, dtype=torch.float64)


def trained_like_kernel(rows: int, columns: int, taps: tuple[int, ...], seed: int) -> Tensor:
    """Few channel mixtures with power-law weights, each times a smooth spatial atom, plus noise.

    The spatial atom of mixture j is a Gaussian of random place and width, two in three of them modulated by a wave of
    random direction: the blobs and edges that trained layers show. Mixture j has weight j^-0.8.
    """
    generator = torch.Generator().manual_seed(seed)
    kernel = _NOISE * random_kernel(rows, columns, taps, seed + 1)
    for j in range(1, _ATOMS + 1):
        left = torch.randn(rows, generator=generator, dtype=torch.float64)
        right = torch.randn(columns, generator=generator, dtype=torch.float64)
        atom = _atom(taps, generator, wave=j % 3 != 1)
        scale = j**-0.8 / (left.norm() * right.norm() * atom.norm())
        kernel += scale * torch.einsum("a,b,n->abn", left, right, atom.flatten()).reshape(kernel.shape)
    return kernel


def _atom(taps: tuple[int, ...], generator: torch.Generator, *, wave: bool) -> Tensor:
    """A Gaussian blob on the grid of taps, modulated by a wave."""
    axes = [torch.arange(k, dtype=torch.float64) - (k - 1) / 2 for k in taps]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    reach = max(taps) / 2
    centre = 0.4 * reach * torch.randn(len(taps), generator=generator, dtype=torch.float64)
    width = reach * (0.3 + 0.4 * torch.rand(1, generator=generator, dtype=torch.float64))
    blob = torch.exp(-((grid - centre).square().sum(-1)) / (2 * width**2))
    direction = torch.randn(len(taps), generator=generator, dtype=torch.float64)
    phase = 2 * math.pi * torch.rand(1, generator=generator, dtype=torch.float64)
    speed = 2.0 / reach * direction / direction.norm()
    return blob * torch.cos(grid @ speed + phase) if wave else blob
