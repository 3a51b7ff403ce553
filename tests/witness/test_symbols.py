import math
import random

import mpmath
import pytest
import torch

from netgain.core.errors import NoSoundRuleError
from netgain.linear.convolution import Conv
from netgain.witness.geometry import Place, taps
from netgain.witness.symbols import SHIFT_BITS, Lattice, symbol
from tests.witness.grids import any_node, fits, normal, random_conv, transform


def places(one, step=None):
    step = step or (1,) * len(one.stride)
    before = Place(one.weight.shape[1], one.before, step, True)
    behind = Place(one.weight.shape[0], one.behind, tuple(a * b for a, b in zip(step, one.stride, strict=True)), False)
    return before, behind


def shifts(rng, axes):
    return tuple(int(rng.choice([0, 0.5, 0.25, rng.random()]) * 2**SHIFT_BITS) for _ in range(axes))


@pytest.mark.parametrize("seed", range(80))
def test_the_symbols_are_the_convolution_on_the_true_grid(seed):
    """From true grid to frequencies, symbol, and back, equals the matrix: fails for a wrong alias, phase or size."""
    rng = random.Random(seed)
    shape = [(2, 7), (2, 3, 4), (1, 2, 3, 2), (3, 1)][seed % 4]
    (one,) = taps(any_node(), conv := random_conv(rng, shape, rng.choice([1, 2, 3])))
    further = tuple(rng.choice([1, 1, 2]) for _ in one.stride)  # a later stride in the piece: more aliases
    coarsest = tuple(a * b for a, b in zip(one.stride, further, strict=True))
    sizes = tuple(-(-n // s) * s for n, s in zip(fits(one, rng.randrange(3)), coarsest, strict=True))
    lattice = Lattice(sizes, shifts(rng, len(sizes)), coarsest)
    before, behind = places(one)
    blocks = torch.cartesian_prod(*(torch.arange(m) for m in lattice.blocks)).reshape(-1, len(sizes))
    matrices, _ = symbol(lattice, one, before, behind, blocks)
    total = torch.zeros(conv.out_size, conv.in_size, dtype=torch.complex128)
    for block, matrix in zip(blocks, matrices, strict=True):
        total += transform(behind, lattice, block).mH @ matrix @ transform(before, lattice, block)
    assert (total - conv.matrix()).abs().max() < 1e-12


def test_a_grid_below_the_least_wraps():
    conv = Conv(torch.tensor([[[1.0, 0.0, 2.0]]]), (1, 5), (1,), ((1, 1),), (1,))
    (one,) = taps(any_node(), conv)
    assert one.least == (6,)
    for size in (5, 6):
        lattice = Lattice((size,), (2**31,), (1,))
        before, behind = places(one)
        blocks = torch.arange(size)[:, None]
        matrices, _ = symbol(lattice, one, before, behind, blocks)
        parts = zip(blocks, matrices, strict=True)
        total = sum(transform(behind, lattice, b).mH @ m @ transform(before, lattice, b) for b, m in parts)
        assert bool((total - conv.matrix()).abs().max() < 1e-12) == (size == 6)


@pytest.mark.parametrize("seed", range(12))
def test_the_error_bound_holds_and_is_small(seed):
    rng = random.Random(seed)
    shape = [(2, 9), (2, 4, 5), (1, 3, 3, 3)][seed % 3]
    (one,) = taps(any_node(), random_conv(rng, shape, 2))
    axes = len(one.stride)
    lattice = Lattice(fits(one), shifts(rng, axes), one.stride)
    before, behind = places(one)
    block = torch.tensor([[rng.randrange(m) for m in lattice.blocks]])
    (matrix,), error = symbol(lattice, one, before, behind, block)
    assert error.max() < 1e-12
    columns, rows = (math.prod(lattice.aliases(place)) for place in (before, behind))
    with mpmath.workprec(120):
        for column in range(columns):
            alias = torch.cartesian_prod(*(torch.arange(q) for q in lattice.aliases(before))).reshape(-1, axes)[column]
            fractions = [
                (int(block[0, a] + lattice.blocks[a] * alias[a]) + mpmath.mpf(lattice.shifts[a]) / 2**SHIFT_BITS)
                / lattice.sizes[a]
                for a in range(axes)
            ]
            for out in range(len(one.weight)):
                for inner in range(one.weight.shape[1]):
                    turns = [sum(int(t) * f for t, f in zip(o, fractions, strict=True)) for o in one.offsets]
                    terms = zip(one.weight[out, inner], turns, strict=True)
                    exact = sum(mpmath.mpf(float(w)) * mpmath.expjpi(2 * t) for w, t in terms)
                    exact /= mpmath.sqrt(math.prod(one.stride))
                    assert rows == 1
                    computed = mpmath.mpc(complex(matrix[out, inner * columns + column]))
                    assert abs(computed - exact) <= float(error[out, inner * columns + column])


def test_conjugate_blocks_are_met_once():
    assert len(Lattice((9,), (0,), (1,)).representatives()) == 5
    assert len(Lattice((9, 8), (2**31, 0), (1, 1)).representatives()) == 37  # 72 in pairs, 2 their own mirror image
    assert len(Lattice((9,), (2**30,), (1,)).representatives()) == 9
    rng = random.Random(0)
    (one,) = taps(any_node(), random_conv(rng, (2, 6, 6), 3))
    lattice = Lattice(tuple(4 * s * 3 for s in one.stride), (2**31, 0), tuple(2 * s for s in one.stride))
    before, behind = places(one)
    every = torch.cartesian_prod(*(torch.arange(m) for m in lattice.blocks))
    largest = [
        torch.linalg.matrix_norm(symbol(lattice, one, before, behind, blocks)[0], 2).sort().values.unique()
        for blocks in (every, lattice.representatives())
    ]
    for value in largest[0]:
        assert float((largest[1] - value).abs().min()) < 1e-12


def test_weight_errors_enter():
    error = torch.full((1, 2, 3), 1e-5, dtype=torch.float64)
    (one,) = taps(any_node(), Conv(normal(random.Random(0), 1, 2, 3), (2, 6), (1,), ((1, 1),), (1,), error=error))
    _, bound = symbol(Lattice((8,), (0,), (1,)), one, *places(one), torch.tensor([[0]]))
    assert bool((bound >= 3e-5).all() and (bound < 3.001e-5).all())


def test_a_map_at_one_pixel_is_exact():
    (one,) = taps(any_node(), Conv(normal(random.Random(0), 3, 2, 1, 1), (2, 6, 6), (2, 2), ((0, 0), (0, 0)), (1, 1)))
    _, bound = symbol(Lattice((8, 8), (0, 0), (2, 2)), one, *places(one), torch.tensor([[0, 1]]))
    assert not bool(bound.any())


def test_a_grid_whose_turns_are_not_exact_is_refused():
    (one,) = taps(any_node(), Conv(normal(random.Random(0), 1, 1, 3, 3), (1, 4, 4), (1, 1), ((1, 1), (1, 1)), (1, 1)))
    with pytest.raises(NoSoundRuleError, match="64-bit"):
        symbol(Lattice((2047, 2048), (0, 0), (1, 1)), one, *places(one), torch.tensor([[0, 1]]))
