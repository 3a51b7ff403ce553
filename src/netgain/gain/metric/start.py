"""Where the barrier method starts: multipliers in closed form on a stacked region."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.gain.metric.compose import Rule
from netgain.gain.metric.program import Block, assembled, raised
from netgain.gain.metric.stack import Stack


def closed_form(stacked: Stack) -> Float[Tensor, " variables"]:
    """A strictly feasible start, node by node from the end, rho one tenth above the least.

    With Q the form on a node's entries, T = 2 lambda_max(D^-1/2 Q D^-1/2) D, D the root of Q's diagonal (at least a
    thousandth of its largest), or D = I for vector functions.

    No guarantee beyond ordinary arithmetic.

    Args:
        stacked: the stack.

    Cost:
        One elimination of the form.

    Source:
        ECLipsE-Fast (Xu and Sivaranjani, 2024) is this for chains and D = I.
    """
    program, block = stacked.program, stacked.program.blocks[0]
    x = torch.zeros(program.positive.numel(), dtype=torch.float64)
    form = block.constant[0].clone()
    floor = 2.0**-40 * float(form.diagonal().abs().max())
    for part, (_, begin, end) in reversed(list(zip(stacked.parts, program.names[1:], strict=True))):
        rows = slice(part.first, part.last)
        pulled = -form[rows, rows]
        if part.relation.rule is Rule.SLOPES and bool((pulled.diagonal() > 0).any()):
            shape = (pulled.diagonal() / pulled.diagonal().max()).clamp_min(1e-6).sqrt()
            pulled = pulled * shape.rsqrt() * shape.rsqrt()[:, None]
        else:
            shape = program.positive[begin:end].double()
        x[begin:end] = shape * max(2 * float(torch.linalg.eigvalsh(pulled)[-1]), floor)
        form += assembled(_only(block, begin, end), x)[0]
        factor = torch.linalg.cholesky(form[rows, rows])
        half = torch.linalg.solve_triangular(factor, form[rows, : part.first], upper=False)
        form[: part.first, : part.first] -= half.T @ half
        floor = max(floor, 2.0**-40 * float(form[: part.first, : part.first].diagonal().abs().max()))
    start = stacked.parts[0].first if stacked.parts else stacked.size
    top = float(torch.linalg.eigvalsh(-form[:start, :start])[-1])
    x[0] = 1.1 * top if top > 0 else 1e-300
    return raised(program, x)


def _only(block: Block, begin: int, end: int) -> Block:
    """The terms of some variables, without the constant."""
    chosen = (block.ties >= begin) & (block.ties < end)
    return dataclasses.replace(
        block,
        constant=torch.zeros_like(block.constant),
        left=block.left[..., chosen],
        right=block.right[..., chosen],
        ties=block.ties[chosen],
    )
