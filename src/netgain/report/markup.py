"""Markup from Python: elements with escaped attributes, escaped text. HTML and SVG share it."""

import html
import unicodedata


def element(name: str, content: str = "", /, **attributes: str | float | None) -> str:
    """One element. Attribute values are escaped, `content` is not: pass it through `escape` where it is text.

    Args:
        name: tag name.
        content: markup inside.
        **attributes: `class_` and the like lose the trailing underscore, other underscores become hyphens; None is
            left out.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            shown = number(value) if isinstance(value, int | float) else escape(value)
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{shown}"')
    return f"<{' '.join(parts)}>{content}</{name}>"


def escape(content: str) -> str:
    """Text as markup: entities for markup characters, a visible mark for characters that HTML does not allow."""
    clean = "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cs", "Cf"} and c != "\n" else c for c in content)
    return html.escape(clean, quote=True)


def number(value: float) -> str:
    """A coordinate, to a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"
