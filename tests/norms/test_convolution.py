import dataclasses
import math
import random

import pytest
import torch

from benchmarks.kernels import random_kernel, trained_like_kernel
from netgain.core.errors import UsageError
from netgain.core.norms import Norm
from netgain.linear.convolution import Conv, ConvTransposed
from netgain.linear.selection import Selection
from netgain.norms.convolution import conv_norm, norm
from netgain.norms.operator import operator_norm


@pytest.fixture
def no_matrix(monkeypatch):
    """Keep small operators from being written out, so that the Fourier methods are what is tested."""
    monkeypatch.setattr(norm, "matrix_work", lambda conv: math.inf)


def conv(weight, size, *, stride=1, padding=0, dilation=1, groups=1, circular=False):
    axes = weight.dim() - 2
    return Conv(
        weight.double(),
        (weight.shape[1] * groups, *(size,) * axes),
        (stride,) * axes,
        ((padding, padding),) * axes,
        (dilation,) * axes,
        groups,
        circular=circular,
    )


def dense(linear_map) -> float:
    return float(torch.linalg.matrix_norm(linear_map.matrix(), 2))


def random_convolution(rng: random.Random) -> Conv | ConvTransposed:
    """Any convolution of the grammar that torch accepts: 1 to 3 axes, uneven padding, groups, transposed, circular."""
    while True:
        axes = rng.choice([1, 1, 2, 2, 2, 3])
        kernel = [rng.randint(1, 4 if axes < 3 else 2) for _ in range(axes)]
        grid = [rng.randint(1, {1: 12, 2: 6, 3: 3}[axes]) for _ in range(axes)]
        stride = tuple(rng.randint(1, 3) for _ in range(axes))
        dilation = tuple(rng.randint(1, 2) for _ in range(axes))
        padding = tuple((rng.randint(0, 2), rng.randint(0, 2)) for _ in range(axes))
        groups, rows, columns = rng.choice([1, 1, 2, 3]), rng.randint(1, 3), rng.randint(1, 3)
        kind = rng.choice(["zeros", "zeros", "circular", "transposed"])
        generator = torch.Generator().manual_seed(rng.randrange(2**31))
        try:
            if kind == "transposed":
                weight = torch.randn(columns * groups, rows, *kernel, generator=generator).double()
                extra = tuple(rng.randint(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True))
                found = ConvTransposed(weight, (columns * groups, *grid), stride, padding, extra, dilation, groups)
                if any(
                    sum(p) > (n - 1) * s + d * (k - 1) + 1
                    for n, s, d, k, p in zip(grid, stride, dilation, kernel, padding, strict=True)
                ):
                    continue
            else:
                weight = torch.randn(rows * groups, columns, *kernel, generator=generator).double()
                shape = (columns * groups, *grid)
                found = Conv(weight, shape, stride, padding, dilation, groups, circular=kind == "circular")
        except Exception:  # configurations that no convolution has
            continue
        if found.in_size * found.out_size <= 100_000:
            return found


def check_random(seed: int, count: int) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        one = random_convolution(rng)
        found, true = conv_norm(one), dense(one)
        assert found.lower.value * (1 - 1e-12) <= true <= found.upper.value * (1 + 1e-12), one


# Known values


@pytest.mark.parametrize("size", [3, 7, 56])
def test_all_ones_is_the_square_of_a_tridiagonal_toeplitz_matrix(size, no_matrix):
    true = (1 + 2 * math.cos(math.pi / (size + 1))) ** 2
    found = conv_norm(conv(torch.ones(1, 1, 3, 3), size, padding=1))
    assert found.lower.value <= true <= found.upper.value
    assert found.upper.value <= true * (1 + 2e-4)


def test_identity_average_and_single_pixel():
    identity = torch.zeros(8, 8, 3, 3)
    identity[:, :, 1, 1] = torch.eye(8)
    assert conv_norm(conv(identity, 40, padding=1)).upper.value == pytest.approx(1, abs=1e-6)
    average = torch.full((1, 1, 4, 4), 1 / 16)
    assert conv_norm(conv(average, 512, stride=4)).upper.value == pytest.approx(1 / 4, rel=1e-6)
    covering = torch.randn(5, 6, 9, 9, generator=torch.Generator().manual_seed(0))
    true = float(torch.linalg.matrix_norm(covering.double().reshape(5, -1), 2))
    assert true <= conv_norm(conv(covering, 9)).upper.value <= true * (1 + 2e-6)


def test_one_by_one_convolution_is_its_matrix():
    weight = torch.randn(40, 30, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    true = float(torch.linalg.matrix_norm(weight[:, :, 0, 0], 2))
    for padding, stride in ((0, 1), (1, 1), (0, 2)):
        found = conv_norm(conv(weight, 50, padding=padding, stride=stride))
        assert found.lower.value <= true <= found.upper.value <= found.lower.value * (1 + 2e-6)


def test_transposed_from_one_pixel_is_its_matrix():
    weight = torch.randn(50, 8, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = conv_norm(ConvTransposed(weight, (50, 1, 1), (1, 1), ((0, 0), (0, 0)), (0, 0), (1, 1)))
    true = float(torch.linalg.matrix_norm(weight.reshape(50, -1), 2))
    assert found.lower.value <= true <= found.upper.value <= true * (1 + 2e-6)


def test_zero_maps():
    assert conv_norm(conv(torch.zeros(2, 2, 3, 3), 400, padding=1)).upper.value == 0
    only_padding = Conv(torch.ones(1, 1, 1).double(), (1, 1), (4,), ((3, 0),), (1,))
    assert conv_norm(only_padding).upper.value == 0


def test_circular_with_dividing_stride_is_exact(no_matrix):
    for stride in (1, 2, 3):
        one = conv(random_kernel(4, 3, (3, 3), stride), 6, stride=stride, padding=1, circular=True)
        true = dense(one)
        assert true <= conv_norm(one).upper.value * (1 + 1e-12) <= true * (1 + 1e-3)


# Random configurations


def test_random_configurations_against_dense_svd(no_matrix):
    check_random(1, 40)


def test_random_configurations_written_out():
    check_random(2, 30)


@pytest.mark.slow
def test_five_hundred_random_configurations(no_matrix):
    check_random(3, 500)


# Tightness


@pytest.mark.parametrize(
    ("rows", "columns", "taps", "size", "stride"),
    [(16, 16, 3, 16, 1), (64, 64, 3, 32, 1), (16, 16, 3, 64, 1), (24, 12, 3, 32, 2), (8, 8, 3, 8, 1)],
)
def test_within_two_per_mille_on_trained_like_kernels(rows, columns, taps, size, stride):
    found = conv_norm(conv(trained_like_kernel(rows, columns, (taps, taps), 0), size, stride=stride, padding=taps // 2))
    assert found.ratio <= 1.002


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_within_two_per_mille_on_larger_trained_like_kernels(seed):
    for rows, columns, taps, size, stride in [(64, 64, 3, 64, 1), (64, 64, 3, 8, 1), (64, 3, 7, 64, 2)]:
        kernel = trained_like_kernel(rows, columns, (taps, taps), seed)
        assert conv_norm(conv(kernel, size, stride=stride, padding=taps // 2)).ratio <= 1.002


def test_flat_symbol_is_found_flat(no_matrix):
    # K = P z + (1 - P) for a projection P is orthogonal at every frequency.
    basis = torch.linalg.qr(torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    projection = basis @ basis.T
    weight = torch.stack([projection, torch.eye(6).double() - projection], 2)
    found = conv_norm(conv(weight, 300, padding=1))
    assert found.upper.value == pytest.approx(1, abs=1e-3)
    assert found.ratio <= 1.002


# Defects of public tools


def test_zero_padding_exceeds_the_circular_norm(no_matrix):
    weight = torch.tensor([[[0.0, 1.0, -1.0]]])
    zero = conv_norm(conv(weight, 3, padding=1))
    circular = conv_norm(conv(weight, 3, padding=1, circular=True))
    assert zero.upper.value >= 1.80193
    assert circular.upper.value == pytest.approx(math.sqrt(3), rel=1e-3)


def test_groups_take_the_largest_norm_not_the_product(no_matrix):
    weight = torch.full((4, 1, 1, 1), 0.5)
    assert conv_norm(conv(weight, 9, groups=4)).upper.value == pytest.approx(0.5, rel=1e-6)
    several = random_kernel(6, 2, (3, 3), 0)
    one = conv(several, 5, padding=1, groups=3)
    assert dense(one) <= conv_norm(one).upper.value <= 1.2 * dense(one)


def test_bound_is_not_the_symbol_sampled_at_kernel_size(no_matrix):
    # The symbol of (1, -1, 1) peaks at pi, between the frequencies of a transform of the kernel's size.
    weight = torch.tensor([1.0, -1.0, 1.0]).outer(torch.tensor([1.0, -1.0, 1.0]))[None, None].double()
    sampled = float(torch.fft.fft2(weight[0, 0]).abs().max())
    true = (1 + 2 * math.cos(math.pi / 13)) ** 2
    assert sampled < 0.6 * true
    assert true <= conv_norm(conv(weight, 12, padding=1)).upper.value <= true * 1.002


def test_reflecting_padding_of_a_kernel_is_covered_with_its_selection(no_matrix):
    # The padding copies pixels (norm 4/3 with this kernel of norm 1): it has to be a map of its own, never zeros.
    axes = torch.tensor([-1, 0, 1])
    weight = torch.zeros(9, 1, 3, 3)
    for number, (row, column) in enumerate(torch.cartesian_prod(axes, axes).tolist()):
        weight[number, 0, row + 1, column + 1] = 1 / 3
    plain = conv_norm(conv(weight, 6, padding=1))
    unrolled = conv(weight, 8, padding=0)
    picture = torch.arange(36.0).reshape(1, 1, 6, 6).double()
    index = torch.nn.functional.pad(picture, (1, 1, 1, 1), mode="reflect").long().flatten()
    padding = Selection(index, (1, 6, 6), (1, 8, 8))
    true = float(torch.linalg.matrix_norm(unrolled.matrix() @ padding.matrix(), 2))
    assert true == pytest.approx(4 / 3, rel=1e-6)
    assert plain.upper.value <= 1 + 1e-3
    assert true <= conv_norm(unrolled).upper.value * operator_norm(padding, Norm.L2).upper.value


def test_average_patch_multiplicity_is_no_bound(no_matrix):
    true = (1 + 2 * math.cos(math.pi / 57)) ** 2
    assert 8.8929 < true <= conv_norm(conv(torch.ones(1, 1, 3, 3), 56, padding=1)).upper.value


# Rounding and bad input


@pytest.mark.parametrize("exponent", [-1060, -1000, 900, 1000])
def test_huge_and_subnormal_kernels(exponent, no_matrix):
    weight = random_kernel(2, 2, (3, 3), 0)
    scaled = weight * 2.0 ** (exponent // 2) * 2.0 ** (exponent - exponent // 2)
    true = dense(conv(scaled * 2.0 ** -(exponent // 2) * 2.0 ** -(exponent - exponent // 2), 6, padding=1))
    found = conv_norm(conv(scaled, 6, padding=1))
    low, high = math.ldexp(true, exponent), found.upper.value
    assert found.lower.value <= low * (1 + 1e-12) + 1e-321
    assert low * (1 - 1e-12) - 1e-321 <= high <= low * 1.1


def test_subnormal_taps_next_to_large_ones(no_matrix):
    found = conv_norm(conv(torch.tensor([[[1e300, 1e-310]]], dtype=torch.float64), 20))
    assert 1e300 * (1 - 1e-12) <= found.upper.value <= 1.01e300


def test_error_of_the_kernel_is_added(no_matrix):
    weight = random_kernel(3, 3, (3, 3), 0)
    exact = conv(weight, 6, padding=1)
    error = torch.full_like(weight, 1e-3)
    found = conv_norm(dataclasses.replace(exact, error=error))
    for sign in (1.0, -1.0):
        for pattern in (torch.ones_like(weight), torch.sign(weight)):
            true = dense(dataclasses.replace(exact, weight=weight + sign * error * pattern))
            assert found.lower.value <= true <= found.upper.value
    assert found.upper.value > conv_norm(exact).upper.value


def test_lower_side_allows_for_the_error_of_a_constant_symbol():
    one = conv(random_kernel(3, 3, (1, 1), 0), 4)
    found = conv_norm(dataclasses.replace(one, error=0.5 * one.weight.abs()))
    assert found.lower.value <= dense(dataclasses.replace(one, weight=0.5 * one.weight))


def test_error_of_a_matrix_sized_circular_convolution():
    one = conv(random_kernel(2, 2, (3, 3), 0), 2, padding=1, circular=True)
    widened = dataclasses.replace(one, error=torch.full_like(one.weight, 1e-2))
    true = dense(dataclasses.replace(one, weight=one.weight + 1e-2 * one.weight.sign()))
    assert true <= conv_norm(widened).upper.value
    assert dense(one) <= conv_norm(one).upper.value <= dense(one) * (1 + 2e-6)


def test_time_limit_weakens_but_stays_sound(no_matrix):
    one = conv(random_kernel(6, 6, (3, 3), 0), 9, padding=1)
    found = conv_norm(one, seconds=1e-9)
    assert dense(one) <= found.upper.value <= 1.5 * dense(one)


def test_result_says_what_it_is():
    found = conv_norm(conv(torch.ones(1, 1, 3), 5, padding=1))
    assert found.upper.norm is Norm.L2
    assert found.upper.quantity == "operator norm"


def test_tolerance_must_be_positive():
    with pytest.raises(UsageError, match="rtol"):
        conv_norm(conv(torch.ones(1, 1, 3), 5), rtol=0.0)


def test_taps_that_cancel_on_a_small_circular_grid():
    """One input position, read by all three taps: their sum 2^-60 is lost in float64, not in the norm."""
    weight = torch.tensor([[[1.0, 2.0**-60, -1.0]]], dtype=torch.float64)
    for kind in Norm:
        found = operator_norm(Conv(weight, (1, 1), (1,), ((1, 1),), (1,), circular=True), kind)
        assert found.lower.value <= 2.0**-60 <= found.upper.value
        assert found.upper.value < 1e-14
