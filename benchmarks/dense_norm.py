"""The proved spectral norm of a matrix: how sharp, and how its time compares with a product and with svdvals."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.matrices import FAMILIES
from netgain.norms.dense import spectral_norm

TITLE = "Spectral norm of dense matrices"
HEADERS = ("n", "matrix", "upper/lower - 1", "upper/svdvals - 1", "time/product", "svdvals/time", "seconds")
TARGETS = (
    "Target: overestimation at most 1e-6 at most 1.5 float64 n x n products (2 at n = 1024); at least 4 times faster "
    "than float64 torch.linalg.svdvals at n = 4096. Upper and lower side are both proved in that time; svdvals proves "
    "nothing. Medians of interleaved repetitions."
)
_SIZES, _QUICK_SIZES = (256, 1024, 2048, 4096), (256, 1024)


def run(quick: bool) -> list[dict[str, Any]]:
    """One row for each size and family."""
    return [
        _row(n, name, 3 if quick or n > 2048 else 7) for n in (_QUICK_SIZES if quick else _SIZES) for name in FAMILIES
    ]


def _row(n: int, name: str, times: int) -> dict[str, Any]:
    """Measure one matrix."""
    matrix = FAMILIES[name](n, torch.Generator().manual_seed(n))
    found = spectral_norm(matrix)
    products: list[float] = []
    norms: list[float] = []
    for _ in range(times):
        products.append(_seconds(lambda: matrix @ matrix))
        norms.append(_seconds(lambda: spectral_norm(matrix)))
    values = torch.linalg.svdvals(matrix)
    rival = statistics.median(_seconds(lambda: torch.linalg.svdvals(matrix)) for _ in range(1 if n > 2048 else 3))
    ours = statistics.median(norms)
    return {
        "n": n,
        "matrix": name,
        "upper/lower - 1": found.ratio - 1.0,
        "upper/svdvals - 1": found.upper.value / float(values[0]) - 1.0,
        "time/product": ours / statistics.median(products),
        "svdvals/time": rival / ours,
        "seconds": ours,
    }


def _seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
