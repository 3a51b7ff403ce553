import math

import mpmath
import pytest
import torch

from benchmarks.kernels import random_kernel, trained_like_kernel
from netgain.core.rounding import UNIT_ROUNDOFF
from netgain.linear.convolution import Conv
from netgain.norms.convolution.cells import Cover, Grid, sampling_factor
from netgain.norms.convolution.stencil import stencil
from netgain.norms.convolution.symbol import PHASE_ERROR, Items, Symbol


def symbol_of(weight, size=20, **options):
    axes = weight.dim() - 2
    stride, padding = options.get("stride", 1), options.get("padding", 1)
    found = stencil(
        Conv(
            weight.double(),
            (weight.shape[1], *(size,) * axes),
            (stride,) * axes,
            ((padding, padding),) * axes,
            (1,) * axes,
        )
    )
    assert found is not None
    return Symbol(found), 2.0**found.exponent


def items(*places):
    return Items(torch.zeros(len(places), dtype=torch.int64), torch.tensor(places, dtype=torch.float64))


def test_phases_are_within_the_assumed_error():
    symbol, _ = symbol_of(torch.ones(1, 1, 5, 7), padding=3)
    generator = torch.Generator().manual_seed(0)
    places = symbol.rounded(torch.rand(300, 2, generator=generator, dtype=torch.float64))
    cos, sin = symbol.phases(places)
    with mpmath.workdps(40):
        for row in range(0, 300, 3):
            for column in range(0, 35, 4):
                turns = sum(
                    mpmath.mpf(float(q)) * mpmath.mpf(float(x))
                    for q, x in zip(symbol.offsets[column], places[row], strict=True)
                )
                exact = mpmath.expjpi(2 * turns)
                assert abs(mpmath.mpc(float(cos[row, column]), float(sin[row, column])) - exact) <= PHASE_ERROR


def test_library_sine_and_cosine_are_within_four_units_in_the_last_place():
    angle = torch.linspace(-math.pi, math.pi, 4001, dtype=torch.float64)
    with mpmath.workdps(40):
        for function, exact in ((torch.cos, mpmath.cos), (torch.sin, mpmath.sin)):
            for x, y in zip(angle.tolist(), function(angle).tolist(), strict=True):
                unit = max(math.ulp(y), 2.0**-1074)
                assert abs(mpmath.mpf(y) - exact(mpmath.mpf(x))) <= 4 * unit


def test_evaluation_error_covers_the_true_symbol():
    weight = random_kernel(3, 4, (3, 3), 0)
    symbol, scale = symbol_of(weight)
    place = symbol.rounded(torch.tensor([[0.123, 0.777]], dtype=torch.float64))
    real, imag = symbol.parts(Items(torch.zeros(1, dtype=torch.int64), place))
    with mpmath.workdps(40):
        total = mpmath.mpf(0)
        for row in range(symbol.rows):
            for column in range(symbol.columns):
                exact = mpmath.mpc(0)
                for offset, tap in zip(symbol.offsets.tolist(), symbol.kernel[0, row, column].tolist(), strict=True):
                    turns = sum(mpmath.mpf(q) * mpmath.mpf(x) for q, x in zip(offset, place[0].tolist(), strict=True))
                    exact += mpmath.mpf(tap) * mpmath.expjpi(2 * turns)
                total += abs(exact - mpmath.mpc(float(real[0, row, column]), float(imag[0, row, column]))) ** 2
        assert mpmath.sqrt(total) <= symbol.error
    assert symbol.error < 1e-13
    assert scale > 0


@pytest.mark.parametrize("kernel", [random_kernel, trained_like_kernel])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 5), (9, 2), (2, 9), (40, 30)])
def test_a_frequency_passes_just_above_its_norm_and_fails_just_below(kernel, rows, columns):
    symbol, _ = symbol_of(kernel(rows, columns, (3, 3), 1))
    places = items((0.0, 0.0), (0.5, 0.5), (0.125, 0.3125), (0.75, 0.0))
    true = torch.linalg.svdvals(torch.complex(*symbol.parts(places)))[:, 0]
    assert bool(symbol.below(places, true * (1 + 1e-9)).all())
    assert not bool(symbol.below(places, true * (1 - 1e-9)).any())
    assert not bool(symbol.below(places, torch.zeros_like(true)).any())


def test_no_frequency_passes_too_low_on_nearly_singular_symbols():
    generator = torch.Generator().manual_seed(0)
    for trial in range(40):
        left, right = (torch.randn(12, 1, generator=generator, dtype=torch.float64) for _ in range(2))
        noise = 10.0 ** -(trial % 10) * torch.randn(12, 12, 3, generator=generator, dtype=torch.float64)
        symbol, _ = symbol_of((left @ right.T)[:, :, None] * torch.tensor([1.0, 2.0, 1.0]) + noise)
        place = items((0.0,), (0.25,))
        true = torch.linalg.svdvals(torch.complex(*symbol.parts(place)))[:, 0]
        for slack in (1e-3, 1e-6, 1e-9, 1e-11):
            assert not bool(symbol.below(place, true * (1 - slack)).any())


def test_cell_condition_is_sharp_for_the_extremal_polynomial():
    # |1 + exp(2 pi i D x)| = 2 |cos(pi D x)| has equality in the Bernstein-Szego inequality everywhere.
    weight = torch.zeros(1, 1, 5)
    weight[0, 0, 0] = weight[0, 0, 4] = 1.0
    found = stencil(Conv(weight.double(), (1, 50), (1,), ((0, 0),), (1,)))
    assert found is not None
    assert found.degrees == (1,)  # the symbol is a polynomial in exp(4 i theta)
    symbol = Symbol(found)
    scale = 2.0**found.exponent
    for size, shift in ((7, 0.5), (12, 0.25), (31, 0.0)):
        grid = Grid((size,), (shift,))
        true = max(2 * abs(math.cos(math.pi * (k + shift) / size)) for k in range(size)) / scale
        exact = Cover(slack=1e-7, cells=math.inf)
        assert true <= exact(symbol, grid, true * (1 + 1e-9), 2.0 / scale) <= true * (1 + 1e-6)
        cells = Cover(slack=1e-7, cells=1e4)(symbol, grid, true * (1 + 1e-9), 2.0 / scale)
        assert true <= cells <= true * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_cells_bound_the_maximum_over_grids_and_over_all_frequencies(seed):
    symbol, _ = symbol_of(random_kernel(2, 2, (3, 4), seed))
    fine = torch.linspace(0, 1, 129, dtype=torch.float64)[:-1]
    places = symbol.rounded(torch.cartesian_prod(fine, fine))
    sampled = float(symbol.largest(Items(torch.zeros(len(places), dtype=torch.int64), places)).max())
    everywhere = Cover(slack=1e-3, cells=1e5)(symbol, Grid((None, None), (0.0, 0.0)), sampled, math.inf)
    assert sampled <= everywhere <= sampled * 1.005
    for sizes, shifts in (((9, 11), (0.5, 0.0)), ((16, 7), (0.25, 0.5)), ((5, 6), (0.0, 0.0))):
        axes = [(torch.arange(n, dtype=torch.float64) + a) / n for n, a in zip(sizes, shifts, strict=True)]
        points = symbol.rounded(torch.cartesian_prod(*axes))
        true = float(symbol.largest(Items(torch.zeros(len(points), dtype=torch.int64), points)).max())
        for cells, sigma in ((1e5, everywhere), (math.inf, symbol.crude)):
            found = Cover(slack=1e-6, cells=cells)(symbol, Grid(sizes, shifts), true, sigma)
            assert true * (1 - 1e-9) <= found <= true * (1 + 1e-5)
        assert sampled <= true * sampling_factor(symbol, Grid(sizes, shifts))


def test_sampling_factor_is_attained():
    weight = torch.zeros(1, 1, 4)
    weight[0, 0, 0] = weight[0, 0, 1] = 1.0
    symbol, scale = symbol_of(weight, padding=0)
    # 2 |cos(pi x)| has its peak half-way between the points of this grid.
    grid = Grid((9,), (0.5,))
    samples = 2 * math.cos(math.pi / 18)
    assert 2.0 * (1 - 1e-12) <= samples * sampling_factor(symbol, grid) <= 2.0 * (1 + 1e-12)
    assert scale == 2.0


@pytest.mark.parametrize("degree", [1, 22, 30, 200, 4095])
def test_sampling_factor_is_rounded_up_where_the_cosine_is_small(degree):
    symbol, _ = symbol_of(torch.ones(1, 1, degree + 1), size=degree + 20)
    found = sampling_factor(symbol, Grid((degree + 1,), (0.5,)))
    with mpmath.workdps(40):
        exact = 1 / mpmath.cos(mpmath.pi * degree / (2 * (degree + 1)))
        assert exact <= found <= exact * (1 + mpmath.mpf(10) ** -10)


def test_start_far_too_low_is_mended():
    symbol, _ = symbol_of(random_kernel(3, 3, (3, 3), 0))
    places = symbol.rounded(torch.rand(2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    seen = float(symbol.largest(Items(torch.zeros(2000, dtype=torch.int64), places)).max())
    assert seen <= Cover(slack=1e-2, cells=1e5)(symbol, Grid((None, None), (0.0, 0.0)), 0.01 * seen, math.inf)


def embedded(taps, size, before, points, shift):
    """The omega-circulant matrix of that size and shift, written out."""
    weight = taps.reshape(-1)
    low = -before
    result = torch.zeros(points, points, dtype=torch.complex128)
    for j in range(points):
        for k, value in enumerate(weight.tolist()):
            wraps, m = divmod(j + low + k, points)
            result[j, m] += value * complex(
                math.cos(2 * math.pi * shift * wraps), math.sin(2 * math.pi * shift * wraps)
            )
    return result


@pytest.mark.parametrize(("taps", "size", "before"), [(3, 4, 1), (4, 5, 2), (5, 6, 0), (2, 6, 3)])
def test_least_size_holds_the_matrix_and_one_less_does_not(taps, size, before):
    weight = torch.arange(1.0, taps + 1).reshape(1, 1, taps).double()
    after = max(taps - 1 - before, 0)
    one = Conv(weight, (1, size), (1,), ((before, after),), (1,))
    found = stencil(one)
    assert found is not None
    least, matrix = found.levels[0].least, one.matrix().to(torch.complex128)
    rows, columns = matrix.shape

    def contains(points):
        # Circulants are invariant under shifts of rows and columns together, so the corner is enough; rows and columns
        # that do not fit must be zero.
        cut = matrix.abs()
        keep_rows = cut.sum(1).nonzero().squeeze(1)
        keep_columns = cut.sum(0).nonzero().squeeze(1)
        whole = embedded(weight, size, before, points, 0.5)
        if int(keep_rows.max() - keep_rows.min()) >= points or int(keep_columns.max() - keep_columns.min()) >= points:
            return False
        block = whole[keep_rows % points][:, keep_columns % points].abs()
        return torch.allclose(block, cut[keep_rows][:, keep_columns])

    assert contains(least)
    assert not contains(least - 1)
    assert rows
    assert columns


def test_phases_of_strides_become_channels():
    found = stencil(Conv(random_kernel(64, 3, (7, 7), 0), (3, 224, 224), (2, 2), ((3, 3), (3, 3)), (1, 1)))
    assert found is not None
    assert found.degrees == (3, 3)
    assert sorted(found.kernel.shape[1:3]) == [12, 64]
    dilated = stencil(Conv(random_kernel(4, 4, (3, 3), 0), (4, 20, 20), (1, 1), ((2, 2), (2, 2)), (2, 2)))
    assert dilated is not None
    assert dilated.degrees == (2, 2)
    assert dilated.levels[0].least == 11


def test_rounding_of_the_centre_is_covered_by_the_resolution():
    symbol, _ = symbol_of(torch.ones(1, 1, 3))
    assert symbol.resolution >= 2.0**-40
    assert symbol.resolution > 1e3 * UNIT_ROUNDOFF


def test_points_that_float64_does_not_hold_are_widened():
    """|1 - exp(2 pi i x)| rises at x = 1/3, which is rounded down: there the norm is 9e-13 below that at 1/3."""
    symbol, scale = symbol_of(torch.tensor([[[1.0, -1.0]]], dtype=torch.float64))
    exact = math.sqrt(3.0) / scale
    found = Cover(slack=1e-14, cells=math.inf)(symbol, Grid((3,), (0.0,)), exact * (1 - 4e-13), symbol.crude)
    assert exact <= found <= exact * (1 + 1e-10)


def test_cells_of_a_grid_allow_for_a_larger_norm_between_its_points():
    """|1 + exp(2 pi i x)| at (k + 1/2) / 64: the cell that holds the largest value has a smaller one at its centre."""
    symbol, scale = symbol_of(torch.ones(1, 1, 2))
    exact = 2 * math.cos(math.pi / 128) / scale
    for start in (1.98, 1.99, 1.995, 1.999):
        found = Cover(slack=1e-6, cells=1e5)(symbol, Grid((64,), (0.5,)), start / scale, 2.0 / scale)
        assert exact * (1 - 1e-13) <= found <= exact * (1 + 1e-5)


@pytest.mark.parametrize("size", [2, 4, 5, 8])
@pytest.mark.parametrize("cells", [1e5, math.inf])
def test_half_of_an_unshifted_grid_holds_the_highest_frequency(size, cells):
    symbol, scale = symbol_of(torch.tensor([[[1.0, -1.0]]]))
    exact = 2 * math.sin(math.pi * (size // 2) / size) / scale
    found = Cover(slack=1e-6, cells=cells)(symbol, Grid((size,), (0.0,)), 0.5 * exact, symbol.crude)
    assert exact * (1 - 1e-13) <= found <= exact * (1 + 1e-5)
