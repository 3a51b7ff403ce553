"""Pooling: largest entry or Euclidean norm of each window."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from netgain.core.errors import UsageError
from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.core.rounding import gamma, sqrt_up
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.ranges import known, monotone_error, monotone_range

_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_ADAPTIVE = {1: functional.adaptive_max_pool1d, 2: functional.adaptive_max_pool2d, 3: functional.adaptive_max_pool3d}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _overlap_gain(norm: Norm, overlaps: list[int]) -> float:
    """Gain of a function whose outputs each depend 1-Lipschitz on a window.

    With c = the most windows that one entry is in (the product over the axes),
    the sum over windows of |window of x - window of y|^p is at most c ||x - y||^p.
    """
    most = math.prod(overlaps)
    if norm is Norm.L2:
        return float(math.isqrt(most)) if math.isqrt(most) ** 2 == most else sqrt_up(float(most))
    return float(most) if norm is Norm.L1 else 1.0


def _by(sizes: tuple[int, ...]) -> str:
    """Sizes as "3x3"."""
    return "x".join(str(size) for size in sizes)


def _check_windows(what: str, in_shape: tuple[int, ...], *settings: tuple[int, ...]) -> None:
    """Refuse settings that do not fit one to three spatial axes.

    Raises:
        UsageError: if a setting has another length, or an entry is below 1.
    """
    count = len(settings[0])
    if count not in {1, 2, 3} or len(in_shape) < count or any(len(setting) != count for setting in settings):
        raise UsageError(f"{what}: settings {settings} do not fit an input of shape {in_shape}")
    if any(entry < 1 for setting in settings for entry in setting) or any(size < 1 for size in in_shape[-count:]):
        raise UsageError(f"{what}: sizes must be at least 1, got {settings} for an input of shape {in_shape}")


@dataclasses.dataclass(frozen=True)
class MaxPool(AbstractVectorFunction):
    """The largest entry of each window; padding counts as -infinity.

    *Guarantee*: with c = the most windows that one input entry is in, the gain is c in l1, sqrt(c) in l2, 1 in linf.
    c is counted, so strides, dilation, padding and small inputs are all taken into account. It is attained: a spike
    at that entry shows in c outputs.

    Attributes:
        in_shape: leading axes (channels), then one to three spatial axes.
        kernel: window size of each spatial axis.
        stride: step of each axis.
        padding: entries added on both sides of each axis, or (before, after).
        dilation: distance of a window's entries on each axis.
        ceil_mode: also windows that start inside and end outside, as torch counts them.
    """

    in_shape: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int | tuple[int, int], ...]
    dilation: tuple[int, ...]
    ceil_mode: bool = False

    def __post_init__(self):
        """Refuse windows that do not fit or hold nothing.

        Raises:
            UsageError: if settings contradict each other, there is no output, or a window lies in the padding.
        """
        _check_windows("max_pool", self.in_shape, self.kernel, self.stride, self.dilation)
        if len(self.padding) != len(self.kernel) or any(side < 0 for pair in self._sides() for side in pair):
            raise UsageError(f"max_pool: padding {self.padding} does not fit a kernel {self.kernel}")
        if any(size < 1 for size in self._out_sizes()):
            raise UsageError(f"max_pool: no window of {self.name} fits an input of shape {self.in_shape}")
        for axis in range(len(self.kernel)):
            if not bool(self._inside(axis).any(1).all()):
                raise UsageError(f"max_pool: a window of {self.name} lies wholly in the padding")

    @property
    def name(self) -> str:
        """With kernel and stride."""
        return f"max_pool({_by(self.kernel)}, stride {_by(self.stride)})"

    @property
    def source(self) -> str:
        """A line of algebra."""
        return "max is 1-Lipschitz in linf; each entry is in at most c windows"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Leading axes, then the number of windows on each spatial axis."""
        return (*self.in_shape[: -len(self.kernel)], *self._out_sizes())

    @property
    def positively_homogeneous(self) -> bool:
        """Scaling keeps the order."""
        return True

    @property
    def rounds(self) -> bool:
        """Picks entries."""
        return False

    def value(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """The largest entries."""
        spatial = len(self.kernel)
        pads: list[int] = []
        for axis in reversed(range(spatial)):
            before, _ = self._sides()[axis]
            reach = (self._out_sizes()[axis] - 1) * self.stride[axis] + self.dilation[axis] * (self.kernel[axis] - 1)
            pads += [before, max(0, reach + 1 - before - self._sizes()[axis])]
        image = x.reshape(x.shape[0], -1, *self._sizes())
        if any(pads):
            image = functional.pad(image, pads, value=-math.inf)
        pooled = _MAX_POOL[spatial](image, self.kernel, self.stride, dilation=self.dilation)
        return pooled.reshape(x.shape[0], *self.out_shape)

    def error(self, x: Float[Tensor, "batch *in"], radius: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """Exact: monotone in every input."""
        return monotone_error(self.value, x, radius)

    def range(self, box: Interval) -> Interval:
        """Exact: monotone in every input."""
        return monotone_range(self.value, box)

    def gain(self, norm: Norm) -> float:
        """c, sqrt(c) or 1."""
        return _overlap_gain(norm, [_most(self._windows(axis), size) for axis, size in enumerate(self._sizes())])

    def _sizes(self) -> tuple[int, ...]:
        """Spatial sizes of the input."""
        return self.in_shape[-len(self.kernel) :]

    def _sides(self) -> list[tuple[int, int]]:
        """Padding before and after, for each axis."""
        return [(pad, pad) if isinstance(pad, int) else pad for pad in self.padding]

    def _out_sizes(self) -> tuple[int, ...]:
        """Number of windows on each axis, as torch counts."""
        counts: list[int] = []
        for axis, (before, after) in enumerate(self._sides()):
            size, step = self._sizes()[axis], self.stride[axis]
            room = size + before + after - self.dilation[axis] * (self.kernel[axis] - 1) - 1
            count = (room + (step - 1 if self.ceil_mode else 0)) // step + 1
            if self.ceil_mode and (count - 1) * step >= size + before:
                count -= 1
            counts.append(count)
        return tuple(counts)

    def _windows(self, axis: int) -> Tensor:
        """Positions of each window's entries on one axis; outside the input in the padding."""
        starts = torch.arange(self._out_sizes()[axis]) * self.stride[axis] - self._sides()[axis][0]
        return starts[:, None] + torch.arange(self.kernel[axis]) * self.dilation[axis]

    def _inside(self, axis: int) -> Tensor:
        """Which of them are input entries."""
        windows = self._windows(axis)
        return (windows >= 0) & (windows < self._sizes()[axis])


def _most(windows: Tensor, size: int) -> int:
    """The largest number of windows that one position is in."""
    inside = windows[(windows >= 0) & (windows < size)]
    return int(torch.bincount(inside.flatten(), minlength=1).max())


@dataclasses.dataclass(frozen=True)
class AdaptiveMaxPool(AbstractVectorFunction):
    """The largest entry of each of a fixed number of windows: from floor(o n / m) up to ceil((o + 1) n / m).

    *Guarantee*: as `MaxPool`, with the counted number of windows.

    Attributes:
        in_shape: leading axes, then one to three spatial axes.
        output_size: number of windows on each spatial axis.
    """

    in_shape: tuple[int, ...]
    output_size: tuple[int, ...]

    def __post_init__(self):
        """Refuse sizes that do not fit.

        Raises:
            UsageError: if they do not.
        """
        _check_windows("adaptive_max_pool", self.in_shape, self.output_size)

    @property
    def name(self) -> str:
        """With the output size."""
        return f"adaptive_max_pool({_by(self.output_size)})"

    @property
    def source(self) -> str:
        """As for max-pooling."""
        return "max is 1-Lipschitz in linf; each entry is in at most c windows"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Leading axes, then the output size."""
        return (*self.in_shape[: -len(self.output_size)], *self.output_size)

    @property
    def positively_homogeneous(self) -> bool:
        """Scaling keeps the order."""
        return True

    @property
    def rounds(self) -> bool:
        """Picks entries."""
        return False

    def value(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """The largest entries."""
        spatial = len(self.output_size)
        image = x.reshape(x.shape[0], -1, *self.in_shape[-spatial:])
        return _ADAPTIVE[spatial](image, self.output_size).reshape(x.shape[0], *self.out_shape)

    def error(self, x: Float[Tensor, "batch *in"], radius: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """Exact: monotone in every input."""
        return monotone_error(self.value, x, radius)

    def range(self, box: Interval) -> Interval:
        """Exact: monotone in every input."""
        return monotone_range(self.value, box)

    def gain(self, norm: Norm) -> float:
        """c, sqrt(c) or 1."""
        spatial = len(self.output_size)
        overlaps: list[int] = []
        for size, count in zip(self.in_shape[-spatial:], self.output_size, strict=True):
            hits = [0] * size
            for window in range(count):
                for position in range(window * size // count, -(-(window + 1) * size // count)):
                    hits[position] += 1
            overlaps.append(max(hits))
        return _overlap_gain(norm, overlaps)


@dataclasses.dataclass(frozen=True)
class L2Pool(AbstractVectorFunction):
    """sqrt(eps + sum of squares) of each window, without padding.

    *Guarantee*: sqrt(eps + |w|^2) is the length of (w, sqrt(eps)), so it moves at most |w - w'|_2. With c windows at
    an entry and k entries in a window the gain is sqrt(c) in l2, c in l1 and sqrt(k) in linf.

    Attributes:
        in_shape: leading axes, then one to three spatial axes.
        kernel: window size of each spatial axis.
        stride: step of each axis.
        eps: added to the sum of squares.
    """

    in_shape: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    eps: float = 0.0

    def __post_init__(self):
        """Refuse windows that do not fit.

        Raises:
            UsageError: if they do not, or eps is negative or not finite.
        """
        _check_windows("l2_pool", self.in_shape, self.kernel, self.stride)
        if not 0 <= self.eps < math.inf:
            raise UsageError(f"l2_pool: eps must be finite and not negative, got {self.eps}")
        if any(
            size < kernel
            for size, kernel in zip(self._windows().in_shape[-len(self.kernel) :], self.kernel, strict=True)
        ):
            raise UsageError(f"l2_pool: no window of {self.name} fits an input of shape {self.in_shape}")

    @property
    def name(self) -> str:
        """With kernel and stride."""
        return f"l2_pool({_by(self.kernel)}, stride {_by(self.stride)})"

    @property
    def source(self) -> str:
        """A line of algebra."""
        return "triangle inequality in each window; each entry is in at most c windows"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Leading axes, then the number of windows on each spatial axis."""
        return self._windows().out_shape

    @property
    def positively_homogeneous(self) -> bool:
        """Where eps is 0."""
        return self.eps == 0.0

    def value(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """The lengths; the gradient at a window of zeros is 0."""
        spatial, count = len(self.kernel), math.prod(self.kernel)
        image = x.reshape(x.shape[0], -1, *self.in_shape[-spatial:])
        total = _AVERAGE[spatial](image.square(), self.kernel, self.stride) * count + self.eps
        length = torch.where(total > 0, torch.where(total > 0, total, 1.0).sqrt(), total)
        return length.reshape(x.shape[0], *self.out_shape)

    def error(self, x: Float[Tensor, "batch *in"], radius: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """The window's length of the radius, plus the rounding of a sum of squares and its root."""
        # All terms are non-negative, so the rounding of value is relative, but for squares that underflow.
        relative, underflow = gamma(math.prod(self.kernel) + 16), 2.0**-500
        moved = dataclasses.replace(self, eps=0.0).value(radius.double())
        error = self.value(x.double()) * relative + moved * (1 + relative) + underflow
        return error.nan_to_num(nan=math.inf, posinf=math.inf)

    def range(self, box: Interval) -> Interval:
        """Monotone in every magnitude."""
        relative, underflow, size = gamma(math.prod(self.kernel) + 16), 2.0**-500, box.abs()
        low, high = self.value(size.lo) * (1 - relative) - underflow, self.value(size.hi) * (1 + relative) + underflow
        return known(Interval(low.clamp_min(0.0), high), box)

    def gain(self, norm: Norm) -> float:
        """c in l1, sqrt(c) in l2, sqrt(k) in linf."""
        if norm is Norm.LINF:
            return sqrt_up(float(math.prod(self.kernel)))
        return self._windows().gain(norm)

    def _windows(self) -> MaxPool:
        """The max-pooling with the same windows."""
        ones = (1,) * len(self.kernel)
        return MaxPool(self.in_shape, self.kernel, self.stride, (0,) * len(ones), ones)
