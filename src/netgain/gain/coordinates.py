"""Coordinates of the input in which a search moves: the values behind the first layer where they are free."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.gain.recursion import ancestors
from netgain.network.graph import Affine, Network

_MEMORY = 2**22  # entries of the first matrix up to which its pseudo-inverse is formed
_WORK = 2e9  # multiplications of the pseudo-inverse
_RANK = 1e-6  # singular values below this fraction of the greatest count as zero


@dataclasses.dataclass(frozen=True)
class Coordinates:
    """x = A^+ (y - b) where y = A x + b is the first layer and has no more entries than x; else x = y.

    Each pre-activation of the first layer is then one coordinate: one step can move one unit over its kink and leave
    the others where they are. What the first layer does not see of x changes nothing.

    No guarantee is needed: every y stands for some input.

    Attributes:
        shape: of one input of the network.
        inverse: A^+ transposed; None for the identity.
        matrix: A transposed.
        bias: b, flat.
    """

    shape: tuple[int, ...]
    inverse: Float[Tensor, "out in"] | None = None
    matrix: Float[Tensor, "in out"] | None = None
    bias: Float[Tensor, " out"] | None = None

    @classmethod
    def of(cls, network: Network) -> "Coordinates":
        """The coordinates for a network.

        Args:
            network: the folded network.
        """
        readers = [node for node in ancestors(network) if network.input in node.inputs]
        kind = readers[0].kind if len(readers) == 1 else None
        plain = cls(network.input_shape)
        if not isinstance(kind, Affine):
            return plain
        rows, columns = kind.map.out_size, kind.map.in_size
        if not 0 < rows <= columns or rows * columns > _MEMORY or rows * rows * columns > _WORK:
            return plain
        matrix = kind.map.matrix()
        if not bool(matrix.isfinite().all()):
            return plain
        bias = torch.zeros(rows, dtype=torch.float64) if kind.bias is None else kind.bias.reshape(-1)
        inverse = torch.linalg.pinv(matrix, rtol=_RANK)
        return cls(network.input_shape, inverse.T.contiguous(), matrix.T, bias)

    def input(self, y: Tensor) -> Float[Tensor, "batch *in"]:
        """The input x that coordinates y stand for, in y's dtype, differentiable.

        Args:
            y: a batch of coordinates.
        """
        if self.inverse is None or self.bias is None:
            return y
        return ((y - self.bias.to(y.dtype)) @ self.inverse.to(y.dtype)).reshape(-1, *self.shape)

    def coordinates(self, x: Float[Tensor, "batch *in"]) -> Tensor:
        """The coordinates of an input.

        Args:
            x: a batch of inputs.
        """
        if self.matrix is None or self.bias is None:
            return x
        return x.reshape(-1, math.prod(self.shape)) @ self.matrix.to(x.dtype) + self.bias.to(x.dtype)
