"""Exported programs from .pt2 archives: vetted first, because torch.export.load trusts its file.

torch.export.load unpickles sample inputs and some weights, evaluates size expressions as Python, looks targets up by
attribute and prints names into generated code. So the archive is rebuilt with only the parts that a program needs, and
every string that could become code is matched against what torch itself writes there.
"""

import io
import json
import re
import zipfile
from typing import Any

import torch
from torch.export import ExportedProgram

from netgain.core.errors import ModelError, UnsafeFileError
from netgain.network.read.checkpoint import check_archive
from netgain.network.read.export import quiet, summary

_MEMBERS = re.compile(
    r"[\w\-. ]+/(models/\w+\.json|data/(weights|constants)/[\w.\-]+|archive_format|archive_version|byteorder|"
    r"\.?data/(version|serialization_id))"
)
_SAMPLES = re.compile(r"([\w\-. ]+/data/sample_inputs/\w+\.pt)")
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file)\w+(\.\w+)?|torch\.ops\.higher_order\.cond|torch\.sym_\w+|math\.\w+|"
    r"_operator\.(add|sub|mul|neg|pow|mod|floordiv|truediv|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem|pos|abs)"
)
_WORDS = re.compile(
    r"[su]\d+|zf\d+|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|IntTrueDiv|FloatTrueDiv|ModularIndexing|Eq|Ne|Lt|Le|"
    r"Gt|Ge|And|Or|Not|Piecewise|True|False|ToFloat|CeilToInt|FloorToInt|TruncToInt|RoundToInt|PowByNatural|FloatPow|"
    r"Identity|Integer|Rational|oo|int_oo|Symbol|positive|nonnegative|integer|Add|Mul|Pow|Infinity|NegativeInfinity|"
    r"Half|One|Zero|NegativeOne|LessThan|StrictLessThan|GreaterThan|StrictGreaterThan|Equality|Unequality|true|false"
)
_SYMBOL = re.compile(r"Symbol\('[su]\d+'")
_EXPRESSION = re.compile(r"[\w\s()+\-*/,<>=!&|~%]*")
_NAME = re.compile(r"[\w.\-]*")
# Strings under these keys never become code: literals, trees of containers (loaded by registered names), versions.
_FREE = {"as_string", "in_spec", "out_spec", "torch_version", "verifiers", "type", "treespec_namedtuple_fields"}
_KEPT_METADATA = ("stack_trace", "nn_module_stack")


def load_program(path: str) -> ExportedProgram:
    """An exported program without pickled objects, compiled code or strings that could run as Python.

    Args:
        path: a .pt2 archive as torch.export.save writes it.

    Raises:
        UnsafeFileError: if the archive holds anything else, or lies about its sizes.
        ModelError: if it is not an exported program.
    """
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path} is not a .pt2 archive")
    check_archive(path)
    rebuilt = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(rebuilt, "w", zipfile.ZIP_STORED) as copy:
            for name in archive.namelist():
                copy.writestr(name, _vetted(path, name, archive))
    except (zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is a damaged archive: {summary(error)}") from error
    rebuilt.seek(0)
    try:
        with quiet():
            return torch.export.load(rebuilt)
    except Exception as error:  # torch.export raises many private classes
        raise ModelError(f"{path} is not a readable exported program: {summary(error)}") from error


def _vetted(path: str, name: str, archive: zipfile.ZipFile) -> bytes:
    """A member's content, checked and cleaned."""
    if _SAMPLES.fullmatch(name):
        return b""
    if not _MEMBERS.fullmatch(name):
        raise UnsafeFileError(f"{path} holds {name}, which no exported program needs")
    content = archive.read(name)
    if not name.endswith(".json"):
        return content
    parsed = json.loads(content)
    if "/models/" not in name:
        if _uses_pickle(parsed):
            raise UnsafeFileError(f"{path}: {name} asks for a pickled tensor or object")
        return content
    if isinstance(parsed, dict):
        parsed["guards_code"] = []
    return json.dumps(_cleaned(path, "", parsed)).encode()


def _cleaned(path: str, key: str, value: Any) -> Any:
    """A part of a program with its strings checked; only the metadata that messages use are kept."""
    if isinstance(value, dict):
        if key == "metadata":
            return {name: value[name] for name in _KEPT_METADATA if isinstance(value.get(name), str)}
        for name in value:
            if not _NAME.fullmatch(str(name)):
                raise UnsafeFileError(f"{path}: {str(name)[:60]!r} is not a name")
        return {name: _cleaned(path, name, part) for name, part in value.items()}
    if isinstance(value, list):
        return [_cleaned(path, key, part) for part in value]
    if isinstance(value, str) and not _harmless(key, value):
        raise UnsafeFileError(f"{path}: {key} is {value[:60]!r}, which could run as code")
    return value


def _harmless(key: str, value: str) -> bool:
    """Whether a string is what torch writes under that key."""
    if key in _FREE:
        return True
    if key == "target":
        return bool(_TARGET.fullmatch(value) or re.fullmatch(r"\w+", value))
    if key in ("expr_str", "as_expr"):
        value = _SYMBOL.sub("Symbol(s0", value)
        words = re.findall(r"[A-Za-z_]\w*", value)
        return bool(_EXPRESSION.fullmatch(value)) and all(_WORDS.fullmatch(word) for word in words)
    return bool(_NAME.fullmatch(value))


def _uses_pickle(config: Any) -> bool:
    """Whether a payload configuration asks for pickled tensors."""
    try:
        return any(entry.get("use_pickle", True) for entry in config["config"].values())
    except (KeyError, AttributeError, TypeError):
        return True
