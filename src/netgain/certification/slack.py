"""What margins must exceed so that decisions hold in the arithmetic in which a network is run."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm
from netgain.network.graph import Network
from netgain.propagate.region import Number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slack:
    """The error of an arithmetic over balls; 0 for real numbers.

    Attributes:
        norm: of the balls.
        domain: of the inputs.
        deployed: the arithmetic; None for real numbers.
    """

    norm: Norm
    domain: tuple[Number, Number] | None = None
    deployed: str | None = None

    @property
    def needed(self) -> bool:
        """Whether it is other than 0."""
        return self.deployed is not None

    def __call__(
        self, network: Network, inputs: Float[Tensor, "batch *shape"], radii: Float[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """A bound, over each ball, of how much a difference of two scores is off.

        Args:
            network: up to its scores.
            inputs: the centres.
            radii: of the balls.
        """
        return torch.zeros(len(inputs), dtype=torch.float64)
