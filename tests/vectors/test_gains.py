"""Known gains, and points where they are attained: a bound one part in a million too small fails here."""

import math

import pytest
import torch

from netgain.core.errors import UsageError
from netgain.core.norms import Norm
from netgain.vectors import (
    AdaptiveMaxPool,
    Extremum,
    GroupNorm,
    GroupSort,
    L2Pool,
    LayerNorm,
    LogSoftmax,
    LogSumExp,
    MaxPool,
    Normalize,
    RMSNorm,
    Softmax,
    Sort,
)
from tests.vectors.test_conformance import jacobian, matrix_norm

L1, L2, LINF = Norm.L1, Norm.L2, Norm.LINF
LEAST, MOST = 1 - 1e-6, 1 + 1e-6


def attains(function, x, norm):
    """The Jacobian norm at x over the gain."""
    return matrix_norm(jacobian(function, x), norm) / function.gain(norm)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
def test_softmax_is_attained_at_two_equal_entries(norm, temperature):
    x = torch.tensor([0.0, 0.0, -400.0, -400.0], dtype=torch.float64)
    assert Softmax((4,), 0, temperature).gain(norm) == pytest.approx(0.5 / temperature, rel=1e-15)
    assert LEAST <= attains(Softmax((4,), 0, temperature), x, norm) <= 1


@pytest.mark.parametrize(("norm", "expected"), [(L1, 4.0), (L2, math.sqrt(5)), (LINF, 2.0)])
def test_log_softmax_is_attained_at_one_hot(norm, expected):
    x = torch.tensor([0.0, 60.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    # The l1 sum is over the winning column; the linf row is a losing one.
    assert LogSoftmax((5,), 0).gain(norm) == pytest.approx(expected, rel=1e-15)
    assert LEAST <= attains(LogSoftmax((5,), 0), x, norm) <= 1


def test_functions_of_one_entry_are_constant():
    for function in (Softmax((1, 4), 0), LogSoftmax((4, 1), 1), LayerNorm((4, 1), 1)):
        assert [function.gain(norm) for norm in Norm] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("norm", list(Norm))
def test_logsumexp_is_attained(norm):
    x = torch.tensor([0.0, 60.0, 0.0], dtype=torch.float64)
    assert LEAST <= attains(LogSumExp((3,), 0), x, norm) <= 1


@pytest.mark.parametrize("count", [2, 3, 10, 64])
def test_layer_norm_l2_is_attained_at_constant_inputs(count):
    function = LayerNorm((count,), 1)
    assert function.gain(L2) == pytest.approx(316.22776601683796, rel=1e-14)
    assert LEAST <= attains(function, torch.full((count,), 3.0, dtype=torch.float64), L2) <= MOST


@pytest.mark.parametrize("count", [2, 3, 4, 8, 64])
def test_layer_norm_linf_holds_and_is_nearly_attained(count):
    """The worst row sum over all two-level shapes of y (own entry, `low` equal ones, the rest) is within 0.1 %."""
    gain = LayerNorm((count,), 1, 1.0).gain(LINF)
    assert gain == LayerNorm((count,), 1, 1.0).gain(L1)
    best = 2 * (1 - 1 / count)
    t = torch.linspace(0.0, 0.95, 96, dtype=torch.float64).reshape(-1, 1, 1)
    level = torch.linspace(-3, 0.5, 141, dtype=torch.float64).reshape(1, -1, 1)
    for low in range(1, count):
        y = torch.zeros(1, 141, count, dtype=torch.float64)
        y[..., 0] = 1.0
        y[..., 1 : 1 + low] = level
        y = y - y.mean(-1, keepdim=True)
        y = y * (t * count / y.square().sum(-1, keepdim=True)).sqrt()
        row = -1 / count - y[..., :1] * y / count
        row[..., 0] += 1
        best = max(best, float((row.abs().sum(-1, keepdim=True) * (1 - t).sqrt()).max()))
    assert best <= gain
    assert gain <= best * 1.001


def test_layer_norm_linf_beats_the_simple_bound():
    """At 64 entries and eps 1e-5: a Jacobian of 627.0 is known, the simple bound is 944."""
    assert 627.0 <= LayerNorm((64,), 1).gain(LINF) <= 645


@pytest.mark.parametrize("count", [2, 5, 9, 64])
@pytest.mark.parametrize("norm", [L1, LINF])
def test_rms_norm_l1_and_linf_are_attained(count, norm):
    """At t = (2b - 1) / (3b), b = (sqrt(n) - 1) / 2, with the own entry at half the angle of the maximum."""
    function = RMSNorm((count,), 1, 1.0)
    b = (math.sqrt(count) - 1) / 2
    t = max(0.0, (2 * b - 1) / (3 * b))
    angle = math.atan2(math.sqrt(count - 1), -1.0) / 2
    w = torch.full((count,), math.sin(angle) * math.sqrt(count / (count - 1)), dtype=torch.float64)
    w[0] = math.sqrt(count) * math.cos(angle)
    # mean of squares m with t = m / (m + 1)
    assert LEAST <= attains(function, w * math.sqrt(t / (1 - t)), norm) <= MOST


def test_rms_norm_l2_is_attained_at_zero():
    assert RMSNorm((4,), 1, 2.0**-23).gain(L2) == pytest.approx(2896.309, rel=1e-6)
    assert LEAST <= attains(RMSNorm((4,), 1, 1e-4), torch.zeros(4, dtype=torch.float64), L2) <= MOST


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("count", [2, 5, 16])
def test_normalize_is_attained_on_the_ball(count, norm):
    function = Normalize((count,), 0, 0.25)
    angle = math.atan2(math.sqrt(count - 1), -1.0) / 2
    x = torch.full((count,), math.sin(angle) / math.sqrt(count - 1), dtype=torch.float64)
    x[0] = math.cos(angle)
    assert LEAST <= attains(function, x * 0.25 * (1 + 1e-9), norm) <= MOST


@pytest.mark.parametrize("function", [LayerNorm((4,), 1, 0.0), RMSNorm((4,), 1, 0.0), Normalize((4,), 0, 0.0)])
def test_without_eps_there_is_no_gain(function):
    assert [function.gain(norm) for norm in Norm] == [math.inf] * 3
    zero = torch.zeros(1, 4, dtype=torch.float64)
    assert bool((function.error(zero, zero + 0.1) == math.inf).all())


@pytest.mark.parametrize("norm", list(Norm))
def test_group_norm_has_the_gain_of_a_group(norm):
    assert GroupNorm((8, 3), 4).gain(norm) == LayerNorm((6,), 1).gain(norm)


@pytest.mark.parametrize(
    ("function", "windows"),
    [
        (MaxPool((1, 9, 9), (3, 3), (2, 2), (0, 0), (1, 1)), 4),
        (MaxPool((1, 9, 9), (3, 3), (1, 1), (1, 1), (1, 1)), 9),
        (MaxPool((1, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1)), 1),
        (MaxPool((1, 12), (3,), (2,), (0,), (2,)), 3),  # ceil(3 / 2) = 2 would be too small
        (MaxPool((1, 12), (2,), (2,), (0,), (3,)), 1),
        (MaxPool((1, 3), (3,), (1,), (1,), (1,)), 3),
        (MaxPool((1, 3), (3,), (1,), (0,), (1,)), 1),  # one window only: the input is small
        (MaxPool((1, 4, 4, 4), (2, 2, 2), (1, 1, 1), (0, 0, 0), (1, 1, 1)), 8),
        (AdaptiveMaxPool((1, 7), (3,)), 2),
        (AdaptiveMaxPool((1, 3), (7,)), 3),
        (AdaptiveMaxPool((1, 6, 6), (1, 1)), 1),
    ],
)
def test_max_pool_counts_windows_and_attains_them(function, windows):
    assert [function.gain(norm) for norm in (L1, L2, LINF)] == pytest.approx(
        [windows, math.sqrt(windows), 1], rel=1e-15
    )
    size = math.prod(function.in_shape)
    most = 0.0
    for place in range(size):
        spike = torch.zeros(size, dtype=torch.float64)
        spike[place] = 1.0
        most = max(most, float(function.value(spike.reshape(1, *function.in_shape)).sum()))
    assert most == windows


@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.parametrize("settings", [(3, 2, 1, 1), (2, 2, 0, 1), (3, 2, 0, 2), (2, 3, 1, 1), (3, 1, 1, 2)])
def test_max_pool_agrees_with_torch(settings, mode):
    kernel, stride, padding, dilation = settings
    for size in (5, 6, 7, 8, 9):
        function = MaxPool((2, size, size), *((v, v) for v in (kernel, stride, padding, dilation)), mode)
        x = torch.randn(3, 2, size, size, dtype=torch.float64)
        assert torch.equal(
            function.value(x), torch.nn.functional.max_pool2d(x, kernel, stride, padding, dilation, mode)
        )


def test_l2_pool_agrees_with_torch_and_is_attained():
    function = L2Pool((2, 6, 6), (2, 2), (2, 2))
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(function.value(x), torch.nn.functional.lp_pool2d(x, 2, 2), rtol=1e-14, atol=0)
    assert [function.gain(norm) for norm in (L1, L2, LINF)] == pytest.approx([1, 1, 2], rel=1e-15)
    ones = torch.ones(2, 6, 6, dtype=torch.float64)
    assert LEAST <= attains(function, ones, LINF) <= 1
    assert LEAST <= attains(function, ones, L2) <= 1 + 1e-12
    overlapping = L2Pool((1, 6), (3,), (1,))
    spike = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    assert overlapping.gain(L2) == pytest.approx(math.sqrt(3), rel=1e-15)
    assert LEAST <= attains(overlapping, spike, L2) <= 1 + 1e-12
    zero = torch.zeros(1, 6, dtype=torch.float64)
    assert bool((jacobian(overlapping, zero) == 0).all())


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize(
    "function",
    [Sort((5,), 0), Sort((5,), 0, True), GroupSort((6,), 0, 2), Extremum((5,), 0), Extremum((5,), 0, True, False)],
)
def test_rearrangements_have_gain_one(function, norm):
    x = torch.randperm(math.prod(function.in_shape), generator=torch.Generator().manual_seed(0)).double()
    assert function.gain(norm) == 1.0
    assert attains(function, x, norm) == 1.0


def test_group_sort_is_max_min():
    x = torch.tensor([[3.0, 1.0, -2.0, 5.0]])
    assert GroupSort((4,), 0, 2).value(x).tolist() == [[1.0, 3.0, -2.0, 5.0]]


def test_layer_norm_local_error_uses_the_spread():
    """Away from constant inputs the local rate is far below the global gain of 1 / sqrt(eps)."""
    function = LayerNorm((64,), 1)
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert float(function.error(x, torch.full_like(x, 0.01)).max()) < 0.06
    assert float(function.error(x, torch.full_like(x, 10.0)).max()) <= 64 * 10 * 316.3


@pytest.mark.parametrize(
    "build",
    [
        lambda: Softmax((3,), 1),
        lambda: Softmax((3,), 0, 0.0),
        lambda: Softmax((3,), 0, math.nan),
        lambda: LogSoftmax((3,), -1),
        lambda: LogSumExp((0,), 0),
        lambda: LayerNorm((3,), 2),
        lambda: LayerNorm((3,), 0),
        lambda: LayerNorm((3,), 1, -1e-5),
        lambda: LayerNorm((3,), 1, math.nan),
        lambda: GroupNorm((4, 2), 3),
        lambda: RMSNorm((0,), 1, 1e-5),
        lambda: Normalize((3,), 0, -1.0),
        lambda: Sort((3,), 3),
        lambda: GroupSort((5,), 0, 2),
        lambda: GroupSort((4,), 0, 0),
        lambda: Extremum((3, 0), 1),
        lambda: MaxPool((1, 2), (3,), (1,), (0,), (1,)),
        lambda: MaxPool((1, 4), (2,), (0,), (0,), (1,)),
        lambda: MaxPool((1, 4), (2,), (1,), (-1,), (1,)),
        lambda: MaxPool((1, 4), (2,), (1,), (2,), (1,)),
        lambda: MaxPool((1, 4), (2, 2), (1,), (0,), (1,)),
        lambda: AdaptiveMaxPool((1, 4), (0,)),
        lambda: L2Pool((1, 2), (3,), (1,)),
        lambda: L2Pool((1, 4), (2,), (1,), -1.0),
    ],
)
def test_bad_settings_are_refused(build):
    with pytest.raises(UsageError):
        build()
