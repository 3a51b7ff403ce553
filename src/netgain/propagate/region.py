"""Regions of inputs: a ball, a box, or their intersection, one a row of a batch."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import DataError, DataMismatchError, UsageError
from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.core.rounding import norm_upper, tensor_down, tensor_up
from netgain.propagate.support import ball_and_box, box_support

Number = float | Tensor


@dataclasses.dataclass(frozen=True, repr=False)
class Region:
    """The inputs {z : ||z - centre||_norm <= radius, low <= z <= high}, one region a row.

    A box alone has an infinite radius. Made by `ball` and `box`, which check their arguments.

    Attributes:
        centre: a point of each region, float64.
        norm: of the ball.
        radius: of the ball, one a row; infinite for a box alone.
        low: lower ends of the box, of the centre's shape; -inf where there is none.
        high: upper ends.
    """

    centre: Float[Tensor, "batch *in"]
    norm: Norm
    radius: Float[Tensor, " batch"]
    low: Float[Tensor, "batch *in"]
    high: Float[Tensor, "batch *in"]

    def __len__(self) -> int:
        return len(self.centre)

    def __getitem__(self, rows: Tensor | slice) -> "Region":
        """The regions of some rows."""
        return Region(self.centre[rows], self.norm, self.radius[rows], self.low[rows], self.high[rows])

    def __repr__(self) -> str:
        return f"<Region {self.words()}, {len(self)} rows of shape {tuple(self.centre.shape[1:])}>"

    @property
    def boxed(self) -> bool:
        """Whether a box limits the ball anywhere."""
        return bool((self.low > -math.inf).any() | (self.high < math.inf).any())

    def words(self) -> str:
        """The region in words, for results; radii in raw input units."""
        sizes = self.radius.unique()
        size = f"{float(sizes[0]):g}" if len(sizes) == 1 else f"up to {float(self.radius.max()):g}"
        ball = "" if bool((self.radius == math.inf).all()) else f"{self.norm} ball of radius {size}"
        box = "box" if self.boxed else ""
        return " within a ".join(part for part in (ball, box) if part) or "global"

    def hull(self) -> Interval:
        """The smallest box around each region, rounded outwards."""
        radius = self.radius.reshape(-1, *[1] * (self.centre.dim() - 1))
        low = torch.where(radius == 0, self.centre, tensor_down(self.centre - radius))
        high = torch.where(radius == 0, self.centre, tensor_up(self.centre + radius))
        return Interval(torch.maximum(low, self.low), torch.minimum(high, self.high))

    def greatest(self, rows: Float[Tensor, "any rows *in"]) -> Float[Tensor, "batch rows"]:
        """An upper bound of the maximum of a . (z - centre) over each region, for each row a, rounded up.

        Args:
            rows: linear functions, several for each region, or one leading row if they are the same for all; exact
                float64 numbers.
        """
        flat = rows.flatten(2)
        widths = norm_upper(flat.flatten(0, 1), self.norm.dual).unflatten(0, flat.shape[:2])
        balls = torch.where(widths == 0, 0.0, tensor_up(widths * self.radius.unsqueeze(1)))
        if not self.boxed:
            return balls
        # The hull is the intersection with the box in linf, and narrower than the box in the other norms.
        hull = self.hull()
        above = tensor_up(hull.hi - self.centre).clamp_min(0.0).flatten(1)
        below = tensor_up(self.centre - hull.lo).clamp_min(0.0).flatten(1)
        # A difference of equal numbers is exact: the domain may end at the centre.
        above = torch.where((hull.hi == self.centre).flatten(1), 0.0, above)
        below = torch.where((hull.lo == self.centre).flatten(1), 0.0, below)
        best = torch.fmin(balls, box_support(flat, below, above))
        if self.norm is Norm.LINF or bool((self.radius == math.inf).all()):
            return best
        return torch.fmin(best, ball_and_box(flat, self.norm, self.radius, below, above))


def ball(
    centre: Float[Tensor, "batch *in"],
    radius: Number,
    norm: Norm | str = Norm.L2,
    domain: tuple[Number, Number] | None = None,
) -> Region:
    """The balls around points, within a domain such as [0, 1] if there is one.

    Args:
        centre: the points, one a row; widened to float64.
        radius: in raw input units; one number, or one a row. 0 is the point itself.
        norm: "l2", "linf" or "l1".
        domain: lower and upper ends, numbers or tensors that broadcast to one input.

    Raises:
        UsageError: if a radius is negative or no number, or a lower end is above its upper end.
        DataError: if a point is not finite, or lies outside the domain.
        DataMismatchError: if the shapes do not fit.
    """
    point = centre.detach().double()
    if not bool(point.isfinite().all()):
        row = int((~point.isfinite()).reshape(len(point), -1).any(1).long().argmax())
        raise DataError(f"the centre of a region must be finite; row {row} is not")
    sizes = torch.as_tensor(radius, dtype=torch.float64)
    if sizes.dim() > 1 or (sizes.dim() == 1 and len(sizes) != len(point)):
        raise DataMismatchError(f"radii of shape {tuple(sizes.shape)} given for {len(point)} points")
    if not bool((sizes >= 0).all()):
        raise UsageError("a radius must be a non-negative number, in raw input units")
    low, high = _ends(domain, point)
    outside = ((point < low) | (point > high)).reshape(len(point), -1).any(1)
    if bool(outside.any()):
        row = int(outside.long().argmax())
        raise DataError(f"row {row} lies outside the domain that was given; the domain must hold every point")
    return Region(point, Norm(norm), sizes.expand(len(point)).clone(), low, high)


def box(low: Float[Tensor, "batch *in"], high: Float[Tensor, "batch *in"]) -> Region:
    """Boxes, one a row.

    Args:
        low: lower ends, finite.
        high: upper ends, finite.

    Raises:
        UsageError: if a lower end is above its upper end.
        DataError: if an end is not finite.
        DataMismatchError: if the shapes differ.
    """
    first, second = low.detach().double(), high.detach().double()
    if first.shape != second.shape:
        raise DataMismatchError(f"ends of shapes {tuple(first.shape)} and {tuple(second.shape)}")
    if not bool(first.isfinite().all() & second.isfinite().all()):
        raise DataError("the ends of a box must be finite")
    if bool((first > second).any()):
        raise UsageError("a box has a lower end above its upper end")
    centre = torch.minimum(torch.maximum(first + (second - first) / 2, first), second)
    return Region(centre, Norm.LINF, torch.full((len(first),), math.inf, dtype=torch.float64), first, second)


def _ends(domain: tuple[Number, Number] | None, point: Tensor) -> tuple[Tensor, Tensor]:
    """Both ends of the domain for each row."""
    low, high = (-math.inf, math.inf) if domain is None else domain
    try:
        ends = [torch.as_tensor(end, dtype=torch.float64).expand_as(point) for end in (low, high)]
    except RuntimeError as error:
        raise DataMismatchError(f"the domain does not fit inputs of shape {tuple(point.shape[1:])}") from error
    if not bool((ends[0] <= ends[1]).all()):
        raise UsageError("the domain has a lower end above its upper end, or an end that is no number")
    return ends[0], ends[1]
