"""bound --certificate and verify: what is written is proved again, and forgeries are refused with their reasons."""

import json
import pathlib
import signal
from typing import Any

import pytest

import netgain as package
from netgain.cli import options
from netgain.gain import methods
from netgain.gain.methods import Entry
from tests.cli.conftest import network


def certificate(netgain, *arguments: str) -> dict[str, Any]:
    ran = netgain("bound", "small.onnx", "--certificate", "c.json", "--quiet", *arguments)
    assert ran.code == 0, ran.err
    assert "wrote c.json: L <= " in ran.out
    return json.loads(pathlib.Path("c.json").read_text())


@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
def test_what_bound_writes_verify_proves(netgain, norm):
    written = certificate(netgain, "--norm", norm)
    ran = netgain("verify", "c.json", "small.onnx", "--quiet")
    assert ran.code == 0, ran.err
    assert f"Verified: 1 claim ({norm}, global; output units per raw input unit)" in ran.out
    assert "the whole output" in ran.out
    document = json.loads(netgain("verify", "c.json", "small.onnx", "--json", "-").out)
    assert document["command"] == "verify"
    (claim,) = document["claims"]
    assert claim["claimed"] == written["claims"][0]["bound"]
    assert 0 <= claim["inflation"] < 1e-8
    assert claim["proved"] <= claim["claimed"]


def test_the_claim_is_the_reported_bound_where_it_has_multipliers(netgain):
    ran = netgain("bound", "small.onnx", "--certificate", "c.json", "--json", "-")
    record, held = json.loads(ran.out), json.loads(pathlib.Path("c.json").read_text())
    assert "wrote c.json" in ran.err
    whole = held["claims"][0]
    assert whole["bound"] >= record["gain"]["lower"]
    if "no multipliers" not in ran.err:
        assert whole["bound"] == pytest.approx(record["gain"]["upper"], rel=1e-8)


def test_another_model_is_refused_with_its_reason(netgain):
    certificate(netgain)
    ran = netgain("verify", "c.json", "small2.onnx")
    assert ran.code == 1
    assert "NG031" in ran.err
    assert ran.out == ""


def shave(document: dict[str, Any]) -> None:
    document["claims"][0]["bound"] *= 1 - 1e-9


def other_norm(document: dict[str, Any]) -> None:
    document["norm"] = "linf" if document["norm"] == "l2" else "l2"


def no_claims(document: dict[str, Any]) -> None:
    document["claims"] = []


@pytest.mark.parametrize("forge", [shave, no_claims])
def test_forgeries_are_refused(netgain, forge):
    document = certificate(netgain)
    forge(document)
    pathlib.Path("c.json").write_text(json.dumps(document))
    ran = netgain("verify", "c.json", "small.onnx", "--json", "-")
    assert ran.code in {1, 2}
    assert json.loads(ran.out)["error"]["exit_code"] == ran.code
    assert ran.code == (2 if forge is no_claims else 1)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": "other/1"}', "\x00", '{"format": "netgain-certificate/1"}']
)
def test_unreadable_certificates_exit_with_2(netgain, content):
    pathlib.Path("c.json").write_text(content)
    ran = netgain("verify", "c.json", "small.onnx")
    assert ran.code == 2
    assert "Traceback" not in ran.err


def test_a_missing_certificate_is_said_before_anything_is_read(netgain):
    certificate(netgain)
    ran = netgain("verify", "d.json", "small.onnx")
    assert ran.code == 2
    assert "did you mean c.json" in ran.err


def test_where_exact_checking_does_not_apply_the_certificate_is_not_refused(netgain):
    certificate(netgain, "--norm", "linf")
    ran = netgain("verify", "c.json", "small.onnx", "--exact")
    assert ran.code == 2
    assert "NG024" in ran.err
    assert "exact checking does not apply" in ran.err


def test_a_certificate_needs_a_file_name(netgain, folder):
    assert netgain("bound", "small.onnx", "--certificate", "-").code == 2
    assert not (folder / "-").exists()


def test_the_file_is_whole_or_absent(netgain, folder):
    assert netgain("bound", "small.onnx", "--certificate", "none/c.json").code == 2
    assert netgain("bound", "barred.onnx", "--certificate", "c.json").code == 3
    assert not (folder / "c.json").exists()


def test_help_lists_every_method_of_the_registry(netgain):
    assert tuple(options.METHODS) == methods.names()
    ran = netgain("bound", "--help")
    for name in methods.names():
        assert name in " ".join(ran.out.split())
    assert netgain("bound", "small.onnx", "--method", "newtonn").code == 2


def interrupting(network: object, norm: object) -> tuple[tuple[str, Entry], ...]:
    """In place of the methods that apply: the product, then Ctrl-C."""

    def method(*given: object, **options: object) -> None:
        signal.raise_signal(signal.SIGINT)

    return (("newton", Entry(make=lambda part: method, work=lambda network: 1.0)),)  # pyright: ignore


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, also in a job in the background of a script, which inherits an ignored one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_delivers_what_was_proved_by_then(netgain, folder, monkeypatch):
    monkeypatch.setattr("netgain.gain.automatic.applicable", interrupting)
    files = ("--json", "a.json", "--report", "a.html", "--certificate", "c.json")
    ran = netgain("bound", "small.onnx", "--max-gain", "0.1", *files)
    assert ran.code == 130
    assert "Interrupted: what was proved by then" in ran.err
    assert "NG113" in ran.out
    assert "gate FAILED" in ran.out
    record = json.loads((folder / "a.json").read_text())
    assert record["gain"]["lower"] <= record["gain"]["upper"]
    assert [(method["name"], method["note"]) for method in record["methods"]] == [
        ("product", ""),
        ("newton", "interrupted"),
    ]
    assert "interrupted" in (folder / "a.html").read_text()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert json.loads((folder / "c.json").read_text())["claims"]


def test_explain_says_what_a_refusal_means(netgain):
    assert "refused" in netgain("explain", "NG031").out


def test_the_python_functions(netgain, folder):
    analysis = package.analyse(network())
    path = package.save_certificate(analysis, folder / "c.json")
    bounds = package.verify(path, network())
    assert bounds[0].value <= analysis.certificate().claims[0].bound
    assert bounds == package.verify(analysis.certificate(), network())
    with pytest.raises(package.NetgainError, match="NG031"):
        package.verify(path, network(0.5))
