"""docs/schema.md lists exactly the fields that documents have."""

import pathlib
import re
import typing
from dataclasses import fields

import pytest

from netgain.core import record
from netgain.core.errors import UsageError
from netgain.report.compare import Change, compare
from netgain.report.json import error_document
from tests.report.records import audit_record

SCHEMA = pathlib.Path(__file__).parents[2] / "docs" / "schema.md"
PARTS = {
    "Record": record.Record,
    "Model": record.ModelInfo,
    "Data": record.DataInfo,
    "Gain": record.GainInfo,
    "Method": record.MethodInfo,
    "Decision": record.DecisionInfo,
    "Layer": record.LayerInfo,
    "Rate": record.Rate,
    "Radii": record.RadiusInfo,
    "Finding": record.Finding,
    "Verification": record.Verification,
    "Claim": record.ClaimInfo,
}


def section(title: str) -> str:
    text = SCHEMA.read_text("utf-8")
    found = re.search(rf"^##+ {title}\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    assert found, title
    return found[1]


def listed(title: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(title), re.M)


@pytest.mark.parametrize("title", PARTS)
def test_each_part_lists_its_fields_in_order(title):
    own = [field.name for field in fields(PARTS[title])]
    assert listed(title) == (["schema", *own] if title in {"Record", "Verification"} else own)


@pytest.mark.parametrize("title", PARTS)
def test_optional_fields_are_said_to_be_null(title):
    hints = typing.get_type_hints(PARTS[title])
    for line in section(title).splitlines():
        if found := re.match(r"\| `(\w+)` \| ([^|]+) \|", line):
            optional = found[1] != "schema" and type(None) in typing.get_args(hints[found[1]])
            allowed_infinite = found[1] in {"upper", "median"}
            assert ("null" in found[2]) == (optional or allowed_infinite), line


def test_every_key_of_a_document_is_listed():
    def check(title, value):
        assert set(value) <= set(listed(title)), title
        return value

    document = check("Record", audit_record().to_dict())
    for key, title in {"model": "Model", "data": "Data", "gain": "Gain", "radii": "Radii"}.items():
        check(title, document[key])
    for key, title in {
        "methods": "Method",
        "layers": "Layer",
        "certified_accuracy": "Rate",
        "per_class": "Rate",
        "findings": "Finding",
    }.items():
        for entry in document[key]:
            check(title, entry)


def test_comparison_and_error_documents_are_listed():
    comparison = compare(audit_record(), audit_record(upper=20.0)).to_dict()
    assert set(comparison) == set(listed("Comparison"))
    body = section("Comparison")
    assert all(f"`{field.name}`" in body for field in fields(Change))
    assert all(f"`{key}`" in body for key in comparison["layer_changes"][0])
    error = error_document(UsageError("x"))
    assert set(error) == set(listed("Error"))
    assert all(f"`{key}`" in section("Error") for key in error["error"])
