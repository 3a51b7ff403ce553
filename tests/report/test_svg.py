import pytest
from hypothesis import given
from hypothesis import strategies as st

from netgain.report import svg
from netgain.report.markup import element, escape


def test_elements_escape_attributes_and_text():
    assert element("a", escape('<"&>'), class_='x"y', data_x=1.5) == (
        '<a class="x&quot;y" data-x="1.5">&lt;&quot;&amp;&gt;</a>'
    )
    assert element("a", x=None) == "<a></a>"


def test_characters_that_html_forbids_become_visible():
    assert escape("a\x00\x1b\x7f\x9f\ud800\u202eb") == "a" + "\ufffd" * 6 + "b"


def test_scales_map_ends_and_clamp():
    linear = svg.Scale(0.0, 10.0, 100.0, 200.0)
    assert [linear(value) for value in (0.0, 5.0, 10.0, 20.0, -5.0)] == [100.0, 150.0, 200.0, 200.0, 100.0]
    log = svg.Scale(1.0, 100.0, 0.0, 2.0, log=True)
    assert log(10.0) == pytest.approx(1.0)
    assert log(1000.0) == 2.0


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (svg.Scale(0.0, 1.0, 0.0, 1.0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (svg.Scale(0.0, 0.52, 0.0, 1.0), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        (svg.Scale(1.0, 1000.0, 0.0, 1.0, log=True), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]),
        (svg.Scale(1.0, 1e6, 0.0, 1.0, log=True), [1.0, 10.0, 100.0, 1000.0, 1e4, 1e5, 1e6]),
    ],
)
def test_ticks_are_round(scale, ticks):
    assert scale.ticks() == pytest.approx(ticks)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_linear_ticks_are_few_and_inside(low, width):
    scale = svg.Scale(low, low + width, 0.0, 1.0)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 14
    assert all(low - 1e-6 * width - 1e-9 <= tick <= low + width * (1 + 1e-6) + 1e-9 for tick in ticks)


@given(st.floats(-300, 300), st.floats(0.3, 300))
def test_log_ticks_are_few(exponent, decades):
    top = min(exponent + decades, 307.0)
    if top <= exponent + 0.3:
        return
    assert len(svg.Scale(10**exponent, 10**top, 0.0, 1.0, log=True).ticks()) <= 14
