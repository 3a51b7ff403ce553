"""Facts about a vector function: softmax, normalization, max-pooling, sorting and their kin."""

import abc

from jaxtyping import Float
from torch import Tensor

from netgain.core.interval import Interval
from netgain.core.norms import Norm
from netgain.core.rounding import tensor_down, tensor_up
from netgain.vectors.ranges import known


class AbstractVectorFunction(abc.ABC):
    """A nonlinear map between tensors of fixed shapes that is not entrywise, with its proved facts.

    Subclasses are final frozen dataclasses.

    Attributes:
        in_shape: shape of one input, batch axis excluded.
    """

    in_shape: tuple[int, ...]

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What reports call it, with its parameters: "max_pool(3x3, stride 2x2)"."""

    @property
    @abc.abstractmethod
    def source(self) -> str:
        """Where the facts come from."""

    @property
    @abc.abstractmethod
    def out_shape(self) -> tuple[int, ...]:
        """Shape of one output, batch axis excluded."""

    @property
    def positively_homogeneous(self) -> bool:
        """Whether f(t x) = t f(x) for all t >= 0 (max, sort, max-pooling)."""
        return False

    @property
    def rounds(self) -> bool:
        """Whether `value` rounds; False where it only picks entries, so that value(x) = f(x) for float64 x."""
        return True

    @abc.abstractmethod
    def value(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """f for each row, in ordinary arithmetic of the argument's dtype, differentiable."""

    @abc.abstractmethod
    def error(self, x: Float[Tensor, "batch *in"], radius: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """An entrywise bound of |value(x) - f(z)| over all z with |z - x| <= radius entrywise, rounding included."""

    @abc.abstractmethod
    def gain(self, norm: Norm) -> float:
        """A proved upper bound of the global Lipschitz constant in `norm`, rounded up; infinity where there is none."""

    def range(self, box: Interval) -> Interval:
        """An enclosure of f(z) over all z of a box, rounded outwards. Ends of the box may be infinite.

        By default value and error around the box's middle; functions whose extremes are known give these.

        Args:
            box: of shape (batch, *in_shape).
        """
        middle, radius = box.halves()
        value, error = self.value(middle), self.error(middle, radius)
        return known(Interval(tensor_down(value - error), tensor_up(value + error)), box)

    def local_gain(self, box: Interval, norm: Norm) -> Float[Tensor, " batch"]:
        """A proved upper bound of the Lipschitz constant between any two points of a box, rounded up.

        By default the global gain.

        Args:
            box: of shape (batch, *in_shape); ends may be infinite.
            norm: of input and output.
        """
        return box.lo.new_full((len(box.lo),), self.gain(norm))
