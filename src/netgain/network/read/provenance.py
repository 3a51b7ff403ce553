"""Where an operation of an exported graph comes from: its aten name, its module, the user's line."""

import pathlib
import re
import traceback
from types import TracebackType

import torch
from torch import fx

from netgain.network.graph import Source
from netgain.network.read.schema import operation_name

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in')
_TORCH = str(pathlib.Path(torch.__file__).parent)
_OURS = str(pathlib.Path(__file__).parents[2])


def source_of(node: fx.Node) -> Source:
    """Operation, module path and the user's line of a node."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    module = str(stack[-1][0]) if stack else ""
    name = operation_name(node.target)
    return Source(name.rpartition(".")[0] or name, module, _user_line(node.meta.get("stack_trace") or ""))


def module_class(node: fx.Node) -> str:
    """Full class name of the module that owns a node, "" at top level."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    owner = stack[-1][1]
    return owner if isinstance(owner, str) else f"{owner.__module__}.{owner.__qualname__}"


def error_line(error: BaseException, trace: TracebackType | None = None) -> str:
    """The last line of the user's code that an exception passed through, "file.py:12", or ""."""
    frames = traceback.extract_tb(trace or error.__traceback__)
    for frame in reversed(frames):
        if _is_user_file(frame.filename):
            return f"{short_path(frame.filename)}:{frame.lineno}"
    return ""


def short_path(file: str) -> str:
    """A path relative to the working directory where it lies below it, else the file's name."""
    path = pathlib.Path(file)
    try:
        return str(path.relative_to(pathlib.Path.cwd()))
    except ValueError:
        return path.name


def _user_line(trace: str) -> str:
    """The innermost frame of a recorded stack that is the user's, or at least not torch's."""
    frames = [match.groupdict() for match in _FRAME.finditer(trace)]
    ours = [frame for frame in frames if _is_user_file(frame["file"])]
    # A library of layers is not the user's code where there is any of theirs.
    theirs = [frame for frame in ours if "site-packages" not in frame["file"]]
    for frame in reversed(theirs or ours):
        return f"{short_path(frame['file'])}:{frame['line']}"
    return ""


def _is_user_file(file: str) -> bool:
    """Whether a file is neither torch's nor ours nor generated nor part of Python."""
    if file.startswith(("<", _TORCH, _OURS)):
        return False
    return not any(part in file for part in ("/importlib/", "/contextlib.py", "/functools.py", "/copy.py"))
