"""The pictures of a report, as SVG: the enclosure, the layers, accuracy against epsilon, the radii."""

import dataclasses
import math
from collections.abc import Sequence

from netgain.core.record import GainInfo, LayerInfo, RadiusInfo, Rate, Record
from netgain.report import figures, svg, words
from netgain.report.markup import element

_WIDTH = 760.0
_BARS = 24
_LABEL = 30


@dataclasses.dataclass(frozen=True)
class Series:
    """One record in a picture of several.

    Attributes:
        label: what the legend calls it.
        record: its numbers.
        style: CSS class that colours it: "one" or "two".
    """

    label: str
    record: Record
    style: str


def enclosure(gains: Sequence[tuple[str, GainInfo, str]]) -> str:
    """Proved lower and upper bounds on a logarithmic axis, one row a gain.

    Args:
        gains: (label, gain, CSS class) of each row; an empty label for a single one.

    Returns:
        The SVG.
    """
    left = 20.0 if len(gains) == 1 else 150.0
    row, top = 46.0, 30.0
    bottom = top + row * len(gains) - 6
    scale = svg.Scale(*_decades([g for _, g, _ in gains]), left, _WIDTH - 20, log=True)
    frame = svg.Frame(scale, svg.Scale(0.0, 1.0, bottom, top))
    norm = gains[0][1].norm
    parts = [
        frame.grid(lambda v: figures.nearest(v, 3), None, f"gain ({norm}): output change per unit of input change")
    ]
    for index, (label, gain, style) in enumerate(gains):
        y = top + row * index
        parts.append(_enclosure_row(label, gain, style, y, scale))
    spoken = "; ".join(f"{label} {words.gain_line(gain)}" for label, gain, _ in gains)
    return svg.picture(_WIDTH, bottom + 46, spoken, *parts, name="enclosure")


def _decades(gains: Sequence[GainInfo]) -> tuple[float, float]:
    """A range that holds every finite side with room for its labels."""
    sides = [side for gain in gains for side in (gain.lower, gain.upper) if 0 < side < math.inf]
    low, high = (min(sides), max(sides)) if sides else (0.1, 10.0)
    first, last = math.log10(low), math.log10(high)
    room = max(0.35, 0.16 * (last - first))
    return 10 ** max(first - room, -307.0), 10 ** min(last + room, 307.0)


def _enclosure_row(label: str, gain: GainInfo, style: str, y: float, scale: svg.Scale) -> str:
    """A track, the proved band on it, and the two numbers."""
    x1 = scale.start if gain.lower <= 0 else scale(gain.lower)
    x2 = scale.stop if math.isinf(gain.upper) else scale(gain.upper)
    width = max(x2 - x1, 3.0)
    band = element(
        "rect", svg.tooltip(words.gain_line(gain)), x=x1, y=y, width=width, height=16, rx=3, class_=f"band {style}"
    )
    parts = [
        element("rect", x=scale.start, y=y, width=scale.stop - scale.start, height=16, rx=3, class_="track"),
        band,
    ]
    if label:
        parts.append(svg.text(scale.start - 12, y + 12, _short(label, 20), class_="label end"))
    low, high = f"≥ {figures.lower(gain.lower)}", f"≤ {figures.upper(gain.upper)}"
    if math.isinf(gain.upper):
        high = "no finite bound"
    apart = width > 90
    parts.append(svg.text(x1 if apart else x1 - 4, y - 6, low, class_="value" if apart else "value end"))
    parts.append(svg.text(x2 if apart else x2 + 4, y - 6, high, class_="value end" if apart else "value"))
    return "".join(parts)


def factors(layers: Sequence[LayerInfo]) -> str:
    """Each layer's proved factor as a bar from 1: to the right it may expand, to the left it contracts.

    Layers with factor 1 are left out; beyond 24 the weakest are summed up in one bar.

    Args:
        layers: the layer table.

    Returns:
        The SVG, or "" where no layer has a factor other than 1.
    """
    rows = _factor_rows(layers)
    if not rows:
        return ""
    largest = max(abs(math.log10(value)) for _, value, _ in rows if 0 < value < math.inf) if _finite(rows) else 1.0
    reach = 10 ** min(max(largest, 0.05) * 1.25, 300.0)
    left, row, top = 24.0 + 7.0 * max(min(len(name), _LABEL) for name, _, _ in rows), 24.0, 14.0
    bottom = top + row * len(rows) + 4
    scale = svg.Scale(1 / reach if any(v < 1 for _, v, _ in rows) else 1.0, reach, left, _WIDTH - 60, log=True)
    frame = svg.Frame(scale, svg.Scale(0.0, 1.0, bottom, top))
    parts = [frame.grid(lambda v: f"x{figures.nearest(v, 3)}", None, "proved factor of the layer (logarithmic)")]
    one = scale(1.0)
    parts.append(element("line", x1=one, x2=one, y1=top - 6, y2=bottom, class_="axis"))
    for index, (name, value, hint) in enumerate(rows):
        y = top + row * index
        x = scale(value) if value > 0 else scale.start
        grows = value > 1
        bar = element(
            "rect",
            svg.tooltip(hint),
            x=min(one, x),
            y=y,
            width=max(abs(x - one), 1.0),
            height=16,
            rx=2,
            class_="grow" if grows else "shrink",
        )
        shown = f"x{figures.upper(value)}"
        place = (
            svg.text(x + 6, y + 12, shown, class_="value")
            if grows
            else svg.text(one + 6, y + 12, shown, class_="value")
        )
        parts += [svg.text(left - 12, y + 12, _short(name), class_="label end"), bar, place]
    return svg.picture(_WIDTH, bottom + 46, "proved factor of each layer", *parts, name="factors")


def _finite(rows: Sequence[tuple[str, float, str]]) -> bool:
    """Whether any factor can be drawn to scale."""
    return any(0 < value < math.inf for _, value, _ in rows)


def _factor_rows(layers: Sequence[LayerInfo]) -> list[tuple[str, float, str]]:
    """(name, factor, tooltip) of each bar, in network order."""
    acting = [layer for layer in layers if layer.factor is not None and layer.factor != 1.0]
    strongest = sorted(acting, key=lambda layer: -_strength(layer.factor or 0.0))[:_BARS]
    kept = {id(layer) for layer in strongest}
    rows: list[tuple[str, float, str]] = []
    for layer in acting:
        if id(layer) in kept and layer.factor is not None:
            share = "" if layer.share is None else f", {figures.percent(layer.share)} of the product's logarithm"
            hint = f"{layer.name}: {layer.operation}; factor at most {figures.upper(layer.factor)} (proved){share}"
            rows.append((layer.name, layer.factor, hint))
    rest = [layer.factor for layer in acting if id(layer) not in kept and layer.factor is not None]
    if rest:
        together = 1.0
        for value in rest:
            together = math.nextafter(together * value, math.inf)
        rows.append((f"{len(rest)} others together", together, f"product of {len(rest)} weaker factors, rounded up"))
    return rows


def _strength(factor: float) -> float:
    """How far a factor is from 1, either way."""
    return math.inf if factor == 0 or math.isinf(factor) else abs(math.log(factor))


def _short(name: str, length: int = _LABEL) -> str:
    """A label that fits: long names lose their middle."""
    if len(name) <= length:
        return name
    head = length // 3
    return f"{name[:head]}…{name[len(name) - (length - head - 1) :]}"


def accuracy(series: Sequence[Series]) -> str:
    """Certified accuracy against the radius, with what survived the attack above it.

    Args:
        series: one record, or two to compare.

    Returns:
        The SVG, or "" where nothing was certified.
    """
    if not any(entry.record.certified_accuracy or entry.record.radii for entry in series):
        return ""
    first = series[0].record
    lower = 20.0 * (len(series) - 1)
    frame = svg.Frame(
        svg.Scale(0.0, _reach(series), 56.0, _WIDTH - 20), svg.Scale(0.0, 1.0, 296.0 + lower, 58.0 + lower)
    )
    samples = first.clean_accuracy.samples if first.clean_accuracy else 0
    title = f"share of {figures.count(samples)} samples"
    parts = [
        frame.grid(
            lambda v: figures.nearest(v, 3),
            lambda v: f"{100 * v:.0f} %",
            f"epsilon: size of the input change ({first.norm}, {words.UNITS})",
            title
            if len({entry.record.clean_accuracy.samples for entry in series if entry.record.clean_accuracy}) <= 1
            else "share of samples",
        )
    ]
    for entry in series:
        parts.append(_certified(entry, frame))
    for entry in series:
        parts.append(_attacked(entry, frame))
    parts.append(_legend(series))
    name = "accuracy compared" if len(series) > 1 else "accuracy"
    label = "certified accuracy against epsilon, attacked accuracy above"
    return svg.picture(_WIDTH, 342 + lower, label, *parts, name=name)


def _reach(series: Sequence[Series]) -> float:
    """The largest epsilon drawn: every tested one, and the curves until hardly anything is certified."""
    ends = [rate.epsilon for entry in series for rate in entry.record.certified_accuracy if rate.epsilon]
    for entry in series:
        curve = entry.record.radii.curve if entry.record.radii else ()
        ends += [radius for radius, value in curve if value > 0.005]
    return 1.04 * max(ends, default=1.0) if max(ends, default=0.0) > 0 else 1.0


def _certified(entry: Series, frame: svg.Frame) -> str:
    """The curve, the area under it, clean accuracy, and the tested points with their intervals."""
    parts: list[str] = []
    record = entry.record
    curve = [point for point in (record.radii.curve if record.radii else ()) if point[0] <= frame.x.high]
    if curve:
        line = [(frame.x(radius), frame.y(value)) for radius, value in curve]
        area = [(line[0][0], frame.y.start), *line, (line[-1][0], frame.y.start)]
        parts.append(svg.path(area, close=True, class_=f"area {entry.style}"))
        parts.append(svg.path(line, class_=f"curve {entry.style}"))
    if record.clean_accuracy is not None:
        y = frame.y(record.clean_accuracy.value)
        hint = svg.tooltip(f"{entry.label}: clean accuracy {figures.percent(record.clean_accuracy.value)} (measured)")
        parts.append(
            element("line", hint, x1=frame.x.start, x2=frame.x.stop, y1=y, y2=y, class_=f"clean {entry.style}")
        )
    for rate in record.certified_accuracy:
        parts.append(_point(rate, frame, entry, f"certified {entry.style}", "certified (proved)"))
    return "".join(parts)


def _attacked(entry: Series, frame: svg.Frame) -> str:
    """What survived the attack, on the attacked subset."""
    return "".join(
        _point(rate, frame, entry, f"attacked {entry.style}", "survived the attack (measured)")
        for rate in entry.record.attacked_accuracy
    )


def _point(rate: Rate, frame: svg.Frame, entry: Series, style: str, what: str) -> str:
    """A point with its interval as a whisker."""
    x, y = frame.x(rate.epsilon or 0.0), frame.y(rate.value)
    name = f"{entry.label}: " if entry.label else ""
    hint = (
        f"{name}{what} at {figures.nearest(rate.epsilon)}: {figures.percent(rate.value)} of "
        f"{figures.count(rate.samples)} samples, interval {figures.interval(rate)}"
    )
    whisker = element("line", x1=x, x2=x, y1=frame.y(rate.low), y2=frame.y(rate.high), class_="whisker")
    if style.startswith("attacked"):
        corners = [(x, y - 5.5), (x + 5.5, y), (x, y + 5.5), (x - 5.5, y)]
        mark = svg.path(corners, close=True, class_="mark")
    else:
        mark = element("circle", cx=x, cy=y, r=4.5, class_="mark")
    return element("g", svg.tooltip(hint) + whisker + mark, class_=f"point {style}")


def _legend(series: Sequence[Series]) -> str:
    """What the marks mean."""
    parts: list[str] = []
    x, y = 56.0, 18.0
    for entry in series:
        name = f"{_short(entry.label, 24)}: " if len(series) > 1 else ""
        certified = element("circle", cx=x + 5, cy=y - 4, r=4.5, class_="mark")
        parts.append(element("g", certified, class_=f"point certified {entry.style}"))
        parts.append(svg.text(x + 16, y, f"{name}certified (proved)", class_="label"))
        if entry.record.attacked_accuracy:
            at = x + (330 if len(series) > 1 else 165)
            corners = [(at + 5, y - 9.5), (at + 10.5, y - 4), (at + 5, y + 1.5), (at - 0.5, y - 4)]
            parts.append(
                element("g", svg.path(corners, close=True, class_="mark"), class_=f"point attacked {entry.style}")
            )
            count = figures.count(entry.record.attacked_accuracy[0].samples)
            parts.append(svg.text(at + 16, y, f"survived the attack (measured, {count} samples)", class_="label"))
        if len(series) == 1:
            parts.append(element("line", x1=x + 500, x2=x + 522, y1=y - 4, y2=y - 4, class_="clean one"))
            parts.append(svg.text(x + 529, y, "clean (measured)", class_="label"))
        y += 20
    return "".join(parts)


def radii(info: RadiusInfo, norm: str) -> str:
    """The proved radii of correctly classified samples as a histogram.

    Args:
        info: edges and counts.
        norm: of the radii.

    Returns:
        The SVG, or "" where there are no bins.
    """
    if not info.counts or len(info.edges) != len(info.counts) + 1 or info.edges[-1] <= info.edges[0]:
        return ""
    most = max(max(info.counts), 1)
    frame = svg.Frame(
        svg.Scale(info.edges[0], info.edges[-1], 56.0, _WIDTH - 20), svg.Scale(0.0, most * 1.08, 216.0, 40.0)
    )
    parts = [
        frame.grid(
            lambda v: figures.nearest(v, 3),
            lambda v: figures.nearest(v, 4),
            f"proved radius ({norm}, {words.UNITS})",
            "correctly classified samples",
        )
    ]
    for low, high, count in zip(info.edges[:-1], info.edges[1:], info.counts, strict=True):
        x1, x2, y = frame.x(low), frame.x(high), frame.y(count)
        hint = f"{figures.count(count)} samples with a radius from {figures.lower(low, 3)} to {figures.upper(high, 3)}"
        parts.append(
            element(
                "rect",
                svg.tooltip(hint),
                x=x1 + 0.5,
                y=y,
                width=max(x2 - x1 - 1, 0.8),
                height=frame.y.start - y,
                class_="bar one",
            )
        )
    if info.edges[0] < info.median < info.edges[-1]:
        x = frame.x(info.median)
        parts.append(element("line", x1=x, x2=x, y1=frame.y.stop, y2=frame.y.start, class_="median"))
        side = "value" if x < _WIDTH - 160 else "value end"
        at = x + 6 if side == "value" else x - 6
        parts.append(svg.text(at, frame.y.stop + 10, f"median {figures.lower(info.median)}", class_=side))
    return svg.picture(_WIDTH, 262, "histogram of proved radii", *parts, name="radii")
