"""A pickle examined without running it: what it would import and what sizes its tensors claim."""

import math
import os
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

from netgain.core.errors import ModelError, TooLargeError, UnsafeFileError

# What a state dict needs: containers, tensors, storages.
_HARMLESS = {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._tensor._rebuild_from_type_v2",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.Size",
    "torch.device",
    "torch.serialization._get_layout",
}
_ITEM_SIZES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
    "UntypedStorage": 1,
}
_LARGEST_PICKLE = 64 * 2**20
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class _Stub:
    """Stands for everything that a pickle builds. Records what tensors claim; does nothing."""

    def __init__(self, name: str, check: Callable[[str, tuple[Any, ...]], None]):
        self.name, self.check = name, check

    def __call__(self, *args: Any) -> Any:
        if self.name == "collections.OrderedDict":
            return _Built()
        self.check(self.name, args)
        return _Built()


class _Built(dict[Any, Any]):
    """An object that a pickle built: takes any state and items."""

    def __setstate__(self, state: Any) -> None:
        """Ignore it."""


class _Examiner(pickle.Unpickler):
    """An unpickler that imports nothing: every global is a stub, every persistent object its description."""

    def __init__(self, file: Any, path: str, size: int):
        super().__init__(file, encoding="utf-8")
        self.path, self.size = path, size

    def find_class(self, module: str, name: str, /) -> Any:
        """A stub for a harmless name.

        Raises:
            UnsafeFileError: for any other.
        """
        full = f"{module}.{name}"
        storage = (module == "torch" and name in _ITEM_SIZES) or full == "torch.storage.UntypedStorage"
        dtype = module == "torch" and name.islower() and name.isidentifier() and not name.startswith("_")
        if full not in _HARMLESS and not storage and not (dtype and _is_dtype(name)):
            raise UnsafeFileError(f"{self.path}: the pickle would run {full}")
        return name if storage or dtype else _Stub(full, self._check)

    def persistent_load(self, pid: Any, /) -> Any:
        """A storage's description: (type name, number of entries).

        Raises:
            UnsafeFileError: if it is malformed or claims more than the file holds.
        """
        entries = pid[4] if isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" else None
        kind = pid[1] if isinstance(pid, tuple) and len(pid) > 1 else None
        if type(entries) is not int or not isinstance(kind, str) or entries < 0:
            raise UnsafeFileError(f"{self.path}: a storage's description is malformed")
        if entries * _ITEM_SIZES.get(kind, 1) > self.size:
            raise UnsafeFileError(f"{self.path}: a storage claims {entries} entries in a file of {self.size} bytes")
        return ("storage", entries)

    def _check(self, name: str, args: tuple[Any, ...]) -> None:
        """Compare a tensor's claimed shape with its storage."""
        if "_rebuild_tensor" not in name:
            return
        try:
            (_, entries), offset, shape, stride = args[:4]
            numbers = (offset, *shape, *stride)
            whole = all(type(number) is int and number >= 0 for number in numbers) and len(shape) == len(stride)
        except (TypeError, ValueError) as error:
            raise UnsafeFileError(f"{self.path}: a tensor's description is malformed") from error
        if not whole:
            raise UnsafeFileError(f"{self.path}: a tensor's description is malformed")
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        if math.prod(shape) > 0 and last >= entries:
            raise UnsafeFileError(f"{self.path}: a tensor of shape {tuple(shape)} reads beyond its {entries} entries")
        if math.prod(shape) > entries:
            raise TooLargeError(f"{self.path}: a tensor of shape {tuple(shape)} unfolds {entries} stored entries")


def check_pickles(path: str) -> None:
    """Examine a torch checkpoint without running it.

    Args:
        path: a zip archive of torch, or its older form: pickles one after another, then the storages.

    Raises:
        UnsafeFileError: if it would import anything beyond what a state dict needs, or claims impossible sizes.
        TooLargeError: if a tensor unfolds to more entries than are stored.
        ModelError: if it is no pickle.
    """
    size = os.path.getsize(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if member.filename.endswith(".pkl"):
                        if member.file_size > _LARGEST_PICKLE:
                            raise UnsafeFileError(f"{path}: {member.filename} has {member.file_size} bytes")
                        with archive.open(member) as file:
                            _Examiner(file, path, size).load()
            return
        with open(path, "rb") as file:
            if _Examiner(file, path, size).load() != _LEGACY_MAGIC:
                raise UnsafeFileError(f"{path} is a pickle, but not a checkpoint of torch")
            for _ in range(4):  # protocol, system, the state dict, the storages' keys
                _Examiner(file, path, size).load()
    except (UnsafeFileError, TooLargeError):
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise ModelError(f"{path} is not a readable torch checkpoint: {type(error).__name__}: {error}") from error


def _is_dtype(name: str) -> bool:
    """Whether a lower-case name of torch is a dtype."""
    stem = name.rstrip("0123456789")
    return stem in ("float", "bfloat", "int", "uint", "bool", "half", "double", "long", "short", "complex")
