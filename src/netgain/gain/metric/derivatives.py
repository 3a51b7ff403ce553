"""The barrier of a program: factorizations, merit, gradient and Hessian, at the cost that its zeros allow."""

import dataclasses
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from netgain.gain.metric.columns import Columns, columns, ranges
from netgain.gain.metric.program import Block, Program

Factors = tuple[Tensor, ...]
"""Cholesky factors of the forms, one batch a block."""

_CHUNK = 4_000_000  # entries of one batch of terms x terms matrices worked on at once


@dataclasses.dataclass(frozen=True, eq=False)
class Derivatives:
    """Of -sum w logdet M - sum log x at one point.

    Attributes:
        pull: minus the gradient.
        hessian: the Hessian.
        images: Z U and Z V with Z = M^-1, one batch a block.
    """

    pull: Float[Tensor, " variables"]
    hessian: Float[Tensor, "variables variables"]
    images: tuple[tuple[Tensor, Tensor], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """Some matrices of a block."""

    constant: Tensor
    left: Columns
    right: Columns
    adjoint: Tensor  # v^H, one row a term
    ties: Int[Tensor, " terms"]
    weights: Float[Tensor, " batch"]
    tied: bool


class Model:
    """A program prepared for evaluation.

    With Z = M^-1, A = U^H Z U, B = V^H Z V and C = U^H Z V for the columns u and v of a block,

        minus the gradient of -logdet M = Re diag(C),    Hessian = Re(C * C^T + A * conj(B)) / 2   (entry by entry),

    summed over the terms of each variable.

    Cost:
        For one block of N rows and K terms, besides N^3 for Z: twice 2 N K m operations, m the number of rows that
        the dense part of a column reaches (the width of the layer in front), instead of 8 N^2 K.
    """

    def __init__(self, program: Program):
        """Find the zeros."""
        bounds = torch.tensor([first for _, first, _ in program.names])
        self._parts = tuple(part for block in program.blocks for part in _parts(block, bounds))
        self._logs = (program.positive & ~implied(program)).nonzero().squeeze(1)
        self._variables = program.positive.numel()

    @property
    def degree(self) -> float:
        """The barrier's parameter: what mu is multiplied with in the gap of a centred point."""
        size = sum(float(part.weights.sum()) * part.constant.shape[-1] for part in self._parts)
        return size + self._logs.numel()

    def factors(self, x: Float[Tensor, " variables"]) -> Factors | None:
        """Cholesky factors of all forms, or None if x is not strictly feasible.

        Args:
            x: the variables.
        """
        if not bool((x[self._logs] > 0).all()):
            return None
        found: list[Tensor] = []
        for part in self._parts:
            half = part.left.before((x[part.ties] / 2).to(part.adjoint.dtype).unsqueeze(-1) * part.adjoint)
            factor, info = torch.linalg.cholesky_ex((half + half.mH).add_(part.constant))
            if bool(info.any()) or not bool(torch.isfinite(factor.diagonal(dim1=-2, dim2=-1)).all()):
                return None
            found.append(factor)
        return tuple(found)

    def merit(self, x: Float[Tensor, " variables"], factors: Factors, mu: float) -> float:
        """The function that a point of the central path minimizes.

        Args:
            x: the variables.
            factors: from `factors`.
            mu: the barrier's weight.
        """
        value = float(x[0]) / mu - float(x[self._logs].log().sum())
        for part, factor in zip(self._parts, factors, strict=True):
            value -= 2 * float(part.weights @ factor.diagonal(dim1=-2, dim2=-1).real.log().sum(-1))
        return value

    def derivatives(self, x: Float[Tensor, " variables"], factors: Factors) -> Derivatives:
        """Gradient and Hessian of the barrier.

        Args:
            x: the variables.
            factors: from `factors`.
        """
        pull = torch.zeros(self._variables, dtype=torch.float64)
        hessian = torch.zeros(self._variables, self._variables, dtype=torch.float64)
        images: list[tuple[Tensor, Tensor]] = []
        for part, factor in zip(self._parts, factors, strict=True):
            inverse = torch.cholesky_inverse(factor)
            left, right = part.left.behind(inverse), part.right.behind(inverse)
            images.append((left, right))
            mixed = part.left.adjoint(right)
            pull.index_add_(0, part.ties, part.weights @ mixed.diagonal(dim1=-2, dim2=-1).real)
            terms = _real(mixed, mixed.mT)
            terms += _real(part.left.adjoint(left), part.right.adjoint(right).conj())
            total = torch.einsum("b,bkl->kl", part.weights / 2, terms)
            if part.tied:
                rows = torch.zeros(self._variables, total.shape[1], dtype=torch.float64).index_add_(0, part.ties, total)
                hessian.index_add_(1, part.ties, rows)
            else:
                hessian[part.ties[:, None], part.ties] += total
        pull[self._logs] += 1 / x[self._logs]
        hessian[self._logs, self._logs] += x[self._logs] ** -2
        return Derivatives(pull, hessian, tuple(images))

    def curvature(
        self, x: Float[Tensor, " variables"], derivatives: Derivatives, direction: Float[Tensor, " variables"]
    ) -> Float[Tensor, " variables"]:
        """The second derivative of `pull` along a direction: 2 u^H Z D Z D Z v for each term.

        Args:
            x: the variables.
            derivatives: at x.
            direction: the direction; D is the linear part of a form there.
        """
        total = torch.zeros(self._variables, dtype=torch.float64)
        for part, (left, right) in zip(self._parts, derivatives.images, strict=True):
            scale = (direction[part.ties] / 2).to(part.adjoint.dtype).unsqueeze(-1)
            image = part.left.before(scale * right.mH) + part.right.before(scale * left.mH)  # D Z
            back = image.mH
            twice = part.left.before(scale * part.right.adjoint(back))
            twice += part.right.before(scale * part.left.adjoint(back))  # D Z D
            values = (left.conj() * (twice @ right)).sum(-2).real
            total.index_add_(0, part.ties, 2 * (part.weights @ values))
        total[self._logs] += 2 * direction[self._logs] ** 2 / x[self._logs] ** 3
        return total


def _real(a: Tensor, b: Tensor) -> Tensor:
    """Re(a b), entry by entry."""
    return a.real * b.real - a.imag * b.imag if a.is_complex() else a * b


def _parts(block: Block, bounds: Int[Tensor, " parts"]) -> Iterator[_Part]:
    """The block in batches small enough for the Hessian's matrices."""
    batch, _, terms = block.left.shape
    step = max(1, _CHUNK // max(1, terms * terms))
    starts = ranges(block.ties, bounds)
    for first in range(0, batch, step):
        left, right = (side[first : first + step] for side in (block.left, block.right))
        yield _Part(
            block.constant[first : first + step],
            columns(left, starts),
            columns(right, starts),
            right.mH,
            block.ties,
            block.weights[first : first + step],
            block.ties.unique().numel() < terms,
        )


def implied(program: Program) -> Bool[Tensor, " variables"]:
    """Variables that are positive wherever all forms are.

    A diagonal entry of a form that only one variable can make positive, while the others that reach it make it
    smaller and are positive themselves, must be made positive by that one.

    Args:
        program: the program.
    """
    count = program.positive.numel()
    known = torch.zeros(count, dtype=torch.bool)
    reach: list[tuple[Tensor, Tensor]] = []
    for block in program.blocks:
        size = block.constant.shape[-1]
        weights = (block.left * block.right.conj()).real
        by_variable = weights.new_zeros(*weights.shape[:-1], count).index_add_(-1, block.ties, weights)
        entries = by_variable.reshape(-1, count)
        open_ = (block.constant.diagonal(dim1=-2, dim2=-1).real <= 0).reshape(-1)
        single = ((entries > 0).sum(1) == 1) & open_
        del size
        reach.append(((entries[single] > 0).to(torch.uint8).argmax(1), entries[single] < 0))
    while True:
        before = int(known.sum())
        for owner, negative in reach:
            proved = (negative <= known).all(1)
            known[owner[proved]] = True
        if int(known.sum()) == before:
            return known


@dataclasses.dataclass(frozen=True, eq=False)
class Hessian:
    """A positive definite matrix of any scales, ready to be solved with."""

    scale: Float[Tensor, " variables"]
    scaled: Float[Tensor, "variables variables"]
    factor: Float[Tensor, "variables variables"]

    def solve(self, right: Float[Tensor, "variables columns"]) -> Float[Tensor, "variables columns"]:
        """H^-1 times some vectors, refined once.

        Args:
            right: the vectors.
        """
        want = right * self.scale[:, None]
        found = torch.cholesky_solve(want, self.factor)
        found += torch.cholesky_solve(want - self.scaled @ found, self.factor)
        return found * self.scale[:, None]


def factored(hessian: Float[Tensor, "variables variables"]) -> Hessian | None:
    """A Hessian's factorization; None if rounding forbids it.

    Args:
        hessian: the matrix.
    """
    scale = hessian.diagonal().clamp_min(0).rsqrt()
    if not bool(torch.isfinite(scale).all()):
        return None
    scaled = (hessian * scale).mul_(scale[:, None])
    for shift in (0.0, 1e-15, 1e-13, 1e-11):
        scaled.diagonal().add_(shift)
        factor, info = torch.linalg.cholesky_ex(scaled)
        if not bool(info):
            return Hessian(scale, scaled, factor)
    return None
