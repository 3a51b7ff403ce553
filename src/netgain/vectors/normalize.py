"""Layer, group and RMS normalization, and division by the Euclidean norm."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from netgain.core.errors import UsageError
from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.core.rounding import gamma, sqrt_up, tensor_up, up
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.ranges import check_axis, others
from netgain.vectors.standardize import (
    direction_range,
    over_root,
    root_mean_square,
    standardized_error,
    standardized_gain,
    standardized_local_gain,
    standardized_range,
    total_error,
)


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
        return standardized_error(self.value, self.eps, math.prod(self._shape), x, radius, centred=True)

    def range(self, box: Interval) -> Interval:
        """Entry by entry the exact range given the spread of the others; bounded over all inputs."""
        return standardized_range(box, self.eps, math.prod(self._shape), centred=True).meet(
            AbstractVectorFunction.range(self, box)
        )

    def local_gain(self, box: Interval, norm: Norm) -> Float[Tensor, " batch"]:
        """As the gain, with the least deviation over the box."""
        return standardized_local_gain(norm, box, self.eps, math.prod(self._shape), centred=True)

    def gain(self, norm: Norm) -> float:
        """See the class."""
        return over_root(standardized_gain(norm, math.prod(self._shape), centred=True), self.eps)


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
        return standardized_error(self.value, self.eps, self._size, x, radius, centred=True)

    def range(self, box: Interval) -> Interval:
        """Entry by entry the exact range given the spread of the others; bounded over all inputs."""
        return standardized_range(box, self.eps, self._size, centred=True).meet(AbstractVectorFunction.range(self, box))

    def local_gain(self, box: Interval, norm: Norm) -> Float[Tensor, " batch"]:
        """As the gain, with the least deviation over the box."""
        return standardized_local_gain(norm, box, self.eps, self._size, centred=True)

    def gain(self, norm: Norm) -> float:
        """See the class."""
        return over_root(standardized_gain(norm, self._size, centred=True), self.eps)


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
        return standardized_error(self.value, self.eps, math.prod(self._shape), x, radius, centred=False)

    def range(self, box: Interval) -> Interval:
        """Entry by entry the exact range given the spread of the others; bounded over all inputs."""
        return standardized_range(box, self.eps, math.prod(self._shape), centred=False).meet(
            AbstractVectorFunction.range(self, box)
        )

    def local_gain(self, box: Interval, norm: Norm) -> Float[Tensor, " batch"]:
        """As the gain, with the least deviation over the box."""
        return standardized_local_gain(norm, box, self.eps, math.prod(self._shape), centred=False)

    def gain(self, norm: Norm) -> float:
        """See the class."""
        return over_root(standardized_gain(norm, math.prod(self._shape), centred=False), self.eps)


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
        reach = root_mean_square(far, axis) * math.sqrt(count) * grow
        steep = 1 / (length.lo - reach).clamp_min(self.eps) * grow
        share = ((x.double().abs() + far) * steep * grow).clamp_max(1.0)
        moved = steep * torch.minimum(reach, far + share * reach) * grow
        return total_error((point / divisor).distance(self.value(x.double())), moved, reach)

    def range(self, box: Interval) -> Interval:
        """Exact up to rounding: each entry rises with itself and shrinks as the others grow."""
        rest = others(box.square(), self.axis + 1)
        return direction_range(box, rest.clamp(0.0, math.inf), 1.0, least=self.eps, over=box)

    def local_gain(self, box: Interval, norm: Norm) -> Float[Tensor, " batch"]:
        """1 / max(|x|, eps) for the least |x| over the box, times the norm of I - n n^T."""
        length = box.abs().lo.square().sum(self.axis + 1, keepdim=True) * (1 - gamma(self.in_shape[self.axis] + 8))
        steep = 1 / length.sqrt().clamp_min(self.eps)
        factor = 1.0 if norm is Norm.L2 else max(1.0, (1 + math.sqrt(self.in_shape[self.axis])) / 2)
        return tensor_up(steep.flatten(1).amax(1) * (factor * (1 + 2.0**-48))).clamp_max(self.gain(norm))

    def gain(self, norm: Norm) -> float:
        """See the class."""
        if self.eps == 0.0:
            return math.inf
        if norm is Norm.L2:
            return up(1.0 / self.eps)
        return up(max(1.0, up((1.0 + sqrt_up(float(self.in_shape[self.axis]))) / 2)) / self.eps)


def _check(what: str, shape: tuple[int, ...], axes: int, eps: float) -> None:
    """Refuse axes that do not exist, empty groups and a negative eps.

    Raises:
        UsageError: if any of these holds.
    """
    if not 1 <= axes <= len(shape) or math.prod(shape) < 1:
        raise UsageError(f"{what}: {axes} trailing axes of shape {shape} do not exist or are empty")
    if not 0 <= eps < math.inf:
        raise UsageError(f"{what}: eps must be finite and not negative, got {eps}")
