"""audit, bound, certify: output, files, gates, exit codes."""

import csv
import json
import re

import pytest

from netgain.cli import work
from netgain.report.json import load


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


BEFORE = ["barred.onnx", "empty.npz", "odd.npz", "small.onnx", "small2.onnx", "test.npz", "wide.onnx"]


def test_audit_prints_the_enclosure_the_layers_and_the_accuracies(netgain):
    ran = netgain("audit", "small.onnx", "--data", "test.npz", "--epsilon", "0.05,0.1", "--quiet")
    assert ran.code == 0
    assert re.search(r"proved: [\d.]+ <= L <= [\d.]+ \(l2, global; ratio [\d.]+\)", ran.out)
    for expected in (
        "linear, 4 to 6",
        "relu",
        "clean (measured): 90.0 %",
        "certified (proved",
        "survived attack (measured)",
    ):
        assert expected in ran.out
    assert "0.05" in ran.out
    assert ran.err == ""


def test_audit_writes_report_json_and_csv(netgain, folder):
    files = ("--report", "r.html", "--json", "a.json", "--csv", "a.csv")
    ran = netgain("audit", "small.onnx", "--data", "test.npz", "--attack", "9", *files)
    assert ran.code == 0
    assert names(folder) == sorted([*BEFORE, "a.csv", "a.json", "r.html"])
    record = load("a.json")
    assert record.command == "audit"
    assert record.data is not None
    assert record.data.samples == 30
    page = (folder / "r.html").read_text()
    assert "netgain audit small.onnx --data test.npz --attack 9" in page
    with open("a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert sum(int(row["correct"]) for row in rows) == 27
    certified = sum(int(row["certified_0.1"]) for row in rows)
    assert certified == next(rate.count for rate in record.certified_accuracy if rate.epsilon == 0.1)
    assert all(int(row["certified_0.1"]) == (int(row["correct"]) and float(row["radius_l2"]) >= 0.1) for row in rows)


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "small.onnx"),
        ("audit", "small.onnx", "--data", "test.npz", "--report", "r.html", "--max-gain", "1e9", "--attack", "5"),
        ("bound", "small.onnx", "--norm", "linf"),
        ("certify", "small.onnx", "test.npz", "--csv", "a.csv", "--attack", "none"),
        ("show", "small.onnx"),
        ("compare", "small.onnx", "wide.onnx"),
    ],
)
def test_json_on_standard_output_is_one_document_and_nothing_else(netgain, arguments):
    ran = netgain(*arguments, "--json", "-")
    assert ran.code == 0
    document = json.loads(ran.out)
    assert document["schema"] == "netgain/1"
    assert document["command"] == arguments[0]
    if arguments[0] in {"audit", "bound"}:
        assert document["gain"]["lower"] <= document["gain"]["upper"]
        assert document["gain"]["norm"] == document["norm"]


def test_what_a_model_prints_stays_off_standard_output(netgain, monkeypatch):
    quiet_read = work._read

    def chatty(*arguments: object) -> object:
        print("hello from the model")
        return quiet_read(*arguments)

    monkeypatch.setattr(work, "_read", chatty)
    ran = netgain("bound", "small.onnx", "--json", "-")
    assert json.loads(ran.out)["command"] == "bound"
    assert "hello from the model" in ran.err


def test_certified_is_at_most_attacked_in_the_document(netgain):
    ran = netgain("certify", "small.onnx", "test.npz", "--epsilon", "0.1,0.3", "--attack", "all", "--json", "-")
    document = json.loads(ran.out)
    for proved, survived in zip(document["certified_on_attacked"], document["attacked_accuracy"], strict=True):
        assert proved["epsilon"] == survived["epsilon"]
        assert proved["value"] <= survived["value"] <= document["clean_accuracy"]["value"] + 1e-12


def test_the_same_seed_gives_the_same_record(netgain):
    arguments = ("audit", "small.onnx", "--data", "test.npz", "--attack", "9", "--seed", "7", "--json", "-")
    documents = [json.loads(netgain(*arguments).out) for _ in range(2)]
    for document in documents:
        del document["created"], document["seconds"]
        for method in (*document["methods"], *document["decisions"]):
            del method["seconds"]
    assert documents[0] == documents[1]
    assert documents[0]["seed"] == 7


def test_gates(netgain, folder):
    upper = json.loads(netgain("bound", "small.onnx", "--json", "-").out)["gain"]["upper"]
    assert netgain("bound", "small.onnx", "--max-gain", repr(upper)).code == 0
    ran = netgain("bound", "small.onnx", "--max-gain", repr(upper * (1 - 1e-9)), "--report", "r.html")
    assert ran.code == 1
    assert "gate FAILED: proved gain" in ran.out
    assert "r.html" in names(folder)
    ran = netgain(
        "audit",
        "small.onnx",
        "--data",
        "test.npz",
        "--attack",
        "none",
        "--min-certified",
        "0.001:0.5",
        "--max-gain",
        "1e9",
    )
    assert ran.code == 0
    assert ran.out.count("gate passed") == 2
    ran = netgain(
        "certify", "small.onnx", "test.npz", "--attack", "none", "--min-certified", "0.001:0.95", "--json", "-"
    )
    assert ran.code == 1
    assert "gate FAILED" in ran.err
    assert 0.001 in [rate["epsilon"] for rate in json.loads(ran.out)["certified_accuracy"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("audit",), "Missing argument"),
        (("audit", "small.onnx", "--frob"), "No such option"),
        (("frob",), "No such command"),
        (("audit", "small.onnx", "--norm", "l3"), "'l3' is not one of"),
        (("audit", "small.onnx", "--epsilon", "a"), "is not a list of numbers"),
        (("audit", "small.onnx", "--epsilon", "-1"), "finite and above 0"),
        (("audit", "small.onnx", "--epsilon", "nan"), "finite and above 0"),
        (("audit", "small.onnx", "--attack", "some"), "subset, all, none or a number"),
        (("audit", "small.onnx", "--seconds", "0"), "--seconds"),
        (("audit", "small.onnx", "--min-certified", "0.1"), "EPSILON:ACCURACY"),
        (("audit", "small.onnx", "--min-certified", "0.1:80"), "between 0 and 1"),
        (("audit", "small.onnx", "--min-certified", "0.1:0.8"), "needs --data"),
        (("audit", "small.onnx", "--csv", "a.csv"), "--csv needs --data"),
        (("audit", "small.onnx", "--device", "cuda"), "--device cuda"),
        (("audit", "small.onnx", "--input-shape", "1,-2"), "is not a shape"),
        (("audit", "small.onnx", "--report", "none/r.html"), "does not exist"),
        (("audit", "small.onnx", "--report", "."), "it is a folder"),
        (("audit", "small.onnx", "--report", "a", "--json", "a"), "the same file name"),
        (("audit", "small.onnx", "--data", "none.npz"), "none.npz"),
        (("audit", "small.onnx", "--data", "frob"), "frob"),
        (("audit", "small.onnx", "--data", "odd.npz", "--json", "a.json"), "shape"),
    ],
)
def test_usage_errors_exit_with_2(netgain, folder, arguments, message):
    ran = netgain(*arguments)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""
    assert names(folder) == BEFORE


@pytest.mark.parametrize(("model", "message"), [("none.onnx", "NG001"), ("barred.onnx", "fold_space")])
def test_unreadable_models_and_missing_rules_exit_with_3_and_write_nothing(netgain, folder, model, message):
    (folder / "a.json").write_text("old")
    ran = netgain("audit", model, "--data", "test.npz", "--report", "r.html", "--json", "a.json", "--csv", "a.csv")
    assert ran.code == 3
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""
    assert (folder / "a.json").read_text() == "old"
    assert names(folder) == sorted([*BEFORE, "a.json"])


def test_the_missing_rule_names_operation_module_and_line(netgain):
    ran = netgain("bound", "barred.onnx")
    assert "aten.fold_space in head (net.py:9)" in ran.err


def test_with_json_on_standard_output_an_error_is_a_document(netgain):
    ran = netgain("bound", "barred.onnx", "--json", "-")
    assert ran.code == 3
    document = json.loads(ran.out)
    assert document["schema"] == "netgain/1"
    assert document["error"]["code"] == "NG010"
    assert document["error"]["exit_code"] == 3
    assert "aten.fold_space" in document["error"]["detail"]


def test_empty_data_exit_with_5(netgain):
    ran = netgain("certify", "small.onnx", "empty.npz")
    assert ran.code == 5
    assert "NG022" in ran.err


def test_a_defect_exits_with_4_and_one_paragraph(netgain, folder, monkeypatch):
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr(work.auditing, "audit", broken)
    ran = netgain("audit", "small.onnx", "--json", "a.json")
    assert ran.code == 4
    assert "ZeroDivisionError: oh no" in ran.err
    assert "please report" in ran.err
    assert "Traceback" not in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert names(folder) == BEFORE
    assert "Traceback" in netgain("audit", "small.onnx", "--debug").err
    assert "Traceback" in netgain("--debug", "audit", "small.onnx").err


def test_an_interrupt_exits_with_130_and_writes_nothing(netgain, folder, monkeypatch):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(work.auditing, "audit", interrupted)
    ran = netgain("audit", "small.onnx", "--json", "a.json")
    assert ran.code == 130
    assert "Interrupted" in ran.err
    assert names(folder) == BEFORE
