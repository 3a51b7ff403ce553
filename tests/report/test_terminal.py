import dataclasses
import io
import re

import pytest
from rich.console import Console

from netgain.core.record import Finding, Level
from netgain.report import terminal
from tests.report.records import audit_record, layers


def shown(record, width=120, rules=None) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    if rules is None:
        terminal.render(record, console)
    else:
        terminal.layer_table(record, console, rules)
    return stream.getvalue()


def test_the_gain_line():
    assert "proved: 12.34 <= L <= 45.61 (l2, global; ratio 3.7)" in shown(audit_record())


def test_accuracy_says_units_norm_and_guarantee():
    text = shown(audit_record())
    assert "l2 changes of the input, epsilon in raw input units" in text
    assert "clean (measured): 98.0 %" in text
    assert re.search(r"0\.1 +72\.6 % \[\d+\.\d, \d+\.\d\] +71\.6 % .* +84\.4 %", text)
    assert "certified (proved, 1,000 samples)" in text
    assert "survived attack (measured)" in text


def test_findings_come_gravest_first_with_what_to_do():
    record = audit_record()
    record = dataclasses.replace(
        record, findings=(*record.findings, Finding(code="NG103", level=Level.ERROR, detail="values run to 255"))
    )
    text = shown(record)
    assert text.index("NG103 error") < text.index("NG102 warning") < text.index("NG108 info")
    assert "Divide the data by 255" in text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_narrow_terminals(width):
    text = shown(audit_record(), width)
    assert max(len(line) for line in text.splitlines()) <= max(width, 20)


def test_hostile_names_print_as_text():
    record = audit_record()
    name = "[bold red]x[/] \x1b[2J\r\n[link=http://x]y"
    rows = (dataclasses.replace(record.layers[0], name=name, operation=name),)
    record = dataclasses.replace(
        record,
        layers=rows,
        model=dataclasses.replace(record.model, origin=name),
        findings=(Finding(code="NG999", level=Level.INFO, detail=name),),
    )
    text = shown(record, 300)
    assert "\x1b" not in text
    assert "[bold red]x[/] \\x1b[2J\\r\\n[link=http://x]y" in text


def test_long_tables_leave_out_rows_that_do_nothing():
    record = dataclasses.replace(audit_record(), layers=layers(200))
    text = shown(record)
    assert "100 layers without parameters and with factor 1 are not listed" in text
    assert "features.198.conv+bn" in text


def test_show_lists_every_operation_with_its_rule():
    record = dataclasses.replace(audit_record(), layers=layers(4))
    rules = {layer.name: "yes" for layer in record.layers} | {"features.1.relu": "NG010"}
    text = shown(record, 140, rules)
    assert re.search(r"features.1.relu .* NG010", text)
    assert "/home/user/models/net.py:21" in text
