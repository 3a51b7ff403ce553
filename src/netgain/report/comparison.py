"""A comparison on a terminal and as an HTML page."""

from rich.console import Console
from rich.text import Text

from netgain.core.record import LayerInfo, Rate
from netgain.report import charts, figures, page, terminal, words
from netgain.report.compare import Change, Comparison
from netgain.report.markup import element, escape

_ROWS = 150


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print both models, what changed in words, the numbers, and the layers whose factor changed.

    Args:
        comparison: of two records.
        console: where to.
    """
    terminal.line(console, f"before: {words.model_line(comparison.before.model)}")
    terminal.line(console, f"after:  {words.model_line(comparison.after.model)}")
    if comparison.before.data is not None:
        terminal.line(console, f"data: {words.data_line(comparison.before.data)}")
    terminal.heading(console, "What changed")
    for sentence in comparison.sentences:
        terminal.line(console, sentence)
    for caveat in comparison.caveats:
        terminal.line(console, f"Careful: {caveat}", style="yellow")
    _print_changes(comparison, console)
    _print_layers(comparison, console)
    if comparison.before.findings or comparison.after.findings:
        terminal.heading(console, "Findings")
    for name, record in (("before", comparison.before), ("after", comparison.after)):
        for finding in words.ordered_findings(record):
            terminal.line(console, f"{name}: {finding.code} {finding.level}: {words.finding_lines(finding)[0]}")


def _print_changes(comparison: Comparison, console: Console) -> None:
    """Each quantity before and after."""
    if not comparison.changes:
        return
    terminal.heading(console, f"Numbers ({comparison.before.norm}, epsilon in {words.UNITS})")
    table = terminal.new_table()
    for name in ("quantity", "guarantee"):
        table.add_column(name)
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for change in comparison.changes:
        table.add_row(*(Text(cell) for cell in change_cells(change)))
    console.print(table)


def change_cells(change: Change) -> tuple[str, str, str, str, str]:
    """A change as text: quantity, guarantee, before, after, difference or factor."""
    if change.quantity.startswith("gain"):
        show = figures.upper if "upper" in change.quantity else figures.lower
        ratio = change.after / change.before if change.before else float("nan")
        return change.quantity, change.guarantee, show(change.before), show(change.after), figures.times(ratio)
    name = f"{change.quantity} at {figures.nearest(change.epsilon)}" if change.epsilon is not None else change.quantity
    difference = figures.points(change.before, change.after)
    return name, change.guarantee, figures.percent(change.before), figures.percent(change.after), difference


def _print_layers(comparison: Comparison, console: Console) -> None:
    """Layers that store parameters or act on the gain, before and after."""
    rows = _acting(comparison)
    if not rows:
        return
    norm = comparison.before.norm
    terminal.heading(console, f"Layers ({norm}, global; upper bounds of norm or slope, proved)")
    table = terminal.new_table()
    table.add_column("layer", overflow="fold")
    table.add_column("operation", overflow="fold")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for first, second in rows:
        table.add_row(*(Text(figures.printable(cell)) for cell in _layer_cells(first, second)))
    console.print(table)


def _acting(comparison: Comparison) -> list[tuple[LayerInfo | None, LayerInfo | None]]:
    """Rows worth showing: something other than a factor of 1 on either side."""
    return [
        (first, second)
        for first, second in comparison.layers
        if any(layer is not None and layer.factor not in {None, 1.0} for layer in (first, second))
    ]


def _layer_cells(first: LayerInfo | None, second: LayerInfo | None) -> tuple[str, str, str, str, str]:
    """Name, operation, factor before, factor after, quotient."""
    name = " / ".join(dict.fromkeys(layer.name for layer in (first, second) if layer is not None))
    operation = next(layer.operation for layer in (first, second) if layer is not None)
    a, b = (layer.factor if layer is not None else None for layer in (first, second))
    quotient = figures.times(b / a) if a and b is not None else "-"
    return name, operation, figures.upper(a), figures.upper(b), quotient


def render_comparison(comparison: Comparison, command_line: str = "") -> str:
    """The comparison as a self-contained page; `html.render` says what that means.

    Args:
        comparison: of two records.
        command_line: the command that made it, for the footer.

    Returns:
        HTML.
    """
    one, two = comparison.labels
    series = [charts.Series(one, comparison.before, "one"), charts.Series(two, comparison.after, "two")]
    curves = page.figure(charts.accuracy(series))
    note = "Certified: proved for each sample. Survived: the attack found nothing (measured)."
    body = [
        element("p", "netgain", class_="brand sub"),
        element("h1", escape(f"{one} and {two}")),
        element("p", f"before: {escape(words.model_line(comparison.before.model))}", class_="sub"),
        element("p", f"after: {escape(words.model_line(comparison.after.model))}", class_="sub"),
        page.lead([
            *comparison.sentences[:2],
            *(s for s in comparison.sentences[2:] if not s.startswith("Accuracy under")),
        ]),
        _caveats(comparison),
        page.section(
            "Gain", _enclosures(comparison, one, two), note="The true gains lie inside the coloured bands (proved)."
        ),
        page.section("Numbers", _change_table(comparison), note=f"{comparison.before.norm}; epsilon in {words.UNITS}."),
        page.section("Robustness", curves, _rates(comparison), note=note if curves else ""),
        page.section(
            "Layers",
            _layer_table(comparison),
            note=f"Upper bounds of each layer's {comparison.before.norm} gain (proved).",
        ),
        page.section(f"Findings: {one}", page.finding_boxes(words.ordered_findings(comparison.before))),
        page.section(f"Findings: {two}", page.finding_boxes(words.ordered_findings(comparison.after))),
        page.section("How to read this page", page.glossary()),
        page.section(f"Provenance: {one}", page.provenance(comparison.before, command_line)),
        page.section(f"Provenance: {two}", page.provenance(comparison.after, command_line)),
    ]
    return page.page(f"netgain: {one} and {two}", "\n".join(part for part in body if part), comparison.to_dict())


def _caveats(comparison: Comparison) -> str:
    """Why numbers may not be comparable, as a warning box."""
    if not comparison.caveats:
        return ""
    lines = "".join(element("p", escape(caveat)) for caveat in comparison.caveats)
    return page.section("Careful", element("div", lines, class_="finding warning"))


def _enclosures(comparison: Comparison, one: str, two: str) -> str:
    """Both enclosures on one axis."""
    gains = [
        (label, record.gain, style)
        for label, record, style in ((one, comparison.before, "one"), (two, comparison.after, "two"))
        if record.gain is not None
    ]
    return page.figure(charts.enclosure(gains)) if len(gains) == 2 else ""


def _change_table(comparison: Comparison) -> str:
    """Each quantity before and after."""
    header = [("quantity", False), ("guarantee", False), ("before", True), ("after", True), ("change", True)]
    rows: list[tuple[list[str], str]] = []
    for change in comparison.changes:
        name, guarantee, *numbers = change_cells(change)
        rows.append(([escape(name), page.tag(guarantee), *map(escape, numbers)], ""))
    return page.table(header, rows) if rows else ""


def _rates(comparison: Comparison) -> str:
    """Certified and attacked accuracy with intervals, both models."""
    epsilons = sorted({
        rate.epsilon or 0.0 for record in (comparison.before, comparison.after) for rate in record.certified_accuracy
    })
    if not epsilons:
        return ""
    header = [("epsilon", True), ("before: certified", True), ("after: certified", True)]
    header += [("before: survived", True), ("after: survived", True)]

    def cell(rates: tuple[Rate, ...], epsilon: float) -> str:
        return terminal.rate(words.at_epsilon(rates, epsilon))

    before, after = comparison.before, comparison.after
    rows: list[tuple[list[str], str]] = [
        (
            [
                figures.nearest(epsilon),
                cell(before.certified_accuracy, epsilon),
                cell(after.certified_accuracy, epsilon),
                cell(before.attacked_accuracy, epsilon),
                cell(after.attacked_accuracy, epsilon),
            ],
            "",
        )
        for epsilon in epsilons
    ]
    return page.table(header, rows) + element("p", escape(f"In brackets: {words.INTERVALS}."), class_="note")


def _layer_table(comparison: Comparison) -> str:
    """Layers that act on the gain, before and after."""
    rows = _acting(comparison)
    header = [("layer", False), ("operation", False), ("before", True), ("after", True), ("change", True)]
    cells = [([escape(cell) for cell in _layer_cells(first, second)], "") for first, second in rows[:_ROWS]]
    return page.table(header, cells) if cells else ""
