"""What a certificate says: pieces of the network, and the multipliers that prove the gain of each.

A *piece* is the part of the folded network between two cut nodes `start` and `stop`: every path from the network's
input to a node of the piece behind `start` passes through `start`, and every path from such a node to the output
passes through `stop`. Each cut carries a *metric*, positive weights d, ||v||_d^2 = sum_i d_i v_i^2. A piece proves
a factor

    ||D stop||_(its stop's metric)^2 <= factor * ||D start||_metric^2      (D: difference of two evaluations),

and with pieces from the input (metric 1) to the output (metric 1, or one difference of two outputs) the product of the
factors bounds the square of the Lipschitz constant. The factors are not stored: the checker computes them.
"""

import dataclasses
import enum
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from netgain.core.norms import Norm

FORMAT = "netgain-certificate/1"


class Proof(enum.StrEnum):
    """How a piece is proved."""

    PRODUCT = "product"  # factors of the nodes along the graph; any norm, no multipliers
    ENTRYWISE = "entrywise"  # a centre and a radius for each entry of the Jacobian; any norm, no multipliers
    DENSE = "dense"  # metric pullback with one form over the live variables; l2
    GRID = "grid"  # metric pullback with one form a frequency of a shifted circulant grid; l2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """The circulant grid of a convolutional piece.

    Attributes:
        sizes: points an axis N, on the grid of the piece's start.
        shifts: shift an axis a in [0, 1): frequencies are (k + a) / N.
    """

    sizes: tuple[int, ...]
    shifts: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
    """One piece and its multipliers.

    Attributes:
        start: the cut node (or the network's input) in front.
        stop: the cut node at its end.
        proof: how its factor is proved.
        metric: positive weights at `start`: one number, one a channel (first axis), or one an entry, flat.
        multipliers: by node name. An elementwise node has t > 0 (one number, one a channel or one an entry, flat);
            a vector node with a gain has one number (on a grid one, or one a channel); sorting in groups has two rows
            (lambda, gamma) of one number a group or one in all. A mask on a grid is named "mask:NODE" after the node
            whose value is masked, and is an elementwise node of slopes [0, 1].
        grid: for `Proof.GRID` the grid, else None.
    """

    start: str
    stop: str
    proof: Proof
    metric: Float[Tensor, " weights"] = dataclasses.field(default_factory=lambda: torch.ones(1, dtype=torch.float64))
    multipliers: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    grid: Grid | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """One bound with its proof.

    Attributes:
        bound: the claimed upper bound of the Lipschitz constant, not squared.
        pieces: from the input to the output.
        target: None for the whole output; (i, j) for the difference of outputs i and j, (i, -1) for output i alone,
            of the flattened output.
        method: how the multipliers were found, in words; informative.
    """

    bound: float
    pieces: tuple[Piece, ...]
    target: tuple[int, int] | None = None
    method: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """Claims about one network.

    Attributes:
        digest: `network.digest.digest` of the network as read (not folded).
        norm: of inputs and outputs.
        claims: at least one; the first is about the whole output.
        region: where the claims hold.
        model: what was read, informative.
        created: date and time, informative.
        netgain: the version that wrote it, informative.
    """

    digest: str
    norm: Norm
    claims: tuple[Claim, ...]
    region: str = "global"
    model: str = ""
    created: str = ""
    netgain: str = ""
