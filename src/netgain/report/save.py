"""Saving a record from Python."""

import pathlib

from netgain.core.errors import UsageError
from netgain.core.record import Record
from netgain.report import html, json
from netgain.report.write import write_text


def save_report(record: Record, path: str | pathlib.Path) -> pathlib.Path:
    """Write a record to a file, whole or not at all.

    Args:
        record: as `netgain.audit(...).record` holds it.
        path: ends in .html for the report, in .json for the document of docs/schema.md.

    Returns:
        The file.

    Raises:
        UsageError: if the suffix is neither.
    """
    target = pathlib.Path(path)
    if target.suffix == ".html":
        return write_text(target, html.render(record))
    if target.suffix == ".json":
        return write_text(target, json.dumps(record))
    raise UsageError(f"a report is saved as .html or .json, got {str(target)!r}")
