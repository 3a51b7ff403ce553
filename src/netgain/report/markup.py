"""Markup from Python: elements with escaped attributes, escaped text. HTML and SVG share it."""

import html
import unicodedata

_LONG = 600


def element(name: str, content: str = "", /, **attributes: str | float | int | None) -> str:
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
            shown = number(value) if isinstance(value, int | float) else _entities(value)
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{shown}"')
    return f"<{' '.join(parts)}>{content}</{name}>"


def escape(content: str) -> str:
    """Text as markup: entities for markup characters, a visible mark for characters that HTML does not allow.

    Texts beyond 600 characters lose their middle: a page stays small whatever a layer is called.
    """
    return _entities(content if len(content) <= _LONG else f"{content[: _LONG // 2]} … {content[-_LONG // 2 :]}")


def _entities(content: str) -> str:
    """Markup characters as entities, control characters as a mark."""
    clean = "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cs", "Cf"} and c != "\n" else c for c in content)
    return html.escape(clean, quote=True)


def number(value: float | int) -> str:
    """A coordinate, to a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"
