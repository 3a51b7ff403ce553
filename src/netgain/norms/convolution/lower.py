"""A vector that a convolution stretches most: the lower side of its norm is proved from it."""

import dataclasses
import math
import time

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.linear.convolution import Conv, ConvTransposed
from netgain.norms.convolution.embedding import Peak
from netgain.norms.convolution.stencil import Level, axes_of, scaled
from netgain.norms.lanczos import top_vector

# Bytes that the Krylov basis may take.
_MEMORY = 256 * 2**20


def normalized(conv: Conv | ConvTransposed, exponent: int) -> Conv | ConvTransposed:
    """The same convolution with kernel and error times 2^-exponent."""
    error = None if conv.error is None else scaled(conv.error, -exponent)
    return dataclasses.replace(conv, weight=scaled(conv.weight.double(), -exponent), error=error)


def witness(
    conv: Conv | ConvTransposed,
    peak: Peak | None,
    levels: tuple[Level, ...],
    *,
    tolerance: float,
    deadline: float = math.inf,
) -> Float[Tensor, "1 *in"]:
    """A unit vector that `conv` stretches nearly as much as it can. No guarantee.

    Args:
        conv: a convolution with entries of moderate size.
        peak: where the norm of the symbol is largest; the search starts from such a wave.
        levels: the axes of the stencil.
        tolerance: relative accuracy wanted of the norm.
        deadline: `time.monotonic()` at which to stop.

    Returns:
        The vector, float64.
    """

    def square(x: Tensor) -> Tensor:
        return conv.adjoint(conv.apply(x.reshape(1, *conv.in_shape))).reshape(-1)

    vector = _start(conv, peak, levels).reshape(-1).float()
    steps = max(4, min(40, _MEMORY // (4 * conv.in_size)))
    before = 0.0
    for _ in range(8):
        vector = top_vector(square, vector, tolerance=tolerance, steps=steps)
        vector = vector / vector.norm()
        value = float(vector @ square(vector))
        if not value > before * (1.0 + 2.0 * tolerance) or time.monotonic() > deadline:
            break
        before = value
    return vector.double().reshape(1, *conv.in_shape)


def _start(conv: Conv | ConvTransposed, peak: Peak | None, levels: tuple[Level, ...]) -> Tensor:
    """A windowed plane wave of the peak's frequency with random channels, plus noise."""
    generator = torch.Generator().manual_seed(0)
    transposed = isinstance(conv, ConvTransposed)
    shape = conv.out_shape if transposed else conv.in_shape
    noise = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
    if peak is not None:
        phase, window = torch.zeros(()), torch.ones(())
        for axis, level, place in zip(axes_of(conv), levels, peak.place.tolist(), strict=True):
            position = torch.arange(axis.size, dtype=torch.float64)
            phase = phase.unsqueeze(-1) + 2.0 * math.pi * place * (position // level.stride) / level.step
            window = window.unsqueeze(-1) * torch.sin(math.pi * (position + 1) / (axis.size + 1))
        channels = torch.randn(2, shape[0], *(1 for _ in shape[1:]), generator=generator, dtype=torch.float64)
        wave = (channels[0] * phase.cos() + channels[1] * phase.sin()) * window
        noise = wave + 0.05 * noise
    return conv.adjoint(noise) if transposed else noise
