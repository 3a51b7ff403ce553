"""The convex program that the barrier method solves: minimize rho subject to Hermitian forms that stay positive."""

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """A batch of Hermitian matrices that are affine in the variables.

        M_b(x) = constant_b + sum_k x[ties[k]] (u_bk v_bk^H + v_bk u_bk^H) / 2  >=  0,

    over the stacked increments of one piece: those at its start, then those behind each nonlinear node.

    An elementwise unit with slopes in [a, b], pre-activation increment z = w^H xi and output increment the entry e of
    xi has u = e - a w, v = e - b w and its multiplier T for x. An input entry has u = v = e and rho (or the metric's
    weight) for x. A gain ||y|| <= g ||z|| has one column u = -v = g w for each entry of z and u = v = e for each of y.
    A sorted group has the same columns with g = 1 for its lambda, and u = (sum of the e) - (sum of the w),
    v = (sum of the e) + (sum of the w) for its gamma.

    Attributes:
        constant: minus the form of what is bounded: -B^H diag(metric) B for output increments B xi; real or complex.
        left: u, one column a term.
        right: v.
        ties: the variable of each term.
        weights: how often each matrix counts in the barrier (2 where it stands for its complex conjugate as well).
    """

    constant: Tensor
    left: Tensor
    right: Tensor
    ties: Int[Tensor, " terms"]
    weights: Float[Tensor, " batch"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Minimize x[0] = rho over the x for which every block is positive semidefinite.

    Attributes:
        blocks: the blocks.
        names: which variables belong together: (key, first, last + 1), `key` a multiplier's name as in `Piece`, or
            "metric:NODE" for the weights of a cut, or "rho".
        positive: variables that must be positive; the others (gamma of sorted groups) are free.
    """

    blocks: tuple[Block, ...]
    names: tuple[tuple[str, int, int], ...]
    positive: Bool[Tensor, " variables"]

    def part(self, x: Float[Tensor, " variables"], key: str) -> Float[Tensor, " part"]:
        """The variables of one key.

        Args:
            x: all variables.
            key: which.

        Raises:
            KeyError: if there is no such key.
        """
        for name, first, last in self.names:
            if name == key:
                return x[first:last]
        raise KeyError(key)


def assembled(block: Block, x: Float[Tensor, " variables"]) -> Tensor:
    """M_b(x), Hermitian, in ordinary arithmetic. No guarantee.

    Args:
        block: the block.
        x: all variables.
    """
    half = (block.left * x[block.ties].to(block.left.dtype)) @ block.right.mH
    return block.constant + (half + half.mH) / 2


def feasible(program: Program, x: Float[Tensor, " variables"]) -> bool:
    """Whether every block is positive definite in ordinary arithmetic. No guarantee.

    Args:
        program: the program.
        x: all variables.
    """
    if not bool((x[program.positive] > 0).all()):
        return False
    return all(not bool(torch.linalg.cholesky_ex(assembled(block, x)).info.any()) for block in program.blocks)


def raised(program: Program, x: Float[Tensor, " variables"]) -> Float[Tensor, " variables"]:
    """The variables with a rho that makes the forms positive, within a tenth of the least; as given where none does.

    Args:
        program: the program.
        x: variables whose rho may be too small.
    """
    high, found = x.clone(), x.clone()
    for _ in range(60):
        if feasible(program, high):
            break
        found[0] = high[0]
        high[0] *= 4
    while high[0] > 1.1 * found[0]:
        middle = high.clone()
        middle[0] = (high[0] * found[0]).sqrt()
        high, found = (middle, found) if feasible(program, middle) else (high, middle)
    return high
