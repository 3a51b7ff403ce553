"""Weights from files: what fits is loaded, what lies is refused before anything is allocated."""

import json
import pathlib
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from netgain.core import errors
from netgain.network.read.checkpoint import load_weights, read_safetensors, read_state_dict
from netgain.network.read.read import read


class Evil:
    """A pickle that would run code."""

    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/netgain_was_here",)


@pytest.fixture
def module() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def same(module: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def twin() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy", "wrapped", "parallel"])
def test_round_trip(tmp_path: pathlib.Path, module: nn.Module, form: str):
    path, state = str(tmp_path / f"w.{'safetensors' if form == 'safetensors' else 'pth'}"), module.state_dict()
    match form:
        case "safetensors":
            save_file(state, path)
        case "zip":
            torch.save(state, path)
        case "legacy":
            torch.save(state, path, _use_new_zipfile_serialization=False)
        case "wrapped":
            torch.save({"state_dict": state, "epoch": 3, "name": "x"}, path)
        case _:
            torch.save({f"module.{name}": value for name, value in state.items()}, path)
    other = twin()
    load_weights(other, path)
    assert same(module, other)


def test_parameters_and_views_are_harmless(tmp_path: pathlib.Path, module: nn.Module):
    base = torch.randn(4, 4)
    state = dict(module.state_dict()) | {"0.weight": nn.Parameter(base[:, :3])}
    torch.save(state, tmp_path / "w.pth")
    other = twin()
    load_weights(other, str(tmp_path / "w.pth"))
    assert torch.equal(other[0].weight, base[:, :3])


def test_mismatch_names_tensors_and_shapes(tmp_path: pathlib.Path, module: nn.Module):
    path = str(tmp_path / "w.safetensors")
    save_file(module.state_dict(), path)
    with pytest.raises(errors.CheckpointMismatchError, match=r"0\.weight is \(4, 3\) in the file and \(5, 3\)"):
        load_weights(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(4)), path)
    with pytest.raises(errors.CheckpointMismatchError, match="missing"):
        load_weights(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), path)
    with pytest.raises(errors.CheckpointMismatchError, match="not in the model"):
        load_weights(nn.Sequential(nn.Linear(3, 4)), path)


def raw_safetensors(path: pathlib.Path, header: object, data: bytes, length: int | None = None) -> str:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return str(path)


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry([4], 0, 1 << 40)},
        {"a": entry([1 << 40], 0, 16)},
        {"a": entry([2], 0, 16)},
        {"a": entry([4], 0, 16), "b": entry([2], 8, 16)},
        {"a": entry([4], 16, 0)},
        {"a": entry([-4], 0, 16)},
        {"a": entry([4], 0, 16, "F33")},
        {"a": {"shape": [4]}},
        {"a": entry([4.0], 0, 16)},
        {"a": entry([True, 4], 0, 16)},
        [1, 2],
    ],
)
def test_lying_safetensors_headers(tmp_path: pathlib.Path, header: object):
    with pytest.raises(errors.UnsafeFileError) as caught:
        read_safetensors(raw_safetensors(tmp_path / "w.safetensors", header, bytes(16)))
    assert caught.value.code == "NG002"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 1 << 62, 10_000])
def test_lying_header_length(tmp_path: pathlib.Path, length: int):
    path = raw_safetensors(tmp_path / "w.safetensors", {"a": entry([4], 0, 16)}, bytes(16), length)
    with pytest.raises(errors.UnsafeFileError):
        read_safetensors(path)


def test_truncated_files(tmp_path: pathlib.Path, module: nn.Module):
    torch.save(module.state_dict(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for cut in (0, 3, len(whole) // 2, len(whole) - 30):
        (tmp_path / "cut.pth").write_bytes(whole[:cut])
        with pytest.raises(errors.ModelError):
            read_state_dict(str(tmp_path / "cut.pth"))
    save_file(module.state_dict(), tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    for cut in (0, 7, 40, len(whole) - 1):
        (tmp_path / "cut.safetensors").write_bytes(whole[:cut])
        with pytest.raises(errors.UnsafeFileError):
            read_safetensors(str(tmp_path / "cut.safetensors"))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_code_is_named_and_not_run(tmp_path: pathlib.Path, legacy: bool):
    path, mark = tmp_path / "w.pth", pathlib.Path("/tmp/netgain_was_here")
    mark.unlink(missing_ok=True)
    torch.save({"w": torch.zeros(2), "x": Evil()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(errors.UnsafeFileError, match="system"):
        read_state_dict(str(path))
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(errors.UnsafeFileError, match="system"):
        read_state_dict(str(tmp_path / "plain.pth"))
    assert not mark.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_stride_zero_tensors_are_refused(tmp_path: pathlib.Path, legacy: bool):
    path = str(tmp_path / "w.pth")
    torch.save({"w": torch.zeros(1).expand(1 << 20, 1 << 10)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(errors.TooLargeError) as caught:
        read_state_dict(path)
    assert caught.value.code == "NG009"


def test_claims_beyond_the_storage_are_refused(tmp_path: pathlib.Path):
    """The size in the pickle is raised after saving; torch would resize the storage to fit."""
    path = tmp_path / "w.pth"
    torch.save({"w": torch.zeros(3, 5)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    assert members[name].count(b"K\x03K\x05") == 1
    members[name] = members[name].replace(b"K\x03K\x05", b"J\xff\xff\xff\x7fK\x05")
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    with pytest.raises(errors.UnsafeFileError, match="beyond"):
        read_state_dict(str(path))


def test_compressed_members_are_refused(tmp_path: pathlib.Path):
    path = tmp_path / "w.pth"
    torch.save({"w": torch.zeros(1000)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    with pytest.raises(errors.UnsafeFileError, match="compressed"):
        read_state_dict(str(path))


def test_sparse_tensors_are_refused(tmp_path: pathlib.Path):
    torch.save({"w": torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (10**12,))}, tmp_path / "w.pth")
    with pytest.raises(errors.UnsafeFileError):
        read_state_dict(str(tmp_path / "w.pth"))


def test_whole_pickled_module_needs_permission(tmp_path: pathlib.Path):
    module = nn.Linear(3, 2)
    torch.save(module, tmp_path / "m.pt")
    with pytest.raises(errors.UnsafeFileError, match="--weights"):
        read(str(tmp_path / "m.pt"), (3,))
    with pytest.raises(errors.UnsafeFileError):
        read(module, (3,), weights=tmp_path / "m.pt")
    network = read(str(tmp_path / "m.pt"), (3,), allow_pickle=True)
    x = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(network(x), module.double()(x))


def test_other_things_are_no_state_dict(tmp_path: pathlib.Path):
    torch.save(torch.zeros(3), tmp_path / "w.pth")
    with pytest.raises(errors.ModelError, match="state dict"):
        read_state_dict(str(tmp_path / "w.pth"))
    with pytest.raises(errors.ModelError, match="does not exist"):
        load_weights(nn.Linear(1, 1), str(tmp_path / "none.pth"))


FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    input_shape = (3,)
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)
    def forward(self, x):
        return self.fc(x)

def build():
    return Net()

def broken():
    raise ValueError("no such data")

def number():
    return 3
"""


def test_factory_with_weights(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "factory_of_tests.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    source = nn.Linear(3, 2)
    save_file({f"fc.{name}": value for name, value in source.state_dict().items()}, "w.safetensors")
    network = read("factory_of_tests:build", weights="w.safetensors")
    x = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(network(x), source.double()(x))
    assert network.origin == "factory_of_tests:build"
    assert network.node("fc").source.location == "factory_of_tests.py:11"
    with pytest.raises(errors.ModelError, match=r"factory_of_tests\.py:17.*no such data"):
        read("factory_of_tests:broken")
    with pytest.raises(errors.ModelError, match="int"):
        read("factory_of_tests:number")
    with pytest.raises(errors.ModelError, match="no_such_module"):
        read("no_such_module:build")
    with pytest.raises(errors.ModelError, match="nothing"):
        read("factory_of_tests:nothing")


def test_names_that_are_no_model(tmp_path: pathlib.Path):
    (tmp_path / "x.txt").write_text("hello")
    for name in ("x.txt", "missing.onnx", "missing.pt2"):
        with pytest.raises(errors.ModelError):
            read(str(tmp_path / name))
    with pytest.raises(errors.UsageError, match="own weights"):
        read("a.pt2", weights="b.safetensors")


def exported(tmp_path: pathlib.Path, batch: int, dynamic: bool) -> tuple[nn.Module, str]:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
    shapes = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
    program = torch.export.export(module, (torch.randn(batch, 1, 4, 4),), dynamic_shapes=shapes)
    path = str(tmp_path / "m.pt2")
    torch.export.save(program, path)
    return module, path


@pytest.mark.parametrize(("batch", "dynamic"), [(2, True), (1, False), (4, False)])
def test_exported_program(tmp_path: pathlib.Path, batch: int, dynamic: bool):
    module, path = exported(tmp_path, batch, dynamic)
    network = read(path)
    assert network.input_shape == (1, 4, 4)
    assert network.parameters == sum(parameter.numel() for parameter in module.parameters())
    x = torch.randn(3, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(network(x), module.double()(x))


def test_exported_program_with_a_pickled_tensor_is_refused(tmp_path: pathlib.Path):
    _, path = exported(tmp_path, 2, True)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if "weights" in name and name.endswith("config.json"))
    members[name] = members[name].replace(b'"use_pickle": false', b'"use_pickle": true', 1)
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    with pytest.raises(errors.UnsafeFileError, match="pickle"):
        read(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"torch.ops.aten.relu.default"', b'"torch.os.getpid"'),
        (b'"torch.ops.aten.relu.default"', b'"torch.ops.aten.from_file.default"'),
        (b'"expr_str": "', b'"expr_str": "__import__(\'os\').getpid() + '),
        (b'"name": "relu"', b'"name": "relu\\nimport os"'),
    ],
)
def test_exported_program_that_could_run_code_is_refused(tmp_path: pathlib.Path, old: bytes, new: bytes):
    _, path = exported(tmp_path, 2, True)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if "/models/" in name)
    assert old in members[name]
    members[name] = members[name].replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    with pytest.raises(errors.UnsafeFileError, match="could run as code"):
        read(path)


def test_exported_program_with_compiled_code_is_refused(tmp_path: pathlib.Path):
    _, path = exported(tmp_path, 2, True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/data/aotinductor/model/x.so", b"ELF")
    with pytest.raises(errors.UnsafeFileError, match="aotinductor"):
        read(path)


def test_damaged_exported_program(tmp_path: pathlib.Path):
    _, path = exported(tmp_path, 2, True)
    data = pathlib.Path(path).read_bytes()
    for cut in (0, 100, len(data) // 2):
        (tmp_path / "cut.pt2").write_bytes(data[:cut])
        with pytest.raises(errors.ModelError):
            read(str(tmp_path / "cut.pt2"))
