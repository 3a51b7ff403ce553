"""Opening an ONNX file: sizes, paths and structure are checked before anything is allocated or followed."""

import dataclasses
import importlib
import math
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from netgain.core.errors import ModelError, TooLargeError, UnsafeFileError

LARGEST_FILE = 2**31 - 1  # what protobuf can parse
MOST_NODES = 200_000
# Bytes an entry of the element types that can be opened; 4-bit, string and complex tensors cannot.
ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
FLOATS = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output that the file declares.

    Attributes:
        name: its name.
        element: ONNX element type, 0 where undeclared.
        dims: a number, a symbol, or None for an open axis without a name; None for an undeclared shape.
    """

    name: str
    element: int
    dims: tuple[int | str | None, ...] | None


@dataclasses.dataclass(frozen=True)
class Model:
    """A parsed file.

    Attributes:
        path: where it was read from.
        nodes: node protos in the file's order, local functions inlined.
        constants: the initialisers, checked.
        inputs: graph inputs that are not initialisers.
        outputs: graph outputs.
        opset: version of the standard operator set.
        opsets: version of every operator set, by domain.
        ir_version: version of the format.
    """

    path: Path
    nodes: tuple[Any, ...]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    opsets: Mapping[str, int]
    ir_version: int


class Allowance:
    """Bytes that reading may still allocate. Nothing is given back, so the limit holds for the sum of all steps."""

    def __init__(self, limit: int):
        self.limit, self.spent = limit, 0

    def spend(self, shape: Iterable[int], item: int, what: str) -> None:
        """Account for a tensor that is kept, before it is made.

        Args:
            shape: its shape.
            item: bytes an entry.
            what: what messages call it.

        Raises:
            ModelError: if an axis is negative.
            TooLargeError: if the limit is passed.
        """
        self.spent += self.check(shape, item, what, self.spent)

    def check(self, shape: Iterable[int], item: int, what: str, before: int = 0) -> int:
        """The bytes of a tensor, after checking that it fits beside the `before` bytes that are kept.

        Args:
            shape: its shape.
            item: bytes an entry.
            what: what messages call it.
            before: bytes in use.

        Raises:
            ModelError: if an axis is negative.
            TooLargeError: if the limit is passed.
        """
        dims = tuple(int(size) for size in shape)
        if any(size < 0 for size in dims):
            raise ModelError(f"{what} has the shape {_shown(dims)} with a negative axis")
        size = math.prod(dims) * item
        if before + size > self.limit:
            raise TooLargeError(
                f"{what} of shape {_shown(dims)} takes {size:,} bytes, which passes the limit of {self.limit:,} bytes"
            )
        return size


def _shown(dims: tuple[int, ...]) -> str:
    """A shape for messages, of bounded length."""
    return str(dims) if len(dims) <= 8 else f"({', '.join(map(str, dims[:8]))}, ...)"


def require_onnx() -> None:
    """Import onnx, or say which extra brings it.

    Raises:
        ModelError: if it is not installed.
    """
    try:
        importlib.import_module("onnx")
    except ImportError as error:
        raise ModelError("reading ONNX files needs the package onnx: pip install netgain[onnx]") from error


def open_model(path: Path, allowance: Allowance) -> Model:
    """Parse and check a file.

    Args:
        path: the file.
        allowance: bytes that may be allocated.

    Returns:
        The model; its tensors are read, external ones from the file's own folder only.

    Raises:
        ModelError: if the file is not a sound ONNX model.
        TooLargeError: if it has too many nodes.
    """
    proto = _parse(path, allowance)
    graph = proto.graph
    opsets = {entry.domain or "": int(entry.version) for entry in proto.opset_import}
    if not graph.node and not graph.output:
        raise ModelError(f"{path.name} holds no graph: it is empty or not an ONNX file")
    if "" not in opsets and "ai.onnx" not in opsets and int(proto.ir_version) >= 3:
        raise ModelError(f"{path.name} does not say which operator set it uses: it is truncated or not an ONNX model")
    opsets.setdefault("", opsets.get("ai.onnx", 1))
    _check_text(graph, path)
    for function in proto.functions:
        _check_text(function, path)
    proto = _inline(proto, path)
    graph = proto.graph
    if len(graph.node) > MOST_NODES:
        raise TooLargeError(f"{path.name} has {len(graph.node):,} nodes, more than {MOST_NODES:,}")
    if graph.sparse_initializer:
        raise ModelError(f"{path.name} holds sparse weights, which netgain does not open")
    settle(graph.node, path, allowance)
    constants: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        if tensor.name in constants:
            raise ModelError(f"{path.name} defines the weight {tensor.name!r} twice")
        constants[tensor.name] = read_tensor(tensor, path, allowance)
    inputs = tuple(_port(value) for value in graph.input if value.name not in constants)
    outputs = tuple(_port(value) for value in graph.output)
    if not outputs:
        raise ModelError(f"{path.name} declares no output")
    names = [port.name for port in inputs]
    if len(set(names)) != len(names):
        raise ModelError(f"{path.name} declares an input twice")
    return Model(path, tuple(graph.node), constants, inputs, outputs, opsets[""], opsets, int(proto.ir_version))


def _parse(path: Path, allowance: Allowance) -> Any:
    """The file's protobuf message."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path} is not a regular file")
        if status.st_size > LARGEST_FILE:
            raise TooLargeError(f"{path.name} has {status.st_size:,} bytes; an ONNX file has fewer than 2^31")
        allowance.spend((status.st_size,), 1, f"the file {path.name}")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be opened: {error}") from error
    if data[:2] == b"PK":
        raise ModelError(f"{path.name} is a zip archive, not an ONNX model")
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise UnsafeFileError(f"{path.name} is a pickle, not an ONNX model")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ModelError(f"{path.name} is not an ONNX model, or it is truncated ({_one_line(error)})") from error
    return proto


def _check_text(graph: Any, path: Path) -> None:
    """Refuse names that are not text: protobuf hands them out as bytes.

    Raises:
        ModelError: if there is one.
    """
    ports: list[Any] = []
    names: list[Any] = [graph.name]
    if hasattr(graph, "initializer"):
        names += [tensor.name for tensor in graph.initializer]
        ports = [*graph.input, *graph.output]
        names += [port.name for port in ports]
        names += [dim.dim_param for port in ports for dim in port.type.tensor_type.shape.dim]
    else:
        names += [*graph.input, *graph.output, graph.domain]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
        for inner in subgraphs(node):
            _check_text(inner, path)
    if any(not isinstance(name, str) for name in names):
        raise ModelError(f"{path.name} has a name that is not text; the file is damaged")


def _one_line(error: BaseException) -> str:
    """An error's message, short and on one line."""
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__


def _port(value: Any) -> Port:
    """A declared input or output."""
    if value.type.WhichOneof("value") not in (None, "tensor_type"):
        raise ModelError(f"{value.name!r} is not a tensor: sequences, maps and optional values cannot be read")
    declared = value.type.tensor_type
    if not declared.HasField("shape"):
        return Port(value.name, int(declared.elem_type), None)
    dims: list[int | str | None] = []
    for dim in declared.shape.dim:
        size = int(dim.dim_value) if dim.HasField("dim_value") else 0
        # Some exporters write -1 (or 0) for an open axis.
        dims.append(size if size > 0 else (dim.dim_param or None))
    return Port(value.name, int(declared.elem_type), tuple(dims))


def _inline(proto: Any, path: Path) -> Any:
    """The model without local functions; their unfolded size is counted first."""
    if not proto.functions:
        return proto
    import onnx.inliner

    functions = {(entry.domain, entry.name): entry for entry in proto.functions}
    if len(functions) != len(proto.functions):
        raise ModelError(f"{path.name} defines a function twice")
    sizes: dict[tuple[str, str], int] = {}

    def count(nodes: Iterable[Any], open_calls: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in open_calls:
                raise ModelError(f"{path.name} has a function {node.op_type!r} that calls itself")
            total += 1 + sum(count(graph.node, open_calls) for graph in subgraphs(node))
            if key in functions:
                if key not in sizes:
                    sizes[key] = count(functions[key].node, (*open_calls, key))
                total += sizes[key]
            if total > MOST_NODES:
                raise TooLargeError(f"the functions of {path.name} unfold to more than {MOST_NODES:,} nodes")
        return total

    if len(functions) > 500:
        raise TooLargeError(f"{path.name} defines {len(functions)} functions, more than 500")
    count(proto.graph.node, ())
    try:
        return onnx.inliner.inline_local_functions(proto)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"the functions of {path.name} cannot be inlined ({_one_line(error)})") from error


def subgraphs(node: Any) -> list[Any]:
    """The graphs in a node's attributes (branches, loop bodies)."""
    found: list[Any] = []
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found.append(attribute.g)
        found.extend(attribute.graphs)
    return found


def settle(nodes: Iterable[Any], path: Path, allowance: Allowance) -> None:
    """Check every tensor inside the nodes' attributes and bodies, and put external data in their place.

    Nothing reads a file after this: the replay hands these nodes to other programs.
    """
    from onnx import numpy_helper

    for node in nodes:
        tensors = [attribute.t for attribute in node.attribute if attribute.HasField("t")]
        tensors += [tensor for attribute in node.attribute for tensor in attribute.tensors]
        for graph in subgraphs(node):
            tensors += list(graph.initializer)
            settle(graph.node, path, allowance)
        for tensor in tensors:
            if tensor.data_location == 1:
                tensor.CopyFrom(numpy_helper.from_array(read_tensor(tensor, path, allowance), tensor.name))


def read_tensor(tensor: Any, path: Path, allowance: Allowance) -> np.ndarray:
    """A stored tensor, after its size was checked against what is there.

    Args:
        tensor: the tensor proto.
        path: the model's file; external data must lie in its folder.
        allowance: bytes that may be allocated.

    Raises:
        ModelError: if the tensor's data do not fit its shape.
    """
    from onnx import numpy_helper

    what = f"the tensor {tensor.name!r}" if tensor.name else "an unnamed tensor"
    element = int(tensor.data_type)
    if element not in ITEM_BYTES:
        raise ModelError(f"{what} has the element type {element}, which netgain does not open")
    if tensor.HasField("segment"):
        raise ModelError(f"{what} is stored in segments, which netgain does not open")
    dims = tuple(int(size) for size in tensor.dims)
    allowance.spend(dims, 8, what)  # weights are kept in float64
    count = math.prod(dims)
    size = count * ITEM_BYTES[element]
    if tensor.data_location == 1:  # EXTERNAL
        data = _external(tensor, path, size, what)
        return np.frombuffer(data, dtype=_numpy_type(element)).reshape(dims)
    if tensor.HasField("raw_data"):
        given, expected, unit = len(tensor.raw_data), size, "bytes"
    else:
        field = _typed_field(element)
        given, expected, unit = len(getattr(tensor, field)), count, "entries"
    if given != expected:
        raise ModelError(f"{what} of shape {_shown(dims)} needs {expected:,} {unit} but holds {given:,}")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelError(f"{what} cannot be read ({_one_line(error)})") from error


def _typed_field(element: int) -> str:
    """The field of a tensor proto that holds entries of this type when they are not raw."""
    fields = {1: "float_data", 7: "int64_data", 11: "double_data", 12: "uint64_data", 13: "uint64_data"}
    return fields.get(element, "int32_data")


def _numpy_type(element: int) -> np.dtype[Any]:
    """The numpy type of an element type."""
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(element).newbyteorder("<")


def _external(tensor: Any, path: Path, size: int, what: str) -> bytes:
    """The bytes of a tensor that lies in another file of the model's folder."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    folder = path.parent.resolve()
    target = Path(location)
    inside = bool(location) and "\0" not in location and not target.is_absolute() and ".." not in target.parts
    if not inside or "\\" in location or ":" in location:
        raise UnsafeFileError(f"{what} points to {location!r}, outside the folder of {path.name}")
    try:
        resolved = (folder / target).resolve()
        if not resolved.is_relative_to(folder):
            raise UnsafeFileError(f"{what} points to {location!r}, a link out of the folder of {path.name}")
        status = resolved.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeFileError(f"{what} points to {location!r}, which is not a regular file")
        offset = int(entries.get("offset", "0") or 0)
        length = int(entries.get("length", size) or size)
        if offset < 0 or length < 0 or length != size or offset + length > status.st_size:
            raise ModelError(
                f"{what} needs {size:,} bytes, but its entry says {length:,} bytes from {offset:,} of a file of "
                f"{status.st_size:,}"
            )
        with open(resolved, "rb") as stream:
            stream.seek(offset, os.SEEK_SET)
            data = stream.read(length)
    except (OSError, ValueError) as error:
        raise ModelError(f"the data of {what} cannot be read from {location!r} ({_one_line(error)})") from error
    if len(data) != length:
        raise ModelError(f"the file {location!r} ended inside {what}")
    return data
