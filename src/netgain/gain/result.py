"""What a global bound method returns."""

import dataclasses

from jaxtyping import Float
from torch import Tensor

from netgain.core.results import Bound


@dataclasses.dataclass(frozen=True)
class Tail:
    """What a method proves in front of the last affine node, for bounds of single outputs and of their differences.

    With h(x) the input of the node, in its shape, and p the norm of the bound,

        ||diag(scale) (h(x) - h(y))||_p <= gain ||x - y||_p   for all x, y.

    So for a row w of the node's matrix |w h(x) - w h(y)| <= ||w / scale||_q gain ||x - y||_p with q dual to p; the same
    holds for differences of rows.

    Attributes:
        node: name of the last affine node, which is the network's output.
        scale: positive, of the shape of the node's input.
        gain: the proved factor.
    """

    node: str
    scale: Float[Tensor, "*in"]
    gain: float


@dataclasses.dataclass(frozen=True)
class GainBound:
    """A proved upper bound of the global Lipschitz constant.

    Attributes:
        bound: the bound.
        tail: what the method proves in front of the last affine node; None if the network does not end in one.
    """

    bound: Bound
    tail: Tail | None = None
