"""What a global bound method returns, and what it did."""

import dataclasses

from jaxtyping import Float
from torch import Tensor

from netgain.core.results import Bound, Estimate
from netgain.witness.certificate import Claim


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
        claim: the bound with its pieces and multipliers, as the checker takes it.
        gap: an estimate of how far the bound is above the least that its method can reach, relative; None if unknown.
        steps: evaluations or Newton steps that the search took; 0 where there is none.
    """

    bound: Bound
    tail: Tail | None = None
    claim: Claim | None = None
    gap: Estimate | None = None
    steps: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What one method did.

    Attributes:
        name: the method, as `lipschitz(..., method=name)` takes it.
        bound: what it proved; None where it did not apply, was left out or interrupted.
        seconds: the time it took.
        steps: evaluations or Newton steps of its search; 0 where there is none.
        gap: an estimate of how far the bound is above the least that the method can reach, relative; None if unknown.
        note: why there is no bound, or what there is to know about it; "" for nothing.
    """

    name: str
    bound: Bound | None = None
    seconds: float = 0.0
    steps: int = 0
    gap: Estimate | None = None
    note: str = ""


class InterruptedSearchError(KeyboardInterrupt):
    """Ctrl-C in a search that has a proved bound by then: raised by a method instead of the KeyboardInterrupt.

    Attributes:
        found: the bound.
    """

    def __init__(self, found: GainBound):
        super().__init__()
        self.found = found
