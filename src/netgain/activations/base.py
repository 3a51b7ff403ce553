"""Facts about a scalar activation. Every bound method reads only these."""

import dataclasses
import math
from collections.abc import Callable
from typing import overload

import torch
from torch import Tensor

from netgain.core.results import Side

Range = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
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
        continuous: False for steps (sign, hard threshold, rounding); a pole or the end of a domain is not a step.
        source: where the facts come from: theorem, equation or "calculus" with the derivation in a line.
        knots: for a continuous piecewise linear function the places, in increasing order, between which it is affine;
            None for any other.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    value_error: Callable[[Tensor], Tensor]
    slope_range: Callable[[Tensor, Tensor], Range]
    value_range: Callable[[Tensor, Tensor], Range]
    positively_homogeneous: bool = False
    continuous: bool = True
    source: str
    knots: tuple[Tensor, ...] | None = None

    def __repr__(self) -> str:
        low, high = self.slope()
        jumps = "" if self.continuous else ", not continuous"
        return f"<Activation {self.name}: slopes in [{Side.LOWER.shown(low)}, {Side.UPPER.shown(high)}]{jumps}>"

    @overload
    def slope(self, lo: float = -math.inf, hi: float = math.inf) -> tuple[float, float]: ...

    @overload
    def slope(self, lo: Tensor, hi: Tensor | float = math.inf) -> Range: ...

    @overload
    def slope(self, lo: float, hi: Tensor) -> Range: ...

    def slope(self, lo: float | Tensor = -math.inf, hi: float | Tensor = math.inf) -> tuple[float, float] | Range:
        """The least and greatest slope over [lo, hi]: every difference quotient and every generalized derivative.

        *Guarantee*: proved on both sides, rounded outwards; see `slope_range`.

        Args:
            lo: lower ends; a number or a tensor.
            hi: upper ends.

        Returns:
            Two tensors; for two numbers, two numbers (the hull over all parameters, if they are a tensor).

        Raises:
            UsageError: if lo > hi.

        Example:
            >>> from netgain.activations import activation
            >>> activation("relu").slope()
            (0.0, 1.0)
        """
        ends = [torch.as_tensor(end, dtype=torch.float64) for end in (lo, hi)]
        least, greatest = self.slope_range(*ends)
        if isinstance(lo, Tensor) or isinstance(hi, Tensor):
            return least, greatest
        return float(least.min()), float(greatest.max())
