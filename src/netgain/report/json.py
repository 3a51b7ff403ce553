"""Records as JSON documents of the schema `netgain/1`, and back. docs/schema.md lists every field."""

import dataclasses
import json
import math
import os
import pathlib
import types
import typing
from typing import Any

from netgain.core.codes import CODES
from netgain.core.errors import DataError, NetgainError
from netgain.core.files import missing
from netgain.core.record import SCHEMA, Record

_LIMIT = 256 * 2**20


def dumps(record: Record, *, indent: int | None = 2) -> str:
    """The record as one JSON document that ends in a newline.

    Infinity and NaN do not exist in JSON: both become null, and docs/schema.md says field by field what null means.

    Args:
        record: what a command found.
        indent: spaces a level; None for one line.
    """
    return document(record.to_dict(), indent=indent)


def document(content: dict[str, Any], *, indent: int | None = 2, ascii_only: bool = True) -> str:
    """Any schema document as strict JSON text: non-finite numbers as null, a newline at the end."""
    return json.dumps(_finite(content), indent=indent, ensure_ascii=ascii_only, allow_nan=False) + "\n"


def error_document(error: NetgainError) -> dict[str, Any]:
    """What `--json -` prints instead of a record when a command fails: code, title, detail, action, exit code."""
    entry = CODES[error.code]
    return {
        "schema": SCHEMA,
        "error": {
            "code": error.code,
            "title": entry.title,
            "detail": error.detail,
            "action": entry.action,
            "exit_code": error.exit_code,
        },
    }


def load(path: str | os.PathLike[str]) -> Record:
    """Read a record that `dumps` wrote.

    Args:
        path: a JSON file.

    Returns:
        The record; a null gain bound comes back as infinity.

    Raises:
        DataError: if the file is missing, too large, not JSON, of another schema, or lacks fields.
    """
    file = pathlib.Path(path)
    if reason := missing(os.fspath(path)):
        raise DataError(reason)
    try:
        if file.stat().st_size > _LIMIT:
            raise DataError(f"{path} holds {file.stat().st_size} bytes; a record has at most {_LIMIT}")
        text = file.read_text("utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text, a JSON record of `netgain audit --json` was expected") from error
    return loads(text, str(path))


def loads(text: str, origin: str = "the document") -> Record:
    """Parse a record from JSON text; `load` says what can go wrong.

    Args:
        text: the document.
        origin: what to call it in messages.

    Raises:
        DataError: if it is not a record of this schema.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{origin} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{origin} has the schema {found!r}, {SCHEMA!r} was expected")
    if "error" in content:
        raise DataError(f"{origin} records an error, not a result: {content['error']}")
    if "before" in content:
        raise DataError(f"{origin} is a comparison; compare takes the records of two audits")
    try:
        return _build(Record, content, "record")
    except (TypeError, ValueError) as error:
        raise DataError(f"{origin} does not follow {SCHEMA}: {error}") from error


def _finite(value: Any) -> Any:
    """The value with tuples as lists and non-finite floats as None."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(key): _finite(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_finite(entry) for entry in value]
        case str():
            return str(value)
        case _:
            return value


def _build(annotation: Any, value: Any, where: str) -> Any:
    """The value as the annotated type; TypeError names the field that does not fit."""
    origin = typing.get_origin(annotation)
    if origin in {types.UnionType, typing.Union}:
        inner = [entry for entry in typing.get_args(annotation) if entry is not type(None)]
        return None if value is None else _build(inner[0], value, where)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return _dataclass(annotation, value, where)
    if origin is tuple:
        return _tuple(typing.get_args(annotation), value, where)
    if origin is dict and isinstance(value, dict):
        return {str(key): str(entry) for key, entry in value.items()}
    if annotation is float and (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
        return math.inf if value is None else float(value)
    if annotation is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(annotation, type) and issubclass(annotation, str) and isinstance(value, str):
        return annotation(value)
    raise TypeError(f"{where} is {str(value)[:60]!r}, {getattr(annotation, '__name__', annotation)} was expected")


def _dataclass(annotation: type, value: Any, where: str) -> Any:
    """A record part from its object; unknown keys are left alone, so that a later minor version can add some."""
    if not isinstance(value, dict):
        raise TypeError(f"{where} is {str(value)[:60]!r}, an object was expected")
    hints = typing.get_type_hints(annotation)
    known: dict[str, Any] = {}
    for field in dataclasses.fields(annotation):
        if field.name in value:
            known[field.name] = _build(hints[field.name], value[field.name], f"{where}.{field.name}")
    return annotation(**known)


def _tuple(entries: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    """A tuple from a list."""
    if not isinstance(value, list):
        raise TypeError(f"{where} is {str(value)[:60]!r}, a list was expected")
    if entries[-1] is Ellipsis:
        return tuple(_build(entries[0], entry, f"{where}[{index}]") for index, entry in enumerate(value))
    if len(entries) != len(value):
        raise TypeError(f"{where} has {len(value)} entries, {len(entries)} were expected")
    return tuple(_build(kind, entry, where) for kind, entry in zip(entries, value, strict=True))
