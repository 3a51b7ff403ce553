"""Facts about a scalar activation. Every bound method reads only these."""

import dataclasses
from collections.abc import Callable

from torch import Tensor

Range = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Activation:
    """A scalar function phi: R -> R, applied entry by entry, with its proved facts.

    Tensors of endpoints may be any shape that broadcasts against a node's shape (a PReLU has one slope a channel);
    -inf and inf are allowed as endpoints.

    Attributes:
        name: the name in the registry, with parameters where they matter: "leaky_relu(0.2)".
        value: phi in ordinary arithmetic of the argument's dtype, differentiable.
        value_error: a bound of |value(x) - phi(x)| for each float64 x: rounding, library functions, and documented
            shortcuts (torch's softplus switches to x above its threshold).
        slope_range: (lo, hi) -> an enclosure of every difference quotient of phi over [lo, hi], rounded outwards.
            Infinite where phi jumps inside or its slope is unbounded.
        value_range: (lo, hi) -> an enclosure of phi over [lo, hi], rounded outwards.
        positively_homogeneous: phi(t x) = t phi(x) for all t >= 0 (ReLU, LeakyReLU, PReLU, identity, abs).
        continuous: False for steps (sign, hard threshold, rounding).
        source: where the facts come from: theorem, equation or "calculus" with the derivation in a line.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    value_error: Callable[[Tensor], Tensor]
    slope_range: Callable[[Tensor, Tensor], Range]
    value_range: Callable[[Tensor, Tensor], Range]
    positively_homogeneous: bool = False
    continuous: bool = True
    source: str
