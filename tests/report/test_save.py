"""Saving a record from Python: by suffix, whole or not at all."""

from pathlib import Path

import pytest

import netgain
from netgain.core.errors import UsageError
from netgain.report import json
from tests.report.records import audit_record


def test_the_suffix_decides(tmp_path: Path):
    record = audit_record()
    assert netgain.save_report(record, tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert json.load(netgain.save_report(record, tmp_path / "a.json")) == json.loads(json.dumps(record))
    with pytest.raises(UsageError, match=r"html or \.json"):
        netgain.save_report(record, tmp_path / "a.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.json"]
