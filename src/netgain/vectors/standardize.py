"""Standardization of groups of entries: gain, local error, range over a box, gain over a box."""

import functools
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.core.rounding import gamma, mul_up, sqrt_down, sqrt_up, tensor_up, up
from netgain.vectors.ranges import known, others


@functools.lru_cache(maxsize=256)
def standardized_gain(norm: Norm, count: int, *, centred: bool) -> float:
    """The gain of standardization of n entries with eps = 1; it scales with 1 / sqrt(eps).

    With s^2 = variance + 1, y the output and P the projection that removes the mean, the Jacobian is
    (P - y y^T / n) / s, symmetric; without centring P = I. So the l1 and linf gains agree. Let t = |y|^2 / n, so
    that 1 / s = sqrt(1 - t). The greatest row sum at a given t is derived in docs/theory/vectors.md:
    sqrt(1 - t) (1 + t (sqrt(n) - 1) / 2) without centring (attained), and with centring at most
    sqrt(1 - t) ((2 - t) + sqrt((2 - t)^2 + (n - 1) t^2)) / 2, or 2 (1 - 1/n) sqrt(1 - t) where t is small.

    Args:
        norm: of input and output.
        count: n.
        centred: whether the mean is removed.

    Returns:
        The supremum over t, rounded up (by cells of t for the centred case: at most 1e-5 above it).
    """
    if centred and count == 1:
        return 0.0
    if norm is Norm.L2 or count == 1:
        return 1.0
    if not centred:
        b = (sqrt_up(float(count)) - 1) / 2
        # max of sqrt(1 - t) (1 + b t): at t = (2 b - 1) / (3 b).
        top = 1.0 if 2 * b <= 1 else (2 / 3) * (1 + b) * math.sqrt((1 + b) / (3 * b))
        return top if top == 1.0 else top * (1 + 1e-14)
    edges = torch.linspace(0.0, 1.0, 2**19 + 1, dtype=torch.float64)
    t0, t1 = edges[:-1], edges[1:]
    root = ((2 - t0).square() + (count - 1) * t1.square()).sqrt()
    steep = (1 - t0).sqrt() * ((2 - t0) + root) / 2
    # The row's own y is 0 in the worst case where even the least unconstrained root z exceeds t n / 2.
    least = count * ((2 - t1) + ((2 - t1).square() + (count - 1) * t0.square()).sqrt()) / (2 * (count - 1))
    flat = 2 * (1 - 1 / count) * (1 - t0).sqrt()
    top = float(torch.where(least * (1 - 1e-12) > t1 * count / 2, flat, steep).max())
    return top * (1 + 1e-14)


def over_root(factor: float, eps: float) -> float:
    """factor / sqrt(eps), rounded up."""
    if factor == 0.0:
        return 0.0
    return math.inf if eps == 0.0 else mul_up(factor, up(1.0 / sqrt_down(eps)))


def standardized_error(
    value: Callable[[Tensor], Tensor], eps: float, count: int, x: Tensor, radius: Tensor, *, centred: bool
) -> Tensor:
    """The error of a standardization of groups of `count` neighbouring entries.

    At x, the value is compared with an enclosure. Over the box, s >= sqrt((sd - rms(radius))^2 + eps), and a row of
    the Jacobian changes the output by at most (r_i + mean(r) + |y_i| rms(r)) / s, by Cauchy's inequality.
    """
    computed = value(x.double()).reshape(x.shape[0], -1, count)
    entries, far = (tensor.double().reshape(x.shape[0], -1, count) for tensor in (x, radius))
    point = Interval.exactly(entries)
    mean = point.sum((-1,), keepdim=True) / float(count)
    spread = point - mean if centred else point
    variance = (spread.square().sum((-1,), keepdim=True) / float(count)).clamp(0.0, math.inf)
    divisor = (variance + eps).clamp(0.0, math.inf).sqrt()
    grow = 1 + gamma(4 * count + 64)
    rms = root_mean_square(far, -1)
    steep = 1 / ((variance.sqrt().lo - rms).clamp_min(0.0).square() + eps).sqrt() * grow
    shift = far + far.mean(-1, keepdim=True) if centred else far
    largest = math.sqrt(count - 1 if centred else count)
    height = ((spread.abs().hi + shift) * steep * grow).clamp_max(largest)
    moved = steep * (shift + height * rms) * grow
    return total_error((spread / divisor).distance(computed), moved, rms).reshape(x.shape)


def root_mean_square(radius: Tensor, axis: int) -> Tensor:
    """Not below the root of the mean square along an axis, and 0 only for zeros."""
    count = radius.shape[axis]
    # Squares may underflow: 2^-500 is above the root of what is lost.
    rough = radius.square().mean(axis, keepdim=True).sqrt() * (1 + gamma(2 * count + 16)) + 2.0**-500
    return torch.minimum(rough, radius.amax(axis, keepdim=True))


def total_error(at_point: Tensor, moved: Tensor, reach: Tensor) -> Tensor:
    """Evaluation error plus movement over the box, which is nothing where the box is a point."""
    moved = torch.where(reach == 0, 0.0, moved)
    return tensor_up(at_point + moved).nan_to_num(nan=math.inf, posinf=math.inf)


def standardized_range(over: Interval, eps: float, count: int, *, centred: bool) -> Interval:
    """The range of each standardized entry over a box, whose ends may be infinite.

    With d_i = x_i - mean, the variance is d_i^2 / (n - 1) + w_i, w_i the others' own spread over n (without centring:
    x_i^2 / n + w_i, w_i the others' squares over n). So y_i = d_i / sqrt(d_i^2 / (n - 1) + w_i + eps) rises in d_i and
    shrinks in w_i, and lies within sqrt(n - 1) whatever the input. Without centring the range is exact.

    Args:
        over: the box; a group is `count` neighbouring entries of a flattened sample.
        eps: under the root.
        count: n.
        centred: whether the mean is removed.

    Returns:
        The range, of the box's shape.
    """
    if centred and count == 1:
        return known(Interval(torch.zeros_like(over.lo), torch.zeros_like(over.hi)), over)
    x = Interval(*(end.reshape(len(end), -1, count) for end in (over.lo, over.hi)))
    if not centred:
        return direction_range(
            x, others(x.square(), -1) / float(count) + eps, 1.0 / Interval.exactly(float(count)), over=over
        )
    entry = (x * float(count - 1) - others(x, -1)) / float(count)
    middle, radius = x.halves()
    spread = Interval.exactly(middle)
    spread = spread - spread.sum((-1,), keepdim=True) / float(count)
    variance = spread.square().sum((-1,), keepdim=True) / float(count)
    root = (variance - spread.square() / float(count - 1)).clamp(0.0, math.inf).sqrt()
    reach = (others(Interval.exactly(radius).square(), -1).clamp(0.0, math.inf) / float(count)).sqrt()
    least, most = (root - Interval.exactly(reach.hi)).clamp(0.0, math.inf), root + Interval.exactly(reach.hi)
    rest = Interval(least.square().lo, most.square().hi) + eps
    return direction_range(entry, rest, 1.0 / Interval.exactly(float(count - 1)), over=over)


def direction_range(
    x: Interval, rest: Interval, share: Interval | float, *, over: Interval, least: float = 0.0
) -> Interval:
    """The range of x / max(sqrt(share x^2 + rest), least), which rises in x, and whose magnitude shrinks in the rest.

    Args:
        x: entries.
        rest: not negative.
        share: positive.
        over: the box that all this was computed from, for its shape.
        least: the least divisor.

    Returns:
        The range, in the box's shape; infinite where numerator and denominator may both vanish.
    """
    portion = share if isinstance(share, Interval) else Interval.exactly(share)
    limit = float(1.0 / portion.sqrt().lo) * (1 + 2.0**-50)
    rest = rest.clamp(0.0, math.inf)

    def image(end: Tensor, others_part: Tensor) -> Interval:
        size, other = Interval.exactly(end.abs()), Interval.exactly(others_part)
        large = 1.0 / (other / size.square() + portion).sqrt()
        small = size / (size.square() * portion + other).sqrt()
        magnitude = large.where(size.lo >= 1, small).clamp(0.0, limit)
        # Undecided quotients (0 by 0, infinity by infinity) are only known to be within the limit.
        magnitude = Interval(magnitude.lo.nan_to_num(nan=0.0), magnitude.hi.nan_to_num(nan=limit))
        if least > 0:
            capped = size / least
            magnitude = Interval(torch.minimum(magnitude.lo, capped.lo), torch.minimum(magnitude.hi, capped.hi))
        signed = Interval(
            torch.where(end < 0, -magnitude.hi, magnitude.lo), torch.where(end < 0, -magnitude.lo, magnitude.hi)
        )
        return Interval.exactly(torch.zeros_like(end)).where(end == 0, signed)

    low = image(x.lo, torch.where(x.lo < 0, rest.lo, rest.hi)).lo
    high = image(x.hi, torch.where(x.hi > 0, rest.lo, rest.hi)).hi
    undefined = (x.lo <= 0) & (x.hi >= 0) & ~(rest.lo > 0) & (least == 0)
    low, high = torch.where(undefined, -math.inf, low), torch.where(undefined, math.inf, high)
    return known(Interval(low.reshape(over.lo.shape), high.reshape(over.hi.shape)), over)


def standardized_local_gain(
    norm: Norm, over: Interval, eps: float, count: int, *, centred: bool
) -> Float[Tensor, " batch"]:
    """The gain of standardization between points of a box: the Jacobian's bound with the least deviation there.

    In l2 the Jacobian is at most 1 / s; in l1 and linf its row sums are at most max(2, (1 + sqrt(n)) / 2) / s (without
    centring max(1, (1 + sqrt(n)) / 2) / s), the ends t = 0 and t = 1 of a convex function (docs/theory/vectors.md). The
    deviation is a seminorm, so over the box it is at least the middle's minus the root mean square of the radii.

    Args:
        norm: of input and output.
        over: the box.
        eps: under the root.
        count: n.
        centred: whether the mean is removed.

    Returns:
        One bound a sample, at most the global gain.
    """
    everywhere = over_root(standardized_gain(norm, count, centred=centred), eps)
    middle, radius = (part.reshape(len(part), -1, count) for part in over.halves())
    point = Interval.exactly(middle)
    spread = point - point.sum((-1,), keepdim=True) / float(count) if centred else point
    deviation = (spread.square().sum((-1,), keepdim=True) / float(count)).clamp(0.0, math.inf).sqrt().lo
    least = (deviation - root_mean_square(radius, -1) * (1 + 2.0**-50)).clamp_min(0.0)
    steep = 1 / (least.square() + eps).sqrt()
    factor = 1.0 if norm is Norm.L2 or count == 1 else max(2.0 if centred else 1.0, (1 + math.sqrt(count)) / 2)
    bound = tensor_up(steep.flatten(1).amax(1) * (factor * (1 + 2.0**-48)))
    return bound.nan_to_num(nan=math.inf, posinf=math.inf).clamp_max(everywhere)
