"""Results refuse to say what was not proved."""

import dataclasses
import math

import pytest

from netgain.core import errors
from netgain.core.codes import CODES
from netgain.core.errors import NetgainError, UsageError
from netgain.core.norms import Norm
from netgain.core.registry import Registry
from netgain.core.results import Bound, Enclosure, Estimate, Side, tightest


def bound(value: float, side: Side = Side.UPPER, **changes: object) -> Bound:
    fields = {"value": value, "side": side, "quantity": "q", "norm": Norm.L2, "method": "m"} | changes
    return Bound(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_a_bound_is_a_non_negative_number(value: float):
    with pytest.raises(ValueError, match="non-negative"):
        bound(value)


def test_enclosures_refuse_contradictions():
    low, high = bound(1.0, Side.LOWER), bound(2.0)
    assert Enclosure(low, high).ratio == 2
    assert math.isinf(Enclosure(bound(0.0, Side.LOWER), high).ratio)
    assert Enclosure(bound(0.0, Side.LOWER), bound(0.0)).ratio == 1
    for pair in ((high, low), (bound(3.0, Side.LOWER), high), (bound(1.0, Side.LOWER, norm=Norm.L1), high)):
        with pytest.raises(ValueError):
            Enclosure(*pair)


def test_tightest_keeps_the_strongest_of_one_kind():
    assert tightest(bound(3.0), bound(2.0)).value == 2
    assert tightest(bound(3.0, Side.LOWER), bound(2.0, Side.LOWER)).value == 3
    with pytest.raises(ValueError):
        tightest(bound(3.0), bound(2.0, Side.LOWER))
    with pytest.raises(ValueError):
        tightest()


def test_nothing_turns_an_estimate_into_a_bound():
    estimate = Estimate(value=1.0, quantity="q", method="m")
    with pytest.raises((ValueError, AttributeError, TypeError)):
        tightest(estimate)  # type: ignore[arg-type]
    assert not {field.name for field in dataclasses.fields(Estimate)} & {"side", "region"}


def test_every_error_has_a_code_with_an_explanation():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, NetgainError)]
    for error in classes:
        raised = error("what happened")
        assert raised.code in CODES
        assert "what happened" in str(raised)
        assert raised.exit_code in {1, 2, 3, 4, 5}
    assert all(entry.code == code for code, entry in CODES.items())


def test_registry_refuses_duplicates_and_offers_near_names():
    table: Registry[int] = Registry("thing")
    table.register("alpha")(1)
    with pytest.raises(ValueError, match="already"):
        table.register("alpha")(2)
    with pytest.raises(UsageError, match="alpha"):
        table["alpa"]
    assert table["alpha"] == 1


def test_results_print_in_a_line_and_what_they_print_is_proved():
    common = {"quantity": "operator norm", "norm": Norm.L2, "method": "SVD"}
    lower = Bound(value=1.0000001, side=Side.LOWER, **common)
    upper = Bound(value=1234567.8, side=Side.UPPER, **common)
    assert repr(upper) == "<Bound operator norm <= 1.23457e+6 (l2, global, proved by SVD)>"
    assert repr(Enclosure(lower, upper)) == "<Enclosure 1 <= operator norm <= 1.23457e+6 (l2, global, proved)>"
    estimate = Estimate(value=2.5, quantity="stable rank", method="power iteration", uncertainty=0.25)
    assert repr(estimate) == "<Estimate stable rank about 2.5 +- 0.25 (not proved, by power iteration)>"


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-310, 0.1, 1 / 3, 1.0, 1.0000001, 999999.5, 1.7e308])
def test_shown_bounds_are_rounded_away_from_the_truth(value):
    assert float(Side.LOWER.shown(value)) <= value <= float(Side.UPPER.shown(value))
    assert math.isclose(float(Side.UPPER.shown(value)), value, rel_tol=1e-5)


def test_an_infinite_bound_is_shown():
    assert Side.UPPER.shown(math.inf) == "inf"
