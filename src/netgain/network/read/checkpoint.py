"""Weights from files: safetensors and torch state dicts, checked before anything is allocated."""

import itertools
import json
import math
import os
import pathlib
import struct
import zipfile
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from netgain.core.errors import CheckpointMismatchError, ModelError, TooLargeError, UnsafeFileError
from netgain.core.files import missing
from netgain.network.read.export import quiet, summary
from netgain.network.read.pickles import check_pickles

_ITEM_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LARGEST_HEADER = 100_000_000
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")


def load_weights(module: nn.Module, path: str, *, allow_pickle: bool = False) -> None:
    """Load a checkpoint into a module; names and shapes must match exactly.

    Args:
        module: receives the weights.
        path: .safetensors, or a state dict saved by torch.
        allow_pickle: open pickles with more than tensors in them.

    Raises:
        CheckpointMismatchError: if names or shapes differ.
        UnsafeFileError: if the file could run code or lies about its sizes.
        ModelError: if the file cannot be read.
    """
    if reason := missing(path):
        raise ModelError(reason)
    if path.lower().endswith(".safetensors"):
        state = read_safetensors(path)
    else:
        state = read_state_dict(path, allow_pickle=allow_pickle)
    expected = module.state_dict()
    state = _without_prefix(state, expected)
    absent, surplus = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    problems: list[str] = []
    if absent:
        problems.append(f"{len(absent)} tensors are missing ({_few(absent)})")
    if surplus:
        problems.append(f"{len(surplus)} are not in the model ({_few(surplus)})")
    for name in sorted(set(state) & set(expected)):
        if state[name].shape != expected[name].shape:
            problems.append(
                f"{name} is {tuple(state[name].shape)} in the file and {tuple(expected[name].shape)} in the model"
            )
    if problems:
        raise CheckpointMismatchError(f"{path}: {'; '.join(problems[:5])}")
    module.load_state_dict(state)


def read_safetensors(path: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file whose header is consistent with its size.

    Raises:
        UnsafeFileError: if lengths, offsets, dtypes or sizes contradict each other or the file.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
            raise UnsafeFileError(f"{path}: the header claims {length} bytes in a file of {size}")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise UnsafeFileError(f"{path}: the header is not JSON ({error})") from error
    _check_header(path, header, size - 8 - length)
    try:
        return load_safetensors(pathlib.Path(path).read_bytes())
    except Exception as error:  # safetensors raises its own private class
        raise UnsafeFileError(f"{path}: {summary(error)}") from error


def _check_header(path: str, header: Any, available: int) -> None:
    """Every tensor's bytes must be there, once, and as many as its shape and dtype need."""
    if not isinstance(header, dict):
        raise UnsafeFileError(f"{path}: the header is not a JSON object")
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            item, shape, (begin, end) = _ITEM_SIZES[entry["dtype"]], list(entry["shape"]), entry["data_offsets"]
            whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        except (KeyError, TypeError, ValueError) as error:
            raise UnsafeFileError(f"{path}: the entry of {name!r} is not understood ({summary(error)})") from error
        if not whole or not begin <= end <= available:
            raise UnsafeFileError(f"{path}: {name!r} claims bytes {begin} to {end} of {available}")
        if math.prod(shape) * item != end - begin:
            raise UnsafeFileError(f"{path}: {name!r} of shape {tuple(shape)} does not fit its {end - begin} bytes")
        spans.append((begin, end, name))
    spans.sort()
    for (_, end, name), (begin, _, other) in itertools.pairwise(spans):
        if begin < end:
            raise UnsafeFileError(f"{path}: {name!r} and {other!r} overlap")


def read_state_dict(path: str, *, allow_pickle: bool = False) -> dict[str, Tensor]:
    """The tensors of a state dict saved by torch, on the CPU.

    Raises:
        UnsafeFileError: if the pickle names anything beyond tensors, or sizes contradict the file.
        TooLargeError: if a tensor unfolds to more than the file holds.
        ModelError: if the file is not one of torch's or holds no state dict.
    """
    check_archive(path)
    if not allow_pickle:
        check_pickles(path)
    try:
        with quiet():
            loaded = torch.load(path, map_location="cpu", weights_only=not allow_pickle)
    except Exception as error:  # truncated archives and foreign pickles raise many classes
        raise ModelError(f"{path} is not a readable torch checkpoint: {summary(error)}") from error
    if isinstance(loaded, nn.Module):
        loaded = loaded.state_dict()
    for key in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ModelError(f"{path} holds {type(loaded).__name__}, expected a state dict: names and tensors")
    size = os.path.getsize(path)
    for name, tensor in loaded.items():
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise UnsafeFileError(f"{path}: {name} is stored as {tensor.layout}, expected a dense tensor")
        if tensor.numel() * tensor.element_size() > size:
            raise TooLargeError(f"{path}: {name} of shape {tuple(tensor.shape)} unfolds to more than the file holds")
    return {str(name): tensor for name, tensor in loaded.items()}


def check_archive(path: str) -> None:
    """Refuse zip archives whose members are compressed or larger than the file: torch stores them plainly."""
    if not zipfile.is_zipfile(path):
        return
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise ModelError(f"{path} is a damaged archive: {error}") from error
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise UnsafeFileError(f"{path}: {member.filename} is compressed, to {member.file_size} bytes")
    if sum(member.file_size for member in members) > size:
        raise UnsafeFileError(f"{path}: its members claim more bytes than the file's {size}")


def load_module(path: str) -> nn.Module:
    """A whole pickled module: runs the code in it, so only for trusted files.

    Raises:
        ModelError: if it holds something else.
    """
    try:
        with quiet():
            loaded = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle can raise anything
        raise ModelError(f"{path} cannot be unpickled: {summary(error)}") from error
    if not isinstance(loaded, nn.Module):
        raise ModelError(f"{path} holds {type(loaded).__name__}, not a module; pass it as --weights of a factory")
    return loaded


def _without_prefix(state: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without the "module." that torch's parallel wrappers put before them."""
    if state and not set(state) & set(expected) and all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _few(names: list[str]) -> str:
    """The first three names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
