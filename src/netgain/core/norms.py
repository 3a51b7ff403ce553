"""The three vector norms in which inputs and outputs are measured."""

import enum

from jaxtyping import Float
from torch import Tensor


class Norm(enum.StrEnum):
    """A vector norm: l1 (sum of magnitudes), l2 (Euclidean) or linf (largest magnitude)."""

    L1 = "l1"
    L2 = "l2"
    LINF = "linf"

    @property
    def dual(self) -> "Norm":
        """The norm q with sup over ||x||_p <= 1 of <w, x> = ||w||_q."""
        return {Norm.L1: Norm.LINF, Norm.L2: Norm.L2, Norm.LINF: Norm.L1}[self]

    @property
    def order(self) -> float:
        """The exponent as torch.linalg.vector_norm takes it: 1, 2 or infinity."""
        return {Norm.L1: 1.0, Norm.L2: 2.0, Norm.LINF: float("inf")}[self]

    def of(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, " batch"]:
        """The norm of each row, in ordinary floating point. No guarantee.

        Args:
            x: a batch; each row is one vector, whatever its shape.

        Returns:
            One number a row, rounded to nearest somewhere: for proofs use `rounding.norm_upper` or `norm_lower`.
        """
        flat = x.reshape(x.shape[0], x.shape[1:].numel())
        if flat.shape[1] == 0:
            return flat.new_zeros(flat.shape[0])
        return flat.abs().amax(1) if self is Norm.LINF else flat.norm(self.order, dim=1)
