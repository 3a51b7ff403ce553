"""The frame of every HTML page: one self-contained file, style inside, no scripts, no addresses."""

import importlib.resources
from collections.abc import Sequence
from typing import Any

from netgain.core.codes import CODES
from netgain.core.record import Finding, Record
from netgain.report import words
from netgain.report.json import document
from netgain.report.markup import element, escape

LIMIT = 200_000
_FINDINGS = 40
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, body: str, content: dict[str, Any]) -> str:
    """A whole page.

    Args:
        title: of the window; text.
        body: markup of the page.
        content: the JSON document to embed for programs that read the page.

    Returns:
        HTML, at most `LIMIT` bytes as long as `body` leaves room: tables that do not fit are left out of the embedded
        document, which says so.
    """
    style = importlib.resources.files("netgain.report").joinpath("page.css").read_text("utf-8")
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="generator" content="netgain">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
    )
    before = f"{head}<body>\n<main>\n{body}\n</main>\n"
    data = _data(content, LIMIT - len(before.encode("utf-8", "replace")))
    return f"{before}{data}\n</body>\n</html>\n"


def _data(content: dict[str, Any], room: int) -> str:
    """The document in a script element that browsers do not run; the longest tables are left out where it must fit."""
    kept, left = dict(content), list[str]()
    text = _script(document(kept, indent=None, ascii_only=False))
    for key in ("layers", "layer_changes", "per_class", "before", "after", "findings"):
        if len(text.encode("utf-8", "replace")) <= room:
            break
        if kept.pop(key, None) is not None:
            left.append(key)
            said = {"left_out": f"{', '.join(left)}: too long for this page; --json writes the whole document"}
            text = _script(document(kept | said, indent=None, ascii_only=False))
    return text


def _script(text: str) -> str:
    """JSON as script data: `<`, `>` and `&` as JSON escapes, so that nothing inside can end the element."""
    text = text.encode("utf-8", "backslashreplace").decode()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="netgain">{text.strip()}</script>'


def section(title: str, *parts: str, note: str = "") -> str:
    """A titled box; empty parts are dropped, and the box with them."""
    content = [part for part in parts if part]
    if not content:
        return ""
    heading = element("h2", escape(title)) + (element("p", escape(note), class_="note") if note else "")
    return element("section", heading + "\n".join(content))


def figure(chart: str, caption: str = "") -> str:
    """A picture with a caption, or nothing."""
    if not chart:
        return ""
    return element("figure", chart + (element("figcaption", escape(caption), class_="note") if caption else ""))


def tag(guarantee: str) -> str:
    """The little label that says what a number is: proved, measured or estimate."""
    return element("span", escape(guarantee), class_=f"tag {guarantee}")


def table(header: Sequence[tuple[str, bool]], rows: Sequence[tuple[Sequence[str], str]]) -> str:
    """A table.

    Args:
        header: (title, whether the column is numeric); titles are text.
        rows: (cells as markup, CSS class of the row).
    """
    head = "".join(
        element("th", escape(title), class_="n" if numeric else None, scope="col") for title, numeric in header
    )
    body: list[str] = []
    for cells, style in rows:
        row = "".join(
            element("td", cell, class_="n" if numeric else None)
            for cell, (_, numeric) in zip(cells, header, strict=True)
        )
        body.append(element("tr", row, class_=style or None))
    inside = element("thead", element("tr", head)) + element("tbody", "\n".join(body))
    return element("div", element("table", inside), class_="scroll")


def finding_boxes(findings: Sequence[Finding]) -> str:
    """Findings as boxes: code, what, what to do; at most 40, the gravest."""
    boxes: list[str] = []
    for finding in findings[:_FINDINGS]:
        what, action = words.finding_lines(finding)
        known = "" if finding.code in CODES else " (unknown to this version)"
        first = element("p", element("code", escape(finding.code + known)) + f" {escape(what)}")
        second = element("p", escape(action), class_="note") if action else ""
        boxes.append(element("div", first + second, class_=f"finding {finding.level}"))
    left = len(findings) - len(boxes)
    more = element("p", escape(f"{left} more are in the JSON document (--json)."), class_="note") if left > 0 else ""
    return "".join(boxes) + more


def lead(sentences: Sequence[str]) -> str:
    """The headline in words, one sentence a line."""
    return element("p", "\n".join(element("span", escape(sentence)) for sentence in sentences), class_="lead")


def provenance(record: Record, command_line: str) -> str:
    """What a reader needs to repeat the run."""
    rows = words.provenance(record)
    if command_line:
        rows = [
            ("command line" if name == "command" else name, command_line if name == "command" else value)
            for name, value in rows
        ]
    parts = [
        element("dt", escape(name)) + element("dd", escape(value), class_="hash" if _mono(name) else None)
        for name, value in rows
    ]
    return element("dl", "\n".join(parts))


def _mono(name: str) -> bool:
    """Whether a provenance value is code."""
    return "sha256" in name or name == "command line"


GLOSSARY = (
    ("proved", "A theorem about this network, rounding included: it holds for every input in the stated region."),
    ("measured", "Counted on the samples named; the interval says what it tells about others of the same kind."),
    ("estimate", "A number without a proof."),
)


def glossary() -> str:
    """What the three words mean."""
    parts = [element("dt", tag(word)) + element("dd", escape(meaning)) for word, meaning in GLOSSARY]
    return element("dl", "".join(parts))
