"""Reading `.npz` archives: headers are checked against sizes before anything is allocated."""

import math
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from netgain.core.errors import DataError, TooLargeError

MEMORY = 8 * 2**30
"""Bytes that one array may take."""


def read(path: Path, memory: int = MEMORY) -> tuple[np.ndarray, np.ndarray]:
    """Arrays x and y of an archive.

    Args:
        path: an .npz file without pickled objects.
        memory: bytes that one array may take unpacked.

    Raises:
        DataError: if the file is missing, truncated, holds pickles or lacks x or y.
        TooLargeError: if an array would unfold to more than `memory`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if missing := {"x", "y"} - names.keys():
                raise DataError(f"{path} lacks the array {' and '.join(sorted(missing))}; it holds {sorted(names)}")
            return _array(archive, names["x"], path, memory), _array(archive, names["y"], path, memory)
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is not a readable .npz archive: {error}") from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, memory: int) -> np.ndarray:
    """One array, after its header has been checked against the archive's directory."""
    with archive.open(info) as stream:
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(stream)
        data = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise DataError(f"{info.filename} in {path} holds pickled objects, which can run code")
        if data > memory:
            raise TooLargeError(f"{info.filename} in {path} would take {data / 2**30:.1f} GiB unpacked")
        if data + stream.tell() != info.file_size:
            raise DataError(f"{info.filename} in {path} says shape {shape} of {dtype}, which is not its size")
    with archive.open(info) as stream:
        return npy.read_array(stream, allow_pickle=False)
