"""Files that are whole or absent: every report, table and document is written through here."""

import contextlib
import csv
import io
import os
import pathlib
import secrets
from collections.abc import Iterable, Sequence

from netgain.core.errors import UsageError

Row = list[str | int | float | None]
Table = tuple[list[str], list[Row]]
"""A header and rows of its length."""


def write_bytes(path: str | os.PathLike[str], content: bytes) -> pathlib.Path:
    """Write a file so that a reader sees the old content or the new, never a part.

    The content goes to a temporary name in the same folder, is flushed to the disk, and takes the final name by one
    rename. On any failure the temporary file is removed and what stood under `path` stays as it was. A symbolic link
    is followed; devices and pipes (/dev/stdout) are written to directly.

    Args:
        path: the file; its folder must exist.
        content: all of it.

    Returns:
        The path written.

    Raises:
        UsageError: if the folder does not exist or cannot be written.
    """
    target = pathlib.Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise UsageError(f"cannot write {path}: it is a folder, a file name was expected")
        if target.exists() and not target.is_file():
            target.write_bytes(content)
        else:
            _replace(target, content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return target


def write_text(path: str | os.PathLike[str], content: str) -> pathlib.Path:
    """`write_bytes` for text: UTF-8, lone surrogates of odd file names kept readable as escapes."""
    return write_bytes(path, content.encode("utf-8", "backslashreplace"))


def write_rows(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[str | int | float | None]]
) -> pathlib.Path:
    """Write a CSV table (RFC 4180, UTF-8, a header row); `write_bytes` says how.

    Floats are written with all their digits, None as an empty cell. A text cell that a spreadsheet would run as a
    formula gets a leading apostrophe.

    Args:
        path: the file; its folder must exist.
        header: column names.
        rows: one sequence a row, as long as the header.

    Returns:
        The path written.

    Raises:
        UsageError: if the file cannot be written.
        ValueError: if a row is not as long as the header.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under a header of {len(header)}")
        writer.writerow([_cell(value) for value in row])
    return write_text(path, text.getvalue())


def _cell(value: str | int | float | None) -> str:
    """One CSV cell."""
    match value:
        case None:
            return ""
        case str():
            return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
        case float():
            return repr(value)
        case int():
            return str(int(value))


def _replace(target: pathlib.Path, content: bytes) -> None:
    """Put `content` under a temporary name, flush it, rename it."""
    temporary = target.with_name(f".{target.name[:80]}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            with contextlib.suppress(OSError):
                os.chmod(temporary, target.stat().st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: pathlib.Path) -> None:
    """Flush the rename itself, where the system can flush folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
