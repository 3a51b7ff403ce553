"""A small network in place of the reader: exporting a torch module takes seconds, and has its own tests."""

import dataclasses
import pathlib

import numpy as np
import pytest
import torch

from netgain.activations.table import activation
from netgain.cli import work
from netgain.cli.main import run
from netgain.core.errors import ModelError
from netgain.linear.dense import Dense
from netgain.network.graph import Affine, Elementwise, Network, Node, Opaque, Source


def network(scale: float = 1.0, hidden: int = 6) -> Network:
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(hidden, 4, generator=generator, dtype=torch.float64) * scale
    second = torch.randn(3, hidden, generator=generator, dtype=torch.float64)
    return Network(
        input="x",
        input_shape=(4,),
        nodes=(
            Node("a", Affine(Dense(first)), ("x",), (hidden,), Source("aten.linear", "a", "net.py:5")),
            Node("b", Elementwise(activation("relu")), ("a",), (hidden,), Source("aten.relu", "b", "net.py:6")),
            Node("c", Affine(Dense(second)), ("b",), (3,), Source("aten.linear", "c", "net.py:7")),
        ),
        output="c",
        parameters=hidden * 7,
        origin="small.onnx",
    )


def barred() -> Network:
    """The same with an operation that has no rule."""
    base = network()
    strange = Opaque(run=torch.sort, code="NG010", reason="fold_space has no proof here")
    node = Node("d", strange, ("c",), (3,), Source("aten.fold_space", "head", "net.py:9"))
    return dataclasses.replace(base, nodes=(*base.nodes, node), output="d")


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The working folder, with test.npz (30 samples), empty.npz, and (empty) models small, small2, wide, barred."""
    models = {
        "small.onnx": network(),
        "small2.onnx": network(0.5),
        "wide.onnx": network(1.0, 9),
        "barred.onnx": barred(),
    }

    def read(model: str, reading: object, data: object) -> Network:
        if model not in models:
            raise ModelError(f"{model} does not exist or is not a file")
        return dataclasses.replace(models[model], origin=model)

    for name in models:
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(work, "_read", read)
    monkeypatch.setattr("netgain.gain.lower._WORK", 2e5, raising=False)  # a small search: nothing here depends on it
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(30, 4))
    y = network()(torch.from_numpy(x)).argmax(1).numpy()
    y[:3] = (y[:3] + 1) % 3
    np.savez(tmp_path / "test.npz", x=x, y=y)
    np.savez(tmp_path / "empty.npz", x=x[:0], y=y[:0])
    np.savez(tmp_path / "odd.npz", x=x[:, :3], y=y)
    return tmp_path


@dataclasses.dataclass(frozen=True)
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def netgain(folder: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs a command line in this process, in `folder`."""
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call
