"""Every registered activation against 60-digit arithmetic and interval proofs."""

import itertools
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpmath import iv, mp, mpf

from netgain.activations import ACTIVATIONS, activation
from netgain.activations.curve import Pieces
from netgain.core.errors import UsageError
from tests.activations.references import CASES, REFERENCES

STEPS = {"sign", "floor", "round", "hardshrink", "threshold"}
GROW = 1 + mpf(10) ** -13


def label(case):
    return "-".join([case[0], *(f"{value:g}" for value in case[1].values())])


def scalar(x):
    return torch.tensor(float(x), dtype=torch.float64)


def positive_only(name, parameters):
    return name in {"log", "sqrt", "rsqrt"} or (name == "power" and not float(parameters["exponent"]).is_integer())


def smooth(cases):
    """Cases whose slope is monotone between finitely many turns."""
    return [case for case in cases if isinstance(activation(case[0], **case[1]).slope_range, Pieces)]


def gaps(turns, domain):
    """The open intervals between neighbouring turns."""
    places = sorted({(float(turn.left), float(turn.right)) for turn in turns})
    pairs = [(left[1], right[0]) for left, right in itertools.pairwise(places)]
    return [(a, b) for a, b in pairs if a < b and a >= domain]


def signs(bend, a, b, depth=0):
    """Signs that `bend` takes on [a, b], proved by interval arithmetic and bisection."""
    value = bend(iv.mpf([a, b]))
    if value.a >= 0 or value.b <= 0:
        return {0} if value.a == value.b == 0 else {1 if value.a >= 0 else -1}
    assert depth < 220, f"no sign of the bend on [{a}, {b}]"
    if math.isinf(a) or math.isinf(b):
        middle = (
            min(2 * b, mpf(-8))
            if math.isinf(a) and not math.isinf(b)
            else max(2 * a, mpf(8))
            if a > -mp.inf
            else mpf(0)
        )
    else:
        middle = (mpf(a) + mpf(b)) / 2
    return signs(bend, mpf(a), middle, depth + 1) | signs(bend, middle, mpf(b), depth + 1)


def test_every_activation_has_a_reference_and_a_case():
    assert set(ACTIVATIONS) == set(REFERENCES) == {name for name, _ in CASES}


# ---- known values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "least", "greatest"),
    [
        ("gelu", "-0.128904145185154787", "1.128904145185154787"),
        ("gelu_tanh", "-0.128993068658771766", "1.128993068658771766"),
        ("silu", "-0.099839320128866917", "1.099839320128866917"),
        ("quick_gelu", "-0.099839320128866917", "1.099839320128866917"),
        ("mish", "-0.112526122389462556", "1.088498161251727861"),
        ("hardswish", "-0.5", "1.5"),
        ("sigmoid", "0", "0.25"),
        ("hardsigmoid", "0", "0.1666666666666666667"),
        ("tanh", "0", "1"),
        ("softsign", "0", "1"),
        ("tanhshrink", "0", "1"),
        ("log_sigmoid", "0", "1"),
        ("softplus", "0", "1"),
        ("relu", "0", "1"),
        ("relu6", "0", "1"),
        ("hardtanh", "0", "1"),
        ("softshrink", "0", "1"),
        ("elu", "0", "1"),
        ("celu", "0", "1"),
        ("selu", "0", "1.758099340847376860"),
        ("erf", "0", "1.128379167095512574"),
        ("sin", "-1", "1"),
        ("cos", "-1", "1"),
        ("abs", "-1", "1"),
        ("identity", "1", "1"),
    ],
)
def test_global_slopes_of_the_table(name, least, greatest):
    low, high = activation(name).slope()
    slack = mpf(10) ** -14 * mpf(greatest)
    rounding = mpf(10) ** -18
    assert mpf(least) - slack <= low <= mpf(least) + rounding
    assert mpf(greatest) - rounding <= high <= mpf(greatest) + slack


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("leaky_relu", {"negative_slope": -2.0}, (-2.0, 1.0)),
        ("leaky_relu", {"negative_slope": 3.0}, (1.0, 3.0)),
        ("elu", {"alpha": 2.5}, (0.0, 2.5)),
        ("elu", {"alpha": -0.7}, (-0.7, 1.0)),
        ("celu", {"alpha": 2.5}, (0.0, 1.0)),
        ("celu", {"alpha": -0.7}, (1.0, math.inf)),
        ("clamp", {"min": 0.0}, (0.0, 1.0)),
        ("hardtanh", {"min_val": 0.7, "max_val": 0.7}, (0.0, 0.0)),
        ("hardshrink", {"lambd": -1.0}, (1.0, 1.0)),
        ("threshold", {"threshold": 0.5, "value": 2.0}, (-math.inf, 1.0)),
        ("threshold", {"threshold": 0.5, "value": 0.0}, (0.0, math.inf)),
        ("threshold", {"threshold": 0.5, "value": 0.5}, (0.0, 1.0)),
        ("exp", {}, (0.0, math.inf)),
        ("square", {}, (-math.inf, math.inf)),
        ("power", {"exponent": 3.0}, (0.0, math.inf)),
        ("power", {"exponent": 1.0}, (1.0, 1.0)),
        ("power", {"exponent": 0.0}, (0.0, 0.0)),
        ("reciprocal", {}, (-math.inf, math.inf)),
        ("sign", {}, (0.0, math.inf)),
    ],
)
def test_global_slopes_with_parameters(name, parameters, expected):
    assert activation(name, **parameters).slope() == expected


@pytest.mark.parametrize(
    ("name", "interval", "expected"),
    [
        ("relu", (0.1, 3.0), (1.0, 1.0)),
        ("relu", (-2.0, -0.1), (0.0, 0.0)),
        ("relu", (0.0, 1.0), (0.0, 1.0)),  # the kink at the end counts: generalized derivatives are covered
        ("relu", (0.0, 0.0), (0.0, 1.0)),
        ("relu6", (1.0, 5.0), (1.0, 1.0)),
        ("sign", (1e-300, 2.0), (0.0, 0.0)),
        ("floor", (0.25, 0.75), (0.0, 0.0)),
        ("floor", (0.25, 1.0), (0.0, math.inf)),
        ("round", (0.75, 1.25), (0.0, 0.0)),
        ("round", (-0.5, -0.25), (0.0, math.inf)),
        ("round", (-0.49999999999999994, 0.49999999999999994), (0.0, 0.0)),
        ("floor", (2.0**60, 2.0**60), (0.0, math.inf)),
    ],
)
def test_slopes_on_intervals(name, interval, expected):
    assert activation(name).slope(*interval) == expected


def test_slope_takes_tensors():
    low, high = activation("relu").slope(torch.tensor([-1.0, 1.0]), torch.tensor([1.0, 2.0]))
    assert low.tolist() == [0.0, 1.0]
    assert high.tolist() == [1.0, 1.0]
    low, high = activation("relu").slope(0.5, torch.tensor([1.0, 2.0]))
    assert low.tolist() == [1.0, 1.0]


def test_parameters_broadcast_by_channel():
    prelu = activation("prelu", weight=torch.tensor([0.25, -2.0, 1.5]).reshape(3, 1))
    assert prelu.slope() == (-2.0, 1.5)
    low, high = prelu.slope_range(torch.full((3, 2), -1.0), torch.full((3, 2), 1.0))
    assert low[:, 0].tolist() == [0.25, -2.0, 1.0]
    assert high[:, 1].tolist() == [1.0, 1.0, 1.5]
    least, greatest = prelu.value_range(torch.full((3, 2), -1.0), torch.full((3, 2), -0.5))
    assert torch.all(least[:, 0] <= torch.tensor([-0.25, 1.0, -1.5]))
    assert torch.all(greatest[:, 0] >= torch.tensor([-0.125, 2.0, -0.75]))
    x = torch.randn(4, 3, 2)
    assert torch.equal(prelu.value(x), torch.nn.functional.prelu(x, torch.tensor([0.25, -2.0, 1.5])))


@pytest.mark.parametrize("case", CASES, ids=label)
def test_value_is_torchs_own_and_keeps_the_dtype(case):
    name, parameters = case
    own = {
        "abs": torch.abs, "identity": lambda x: x,
        "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "log_sigmoid": torch.nn.functional.logsigmoid,
        "power": torch.pow, "rrelu": lambda x, lower, upper: torch.nn.functional.rrelu(x, lower, upper),
        "prelu": lambda x, weight: torch.nn.functional.prelu(x, torch.tensor(weight, dtype=x.dtype)),
    }  # fmt: skip
    function = own.get(name) or getattr(torch.nn.functional, name, None) or getattr(torch, name)
    x = torch.tensor([-30.0, -3.5, -1.0, -0.3, 0.0, 0.2, 0.5, 1.0, 2.5, 4.0, 30.0])
    x = x.clamp_min(0.1) if positive_only(name, parameters) else x
    for dtype in (torch.float32, torch.float64):
        got = activation(name, **parameters).value(x.to(dtype))
        assert got.dtype == dtype
        torch.testing.assert_close(got, function(x.to(dtype), **parameters), rtol=1e-6, atol=1e-7)


# ---- global proofs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", smooth(CASES), ids=label)
def test_slope_is_monotone_between_turns(case):
    name, parameters = case
    domain = 0.0 if positive_only(name, parameters) else -math.inf
    for a, b in gaps(activation(name, **parameters).slope_range.turns, domain):
        found = signs(lambda x: REFERENCES[name].bend(x, **parameters), a, b)
        assert not {1, -1} <= found, f"the slope of {name} turns inside ({a}, {b})"


@pytest.mark.parametrize("case", smooth(CASES), ids=label)
def test_turns_of_the_slope_hold_its_values(case):
    name, parameters = case
    domain = 0.0 if positive_only(name, parameters) else -math.inf
    turns = activation(name, **parameters).slope_range.turns
    for turn in turns:
        left, right, low, high = (mpf(float(end)) for end in (turn.left, turn.right, turn.low, turn.high))
        if left < domain:
            assert (low, high) == (-mp.inf, mp.inf)
            continue
        # At kinks and poles the one-sided limits count; infinity is approached to 1e60.
        step = mpf(10) ** -40 if left == right else mpf(0)
        if right - left > 1e-9:  # a whole interval of one slope
            left, right = max(left, -(mpf(10) ** 60)), min(right, mpf(10) ** 60)
            points = [left + mpf(10) ** -40, (left + right) / 2, right - mpf(10) ** -40]
        else:
            points = [mp.sign(left) * mpf(10) ** 60] if mp.isinf(left) else [left - step, right + step]
        for point in points:
            if point < domain or (name, point) == ("power", 0):
                continue
            slope = REFERENCES[name].slope(point, **parameters)
            slack = mpf(10) ** -15 if left == right else mpf(0)
            if abs(slope) > mpf(10) ** 15 or (abs(slope) < mpf(10) ** -15 and mp.isinf(left)):
                continue  # power-like growth or decay: the limits are asserted below
            # A kink may close one interval of constant slope and open the next.
            near = [t for t in turns if float(t.left) <= right and float(t.right) >= left]
            least, most = min(float(t.low) for t in near), max(float(t.high) for t in near)
            assert least - slack <= slope <= most + slack, (name, point, slope)
        assert high - low <= 1e-15 * max(1, abs(low)) or left == right or mp.isinf(left)


@pytest.mark.parametrize("case", smooth(CASES), ids=label)
def test_limits_of_the_slope_at_infinity(case):
    name, parameters = case
    slope = activation(name, **parameters).slope_range
    for sign in (-1, 1):
        if sign < 0 and positive_only(name, parameters):
            continue
        slow = isinstance(slope, Pieces) and name in {
            "power",
            "square",
            "sqrt",
            "rsqrt",
            "reciprocal",
            "log",
            "softsign",
        }
        far = REFERENCES[name].slope(sign * mpf(10) ** (400 if slow else 4), **parameters)
        (turn,) = [turn for turn in slope.turns if sign * math.inf in {float(turn.left), float(turn.right)}]
        limit = mpf(float(turn.high))
        assert abs(far - limit) < 1e-15 or (mp.isinf(limit) and far * mp.sign(limit) > mpf(10) ** 30), (name, sign)


@pytest.mark.parametrize("case", smooth(CASES), ids=label)
def test_function_is_monotone_between_its_turns(case):
    """Between turns of the slope the slope is monotone, so its sign follows from those and the gap's ends."""
    name, parameters = case
    if name in STEPS:
        pytest.skip("covered by random intervals")
    domain = 0.0 if positive_only(name, parameters) else -math.inf
    facts = activation(name, **parameters)
    inner = [turn for turn in facts.slope_range.turns if float(turn.left) >= domain]
    for a, b in gaps(facts.value_range.turns, domain):
        seen = [mpf(float(turn.low)) for turn in inner if a < float(turn.left) and float(turn.right) < b]
        seen += [mpf(float(turn.high)) for turn in inner if a < float(turn.left) and float(turn.right) < b]
        ends = [
            mpf(a) + mpf(10) ** -30 if math.isfinite(a) else None,
            mpf(b) - mpf(10) ** -30 if math.isfinite(b) else None,
        ]
        seen += [REFERENCES[name].slope(end, **parameters) for end in ends if end is not None]
        assert all(s >= -1e-30 for s in seen) or all(s <= 1e-30 for s in seen), (name, a, b, seen)


@pytest.mark.parametrize("case", smooth(CASES), ids=label)
def test_turns_of_the_function_hold_its_values(case):
    name, parameters = case
    if name in STEPS:
        pytest.skip("covered by random intervals")
    for turn in activation(name, **parameters).value_range.turns:
        left, right = float(turn.left), float(turn.right)
        if not (math.isfinite(left) and math.isfinite(right)):
            continue
        for point in {mpf(left), mpf(right), (mpf(left) + mpf(right)) / 2}:
            if point == 0 and (name in {"log", "rsqrt", "reciprocal"} or parameters.get("exponent", 1.0) <= 0):
                continue
            value = REFERENCES[name].phi(point, **parameters)
            assert float(turn.low) <= value <= float(turn.high), (name, point)


# ---- random intervals ---------------------------------------------------------------------------------------------

ENDS = st.one_of(
    st.floats(-12, 12),
    st.sampled_from([
        -3.0,
        -1.5,
        -1.0,
        -0.5,
        0.0,
        0.3,
        0.5,
        0.7,
        1.0,
        2.0,
        3.0,
        6.0,
        1.4142135623730951,
        -1e-300,
        5e-324,
    ]),
    st.floats(-700, 700),
)


def window(case, a, b):
    """An interval in the domain, away from poles."""
    lo, hi = min(a, b), max(a, b)
    name, parameters = case
    if positive_only(name, parameters):
        return abs(lo) + 1e-3, abs(lo) + 1e-3 + (hi - lo)
    if name == "reciprocal" or parameters.get("exponent", 0) < 0:
        lo, hi = (0.25, 0.25 + hi - lo) if b > 0 else (-0.25 + lo - hi, -0.25)
    return lo, hi


@pytest.mark.parametrize("case", CASES, ids=label)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(a=ENDS, b=ENDS, cuts=st.lists(st.floats(0, 1), min_size=3, max_size=6))
def test_ranges_hold_and_are_tight(case, a, b, cuts):
    name, parameters = case
    reference, facts = REFERENCES[name], activation(name, **parameters)
    lo, hi = window(case, a, b)
    low, high = (mpf(float(end)) for end in facts.slope_range(scalar(lo), scalar(hi)))
    least, greatest = (mpf(float(end)) for end in facts.value_range(scalar(lo), scalar(hi)))
    inner = (mpf(lo) + (mpf(hi) - mpf(lo)) * mpf(cut) for cut in cuts)
    points = sorted({mpf(lo), mpf(hi), *(min(max(x, mpf(lo)), mpf(hi)) for x in inner)})
    values = [reference.phi(x, **parameters) for x in points]
    assert least <= min(values)
    assert max(values) <= greatest
    for x, y, f, g in zip(points, points[1:], values, values[1:], strict=False):
        chord = (g - f) / (y - x)
        slack = (abs(f) + abs(g) + mpf(10) ** -300) * mpf(10) ** -50 / (y - x)
        assert low - slack <= chord <= high + slack
    # Tight: the ends are attained at the ends of the interval or at turns inside.
    if isinstance(facts.slope_range, Pieces):
        attained = [reference.slope(x, **parameters) for x in (mpf(lo), mpf(hi))]
        for turn in facts.slope_range.turns:
            if float(turn.left) <= hi and float(turn.right) >= lo:
                attained += [mpf(float(turn.low)), mpf(float(turn.high))]
        # The argument of exp in the slope is rounded, an error of some |x| u; GELU's x density has one of |x| u too.
        size = 1 + max(abs(mpf(lo)), abs(mpf(hi)))
        relative = mpf(10) ** -13 + size * mpf(10) ** -15
        attained = [x if abs(x) < mpf(10) ** 308 else mp.sign(x) * mp.inf for x in attained]
        allowance = mpf(10) ** -15 * size
        most, fewest = max(attained), min(attained)
        # Beyond the largest float64 there is nothing to compare: an end is then that number or infinite.
        assert mp.isinf(most) or high <= most + abs(most) * relative + allowance
        assert mp.isinf(fewest) or low >= fewest - abs(fewest) * relative - allowance


@pytest.mark.parametrize("name", ["sin", "cos"])
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(lo=st.floats(-1e4, 1e4), width=st.floats(0, 7))
def test_waves_are_tight(name, lo, width):
    hi = lo + width
    for facts, function in (
        (activation(name).value_range, REFERENCES[name].phi),
        (activation(name).slope_range, REFERENCES[name].slope),
    ):
        low, high = (float(end) for end in facts(scalar(lo), scalar(hi)))
        grid = [function(mpf(lo) + (mpf(hi) - mpf(lo)) * k / 64) for k in range(65)]
        assert low <= min(grid)
        assert max(grid) <= high
        assert high - max(grid) <= (mpf(width) / 32) ** 2 + 1e-11
        assert min(grid) - low <= (mpf(width) / 32) ** 2 + 1e-11


@pytest.mark.parametrize("case", CASES, ids=label)
def test_local_never_exceeds_global(case):
    facts = activation(case[0], **case[1])
    low, high = facts.slope()
    x = torch.linspace(-40, 40, 801, dtype=torch.float64)
    local_low, local_high = facts.slope_range(x, x + 1e-3)
    assert bool((local_low >= low).all())
    assert bool((local_high <= high).all())


# ---- evaluation error ---------------------------------------------------------------------------------------------


def adversarial(name, parameters):
    near = [
        0.0,
        0.25,
        0.3,
        0.5,
        0.7,
        1.0,
        1.5,
        2.0,
        3.0,
        6.0,
        20.0,
        20.0 / parameters.get("beta", 1.0),
        37.0,
        708.0,
        745.0,
    ]
    points = [x for base in near for x in (base, math.nextafter(base, 9e9), math.nextafter(base, -9e9))]
    points += [5e-324, 1e-310, 2.2250738585072014e-308, 1e-160, 1e-17, 1e-8, 1e-4, 40.0, 1e3, 1e8, 1e16, 1e100]
    points += torch.logspace(-6, 3, 40, dtype=torch.float64).tolist()
    points = sorted({*points, *(-x for x in points)})
    if positive_only(name, parameters):
        points = [x for x in points if x > 0]
    return [x for x in points if x != 0] if name == "reciprocal" or parameters.get("exponent", 0) < 0 else points


@pytest.mark.parametrize("case", CASES, ids=label)
def test_value_error_covers_the_difference(case):
    name, parameters = case
    facts = activation(name, **parameters)
    x = torch.tensor(adversarial(name, parameters), dtype=torch.float64)
    computed, bounds = facts.value(x), facts.value_error(x)
    for point, value, bound in zip(x.tolist(), computed.tolist(), bounds.tolist(), strict=True):
        if math.isinf(value):
            assert bound == math.inf
            continue
        exact = REFERENCES[name].phi(mpf(point), **parameters)
        error = abs(mpf(value) - exact)
        assert error <= bound, (name, point, float(error), bound)
        # Not wasteful either: 64 units in the last place of what is added up, underflow apart.
        scale = max(abs(exact), 1e-290, min(abs(point), 1) if name not in {"exp", "power", "square"} else 0)
        scale = max(scale, abs(point) if name in {"tanhshrink", "gelu", "gelu_tanh", "softshrink", "softplus"} else 0)
        scale *= 1 + abs(point / parameters["alpha"]) if name == "celu" else 1  # the argument of exp is rounded
        if bound > 64 * 2.0**-53 * scale and not (name == "softplus" and abs(error) > 0):
            assert bound <= 4 * error, (name, point, float(error), bound)


def test_softplus_error_includes_torchs_switch():
    facts = activation("softplus", beta=2.0, threshold=5.0)
    just_above = torch.tensor([2.5000001], dtype=torch.float64)
    jump = math.log1p(math.exp(-5.0000002)) / 2
    assert float(facts.value(just_above)) == 2.5000001
    assert jump * (1 - 1e-9) <= float(facts.value_error(just_above)) <= jump * (1 + 1e-9)


def test_gelu_error_is_absolute_far_left():
    facts = activation("gelu")
    x = torch.tensor([-9.0], dtype=torch.float64)
    assert float(facts.value_error(x)) >= abs(float(facts.value(x)) - float(REFERENCES["gelu"].phi(mpf(-9))))
    assert float(facts.value_error(x)) < 9 * 2.0**-50


# ---- flags --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=label)
def test_homogeneity_and_continuity_flags(case):
    name, parameters = case
    facts = activation(name, **parameters)
    homogeneous = {"identity", "relu", "leaky_relu", "prelu", "rrelu", "abs"}
    expected = name in homogeneous or (name, *parameters.values()) in {
        ("clamp", 0.0, math.inf), ("softshrink", 0.0), ("power", 1.0),
    }  # fmt: skip
    assert facts.positively_homogeneous == expected
    if facts.positively_homogeneous:
        x = torch.linspace(-3, 3, 61, dtype=torch.float64)
        torch.testing.assert_close(facts.value(4 * x), 4 * facts.value(x), rtol=0, atol=0)
    jumps = name in {"sign", "floor", "round"} or (name, *parameters.values()) in {
        ("hardshrink", 0.5), ("threshold", 0.5, 0.0), ("threshold", 0.5, 2.0),
    }  # fmt: skip
    assert facts.continuous == (not jumps)
    if jumps:
        assert math.inf in (facts.slope()[1], -facts.slope()[0])


# ---- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("rellu", {}),
        ("relu", {"alpha": 1.0}),
        ("prelu", {}),
        ("hardtanh", {"min_val": 1.0, "max_val": -1.0}),
        ("clamp", {"min": 2.0, "max": 1.0}),
        ("clamp", {"min": math.nan}),
        ("clamp", {"min": math.inf}),
        ("softplus", {"beta": -1.0}),
        ("softplus", {"beta": 0.0}),
        ("softplus", {"threshold": math.nan}),
        ("softshrink", {"lambd": -0.5}),
        ("celu", {"alpha": 0.0}),
        ("elu", {"alpha": math.nan}),
        ("leaky_relu", {"negative_slope": math.inf}),
        ("rrelu", {"lower": 0.5, "upper": 0.1}),
        ("power", {"exponent": torch.tensor([1.0, 2.0])}),
        ("prelu", {"weight": torch.tensor([1.0, math.nan])}),
        ("prelu", {"weight": torch.tensor([1j])}),
    ],
)
def test_bad_parameters_are_refused(name, parameters):
    with pytest.raises(UsageError):
        activation(name, **parameters)


@pytest.mark.parametrize("name", ["relu", "gelu", "sin"])
def test_inverted_interval_is_refused(name):
    with pytest.raises(UsageError, match="lower end"):
        activation(name).slope(1.0, -1.0)
    with pytest.raises(UsageError, match="lower end"):
        activation(name).value_range(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("case", CASES, ids=label)
def test_nan_proves_nothing(case):
    facts = activation(case[0], **case[1])
    nan = torch.tensor([math.nan, 1.0], dtype=torch.float64)
    assert float(facts.value_error(nan)[0]) == math.inf
    for curve in (facts.slope_range, facts.value_range):
        low, high = curve(nan, nan)
        assert float(high[1] - low[1]) >= 0
        assert (float(low[0]), float(high[0])) == (-math.inf, math.inf)


def test_an_activation_prints_its_proved_slopes():
    assert repr(activation("relu")) == "<Activation relu: slopes in [0, 1]>"
    assert repr(activation("gelu")) == "<Activation gelu: slopes in [-0.128905, 1.12891]>"
    assert repr(activation("sign")).endswith("not continuous>")
    assert "inf" in repr(activation("exp"))
