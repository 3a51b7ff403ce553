"""At least one example of every linear map, and exact rational reference matrices."""

from fractions import Fraction

import torch

from netgain.linear.base import AbstractLinearMap
from netgain.linear.chain import Chain, ChainUncertainty
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.dense import Dense
from netgain.linear.diagonal import Diagonal
from netgain.linear.reshape import Reshape
from netgain.linear.selection import Selection
from netgain.linear.separable import Separable


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spread(*shape, seed=0, scale=1e-3):
    """Positive error bounds."""
    return random(*shape, seed=seed + 1000).abs() * scale


def examples() -> dict[str, AbstractLinearMap]:
    dense = Dense(random(3, 4), (2,), spread(3, 4))
    separable = Separable((random(2, 3), None, random(4, 2)), (3, 5, 2), (spread(2, 3), None, spread(4, 2)))
    chain = Chain((Reshape((8,), (2, 4)), dense, Diagonal(random(2, 1, seed=3), (2, 3), spread(2, 1, seed=3))))
    return {
        "reshape": Reshape((2, 3), (6,)),
        "dense": Dense(random(3, 5)),
        "dense with lead and error": dense,
        "diagonal": Diagonal(random(3, 1), (2, 3, 4)),
        "diagonal scalar": Diagonal(torch.tensor(2.5), (2, 3), torch.tensor(0.1)),
        "selection": Selection(torch.tensor([1, -1, 1, 0, 2, 1]), (3,), (2, 3)),
        "separable": separable,
        "separable with one error": Separable((random(2, 3), random(4, 2)), (3, 2), (spread(2, 3), None)),
        "separable identity": Separable((None, None), (3, 2)),
        "conv 1d": Conv(random(4, 1, 3), (2, 7), (2,), ((1, 2),), (2,), 2, spread(4, 1, 3)),
        "conv 2d": Conv(random(3, 2, 3, 2), (2, 5, 4), (2, 1), ((1, 0), (2, 1)), (1, 2)),
        "conv 3d": Conv(random(2, 1, 2, 1, 2), (2, 3, 2, 4), (1, 1, 2), ((0, 1), (0, 0), (1, 1)), (1, 1, 1), 2),
        "conv circular": Conv(random(2, 2, 3, 3), (2, 3, 4), (1, 2), ((1, 1), (3, 2)), (1, 2), circular=True),
        "conv that skips the end": Conv(random(1, 1, 2), (1, 6), (4,), ((0, 1),), (1,)),
        "conv transposed 1d": ConvTransposed(random(4, 1, 3), (4, 3), (2,), ((1, 2),), (1,), (2,), 2, spread(4, 1, 3)),
        "conv transposed 2d": ConvTransposed(random(2, 3, 3, 2), (2, 2, 3), (2, 3), ((1, 1), (0, 0)), (1, 2), (1, 1)),
        "conv transposed 3d": ConvTransposed(
            random(1, 1, 2, 2, 1), (1, 2, 1, 2), (1, 2, 1), ((0, 0), (0, 1), (0, 0)), (0, 2, 0), (2, 1, 1)
        ),
        "chain": chain,
        "chain uncertainty": ChainUncertainty(chain.maps),
        "separable uncertainty": ChainUncertainty(tuple(separable.stages())),
    }


Exact = list[list[Fraction]]


def exact(matrix: torch.Tensor) -> Exact:
    """The float64 matrix as fractions."""
    return [[Fraction(entry) for entry in row] for row in matrix.tolist()]


def product(a: Exact, b: Exact) -> Exact:
    columns = list(zip(*b, strict=True))
    return [[sum((x * y for x, y in zip(row, column, strict=True)), Fraction(0)) for column in columns] for row in a]


def true_matrix(one: AbstractLinearMap, seed: int) -> Exact:
    """A matrix that the map may stand for: stored entries moved by their full error up or down."""
    if isinstance(one, Chain):
        result = true_matrix(one.maps[0], seed)
        for k, part in enumerate(one.maps[1:]):
            result = product(true_matrix(part, seed + k + 1), result)
        return result
    stored = exact(one.matrix())
    uncertainty = one.uncertainty()
    if uncertainty is None:
        return stored
    generator = torch.Generator().manual_seed(seed)
    # Dense, Diagonal: each entry of the matrix is a weight of its own; repeated weights may differ, which is harder.
    errors = exact(uncertainty.matrix())
    signs = torch.randint(0, 2, (len(stored), len(stored[0])), generator=generator).tolist()
    return [
        [x + e * (2 * s - 1) for x, e, s in zip(xs, es, ss, strict=True)]
        for xs, es, ss in zip(stored, errors, signs, strict=True)
    ]


def distance_within(one: AbstractLinearMap, truth: Exact) -> bool:
    """Whether the stored matrix is within the map's uncertainty of the true one, in exact arithmetic."""
    stored = exact(one.matrix())
    uncertainty = one.uncertainty()
    errors = exact(uncertainty.matrix()) if uncertainty is not None else [[Fraction(0)] * len(stored[0])] * len(stored)
    rows = zip(stored, truth, errors, strict=True)
    return all(abs(x - t) <= e for xs, ts, es in rows for x, t, e in zip(xs, ts, es, strict=True))
