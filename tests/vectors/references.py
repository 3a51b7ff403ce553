"""The vector functions in 60-digit arithmetic, on flat lists of one sample."""

import itertools
import math

import torch
from mpmath import mp, mpf

from netgain.vectors import (
    AdaptiveMaxPool,
    Extremum,
    GroupNorm,
    GroupSort,
    L2Pool,
    LayerNorm,
    LogSoftmax,
    LogSumExp,
    MaxPool,
    Normalize,
    RMSNorm,
    Softmax,
    Sort,
)

mp.dps = 60

# One or more of each exported function; every axis position, odd sizes, both keepdim.
FUNCTIONS = [
    MaxPool((2, 7, 5), (3, 3), (2, 2), (1, 1), (1, 1)),
    MaxPool((1, 9), (3,), (1,), (0,), (3,)),
    MaxPool((2, 6, 5), (2, 3), (2, 2), (0, 1), (1, 2), True),
    MaxPool((3, 4, 4), (3, 2), (1, 2), ((0, 1), (1, 0)), (1, 1)),
    MaxPool((1, 3, 4, 4), (2, 2, 2), (1, 1, 1), (0, 0, 0), (1, 1, 1)),
    AdaptiveMaxPool((2, 7, 5), (3, 2)),
    AdaptiveMaxPool((2, 3), (5,)),
    L2Pool((2, 6, 6), (2, 2), (2, 2)),
    L2Pool((1, 7), (3,), (1,), 1e-3),
    Softmax((5, 3), 0),
    Softmax((2, 6), 1, 0.3),
    LogSoftmax((4, 3), 0),
    LogSoftmax((6,), 0),
    LogSumExp((3, 4), 1, True),
    LogSumExp((5,), 0),
    LayerNorm((3, 8), 1),
    LayerNorm((2, 5), 2, 1e-3),
    GroupNorm((4, 3, 2), 2),
    GroupNorm((3, 5), 3, 1e-2),
    RMSNorm((2, 7), 1, 1e-6),
    Normalize((5, 2), 0, 0.5),
    Normalize((2, 6), 1),
    Sort((5, 2), 0),
    Sort((2, 5), 1, True),
    GroupSort((6, 2), 0, 2),
    GroupSort((3, 4), 1, 4),
    Extremum((4, 3), 0),
    Extremum((4, 3), 1, True, False),
]


def _grid(x, shape):
    return dict(zip(itertools.product(*(range(size) for size in shape)), x, strict=True))


def _lines(function, axis):
    """For each line along the axis: its indices in order."""
    shape = function.in_shape
    others = [range(size) if k != axis else range(1) for k, size in enumerate(shape)]
    for start in itertools.product(*others):
        yield [(*start[:axis], i, *start[axis + 1 :]) for i in range(shape[axis])]


def _along(function, x, of_line):
    """A function of each line: a list as long as the line, or one number."""
    values, out = _grid(x, function.in_shape), {}
    for line in _lines(function, function.axis):
        result = of_line([values[place] for place in line])
        if len(result) == 1 and len(line) > 1:
            line = [line[0]]
        out.update(zip(line, result, strict=True))
    return [out[place] for place in sorted(out)]


def _logsumexp(line):
    top = max(line)
    return top + mp.log(mp.fsum(mp.exp(v - top) for v in line))


def _standardized(x, size, eps, centred):
    out = []
    for start in range(0, len(x), size):
        row = x[start : start + size]
        mean = mp.fsum(row) / size if centred else mpf(0)
        scale = mp.sqrt(mp.fsum((v - mean) ** 2 for v in row) / size + mpf(eps))
        out += [(v - mean) / scale for v in row]
    return out


def _windows(function):
    """For each spatial axis, the input positions of each window."""
    spatial = function.in_shape[-len(getattr(function, "kernel", ()) or function.output_size) :]
    axes = []
    for axis, size in enumerate(spatial):
        if isinstance(function, AdaptiveMaxPool):
            count = function.output_size[axis]
            axes.append([range(k * size // count, math.ceil((k + 1) * size / count)) for k in range(count)])
            continue
        dilation = function.dilation[axis] if isinstance(function, MaxPool) else 1
        pad = function.padding[axis] if isinstance(function, MaxPool) else 0
        before = pad if isinstance(pad, int) else pad[0]
        starts = [k * function.stride[axis] - before for k in range(function.out_shape[axis - len(spatial)])]
        all_places = [[s + j * dilation for j in range(function.kernel[axis])] for s in starts]
        axes.append([[p for p in places if 0 <= p < size] for places in all_places])
    return axes


def _pooled(function, x, reduce):
    values, axes = _grid(x, function.in_shape), _windows(function)
    lead = function.in_shape[: len(function.in_shape) - len(axes)]
    return [
        reduce([values[(*channel, *place)] for place in itertools.product(*window)])
        for channel in itertools.product(*(range(size) for size in lead))
        for window in itertools.product(*axes)
    ]


def reference(function, x):
    """The function at a flat list of numbers, as a flat list."""
    match function:
        case MaxPool() | AdaptiveMaxPool():
            return _pooled(function, x, max)
        case L2Pool():
            return _pooled(function, x, lambda w: mp.sqrt(mp.fsum(v * v for v in w) + mpf(function.eps)))
        case Softmax():
            t = mpf(function.temperature)
            return _along(function, x, lambda v: [mp.exp(a / t - _logsumexp([b / t for b in v])) for a in v])
        case LogSoftmax():
            return _along(function, x, lambda v: [a - _logsumexp(v) for a in v])
        case LogSumExp():
            return _along(function, x, lambda v: [_logsumexp(v)])
        case LayerNorm() | RMSNorm():
            size = math.prod(function.in_shape[-function.axes :])
            return _standardized(x, size, function.eps, isinstance(function, LayerNorm))
        case GroupNorm():
            return _standardized(x, len(x) // function.groups, function.eps, True)
        case Normalize():
            return _along(
                function, x, lambda v: [a / max(mp.sqrt(mp.fsum(b * b for b in v)), mpf(function.eps)) for a in v]
            )
        case Sort():
            return _along(function, x, lambda v: sorted(v, reverse=function.descending))
        case GroupSort():
            g = function.group_size
            return _along(function, x, lambda v: [w for k in range(0, len(v), g) for w in sorted(v[k : k + g])])
        case Extremum():
            return _along(function, x, lambda v: [max(v) if function.largest else min(v)])
    raise AssertionError(f"no reference for {function}")


def exact(tensor: torch.Tensor) -> list:
    return [mpf(value) for value in tensor.flatten().tolist()]
