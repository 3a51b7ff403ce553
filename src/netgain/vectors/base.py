"""Facts about a vector function: softmax, normalization, max-pooling, sorting and their kin."""

import abc

from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm


class AbstractVectorFunction(abc.ABC):
    """A nonlinear map between tensors of fixed shapes that is not entrywise, with its proved facts.

    Subclasses are final frozen dataclasses.

    Attributes:
        name: what reports call it, with its parameters: "max_pool(3, stride 2)".
        source: where the facts come from.
        in_shape: shape of one input, batch axis excluded.
        out_shape: shape of one output, batch axis excluded.
        positively_homogeneous: f(t x) = t f(x) for all t >= 0 (max, sort, max-pooling).
    """

    name: str
    source: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    positively_homogeneous: bool

    @abc.abstractmethod
    def value(self, x: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """f for each row, in ordinary arithmetic of the argument's dtype, differentiable."""

    @abc.abstractmethod
    def error(self, x: Float[Tensor, "batch *in"], radius: Float[Tensor, "batch *in"]) -> Float[Tensor, "batch *out"]:
        """An entrywise bound of |value(x) - f(z)| over all z with |z - x| <= radius entrywise, rounding included."""

    @abc.abstractmethod
    def gain(self, norm: Norm) -> float:
        """A proved upper bound of the global Lipschitz constant in `norm`, rounded up; infinity where there is none."""
