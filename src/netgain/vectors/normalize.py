"""Layer, group and RMS normalization, and division by the Euclidean norm."""

import dataclasses
import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from netgain.core.errors import UsageError
from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.core.rounding import gamma, mul_up, sqrt_down, sqrt_up, tensor_up, up
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.ranges import check_axis


@dataclasses.dataclass(frozen=True)
class LayerNorm(AbstractVectorFunction):
    """(x - mean) / sqrt(variance + eps) over the last axes; weight and bias are an affine node of their own.

    *Guarantee*: gain 1 / sqrt(eps) in l2 (attained at constant inputs), `standardized_gain` / sqrt(eps) in l1 and
    linf; infinity for eps = 0.

    Attributes:
        in_shape: shape of one input.
        axes: number of trailing axes that share mean and variance.
        eps: added to the (biased) variance.
    """

    in_shape: tuple[int, ...]
    axes: int
    eps: float = 1e-5

    def __post_init__(self):
        """Refuse axes that do not exist and a negative eps.

        Raises:
            UsageError: if either holds.
        """
        _check("layer_norm", self.in_shape, self.axes, self.eps)

    @property
    def name(self) -> str:
        """With eps."""
        return f"layer_norm({self._shape}, eps={self.eps:g})"

    @property
    def source(self) -> str:
        """Where it was introduced, and how it is bounded."""
        return "Ba, Kiros and Hinton 2016; Jacobian (P - y y^T / n) / s, docs/theory/vectors.md"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """As the input."""
        return self.in_shape

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.in_shape[len(self.in_shape) - self.axes :]

    def value(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The standardized entries."""
        return functional.layer_norm(x, self._shape, eps=self.eps)

    def error(
        self, x: Float[Tensor, "batch *shape"], radius: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """Evaluation against an enclosure at x, and the Jacobian over the box for the radius."""
        return _standardized_error(self, x, radius, math.prod(self._shape), centred=True)

    def gain(self, norm: Norm) -> float:
        """See the class."""
        return _over_root(standardized_gain(norm, math.prod(self._shape), centred=True), self.eps)


@dataclasses.dataclass(frozen=True)
class GroupNorm(AbstractVectorFunction):
    """As `LayerNorm`, over each group of neighbouring channels (the first axis) and all their positions.

    Instance normalization has one group a channel.

    *Guarantee*: as `LayerNorm`; groups do not touch, so the largest gain of a group is the gain.

    Attributes:
        in_shape: (channels, *positions).
        groups: number of groups; must divide the channels.
        eps: added to the (biased) variance.
    """

    in_shape: tuple[int, ...]
    groups: int
    eps: float = 1e-5

    def __post_init__(self):
        """Refuse groups that do not fit and a negative eps.

        Raises:
            UsageError: if either holds.
        """
        _check("group_norm", self.in_shape, len(self.in_shape), self.eps)
        if self.groups < 1 or self.in_shape[0] % self.groups:
            raise UsageError(f"group_norm: {self.groups} groups do not divide {self.in_shape[0]} channels")

    @property
    def name(self) -> str:
        """With groups and eps."""
        return f"group_norm({self.groups} groups, eps={self.eps:g})"

    @property
    def source(self) -> str:
        """Where it was introduced, and how it is bounded."""
        return "Wu and He 2018; Jacobian (P - y y^T / n) / s, docs/theory/vectors.md"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """As the input."""
        return self.in_shape

    @property
    def _size(self) -> int:
        return math.prod(self.in_shape) // self.groups

    def value(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The standardized entries."""
        return torch.group_norm(x, self.groups, eps=self.eps)

    def error(
        self, x: Float[Tensor, "batch *shape"], radius: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """Evaluation against an enclosure at x, and the Jacobian over the box for the radius."""
        return _standardized_error(self, x, radius, self._size, centred=True)

    def gain(self, norm: Norm) -> float:
        """See the class."""
        return _over_root(standardized_gain(norm, self._size, centred=True), self.eps)


@dataclasses.dataclass(frozen=True)
class RMSNorm(AbstractVectorFunction):
    """x / sqrt(mean of squares + eps) over the last axes.

    *Guarantee*: gain 1 / sqrt(eps) in l2 (attained at 0), `standardized_gain` / sqrt(eps) in l1 and linf (attained);
    infinity for eps = 0.

    Attributes:
        in_shape: shape of one input.
        axes: number of trailing axes that share the mean of squares.
        eps: added to it; torch takes the machine epsilon of the model's dtype where None is given.
    """

    in_shape: tuple[int, ...]
    axes: int
    eps: float

    def __post_init__(self):
        """Refuse axes that do not exist and a negative eps.

        Raises:
            UsageError: if either holds.
        """
        _check("rms_norm", self.in_shape, self.axes, self.eps)

    @property
    def name(self) -> str:
        """With eps."""
        return f"rms_norm({self._shape}, eps={self.eps:g})"

    @property
    def source(self) -> str:
        """Where it was introduced, and how it is bounded."""
        return "Zhang and Sennrich 2019; Jacobian (I - y y^T / n) / s, docs/theory/vectors.md"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """As the input."""
        return self.in_shape

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.in_shape[len(self.in_shape) - self.axes :]

    def value(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The scaled entries."""
        return functional.rms_norm(x, self._shape, eps=self.eps)

    def error(
        self, x: Float[Tensor, "batch *shape"], radius: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """Evaluation against an enclosure at x, and the Jacobian over the box for the radius."""
        return _standardized_error(self, x, radius, math.prod(self._shape), centred=False)

    def gain(self, norm: Norm) -> float:
        """See the class."""
        return _over_root(standardized_gain(norm, math.prod(self._shape), centred=False), self.eps)


@dataclasses.dataclass(frozen=True)
class Normalize(AbstractVectorFunction):
    """x / max(|x|_2, eps) along one axis.

    *Guarantee*: the Jacobian is I / eps inside the ball of radius eps and (I - n n^T) / |x| outside, n = x / |x|.
    So the gain is 1 / eps in l2, and in l1 and linf max(1, (1 + sqrt(d)) / 2) / eps for d entries (both attained);
    infinity for eps = 0.

    Attributes:
        in_shape: shape of one input.
        axis: the axis, batch axis excluded.
        eps: the least divisor.
    """

    in_shape: tuple[int, ...]
    axis: int
    eps: float = 1e-12

    def __post_init__(self):
        """Refuse a missing axis and a negative eps.

        Raises:
            UsageError: if either holds.
        """
        check_axis("normalize", self.in_shape, self.axis)
        if not 0 <= self.eps < math.inf:
            raise UsageError(f"normalize: eps must be finite and not negative, got {self.eps}")

    @property
    def name(self) -> str:
        """With axis and eps."""
        return f"normalize(axis {self.axis}, eps={self.eps:g})"

    @property
    def source(self) -> str:
        """A line of calculus."""
        return "Jacobian I / eps inside, (I - n n^T) / |x| outside; docs/theory/vectors.md"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """As the input."""
        return self.in_shape

    def value(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The scaled entries."""
        return functional.normalize(x, dim=self.axis + 1, eps=self.eps)

    def error(
        self, x: Float[Tensor, "batch *shape"], radius: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """Evaluation against an enclosure at x, and the Jacobian over the box for the radius."""
        axis, count = self.axis + 1, self.in_shape[self.axis]
        point = Interval.exactly(x.double())
        length = point.square().sum((axis,), keepdim=True).sqrt()
        divisor = Interval(length.lo.clamp_min(self.eps), length.hi.clamp_min(self.eps))
        grow = 1 + gamma(4 * count + 64)
        far = radius.double()
        reach = _root_mean_square(far, axis) * math.sqrt(count) * grow
        steep = 1 / (length.lo - reach).clamp_min(self.eps) * grow
        share = ((x.double().abs() + far) * steep * grow).clamp_max(1.0)
        moved = steep * torch.minimum(reach, far + share * reach) * grow
        return _total((point / divisor).distance(self.value(x.double())), moved, reach)

    def gain(self, norm: Norm) -> float:
        """See the class."""
        if self.eps == 0.0:
            return math.inf
        if norm is Norm.L2:
            return up(1.0 / self.eps)
        return up(max(1.0, up((1.0 + sqrt_up(float(self.in_shape[self.axis]))) / 2)) / self.eps)


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


def _over_root(factor: float, eps: float) -> float:
    """factor / sqrt(eps), rounded up."""
    if factor == 0.0:
        return 0.0
    return math.inf if eps == 0.0 else mul_up(factor, up(1.0 / sqrt_down(eps)))


def _check(what: str, shape: tuple[int, ...], axes: int, eps: float) -> None:
    """Refuse axes that do not exist, empty groups and a negative eps.

    Raises:
        UsageError: if any of these holds.
    """
    if not 1 <= axes <= len(shape) or math.prod(shape) < 1:
        raise UsageError(f"{what}: {axes} trailing axes of shape {shape} do not exist or are empty")
    if not 0 <= eps < math.inf:
        raise UsageError(f"{what}: eps must be finite and not negative, got {eps}")


def _standardized_error(
    function: LayerNorm | GroupNorm | RMSNorm, x: Tensor, radius: Tensor, count: int, *, centred: bool
) -> Tensor:
    """The error of a standardization of groups of `count` neighbouring entries.

    At x, the value is compared with an enclosure. Over the box, s >= sqrt((sd - rms(radius))^2 + eps), and a row of
    the Jacobian changes the output by at most (r_i + mean(r) + |y_i| rms(r)) / s, by Cauchy's inequality.
    """
    value = function.value(x.double()).reshape(x.shape[0], -1, count)
    entries, far = (tensor.double().reshape(x.shape[0], -1, count) for tensor in (x, radius))
    point = Interval.exactly(entries)
    mean = point.sum((-1,), keepdim=True) / float(count)
    spread = point - mean if centred else point
    variance = (spread.square().sum((-1,), keepdim=True) / float(count)).clamp(0.0, math.inf)
    divisor = (variance + function.eps).clamp(0.0, math.inf).sqrt()
    grow = 1 + gamma(4 * count + 64)
    rms = _root_mean_square(far, -1)
    steep = 1 / ((variance.sqrt().lo - rms).clamp_min(0.0).square() + function.eps).sqrt() * grow
    shift = far + far.mean(-1, keepdim=True) if centred else far
    largest = math.sqrt(count - 1 if centred else count)
    height = ((spread.abs().hi + shift) * steep * grow).clamp_max(largest)
    moved = steep * (shift + height * rms) * grow
    return _total((spread / divisor).distance(value), moved, rms).reshape(x.shape)


def _root_mean_square(radius: Tensor, axis: int) -> Tensor:
    """Not below the root of the mean square along an axis, and 0 only for zeros."""
    count = radius.shape[axis]
    # Squares may underflow: 2^-500 is above the root of what is lost.
    rough = radius.square().mean(axis, keepdim=True).sqrt() * (1 + gamma(2 * count + 16)) + 2.0**-500
    return torch.minimum(rough, radius.amax(axis, keepdim=True))


def _total(at_point: Tensor, moved: Tensor, reach: Tensor) -> Tensor:
    """Evaluation error plus movement over the box, which is nothing where the box is a point."""
    moved = torch.where(reach == 0, 0.0, moved)
    return tensor_up(at_point + moved).nan_to_num(nan=math.inf, posinf=math.inf)
