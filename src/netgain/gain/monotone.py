"""In which direction each output moves with each input over a region, proved; and a cheap local bound of the gain."""

import dataclasses
import enum
import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.errors import UsageError
from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.core.rounding import tensor_up
from netgain.gain.lipschitz import checked
from netgain.linear.dense import Dense
from netgain.network.fold import fold
from netgain.network.graph import Network
from netgain.norms.dense import crude_upper
from netgain.norms.operator import operator_norm
from netgain.propagate.derivative import interval_jacobian
from netgain.propagate.region import Region
from netgain.propagate.relax import ranges


class Trend(enum.StrEnum):
    """How an output moves with an input over a region, the other inputs fixed."""

    INCREASING = "increasing"  # it never falls
    DECREASING = "decreasing"  # it never rises
    CONSTANT = "constant"
    UNKNOWN = "unknown"  # neither is proved


@dataclasses.dataclass(frozen=True, repr=False)
class Monotonicity:
    """Slopes of each output in each input over regions, one a row, and the trends that they prove.

    Guarantee:
        For any two inputs of a (convex) region that differ in input k alone, the difference quotient of output i lies
        between `lower` and `upper` at (i, k); so does every partial derivative.

    Attributes:
        region: the regions.
        lower: least slopes, outputs and inputs flat; -inf where nothing is known.
        upper: greatest slopes.
    """

    region: Region
    lower: Float[Tensor, "batch out in"]
    upper: Float[Tensor, "batch out in"]

    def __len__(self) -> int:
        return len(self.lower)

    def __repr__(self) -> str:
        proved = int(((self.lower >= 0) | (self.upper <= 0)).sum())
        return f"<Monotonicity {proved} of {self.lower.numel()} trends proved ({self.region.words()})>"

    def trend(self, output: int, entry: int, row: int = 0) -> Trend:
        """How one output moves with one input.

        Args:
            output: flat index of the output.
            entry: flat index of the input.
            row: which region.
        """
        low, high = float(self.lower[row, output, entry]), float(self.upper[row, output, entry])
        if low == high == 0.0:
            return Trend.CONSTANT
        if low >= 0.0:
            return Trend.INCREASING
        return Trend.DECREASING if high <= 0.0 else Trend.UNKNOWN

    def trends(self, row: int = 0) -> tuple[tuple[Trend, ...], ...]:
        """The trend of each output (outer) in each input (inner).

        Args:
            row: which region.
        """
        outputs, inputs = self.lower.shape[1:]
        return tuple(tuple(self.trend(i, k, row) for k in range(inputs)) for i in range(outputs))


def monotonicity(network: Network, region: Region) -> Monotonicity:
    """The proved sign and range of each slope of a network over regions.

    Boxes of all values over the region give a range of slopes for each unit; the chain rule is multiplied out in
    interval arithmetic from the outputs back to the inputs, with signs kept exact: weights without a negative entry
    and rising activations give a rising output whatever the rounding.

    Guarantee:
        As in `Monotonicity`.

    Args:
        network: the network, as `netgain.read` returns it.
        region: `ball(...)` or `box(...)` of `netgain.propagate.region`.

    Raises:
        NoSoundRuleError: if an operation has no proved rule.
        DataMismatchError: if the region is of another shape.
        UsageError: if an argument is of another type.

    Cost:
        That of ranges by linear relaxation, and about ten evaluations of the transposed network for each output.

    Example:
        >>> import netgain, torch
        >>> from netgain.propagate.region import box
        >>> net = netgain.read(torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Tanh()), (1,))
        >>> found = netgain.monotonicity(net, box(torch.zeros(1, 1), torch.ones(1, 1)))
        >>> found.trend(0, 0) in ("increasing", "decreasing")
        True
    """
    found = slopes_over(network, region)
    return Monotonicity(region, found.lo, found.hi)


def slopes_over(network: Network, region: Region) -> Interval:
    """The interval Jacobian of a network over regions.

    Args:
        network: the network.
        region: of inputs.

    Raises:
        NoSoundRuleError: if an operation has no proved rule.
        DataMismatchError: if the region is of another shape.
        UsageError: if an argument is of another type.
    """
    checked(network, Norm.L2, None)
    if not isinstance(region, Region):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"expected a Region as `ball` or `box` returns it, got {type(region).__name__}")
    return interval_jacobian(ranges(fold(network), region))


def norm_bounds(jacobian: Interval, norm: Norm) -> Float[Tensor, " batch"]:
    """For each region an upper bound of the operator norm of every matrix in an interval Jacobian.

    In linf and l1 the greatest row or column sum of magnitudes; in l2 ||M||_2 <= sqrt(||M||_1 ||M||_inf) of the
    magnitudes, or the norm of the middle plus that of the spread.

    Guarantee:
        Upper bounds of the Lipschitz constant over the (convex) region, rounded up; infinite where nothing is known.

    Args:
        jacobian: shape (batch, out, in).
        norm: of inputs and outputs.
    """
    middle, spread = jacobian.halves()
    bounds = [_upper(m, e, norm) for m, e in zip(middle, spread, strict=True)]
    return torch.tensor(bounds, dtype=torch.float64)


def _upper(middle: Float[Tensor, "out in"], spread: Float[Tensor, "out in"], norm: Norm) -> float:
    """The bound of one matrix."""
    if not bool(spread.isfinite().all()):
        return math.inf
    found = operator_norm(Dense(middle, error=spread), norm).upper.value
    return found if norm is not Norm.L2 else min(found, crude_upper(tensor_up(middle.abs() + spread)))
