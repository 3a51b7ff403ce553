"""Pages: well-formed, self-contained, small, and safe whatever a model or a file is called."""

import dataclasses
import html.parser
import json
import math
import re

import pytest

from netgain.core.record import Finding, GainInfo, Level
from netgain.report import html as pages
from netgain.report.compare import compare
from netgain.report.comparison import render_comparison
from netgain.report.json import loads
from tests.report.records import audit_record, layers, rate

VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'--><svg/onload=alert(1)>",
    "a&b<c>&amp;",
    "\u2028\u2029\x00\x1b[31m\u202egnp",
    "{{7*7}} ${x} ]]>",
    "ä" * 3000,
    "lone \udc80 surrogate",
)


class Checker(html.parser.HTMLParser):
    """Checks that tags balance; collects addresses, handlers and scripts."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def check(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert checker.tags.count("html") == checker.tags.count("body") == checker.tags.count("main") == 1
    assert len(checker.scripts) == checker.tags.count("script") == 1
    assert ("script", "type", "application/json") in checker.attributes
    for tag, name, value in checker.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in {"src", "href", "xlink:href", "srcset", "action", "data"}, (tag, name, value)
    assert not {"img", "link", "iframe", "object", "embed", "form", "base", "use"} & set(checker.tags)
    outside_data = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", outside_data)
    assert len(text.encode("utf-8")) < 200_000
    return checker


def test_an_audit_page_is_whole_and_embeds_the_record():
    record = audit_record()
    checker = check(pages.render(record, "netgain audit mnist_cnn.onnx"))
    assert loads(checker.scripts[0]) == record
    assert checker.tags.count("svg") == 4


def test_the_page_says_what_was_proved():
    text = pages.render(audit_record())
    for expected in ("at most 45.61 d", "at least 12.34 d", "mnist:test", "proved: 12.34 &lt;= L &lt;= 45.61", "NG102"):
        assert expected in text


def test_a_large_record_stays_small():
    record = audit_record(depth=100, points=200)
    checker = check(pages.render(record))
    assert loads(checker.scripts[0]) == record


def test_a_record_beyond_any_limit_leaves_layers_out_and_says_so():
    rows = tuple(dataclasses.replace(layer, module="m" * 300) for layer in layers(2000))
    checker = check(pages.render(dataclasses.replace(audit_record(points=200), layers=rows)))
    document = json.loads(checker.scripts[0])
    assert "layers" not in document
    assert "--json" in document["left_out"]
    assert document["gain"]["upper"] == 45.61


def test_a_thousand_classes_and_findings_stay_small():
    record = audit_record(points=200)
    rates = tuple(rate(0.5, 100, epsilon, label) for label in range(1000) for epsilon in (None, 0.1, 0.25))
    findings = tuple(Finding(code="NG110", level=Level.WARNING, detail=f"layer {index} " * 20) for index in range(1000))
    record = dataclasses.replace(record, per_class=rates, findings=findings)
    text = pages.render(record)
    check(text)
    assert "960 more are in the JSON document" in text


def test_a_comparison_of_deep_networks_stays_small():
    first, second = audit_record(depth=100, points=200), audit_record(depth=120, points=200, strength=2.0)
    check(render_comparison(compare(first, second)))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name):
    record = audit_record()
    assert record.data is not None
    record = dataclasses.replace(
        record,
        norm="l2",
        attack=name,
        versions={name: name},
        model=dataclasses.replace(record.model, origin=name, dtype=name, preprocess=name),
        data=dataclasses.replace(record.data, origin=name),
        gain=GainInfo(lower=1.0, upper=2.0, norm="l2", region=name, method=name, lower_method=name),
        layers=tuple(
            dataclasses.replace(layer, name=name, operation=name, module=name, location=name)
            for layer in record.layers[:1]
        ),
        methods=(record.methods[0], dataclasses.replace(record.methods[2], note=name)),
        findings=(Finding(code=name, level=Level.ERROR, detail=name, location=name),),
    )
    plain = check(pages.render(audit_record(), "x"))
    hostile = check(pages.render(record, name))
    assert set(hostile.tags) <= set(plain.tags)
    assert loads(hostile.scripts[0]) == record
    other = dataclasses.replace(record, layers=record.layers[:1])
    check(render_comparison(compare(record, other), name))


@pytest.mark.parametrize(
    "change",
    [
        {"gain": None},
        {"data": None, "clean_accuracy": None, "certified_accuracy": (), "attacked_accuracy": (), "radii": None},
        {"attacked_accuracy": (), "certified_on_attacked": (), "attack": ""},
        {"layers": ()},
        {"certified_accuracy": (), "radii": None, "per_class": (), "findings": ()},
    ],
)
def test_parts_that_are_missing_leave_no_trace(change):
    record = dataclasses.replace(audit_record(), **change)
    text = pages.render(record)
    check(text)
    assert "None" not in re.sub(r"<script.*?</script>", "", text, flags=re.S)


@pytest.mark.parametrize("upper", [0.0, 5e-324, 1.0, 1e308, math.inf])
@pytest.mark.parametrize("lower", [0.0, 5e-324, 1.0, 1e308])
def test_extreme_gains_are_drawn(lower, upper):
    if lower > upper:
        return
    gain = GainInfo(lower=lower, upper=upper, norm="l2", region="global", method="m", lower_method="m")
    text = pages.render(dataclasses.replace(audit_record(), gain=gain))
    check(text)
    assert not re.search(r'"(nan|inf|-inf)"', text)


@pytest.mark.parametrize("factor", [0.0, 5e-324, 1.0, 1e308, math.inf, None])
def test_extreme_factors_are_drawn(factor):
    record = audit_record()
    rows = (dataclasses.replace(record.layers[0], factor=factor), *record.layers[1:])
    check(pages.render(dataclasses.replace(record, layers=rows)))
    check(pages.render(dataclasses.replace(record, layers=rows[:1])))


def test_a_constant_network_has_infinite_radii():
    record = audit_record()
    assert record.radii is not None
    radii = dataclasses.replace(record.radii, median=math.inf, counts=(0,) * 20)
    text = pages.render(dataclasses.replace(record, radii=radii))
    check(text)
    assert "infinite" in text


def test_style_has_dark_and_print_rules():
    text = pages.render(audit_record())
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text


def test_a_comparison_page_has_both_records():
    first, second = audit_record(), audit_record(upper=9.0, decay=1.0, name="mnist_l2")
    second = dataclasses.replace(second, gain=dataclasses.replace(second.gain, lower=4.0))
    checker = check(render_comparison(compare(first, second), "netgain compare a b"))
    document = json.loads(checker.scripts[0])
    assert loads(json.dumps(document["before"])) == first
    assert loads(json.dumps(document["after"])) == second
    assert checker.tags.count("svg") == 2
