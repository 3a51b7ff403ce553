"""The proof of local gains from multipliers, for many regions and many linear functions of the output at once.

With the condensed form D out = C x + G w, D z = B x + L w, |w_k| <= r_k |D z_k|, and numbers tau_k > 0 the matrix

    F = diag(I, tau / r^2) - [G; L] diag(tau) [G; L]^T - level [C; B] S [C; B]^T,     S the Gram matrix of the front,

being positive semidefinite proves ||D out||^2 <= ||x||^2 / level: by Schur's complement, twice, it says that the
quadratic form ||x||^2 / level - ||D out||^2 - sum_k (r_k^2 |D z_k|^2 - |w_k|^2) / tau_k is not negative for any x, w.
F is linear in tau and level.
"""

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from netgain.core.rounding import UNDERFLOW, UNIT_ROUNDOFF, gamma, tensor_down, tensor_up
from netgain.witness.condensed import Condensed, Known

# How often the slack of a factorization is raised before a proof fails.
_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Pencil:
    """What F is made of, one element a region and goal.

    Attributes:
        gram: [C; B] S [C; B]^T.
        inner: [G; L].
        radius: r, one a unit; 1 where unused.
        used: whether the element has the unit.
        outputs: number of output rows, p.
    """

    gram: Known
    inner: Known
    radius: Float[Tensor, "elements units"]
    used: Bool[Tensor, "elements units"]
    outputs: int

    def __len__(self) -> int:
        return len(self.radius)

    def __getitem__(self, rows: Tensor | slice) -> "Pencil":
        """Some elements."""
        return Pencil(self.gram[rows], self.inner[rows], self.radius[rows], self.used[rows], self.outputs)

    def diagonal(self, tau: Float[Tensor, "elements units"]) -> Float[Tensor, "elements rows"]:
        """The first part of F as computed, 1 where a unit is unused; errs by 4 units in the last place at most.

        Args:
            tau: one a unit.
        """
        own = torch.where(self.used, tau / (self.radius * self.radius), 1.0)
        return torch.cat([own.new_ones(len(own), self.outputs), own], 1)


def pencils(condensed: Condensed, goals: Float[Tensor, "batch goals rows out"]) -> Pencil:
    """The parts of F for each region and each goal, region by region.

    Args:
        condensed: the regions.
        goals: for each region and each goal the rows of a matrix applied to the flat output; exact.
    """
    count, rows = goals.shape[1:3]
    aims = Known(goals.flatten(1, 2), torch.zeros_like(goals.flatten(1, 2)))
    outer, inner = (_aimed(condensed, aims, part) for part in (condensed.outer, condensed.inner))
    # All goals of a region share the rows of its units.
    middle = outer if condensed.front is None else outer.times(_squared(condensed.front))
    gram = middle.times(Known(outer.value.mT, outer.error.mT))
    own = torch.arange(count * rows).reshape(count, rows)
    shared = torch.arange(condensed.units).expand(count, -1) + count * rows
    at = torch.cat([own, shared], 1)
    picked = [
        Known(
            torch.stack([part.value[:, one][..., c] for one, c in zip(at, columns, strict=True)], 1).flatten(0, 1),
            torch.stack([part.error[:, one][..., c] for one, c in zip(at, columns, strict=True)], 1).flatten(0, 1),
        )
        for part, columns in ((gram, at), (inner, shared - count * rows))
    ]
    radius, used = (part.repeat_interleave(count, 0) for part in (condensed.radius, condensed.used))
    return Pencil(picked[0], picked[1], radius, used, rows)


def _aimed(condensed: Condensed, aims: Known, part: Known) -> Known:
    """The rows of all goals, then those of the units."""
    split = condensed.outputs
    first = aims.times(Known(part.value[:, :split], part.error[:, :split]))
    value, error = (
        torch.cat([first.value, part.value[:, split:]], 1),
        torch.cat([first.error, part.error[:, split:]], 1),
    )
    return Known(value, error)


def _squared(front: Known) -> Known:
    """The front's Gram matrix of rows."""
    return front.times(Known(front.value.mT, front.error.mT))


def form(pencil: Pencil, tau: Float[Tensor, "elements units"], level: Float[Tensor, " elements"]) -> Tensor:
    """F as computed.

    Args:
        pencil: its parts.
        tau: one a unit.
        level: one an element.
    """
    matrix = (pencil.inner.value * tau.unsqueeze(1)) @ pencil.inner.value.mT
    matrix = -matrix - level.reshape(-1, 1, 1) * pencil.gram.value
    matrix.diagonal(dim1=1, dim2=2).add_(pencil.diagonal(tau))
    return (matrix + matrix.mT) / 2


@torch.no_grad()
def holds(
    pencil: Pencil, tau: Float[Tensor, "elements units"], level: Float[Tensor, " elements"]
) -> Bool[Tensor, " elements"]:
    """Whether F is proved to be positive semidefinite.

    F = R^T R + D for any R, with a computed D that errs by at most gamma |R|^T |R| and by what F as computed errs, and
    D is positive semidefinite if it is diagonally dominant in the coordinates 1 / s. R is not trusted.

    Guarantee: where True, the gain is at most level^(-1/2); rounding and the errors of all matrices included.

    Args:
        pencil: the parts of F.
        tau: one a unit, positive where used.
        level: one an element, not negative.

    Cost:
        About 3 n^3 multiplications an element of n rows.
    """
    tau = torch.where(pencil.used, tau, 0.0)
    sound = (tau >= 0).all(1) & tau.isfinite().all(1) & level.isfinite() & (level >= 0)
    sound &= ((tau > 0) | ~pencil.used).all(1)
    matrix = form(pencil, tau, level)
    size = matrix.shape[1]
    own = matrix.diagonal(dim1=1, dim2=2)
    sound &= (own > 0).all(1) & matrix.isfinite().flatten(1).all(1)
    s = torch.where(own > 0, own, 1.0).rsqrt()
    unsure = _unsure(pencil, tau, level, s)
    sound &= unsure.isfinite().all(1)
    rounding = gamma(size + 8)
    shift = 2.0 * unsure / s + 4.0 * rounding * size * own.abs()
    found = torch.zeros_like(sound)
    for _ in range(_ATTEMPTS):
        shifted = torch.where(sound.reshape(-1, 1, 1), matrix - torch.diag_embed(shift), torch.eye(size).double())
        upper, info = torch.linalg.cholesky_ex(shifted, upper=True)
        rest = matrix - upper.mT @ upper
        free = rest.diagonal(dim1=1, dim2=2).clone()
        rest.diagonal(dim1=1, dim2=2).zero_()
        low = _times(upper.mT.abs(), _times(upper.abs(), s)) * rounding
        low = low + _times(rest.abs() + matrix.abs() * (8 * UNIT_ROUNDOFF), s) + unsure
        low = tensor_up(low * (1 + gamma(4 * size + 64)) + UNDERFLOW * s.sum(1, keepdim=True))
        enough = (tensor_down(free * (1 - 16 * UNIT_ROUNDOFF) * s * (1 - 4 * UNIT_ROUNDOFF)) >= low).all(1)
        found |= sound & (info == 0) & enough
        if bool((found | ~sound | (info != 0)).all()):
            break
        shift = torch.maximum(2.0 * shift, shift + 2.0 * (low / s - free))
    return found


def _unsure(pencil: Pencil, tau: Tensor, level: Tensor, s: Tensor) -> Float[Tensor, "elements rows"]:
    """An upper bound of |F as computed - F| s, apart from a factor for the rounding of this very sum."""
    size, wrong = pencil.inner.magnitude, pencil.inner.error
    around = tau * _times(size.mT, s)
    terms = gamma(size.shape[2] + 8)
    total = _times(size * terms + wrong, around) + _times(size, tau * _times(wrong.mT, s))
    level = level.unsqueeze(1)
    total = total + level * (_times(pencil.gram.error, s) + 8 * UNIT_ROUNDOFF * _times(pencil.gram.magnitude, s))
    own = pencil.diagonal(tau) * s * (16 * UNIT_ROUNDOFF)
    return total + own + 8 * UNIT_ROUNDOFF * _times(size, around)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrices times vectors."""
    return (matrix @ vector.unsqueeze(2)).squeeze(2)
