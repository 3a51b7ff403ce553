"""Sorting, sorting in groups, largest and smallest entries: rearrangements that never move two vectors apart."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import UsageError
from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.vectors.base import AbstractVectorFunction
from netgain.vectors.ranges import check_axis, monotone_error, monotone_range, reduced


@dataclasses.dataclass(frozen=True)
class Sort(AbstractVectorFunction):
    """Entries along one axis in order.

    *Guarantee*: gain 1 in every norm: among all pairings of the entries of two vectors, the sorted one has the least
    l1, l2 and linf distance.

    Attributes:
        in_shape: shape of one input.
        axis: the axis, batch axis excluded.
        descending: largest first.
    """

    in_shape: tuple[int, ...]
    axis: int
    descending: bool = False

    def __post_init__(self):
        """Refuse an axis that does not exist.

        Raises:
            UsageError: if it does not.
        """
        check_axis("sort", self.in_shape, self.axis)

    @property
    def name(self) -> str:
        """With the axis."""
        return f"sort(axis {self.axis}{', descending' if self.descending else ''})"

    @property
    def source(self) -> str:
        """The rearrangement inequality."""
        return "rearrangement inequality (Hardy, Littlewood and Polya)"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """As the input."""
        return self.in_shape

    @property
    def positively_homogeneous(self) -> bool:
        """Scaling keeps the order."""
        return True

    @property
    def rounds(self) -> bool:
        """Picks entries."""
        return False

    def value(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The sorted entries."""
        return torch.sort(x, dim=self.axis + 1, descending=self.descending).values

    def error(
        self, x: Float[Tensor, "batch *shape"], radius: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """Exact: each order statistic is monotone in every input."""
        return monotone_error(self.value, x, radius)

    def range(self, box: Interval) -> Interval:
        """Exact: each order statistic is monotone in every input."""
        return monotone_range(self.value, box)

    def gain(self, norm: Norm) -> float:
        """1 in every norm."""
        return 1.0


@dataclasses.dataclass(frozen=True)
class GroupSort(AbstractVectorFunction):
    """Neighbouring entries along one axis sorted upwards in groups (MaxMin has groups of two).

    *Guarantee*: gain 1 in every norm, as `Sort` on each group.

    Attributes:
        in_shape: shape of one input.
        axis: the axis, batch axis excluded.
        group_size: entries in a group; must divide the axis.
    """

    in_shape: tuple[int, ...]
    axis: int
    group_size: int

    def __post_init__(self):
        """Refuse groups that do not fit.

        Raises:
            UsageError: if the axis does not exist or the group size does not divide it.
        """
        check_axis("group_sort", self.in_shape, self.axis)
        if self.group_size < 1 or self.in_shape[self.axis] % self.group_size:
            raise UsageError(
                f"group_sort: groups of {self.group_size} do not divide axis {self.axis} of shape {self.in_shape}"
            )

    @property
    def name(self) -> str:
        """With axis and group size."""
        return f"group_sort({self.group_size}, axis {self.axis})"

    @property
    def source(self) -> str:
        """The paper that uses it as an activation."""
        return "Anil, Lucas and Grosse 2019; rearrangement inequality"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """As the input."""
        return self.in_shape

    @property
    def positively_homogeneous(self) -> bool:
        """Scaling keeps the order."""
        return True

    @property
    def rounds(self) -> bool:
        """Picks entries."""
        return False

    def value(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """The entries, sorted in groups."""
        axis = self.axis + 1
        return torch.sort(x.unflatten(axis, (-1, self.group_size)), dim=axis + 1).values.flatten(axis, axis + 1)

    def error(
        self, x: Float[Tensor, "batch *shape"], radius: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """Exact: each order statistic is monotone in every input."""
        return monotone_error(self.value, x, radius)

    def range(self, box: Interval) -> Interval:
        """Exact: each order statistic is monotone in every input."""
        return monotone_range(self.value, box)

    def gain(self, norm: Norm) -> float:
        """1 in every norm."""
        return 1.0


@dataclasses.dataclass(frozen=True)
class Extremum(AbstractVectorFunction):
    """The largest or smallest entry along one axis.

    *Guarantee*: gain 1 in every norm: max(x) - max(y) is at most x_i - y_i where x_i is largest.

    Attributes:
        in_shape: shape of one input.
        axis: the axis, batch axis excluded.
        keepdim: whether the axis stays, with length 1.
        largest: the maximum, else the minimum.
    """

    in_shape: tuple[int, ...]
    axis: int
    keepdim: bool = False
    largest: bool = True

    def __post_init__(self):
        """Refuse an axis that does not exist.

        Raises:
            UsageError: if it does not.
        """
        check_axis(self.name, self.in_shape, self.axis)

    @property
    def name(self) -> str:
        """As torch names it."""
        return f"{'amax' if self.largest else 'amin'}(axis {self.axis})"

    @property
    def source(self) -> str:
        """A line of algebra."""
        return "max(x) - max(y) <= x_i - y_i for the largest x_i"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Without the axis, or with length 1."""
        return reduced(self.in_shape, self.axis, self.keepdim)

    @property
    def positively_homogeneous(self) -> bool:
        """Scaling keeps the order."""
        return True

    @property
    def rounds(self) -> bool:
        """Picks entries."""
        return False

    def value(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """The extreme entry."""
        return (torch.amax if self.largest else torch.amin)(x, dim=self.axis + 1, keepdim=self.keepdim)

    def error(self, x: Float[Tensor, "batch *in"], radius: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """Exact: monotone in every input."""
        return monotone_error(self.value, x, radius)

    def range(self, box: Interval) -> Interval:
        """Exact: monotone in every input."""
        return monotone_range(self.value, box)

    def gain(self, norm: Norm) -> float:
        """1 in every norm."""
        return 1.0
