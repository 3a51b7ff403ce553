"""A hash of what a network computes: graph and weights, not names."""

import dataclasses
import enum
import functools
import hashlib
import inspect
import struct
import types
from typing import Any

from torch import Tensor

from netgain.network.graph import Network, Opaque


def digest(network: Network) -> str:
    """Sha256 over the graph's structure and its float64 tensors, as 64 hexadecimal digits.

    It is the same in every process, and independent of node names, of the user's line numbers and of the order in which
    nodes that do not depend on each other are listed. Activations enter by the parameters that their functions close
    over, operations that are only run by their name and constants.

    Args:
        network: the network.
    """
    hashes: dict[str, bytes] = {network.input: _hash(b"input", _encode(network.input_shape))}
    for node in network.nodes:
        parts = [_encode(node.kind), _encode(node.shape), *(hashes[name] for name in node.inputs)]
        hashes[node.name] = _hash(b"node", *parts)
    return _hash(b"network/1", hashes[network.input], hashes[network.output]).hex()


def _hash(*parts: bytes) -> bytes:
    """Sha256 of parts, each with its length."""
    total = hashlib.sha256()
    for part in parts:
        total.update(struct.pack("<q", len(part)))
        total.update(part)
    return total.digest()


def _encode(value: Any) -> bytes:
    """A value of a node kind as bytes; each type with its own mark."""
    match value:
        case Opaque(run=run, code=code):
            return _hash(b"opaque", code.encode(), _encode(run) if dataclasses.is_dataclass(run) else b"")
        case Tensor():
            return _hash(b"tensor", str(value.dtype).encode(), _encode(tuple(value.shape)), _bytes(value))
        case enum.Enum():
            return _hash(b"enum", str(value.value).encode())
        case bool() | int():
            return _hash(b"int", str(int(value)).encode())
        case float():
            return _hash(b"float", struct.pack("<d", value))
        case str():
            return _hash(b"text", value.encode())
        case None:
            return _hash(b"none")
        case tuple() | list():
            return _hash(b"list", *(_encode(item) for item in value))
        case _ if dataclasses.is_dataclass(value):
            fields = [field for field in dataclasses.fields(value) if field.metadata.get("digest", True)]
            named = [part for field in fields for part in (field.name.encode(), _encode(getattr(value, field.name)))]
            return _hash(b"record", type(value).__name__.encode(), *named)
        case functools.partial():
            return _hash(b"partial", _encode(value.func), _encode(value.args), _encode(value.keywords))
        case dict():
            return _hash(b"dict", *(_encode(item) for pair in sorted(value.items()) for item in pair))
        case types.FunctionType():
            return _function(value)
        case types.MethodType():
            return _hash(b"method", _encode(value.__func__), _encode(value.__self__))
        case _ if callable(value):
            return _hash(b"builtin", str(getattr(value, "__name__", type(value).__name__)).encode())
        case _:
            raise TypeError(f"a node kind holds a {type(value).__name__}, which has no digest")


def _function(function: types.FunctionType) -> bytes:
    """A Python function by its name and what it closes over: parameters of an activation live there."""
    function = inspect.unwrap(function)
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    parts = [_encode(item) for item in held if item is not function]
    name = f"{function.__module__}.{function.__qualname__}"
    return _hash(b"function", name.encode(), _encode(function.__defaults__ or ()), *parts)


def _bytes(tensor: Tensor) -> bytes:
    """The entries in order, little endian."""
    array = tensor.detach().cpu().contiguous().numpy()
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
