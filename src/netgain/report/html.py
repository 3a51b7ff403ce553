"""One record as a self-contained HTML page."""

from netgain.core.record import LayerInfo, Record
from netgain.report import charts, figures, page, terminal, words
from netgain.report.markup import element, escape

_ROWS = 150


def render(record: Record, command_line: str = "") -> str:
    """The record as a page: what was proved in words, pictures, tables, findings, provenance, and the data inside.

    Args:
        record: what a command found.
        command_line: the command that made it, for the footer.

    Returns:
        HTML without scripts and without addresses of anything outside; everything that comes from a model, a file
        name or a data set is escaped. Under 200 kB: tables beyond 150 layers are cut, and say so.
    """
    title = f"{_TITLES.get(record.command, record.command)} {record.model.origin}"
    body = [
        element("p", "netgain", class_="brand sub"),
        element("h1", escape(title)),
        element("p", escape(words.model_line(record.model)), class_="sub"),
        element("p", escape(words.data_line(record.data)), class_="sub") if record.data else "",
        page.lead(words.headline(record)),
        tiles(record),
        page.section("Findings", page.finding_boxes(words.ordered_findings(record))),
        _gain(record),
        _layers(record),
        _accuracy(record),
        _classes(record),
        page.section("How to read this page", page.glossary()),
        page.section("Provenance", page.provenance(record, command_line)),
    ]
    return page.page(f"netgain: {title}", "\n".join(part for part in body if part), record.to_dict())


_TITLES = {"audit": "Audit of", "bound": "Gain of", "certify": "Certification of", "show": "Layers of"}


def tiles(record: Record) -> str:
    """The few numbers that matter most, each with its guarantee, norm and units."""
    cards: list[str] = []
    if record.gain is not None:
        low, high = figures.lower(record.gain.lower), figures.upper(record.gain.upper)
        cards.append(
            _tile(f"{low} … {high}", "proved", f"gain ({record.gain.norm}, {record.gain.region}), lower and upper")
        )
    if record.clean_accuracy is not None:
        cards.append(
            _tile(
                figures.percent(record.clean_accuracy.value),
                "measured",
                f"clean accuracy, {figures.interval(record.clean_accuracy)}",
            )
        )
    for rate in record.certified_accuracy[:2]:
        size = f"{record.norm} {figures.nearest(rate.epsilon)}"
        cards.append(_tile(figures.percent(rate.value), "proved", f"certified at {size} ({words.UNITS})"))
    return element("div", "".join(cards), class_="tiles") if cards else ""


def _tile(value: str, guarantee: str, caption: str) -> str:
    """One number."""
    return element(
        "div", element("b", escape(value)) + element("small", escape(caption) + page.tag(guarantee)), class_="tile"
    )


def _gain(record: Record) -> str:
    """The enclosure, as a picture and in words."""
    if record.gain is None:
        return ""
    methods = f"Upper bound by {record.gain.method}; lower bound by {record.gain.lower_method}."
    return page.section(
        "Gain",
        page.figure(charts.enclosure([("", record.gain, "one")]), f"{words.gain_line(record.gain)}. {methods}"),
        _methods(record),
        note="The Lipschitz constant L: by how much the output can change for each unit of change of the input. "
        "The true value lies inside the coloured band.",
    )


def _methods(record: Record) -> str:
    """What each upper-bound method proved, where there were several."""
    if len(record.methods) < 2:
        return ""
    header, rows = words.method_rows(record)
    columns = [(title, title not in {"method", "note"}) for title in header]
    best = min((method.upper for method in record.methods if method.upper is not None), default=None)
    styles = ["" if method.upper == best else "quiet" for method in record.methods]
    cells = [[escape(cell) for cell in row] for row in rows]
    return page.table(columns, list(zip(cells, styles, strict=True)))


def _layers(record: Record) -> str:
    """Where the gain is made: bars, then the table."""
    if not record.layers:
        return ""
    chart = page.figure(charts.factors(record.layers))
    note = (
        "Each layer can multiply a change by at most its factor. The factors of a chain multiply; "
        "layers with factor 1 are not drawn."
    )
    return page.section("Where the gain is made", chart, _layer_table(record), note=note if chart else "")


def _layer_table(record: Record) -> str:
    """One row a layer."""
    layers = record.layers[:_ROWS]
    header = [("layer", False), ("operation", False), ("output", False), (f"{record.norm} norm (proved)", True)]
    header += [("slope (proved)", True), ("factor (proved)", True), ("share", True), ("stable rank (estimate)", True)]
    table = page.table(header, [(_layer_cells(layer), "" if _acts(layer) else "quiet") for layer in layers])
    left = len(record.layers) - len(layers)
    more = f"{left} more layers are in the JSON document (--json)." if left else ""
    return table + (element("p", escape(more), class_="note") if more else "")


def _acts(layer: LayerInfo) -> bool:
    """Whether a layer stores parameters or changes the gain."""
    return bool(layer.parameters) or layer.factor not in {None, 1.0}


def _layer_cells(layer: LayerInfo) -> list[str]:
    """The cells of one row, as markup."""
    where = layer.location or (layer.module if layer.module != layer.name else "")
    name = escape(layer.name) + (element("span", escape(where), class_="where") if where else "")
    return [
        name,
        escape(layer.operation),
        escape(figures.shape(layer.out_shape)),
        figures.enclosure(layer.norm_lower, layer.norm_upper).replace("<", "&lt;").replace(">", "&gt;"),
        terminal.slope(layer),
        figures.upper(layer.factor),
        "-" if layer.share is None else figures.percent(layer.share),
        figures.nearest(layer.stable_rank, 3),
    ]


def _accuracy(record: Record) -> str:
    """The certified-accuracy curve with the attack above it, the numbers, the radii."""
    if record.clean_accuracy is None:
        return ""
    curve = page.figure(charts.accuracy([charts.Series("", record, "one")]))
    parts = [curve, _accuracy_table(record)]
    if record.attack:
        parts.append(element("p", escape(f"Attack: {record.attack}."), class_="note"))
    if record.radii is not None:
        chart = page.figure(charts.radii(record.radii, record.norm), _radius_caption(record))
        parts.append(element("h3", "Proved radii") + chart if chart else "")
    note = (
        "Certified: no change of that size can make the decision wrong (proved for each sample). Survived: the attack "
        "found no such change (measured). What is truly robust lies between the two."
    )
    return page.section("Robustness", *parts, note=note if record.certified_accuracy else "")


def _radius_caption(record: Record) -> str:
    """What the histogram leaves out."""
    radii = record.radii
    if radii is None:
        return ""
    undecided = (
        f" {figures.count(radii.undecided)} samples are undecided in float64 and have radius 0."
        if radii.undecided
        else ""
    )
    return (
        f"A correctly classified sample keeps its class under every {record.norm} change up to its radius (proved). "
        f"Median over all samples, wrong ones counted as 0: {figures.lower(radii.median)}.{undecided}"
    )


def _accuracy_table(record: Record) -> str:
    """Clean, certified and attacked accuracy with exact intervals."""
    clean = record.clean_accuracy
    if clean is None:
        return ""
    whole = f"certified, {figures.count(clean.samples)} samples (proved)"
    header = [(f"epsilon ({record.norm})", True), (whole, True)]
    attacked = record.attacked_accuracy
    if attacked:
        subset = figures.count(attacked[0].samples)
        if words.subset(record):
            header.append((f"certified, {subset} attacked samples (proved)", True))
        header.append((f"survived the attack, {subset} samples (measured)", True))
    rows: list[tuple[list[str], str]] = [(["clean", terminal.rate(clean)] + ["-"] * (len(header) - 2), "quiet")]
    for rate in record.certified_accuracy:
        cells = [figures.nearest(rate.epsilon), terminal.rate(rate)]
        if attacked:
            if words.subset(record):
                cells.append(terminal.rate(words.at_epsilon(record.certified_on_attacked, rate.epsilon)))
            cells.append(terminal.rate(words.at_epsilon(attacked, rate.epsilon)))
        rows.append((cells, ""))
    caption = f"Epsilon in {words.UNITS}; {words.INTERVALS}, in brackets."
    return page.table(header, rows) + element("p", escape(caption), class_="note")


def _classes(record: Record) -> str:
    """Certified accuracy by class, one column an epsilon."""
    if not record.per_class:
        return ""
    clean = [None] if any(rate.epsilon is None for rate in record.per_class) else []
    epsilons = [*clean, *sorted({rate.epsilon for rate in record.per_class if rate.epsilon is not None})[:6]]
    labels = sorted({rate.label for rate in record.per_class if rate.label is not None})
    found = {(rate.label, rate.epsilon): rate for rate in record.per_class}
    header = [("class", True), ("samples", True)] + [
        ("clean (measured)" if e is None else f"{record.norm} {figures.nearest(e)}", False) for e in epsilons
    ]
    rows: list[tuple[list[str], str]] = []
    for label in labels[:_ROWS]:
        rates = [found.get((label, epsilon)) for epsilon in epsilons]
        samples = next((rate.samples for rate in rates if rate is not None), 0)
        cells = [str(label), figures.count(samples)]
        for rate in rates:
            if rate is None or not rate.samples:
                cells.append("-")
                continue
            hit = "hit" if rate.epsilon is None else None
            fill = element("i", style=f"width:{100 * rate.value:.0f}%", class_=hit)
            meter = element("span", fill, class_="meter", title=figures.interval(rate))
            cells.append(f"{meter}{figures.percent(rate.value)}")
        rows.append((cells, ""))
    left = len(labels) - len(rows)
    more = (
        element("p", escape(f"{left} more classes are in the JSON document (--json)."), class_="note") if left else ""
    )
    return page.section(
        "Certified accuracy by class",
        page.table(header, rows),
        more,
        note=f"Certified: proved for each sample; epsilon in {words.UNITS}. Hovering over a bar shows its exact 95 % "
        "interval.",
    )
