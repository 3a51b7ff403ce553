"""Files and Python objects that a user names: found, or missed with a suggestion."""

import contextlib
import difflib
import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any


def missing(path: str) -> str:
    """Why a path is not a readable file, with the likely name where there is one; "" if it is one.

    Args:
        path: the path as the user wrote it.
    """
    file = pathlib.Path(path)
    if file.is_file():
        return ""
    if file.is_dir():
        return f"{path} is a folder, a file was expected"
    if not file.parent.is_dir():
        return f"{path} does not exist: there is no folder {file.parent}"
    near = difflib.get_close_matches(file.name, [entry.name for entry in file.parent.iterdir()], n=1, cutoff=0.7)
    return f"{path} does not exist" + (f"; did you mean {file.parent / near[0]}?" if near else "")


def names_object(spec: str) -> bool:
    """Whether a text has the form "package.module:name" or "path/to/file.py:name"."""
    place, colon, name = spec.rpartition(":")
    if not colon or not all(piece.isidentifier() for piece in name.split(".")):
        return False
    return place.lower().endswith(".py") or all(piece.isidentifier() for piece in place.split("."))


def python_file(spec: str) -> str | None:
    """The file of "path/to/file.py:name"; None for any other text."""
    place = spec.rpartition(":")[0]
    return place if place.lower().endswith(".py") else None


def python_object(spec: str, use: Callable[[Any], Any]) -> Any:
    """What `use` makes of the object of "package.module:name" or "path/to/file.py:name".

    The working directory is importable, as for `python -m`; beside a file its folder is, as for `python file.py`.

    Args:
        spec: the module or file, and the name in it, dots allowed.
        use: called with the object while those folders are importable.

    Returns:
        What `use` returns.

    Raises:
        Exception: whatever the user's code raises; ModuleNotFoundError, FileNotFoundError or AttributeError where there
            is no such thing.
    """
    place, _, name = spec.rpartition(":")
    file = python_file(spec)
    with _importable(str(pathlib.Path.cwd()), *([str(pathlib.Path(file).resolve().parent)] if file else [])):
        found: Any = importlib.import_module(place) if file is None else _run(pathlib.Path(file))
        for piece in name.split("."):
            found = getattr(found, piece)
        return use(found)


def _run(file: pathlib.Path) -> ModuleType:
    """A file as a module; it keeps no name that a package may have."""
    name = f"netgain_user_{file.stem}"
    plan = importlib.util.spec_from_file_location(name, file)
    if plan is None or plan.loader is None:
        raise FileNotFoundError(f"{file} cannot be loaded")
    module = importlib.util.module_from_spec(plan)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up by name
    plan.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importable(*folders: str) -> Generator[None]:
    """These folders in front of the search path, for the time of the `with` block."""
    added = [folder for folder in folders if folder not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)
