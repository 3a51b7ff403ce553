import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netgain.core.errors import DataError, NoSoundRuleError
from netgain.core.record import GainInfo
from netgain.report import json as documents
from tests.report.records import audit_record


def test_a_record_comes_back_equal():
    record = audit_record(depth=8)
    assert documents.loads(documents.dumps(record)) == record
    assert documents.loads(documents.dumps(record, indent=None)) == record


def test_the_document_has_the_promised_keys():
    document = json.loads(documents.dumps(audit_record()))
    assert document["schema"] == "netgain/1"
    assert {"lower", "upper", "norm", "region", "method"} <= set(document["gain"])
    epsilons = [0.1, 0.25, 0.5]
    assert [rate["epsilon"] for rate in document["certified_accuracy"]] == epsilons
    assert [rate["epsilon"] for rate in document["attacked_accuracy"]] == epsilons
    assert document["clean_accuracy"]["epsilon"] is None


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_document_holds_infinity_or_nan(value):
    record = audit_record()
    layers = (dataclasses.replace(record.layers[0], factor=value, norm_upper=value),)
    text = documents.dumps(dataclasses.replace(record, layers=layers, seconds=value))

    def refuse(constant):
        raise AssertionError(constant)

    json.loads(text, parse_constant=refuse)


def test_an_infinite_upper_bound_is_null_and_comes_back_infinite():
    gain = GainInfo(lower=1.0, upper=math.inf, norm="l2", region="global", method="m", lower_method="m")
    record = dataclasses.replace(audit_record(), gain=gain)
    text = documents.dumps(record)
    assert json.loads(text)["gain"]["upper"] is None
    loaded = documents.loads(text).gain
    assert loaded is not None
    assert loaded.upper == math.inf


def test_unknown_fields_are_left_alone():
    document = json.loads(documents.dumps(audit_record()))
    document["later"] = 1
    document["gain"]["later"] = 2
    assert documents.loads(json.dumps(document)) == audit_record()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "'list'"),
        ('{"schema": "netgain/2"}', "'netgain/2'"),
        ('{"schema": "netgain/1"}', "does not follow"),
        ('{"schema": "netgain/1", "error": {"code": "NG010"}}', "records an error"),
        ('{"schema": "netgain/1", "before": {}}', "a comparison"),
    ],
)
def test_other_documents_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        documents.loads(text)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("gain", "lower"), "x", "record.gain.lower"),
        (("seed",), 1.5, "record.seed"),
        (("seed",), True, "record.seed"),
        (("layers",), {}, "record.layers"),
        (("layers", 0, "in_shape"), [1, "a"], r"record.layers\[0\].in_shape\[1\]"),
        (("radii", "curve"), [[1.0]], "curve"),
        (("model",), 3, "record.model"),
        (("findings", 0, "level"), "loud", "loud"),
    ],
)
def test_wrong_types_name_the_field(path, value, message):
    document = json.loads(documents.dumps(audit_record()))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DataError, match=message):
        documents.loads(json.dumps(document))


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        documents.load(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        documents.load(tmp_path / "b.json")
    (tmp_path / "a.json").write_text(documents.dumps(audit_record()))
    assert documents.load(tmp_path / "a.json") == audit_record()


def test_error_documents_name_the_code_and_the_operation():
    document = documents.error_document(NoSoundRuleError("aten.foo in layer.3 (net.py:7)"))
    assert document["error"]["code"] == "NG010"
    assert "aten.foo" in document["error"]["detail"]
    assert document["error"]["exit_code"] == 3
