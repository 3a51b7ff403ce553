import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netgain.report import figures
from tests.report.records import rate

FINITE = st.floats(min_value=0, allow_infinity=False, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "low", "high", "near"),
    [
        (1.23449, "1.234", "1.235", "1.234"),
        (45.61, "45.61", "45.61", "45.61"),
        (0.1, "0.1", "0.1", "0.1"),
        (0.0, "0", "0", "0"),
        (1.0, "1", "1", "1"),
        (math.nextafter(1.0, 2.0), "1", "1.001", "1"),
        (math.nextafter(1.0, 0.0), "0.9999", "1", "1"),
        (123456.7, "123400", "123500", "123500"),
        (12345678.0, "1.234e7", "1.235e7", "1.235e7"),
        (1e-7, "1e-7", "1e-7", "1e-7"),
        (5e-324, "4.941e-324", "4.941e-324", "4.941e-324"),
        (math.inf, "infinite", "infinite", "infinite"),
    ],
)
def test_known_values(value, low, high, near):
    assert (figures.lower(value), figures.upper(value), figures.nearest(value)) == (low, high, near)


@given(FINITE, st.integers(1, 8))
def test_printed_bounds_stay_on_their_side(value, digits):
    assert float(figures.upper(value, digits)) >= value
    assert float(figures.lower(value, digits)) <= value


@given(FINITE.filter(lambda value: value > 1e-300), st.integers(3, 8))
def test_printed_bounds_are_close(value, digits):
    slack = 10.0 ** (1 - digits) * 1.0001
    assert float(figures.lower(value, digits)) >= value * (1 - slack)
    if value < 1e307:
        assert float(figures.upper(value, digits)) <= value * (1 + slack)


@given(FINITE, FINITE)
def test_enclosures_keep_both_sides(a, b):
    low, high = sorted((a, b))
    shown = figures.enclosure(low, high).split(" to ")
    assert float(shown[0]) <= low
    assert float(shown[-1]) >= high


def test_enclosures_show_enough_digits_to_differ():
    assert figures.enclosure(2.3975, 2.4) == "2.3975 to 2.4"
    assert figures.enclosure(2.0, 2.0) == "2"
    assert figures.enclosure(None, None) == "-"
    assert figures.enclosure(None, 2.0) == "<= 2"


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "100.0 %"), (0.9999, "99.9 %"), (0.0, "0.0 %"), (0.0001, "0.1 %"), (0.5, "50.0 %")]
)
def test_only_all_is_100_percent_and_only_none_is_0(value, text):
    assert figures.percent(value) == text


def test_intervals_round_outwards():
    text = figures.interval(rate(0.5, 1000))
    low, high = text.strip("[] %").split(", ")
    assert float(low) / 100 <= rate(0.5, 1000).low
    assert float(high) / 100 >= rate(0.5, 1000).high


def test_printable_escapes_what_a_terminal_would_obey():
    assert figures.printable("a\x1b[31mb\u202ec\nd") == "a\\x1b[31mb\\u202ec\\nd"
    assert figures.printable("größe 層") == "größe 層"
