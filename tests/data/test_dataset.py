"""The data contract: what loads, what is refused, and that nothing is allocated before it is checked."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from netgain.core.errors import (
    DataError,
    DataMismatchError,
    EmptyDataError,
    LabelError,
    TooLargeError,
    UsageError,
)
from netgain.data import archive, known
from netgain.data.dataset import dataset, load


def save(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return str(path)


def test_npz_round_trip_keeps_every_value(tmp_path: Path):
    x = np.random.default_rng(0).random((5, 1, 4, 4), dtype=np.float32)
    data = load(save(tmp_path / "a.npz", x=x, y=np.arange(5)))
    assert torch.equal(data.x, torch.from_numpy(x))
    assert data.y.tolist() == [0, 1, 2, 3, 4]
    info = data.info()
    assert (info.samples, info.classes, info.origin) == (5, 5, "a.npz")
    assert info.minimum == float(x.min())


def test_checksum_depends_on_values_labels_and_shape():
    x, y = torch.rand(4, 2), torch.tensor([0, 1, 0, 1])
    base = dataset(x, y, "a").sha256
    assert base == dataset(x.clone(), y, "other name").sha256
    assert base != dataset(x + 1, y, "a").sha256
    assert base != dataset(x, 1 - y, "a").sha256
    assert base != dataset(x.reshape(4, 1, 2), y, "a").sha256


@pytest.mark.parametrize(
    ("x", "y", "error"),
    [
        (np.zeros((0, 3)), np.zeros(0), EmptyDataError),
        (np.zeros((3, 2)), np.zeros(2), DataMismatchError),
        (np.full((2, 2), np.nan), np.zeros(2), DataError),
        (np.full((2, 2), np.inf), np.zeros(2), DataError),
        (np.zeros((2, 2)), np.array([0.5, 1.0]), LabelError),
        (np.zeros((2, 2)), np.array([-1, 1]), LabelError),
        (np.zeros((2, 2)), np.eye(2), LabelError),
        (np.zeros((2, 2), dtype=complex), np.zeros(2), DataError),
        (np.array([["a", "b"], ["c", "d"]]), np.zeros(2), DataError),
    ],
)
def test_bad_arrays_are_refused(x: np.ndarray, y: np.ndarray, error: type[Exception]):
    with pytest.raises(error):
        dataset(x, y, "test")


def test_labels_in_a_column_are_taken():
    assert dataset(np.zeros((2, 2)), np.array([[1], [0]]), "t").y.tolist() == [1, 0]


def test_shapes_are_fitted_only_where_no_value_can_move():
    data = dataset(torch.arange(24.0).reshape(2, 1, 3, 4), torch.tensor([0, 1]), "t")
    assert data.shaped((12,)).x.shape == (2, 12)
    assert data.shaped((3, 4)).x.shape == (2, 3, 4)
    assert torch.equal(data.shaped((12,)).x[1], data.x[1].flatten())
    color = dataset(torch.zeros(2, 3, 4, 5), torch.tensor([0, 1]), "t")
    for shape in ((4, 5, 3), (3, 5, 4), (3, 4), (6, 10)):
        with pytest.raises(DataMismatchError):
            color.shaped(shape)
    with pytest.raises(DataMismatchError, match="channels"):
        color.shaped((4, 5, 3))


def test_pickled_arrays_are_refused(tmp_path: Path):
    path = save(tmp_path / "p.npz", x=np.array([{"a": 1}], dtype=object), y=np.zeros(1))
    with pytest.raises(DataError, match="pickle"):
        load(path)


def test_truncated_and_foreign_files_are_refused(tmp_path: Path):
    whole = save(tmp_path / "a.npz", x=np.zeros((10, 10)), y=np.zeros(10))
    content = Path(whole).read_bytes()
    for name, part in (("half.npz", content[: len(content) // 2]), ("noise.npz", b"hello"), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(DataError):
            load(str(tmp_path / name))
    with pytest.raises(DataError):
        load(str(tmp_path / "missing.npz"))
    with pytest.raises(DataError, match="lacks"):
        load(save(tmp_path / "b.npz", x=np.zeros((2, 2))))


def lying(path: Path, shape: tuple[int, ...], data: bytes) -> str:
    """An archive whose array header claims `shape`."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data
    labels = io.BytesIO()
    np.save(labels, np.zeros(2))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive_file:
        archive_file.writestr("x.npy", array)
        archive_file.writestr("y.npy", labels.getvalue())
    return str(path)


def test_a_header_that_lies_is_refused_before_allocation(tmp_path: Path):
    with pytest.raises(TooLargeError):
        load(lying(tmp_path / "huge.npz", (2**20, 2**20), b""))
    with pytest.raises(DataError, match="size"):
        load(lying(tmp_path / "short.npz", (2, 100), b"\0" * 16))


def test_a_bomb_is_refused_by_its_unpacked_size(tmp_path: Path):
    path = lying(tmp_path / "bomb.npz", (2, 2**17), b"\0" * 2**21)
    assert Path(path).stat().st_size < 2**14
    with pytest.raises(TooLargeError):
        archive.read(Path(path), memory=2**20)


def test_csv(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("a,label,b\n1,0,2\n3,1,4.5\n")
    data = load(str(path))
    assert data.x.tolist() == [[1.0, 2.0], [3.0, 4.5]]
    assert data.y.tolist() == [0, 1]
    path.write_text("a,b,species\n1,2,0\n")
    assert load(str(path)).y.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,0\n3,4,1\n", "header"),
        ("a,y\n1,0\n2\n", "cells"),
        ("a,y\nx,0\n", "line 2"),
        ("a,y\n1,0.5\n", "0.5 in sample 0, which is not a class number"),
    ],
)
def test_bad_csv_names_the_place(tmp_path: Path, text: str, message: str):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load(str(path))


def test_empty_csv_is_nothing_to_check(tmp_path: Path):
    (tmp_path / "t.csv").write_text("a,y\n")
    with pytest.raises(EmptyDataError):
        load(str(tmp_path / "t.csv"))


def test_python_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mydata_for_test.py").write_text(
        "import torch\ndef pair():\n    return torch.zeros(2, 3), torch.tensor([0, 1])\n"
        "def broken():\n    raise RuntimeError('no disk')\nnumber = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert len(load("mydata_for_test:pair")) == 2
    for name, message in (("broken", "no disk"), ("number", "int"), ("missing", "missing")):
        with pytest.raises(DataError, match=message):
            load(f"mydata_for_test:{name}")


@pytest.mark.parametrize("spec", ["what", "x.parquet", "a b:c", "digits:validation"])
def test_unknown_specifications_say_what_is_expected(spec: str):
    with pytest.raises(UsageError):
        load(spec)


def test_digits_are_split_without_overlap():
    train, test = load("digits:train"), load("digits")
    assert (len(train), len(test)) == (1300, 497)
    assert train.x.shape[1:] == (1, 8, 8)
    assert float(test.x.max()) == 1.0
    assert sorted(np.unique(test.y)) == list(range(10))


def test_a_changed_file_is_not_taken_for_mnist(tmp_path: Path):
    for name in known.IMAGES["mnist"].md5:
        (tmp_path / name).write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 4) + b"\0\1\2\3")
    with pytest.raises(DataError, match="MD5"):
        known.load("mnist", "test", tmp_path)


@pytest.mark.parametrize(("name", "part", "size"), [("mnist", "test", 10_000), ("fashion-mnist", "test", 10_000)])
def test_image_sets_when_present(name: str, part: str, size: int):
    if known.find(name, "t10k-images-idx3-ubyte") is None:
        pytest.skip(f"{name} is not on this machine")
    data = load(f"{name}:{part}")
    assert data.x.shape == (size, 1, 28, 28)
    assert torch.bincount(data.y).shape == (10,)
