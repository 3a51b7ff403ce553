"""The proved norm of zero-padded convolutions: how sharp, how fast, and against the usual bounds by reshaping."""

import math
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernels import random_kernel, trained_like_kernel
from netgain.linear.convolution import Conv
from netgain.norms.convolution import conv_norm

TITLE = "Spectral norm of convolutions"
HEADERS = (
    "shape",
    "kernel",
    "upper/true - 1",
    "upper/lower - 1",
    "seconds",
    "reshaped/true",
    "kernel-size grid/true",
    "circular/true",
    "method",
)
TARGETS = (
    "Target: upper/true at most 1.002 on trained-like kernels up to 64 x 64. True: float64 Lanczos on the zero-padded "
    "operator, a value from below. Reshaped: the norm of the (out, in x taps) matrix times the root of the largest "
    "number of windows a pixel lies in, a sound bound. Kernel-size grid and circular (stride 1): symbols sampled "
    "without correction, which are no bounds; below 1 they are wrong, and here they are given in exact arithmetic."
)
_Case = tuple[int, int, int, int, int]
# Output channels, input channels, taps an axis, pixels an axis, stride.
_QUICK: tuple[_Case, ...] = ((16, 16, 3, 16, 1), (64, 64, 3, 56, 1), (64, 3, 7, 224, 2))
_CASES: tuple[_Case, ...] = (
    (64, 64, 3, 8, 1),
    (64, 64, 3, 16, 1),
    (32, 32, 5, 32, 1),
    (64, 64, 3, 56, 1),
    (64, 64, 3, 64, 1),
    (64, 3, 7, 224, 2),
    (128, 128, 3, 28, 2),
    (256, 256, 3, 14, 1),
    (512, 512, 3, 7, 1),
)


def run(quick: bool) -> list[dict[str, Any]]:
    """One row for each shape and kind of kernel."""
    kinds = {"trained-like": trained_like_kernel, "random": random_kernel}
    return [_row(case, name, make) for case in (_QUICK if quick else _CASES) for name, make in kinds.items()]


def _row(case: _Case, name: str, make: Any) -> dict[str, Any]:
    """Measure one convolution."""
    rows, columns, taps, size, stride = case
    weight = make(rows, columns, (taps, taps), 0)
    half = taps // 2
    conv = Conv(weight, (columns, size, size), (stride, stride), ((half, half), (half, half)), (1, 1))
    start = time.perf_counter()
    found = conv_norm(conv)
    seconds = time.perf_counter() - start
    true = max(found.lower.value, _power(conv))
    reshaped = float(torch.linalg.matrix_norm(weight.reshape(rows, -1), 2)) * math.ceil(taps / stride)
    return {
        "shape": f"{columns}->{rows} {taps}x{taps}" + f" s{stride}" * (stride > 1) + f" @{size}",
        "kernel": name,
        "upper/true - 1": found.upper.value / true - 1.0,
        "upper/lower - 1": found.ratio - 1.0,
        "seconds": seconds,
        "reshaped/true": reshaped / true,
        "kernel-size grid/true": _sampled(weight, taps) / true if stride == 1 else None,
        "circular/true": _sampled(weight, size) / true if stride == 1 else None,
        "method": found.upper.method,
    }


def _power(conv: Conv, steps: int = 60) -> float:
    """The norm from below by Lanczos without reorthogonalization, started at random."""
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(1, *conv.in_shape, generator=generator, dtype=torch.float64)
    vector /= vector.norm()
    before, beta = torch.zeros_like(vector), 0.0
    diagonal: list[float] = []
    below: list[float] = []
    for _ in range(steps):
        image = conv.adjoint(conv.apply(vector)) - beta * before
        diagonal.append(float((image * vector).sum()))
        image -= diagonal[-1] * vector
        beta = float(image.norm())
        if beta < 1e-12 * diagonal[0]:
            break
        below.append(beta)
        before, vector = vector, image / beta
    count = len(diagonal)
    small = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for k, value in enumerate(below[: count - 1]):
        small[k, k + 1] = small[k + 1, k] = value
    return math.sqrt(float(torch.linalg.eigvalsh(small)[-1]))


def _sampled(weight: Tensor, size: int) -> float:
    """The largest norm of the symbol on the unshifted grid of that size; half of it, by symmetry."""
    symbol = torch.fft.rfft2(weight, (size, size)).permute(2, 3, 0, 1).flatten(0, 1)
    gram = symbol.mH @ symbol if weight.shape[1] <= weight.shape[0] else symbol @ symbol.mH
    vector = torch.ones(len(gram), gram.shape[1], 1, dtype=gram.dtype)
    for _ in range(60):
        vector = gram @ vector
        vector = vector / vector.norm(dim=1, keepdim=True).clamp_min(1e-300)
    return math.sqrt(float((gram @ vector).norm(dim=1).max()))
