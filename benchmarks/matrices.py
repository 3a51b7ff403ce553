"""Matrices on which spectral norms are hard to bound, for the benchmark and for whoever wants to break a bound."""

import torch
from torch import Tensor


def gauss(n: int, generator: torch.Generator) -> Tensor:
    """Independent normal entries: the largest singular values lie close together."""
    return torch.randn(n, n, generator=generator, dtype=torch.float64)


def trained(n: int, generator: torch.Generator) -> Tensor:
    """Noise plus a power-law of 256 directions, s_i = 8 i^-0.8 in units of the noise's norm: like a trained layer."""
    rank = min(256, n)
    left = torch.linalg.qr(torch.randn(n, rank, generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(n, rank, generator=generator, dtype=torch.float64)).Q
    spikes = 8.0 * torch.arange(1, rank + 1, dtype=torch.float64) ** -0.8
    return (left * spikes) @ right.T + gauss(n, generator) / (2.0 * n**0.5)


def degenerate(n: int, generator: torch.Generator) -> Tensor:
    """An eighth of the singular values equal at the top (at most 128), the rest a ramp down to zero."""
    left = torch.linalg.qr(gauss(n, generator)).Q
    right = torch.linalg.qr(gauss(n, generator)).Q
    top = min(128, n // 8)
    values = torch.cat([torch.ones(top, dtype=torch.float64), torch.linspace(1.0, 0.0, n - top + 2)[1:-1].double()])
    return (left * values) @ right.T


FAMILIES = {"gauss": gauss, "trained": trained, "degenerate": degenerate}
