"""A small SVG writer: pictures, scales with round ticks, a frame with axes. Colours come from CSS classes."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from netgain.report.markup import element, escape, number


def text(x: float | int, y: float | int, content: str, **attributes: str | float | int | None) -> str:
    """A text element; the content is escaped."""
    return element("text", escape(content), x=x, y=y, **attributes)


def tooltip(content: str) -> str:
    """A title element: what a browser shows on hovering, and what screen readers read."""
    return element("title", escape(content))


def path(points: Sequence[tuple[float, float]], *, close: bool = False, **attributes: str | float | int | None) -> str:
    """A line through points."""
    body = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return element("path", d=f"M{body}{'Z' if close else ''}", **attributes)


def picture(width: float, height: float | int, label: str, *content: str, name: str = "") -> str:
    """An `svg` element that scales with its column; `label` is read out by screen readers."""
    return element(
        "svg",
        "".join(content),
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_label=label,
        class_=f"chart {name}".strip(),
    )


@dataclasses.dataclass(frozen=True)
class Scale:
    """A map from values to pixels, linear or logarithmic; values outside are clamped to the ends.

    Attributes:
        low: value at `start`.
        high: value at `stop`; above `low`.
        start: pixel of `low`.
        stop: pixel of `high`.
        log: logarithmic; `low` must then be above 0.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float | int) -> float:
        """The pixel of a value."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            part = (math.log(inside) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            part = (inside - self.low) / (self.high - self.low)
        return self.start + part * (self.stop - self.start)

    def ticks(self, about: int = 6) -> list[float]:
        """Round values inside, roughly that many."""
        return _log_ticks(self.low, self.high, about) if self.log else _linear_ticks(self.low, self.high, about)


def _linear_ticks(low: float, high: float, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.7)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _log_ticks(low: float, high: float, about: int) -> list[float]:
    """Powers of ten, with 2 and 5 between them on a short range, thinned on a long one."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = last - first
    stride = max(1, math.ceil(decades / about))
    factors = (1,) if decades > about / 2 else ((1, 2, 5) if decades > 1 else (1, 2, 3, 5, 7))
    found = [factor * 10.0**power for power in range(first, last + 1, stride) for factor in factors]
    return [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


@dataclasses.dataclass(frozen=True)
class Frame:
    """A plotting area with its axes.

    Attributes:
        x: horizontal scale.
        y: vertical scale; `start` is the bottom.
    """

    x: Scale
    y: Scale

    def grid(
        self, x_text: Callable[[float], str], y_text: Callable[[float], str] | None, x_title: str, y_title: str = ""
    ) -> str:
        """Grid lines, tick labels and titles.

        Args:
            x_text: label of a horizontal tick.
            y_text: label of a vertical tick; None for no vertical axis.
            x_title: with units.
            y_title: with units.
        """
        left, right, bottom, top = self.x.start, self.x.stop, self.y.start, self.y.stop
        parts: list[str] = []
        for value in self.y.ticks(5) if y_text is not None else []:
            y = self.y(value)
            parts.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
            parts.append(text(left - 8, y + 4, y_text(value) if y_text else "", class_="tick end"))
        for value in self.x.ticks():
            x = self.x(value)
            parts.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 5, class_="axis"))
            parts.append(text(x, bottom + 19, x_text(value), class_="tick middle"))
        parts.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
        parts.append(text((left + right) / 2, bottom + 39, x_title, class_="title middle"))
        if y_title:
            parts.append(text(left, top - 12, y_title, class_="title"))
        return "".join(parts)
