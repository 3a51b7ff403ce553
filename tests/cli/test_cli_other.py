"""compare, show, data, doctor, explain, help, progress, pipes."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from netgain.cli import progress
from netgain.cli.main import COMMANDS
from netgain.core.codes import CODES
from netgain.report.json import dumps
from tests.report.records import audit_record


def python(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False, **options
    )


def test_compare_models_and_documents(netgain, folder):
    ran = netgain("compare", "small.onnx", "small2.onnx", "--data", "test.npz", "--attack", "5", "--report", "c.html")
    assert ran.code == 0
    assert "The proved upper bound of the gain (l2, global) fell from" in ran.out
    assert "(x2 lower)" in ran.out
    assert "<svg" in (folder / "c.html").read_text()
    netgain("audit", "small.onnx", "--json", "a.json")
    netgain("audit", "wide.onnx", "--json", "b.json")
    ran = netgain("compare", "a.json", "b.json", "--json", "-")
    assert ran.code == 0
    document = json.loads(ran.out)
    assert document["before"]["model"]["origin"] == "small.onnx"
    assert document["after"]["model"]["origin"] == "wide.onnx"
    assert netgain("compare", "a.json", "small2.onnx").code == 0


def test_compare_refuses_different_norms_and_other_files(netgain, folder):
    netgain("bound", "small.onnx", "--json", "a.json")
    netgain("bound", "small.onnx", "--norm", "linf", "--json", "b.json")
    ran = netgain("compare", "a.json", "b.json")
    assert ran.code == 2
    assert "linf" in ran.err
    (folder / "c.json").write_text("{}")
    assert netgain("compare", "a.json", "c.json").code == 2
    assert netgain("compare", "a.json", "none.json").code == 2
    assert netgain("compare", "a.json", "barred.onnx").code == 3


def test_show_marks_what_has_no_rule(netgain):
    ran = netgain("show", "barred.onnx")
    assert ran.code == 0
    assert "NG010" in ran.out
    assert "linear, 4 to 6" in ran.out
    assert "fold_space has no proof here" in ran.out
    assert "yes" in ran.out


def test_data_lists_every_known_set(netgain):
    ran = netgain("data")
    assert ran.code == 0
    for name in ("digits:test", "mnist:train", "fashion-mnist:test"):
        assert name in ran.out
    assert "6bbc9ace898e44ae57da46a324031adb" in netgain("data", "mnist").out
    assert netgain("data", "frob").code == 2


def test_doctor_checks_the_arithmetic(netgain):
    ran = netgain("doctor")
    assert ran.code == 0
    assert "torch" in ran.out
    assert "proofs hold here" in ran.out


@pytest.mark.parametrize("code", ["NG012", "ng012", "12", "ng12"])
def test_explain(netgain, code):
    ran = netgain("explain", code)
    assert ran.code == 0
    assert CODES["NG012"].meaning in ran.out


def test_explain_lists_all_and_refuses_unknown(netgain):
    listing = netgain("explain", "list").out
    assert all(code in listing for code in CODES)
    assert netgain("explain", "NG999").code == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_and_every_option_is_explained(netgain, name):
    ran = netgain(name, "--help")
    assert ran.code == 0
    assert "Example" in ran.out
    assert f"netgain {name}" in ran.out


def test_help_and_version_leave_torch_and_rich_alone():
    script = (
        "import sys\n"
        "from netgain.cli.main import COMMANDS, run\n"
        "for name in COMMANDS: assert run([name, '--help']) == 0\n"
        "assert run(['--help']) == run(['--version']) == run(['explain', 'list']) == 0\n"
        "heavy = {'torch', 'rich', 'numpy', 'jaxtyping', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = python("-c", script)
    assert ran.returncode == 0, ran.stderr


def test_python_m_netgain():
    began = time.monotonic()
    ran = python("-m", "netgain", "--help")
    assert ran.returncode == 0
    assert all(name in ran.stdout for name in COMMANDS)
    assert time.monotonic() - began < 60
    assert python("-m", "netgain").returncode == 2


def test_a_closed_pipe_is_no_error():
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(
        [sys.executable, "-m", "netgain", "explain", "list"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert ran.returncode == 141
    assert ran.stderr == ""


def test_a_terminal_without_the_characters_gets_escapes(folder):
    (folder / "a.json").write_text(dumps(audit_record(name="größe")))
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    ran = python("-m", "netgain", "compare", "a.json", "a.json", env=environment, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    assert "gr\\xf6\\xdfe" in ran.stdout
    ran = python("-m", "netgain", "compare", "a.json", "a.json", "--json", "-", env=environment, cwd=folder)
    assert json.loads(ran.stdout)["before"]["model"]["origin"] == "größe.onnx"


def test_plain_progress_starts_after_a_second_and_stays_sparse(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.reporter(quiet=False) as report:
        for step in range(101):
            clock[0] = step * 0.25
            report("layer norms", step, 100)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "netgain: layer norms 4/100"
    assert len(lines) == 3


def test_quiet_progress_says_nothing(capsys):
    with progress.reporter(quiet=True) as report:
        report("layer norms", 0, 2)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_bars_draw_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.reporter(quiet=False) as report:
        report("layer norms", 0, 2)
        report("layer norms", 2, 2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("bound", "smal.onnx"), 3, "did you mean small.onnx?"),
        (("bound", "nets/file.py:build"), 3, "there is no folder nets"),
        (("bound", "nets.models"), 3, "nets.models:build"),
        (("audit", "small.onnx", "--data", "tset.npz"), 2, "did you mean test.npz?"),
        (("certify", "small.onnx", "test.csv"), 2, "test.csv does not exist"),
        (("audit", "small.onnx", "--weights", "w.safetensors"), 3, "the weights w.safetensors"),
        (("compare", "a.json", "small.onnx"), 2, "a.json does not exist"),
        (("compare", "small.onnx", "."), 3, "is a folder"),
    ],
)
def test_misspelled_files_are_refused_before_torch_is_imported(folder, arguments, code, message):
    source = pathlib.Path(__file__).parents[2] / "src"
    script = (
        "import sys; from netgain.cli.main import run; code = run(sys.argv[1:]); "
        "sys.exit(99 if 'torch' in sys.modules else code)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": str(source)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stderr
    assert message in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_model_that_refuses_the_data_names_the_data(netgain, folder, monkeypatch):
    from netgain.core.errors import ExampleError

    def fails(*arguments: object, **options: object) -> None:
        raise ExampleError("the model fails on input of shape (2, 4)")

    monkeypatch.undo()
    monkeypatch.chdir(folder)
    (folder / "nets.py").write_text("")
    monkeypatch.setattr("netgain.cli.work.read", fails)
    ran = netgain("audit", "nets.py:build", "--data", "test.npz")
    assert ran.code == 2
    assert "NG021" in ran.err
    assert "an input of test.npz has shape (4,)" in ran.err
    assert "--input-shape" in ran.err
    ran = netgain("audit", "nets.py:build", "--data", "test.npz", "--input-shape", "5")
    assert ran.code == 2
    assert "NG016" in ran.err


def test_an_interrupt_while_libraries_load_leaves_at_once():
    source = pathlib.Path(__file__).parents[2] / "src"
    script = (
        "import os, signal\n"
        "from netgain.cli.session import loading\n"
        # A job in the background of a script inherits an ignored interrupt, which `loading` rightly leaves ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "before = signal.getsignal(signal.SIGINT)\n"
        "with loading(): pass\n"
        "assert signal.getsignal(signal.SIGINT) is before\n"
        "with loading():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
    )
    ran = python("-c", script, env=os.environ | {"PYTHONPATH": str(source)})
    assert ran.returncode == 130
    assert ran.stderr == "Interrupted; no file was left half-written.\n"
    assert ran.stdout == ""


def test_an_unknown_command_offers_the_nearest(netgain):
    ran = netgain("audti", "small.onnx")
    assert ran.code == 2
    assert "Did you mean 'audit'?" in ran.err
    assert "Commands are audit, bound" in netgain("frobnicate").err
