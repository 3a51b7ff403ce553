"""Records on a terminal, by rich. Prints to whatever console it is given, narrow ones included."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from netgain.core.record import LayerInfo, Level, Rate, Record, Verification
from netgain.report import figures, words

_STYLES = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.INFO: "cyan"}
_ROWS = 60


def render(record: Record, console: Console) -> None:
    """Print the record: model and data, gain, layers, accuracy, findings.

    Args:
        record: what a command found.
        console: where to; its width decides how many columns the layer table has.
    """
    line(console, f"model: {words.model_line(record.model)}")
    if record.data is not None:
        line(console, f"data: {words.data_line(record.data)}")
    if record.layers:
        layer_table(record, console)
    if record.gain is not None:
        heading(console, "Gain (Lipschitz constant L, output units per input unit)")
        line(console, words.gain_line(record.gain), style="bold")
        line(console, f"upper by {record.gain.method}; lower by {record.gain.lower_method}", style="dim")
        method_table(record, console)
    if record.clean_accuracy is not None:
        accuracy_table(record, console)
    if record.radii is not None:
        _radii(record, console)
    findings(record, console)


def verification(found: Verification, console: Console) -> None:
    """Print a checked certificate: which file, which model, each claim with what was proved.

    Args:
        found: the verification.
        console: where to.
    """
    line(console, f"certificate: {found.certificate} ({found.written})")
    line(console, f"model: {words.model_line(found.model)}")
    count = "1 claim" if len(found.claims) == 1 else f"{figures.count(len(found.claims))} claims"
    heading(console, f"Verified: {count} ({found.norm}, {found.region}; output units per raw input unit)")
    table = new_table()
    table.add_column("upper bound of")
    for title in ("claimed", "proved", "claimed/proved - 1"):
        table.add_column(title, justify="right")
    if console.width >= 90:
        table.add_column("found by", overflow="fold")
    for claim in found.claims[:_ROWS]:
        cells = [claim.about, figures.upper(claim.claimed, 9), figures.upper(claim.proved, 9)]
        cells += [figures.nearest(claim.inflation, 2), *([claim.method] if console.width >= 90 else [])]
        table.add_row(*(Text(figures.printable(cell)) for cell in cells))
    console.print(table)
    if (left := len(found.claims) - _ROWS) > 0:
        line(console, f"{left} more claims hold and are in the JSON document (--json)", style="dim")
    line(console, f"proved in {found.arithmetic}, in {figures.nearest(found.seconds, 3)} s", style="dim")


def heading(console: Console, text: str) -> None:
    """A section heading behind an empty line."""
    console.print()
    line(console, text, style="bold underline")


def line(console: Console, text: str, style: str = "") -> None:
    """One paragraph of plain text: no markup, no escape sequences, wrapped by the console."""
    console.print(Text(figures.printable(text), style=style), highlight=False)


def layer_table(record: Record, console: Console, rules: Mapping[str, str] | None = None) -> None:
    """Print the layer table.

    Args:
        record: its `layers` are printed; where there are more than 60, rows that do nothing to the gain are left out.
        console: where to.
        rules: for `show`: by layer name, what netgain can prove for it; None to leave the column out.
    """
    heading(console, f"Layers ({record.norm}, {_guarantees(record)})")
    shown = record.layers
    if rules is None and len(shown) > _ROWS:
        shown = tuple(layer for layer in shown if layer.parameters or layer.factor not in {None, 1.0})
    table = new_table()
    columns = _columns(record, console.width, rules)
    for name, justify, _ in columns:
        if justify == "left":
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    for layer in shown:
        name, *cells = (figures.printable(show(layer)) for _, _, show in columns)
        table.add_row(*map(Text, (_broken(name, console.width), *cells)))
    console.print(table)
    if len(shown) < len(record.layers):
        left = len(record.layers) - len(shown)
        line(console, f"{left} layers without parameters and with factor 1 are not listed", style="dim")


def method_table(record: Record, console: Console) -> None:
    """Print what each upper-bound method proved, where there were several."""
    if len(record.methods) < 2:
        return
    header, rows = words.method_rows(record)
    table = new_table()
    for title in header:
        if title in {"method", "note"}:
            table.add_column(title, overflow="fold")
        else:
            table.add_column(title, justify="right")
    for row in rows:
        table.add_row(*(Text(figures.printable(cell)) for cell in row))
    console.print(table)


def new_table() -> Table:
    """A table in the one style used everywhere."""
    return Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold", show_edge=False)


def _guarantees(record: Record) -> str:
    """What the numbers of the layer table are."""
    if all(layer.factor is None and layer.norm_upper is None for layer in record.layers):
        return "as read; nothing bounded"
    return "global; norm, slope and factor proved, share of their product in %, stable rank estimated"


def _columns(record: Record, width: int, rules: Mapping[str, str] | None):
    """(title, alignment, text of a layer) for each column that has something to say and fits."""
    layers = record.layers
    columns = [
        ("layer", "left", lambda layer: layer.name),
        ("operation", "left", lambda layer: layer.operation),
    ]
    if width >= 90 or rules is not None:
        columns.append(("output", "left", lambda layer: figures.shape(layer.out_shape)))
    if rules is not None:
        columns.append(("parameters", "right", lambda layer: figures.count(layer.parameters)))
        columns.append(("rule", "left", lambda layer: rules.get(layer.name, "")))
        if any(layer.location or layer.module not in {"", layer.name} for layer in layers):
            columns.append(("source", "left", lambda layer: layer.location or layer.module))
        return columns
    if any(layer.norm_upper is not None for layer in layers):
        columns.append(("norm", "right", lambda layer: figures.enclosure(layer.norm_lower, layer.norm_upper)))
    if any(layer.slope_upper is not None for layer in layers):
        columns.append(("slope", "right", slope))
    if any(layer.factor is not None for layer in layers):
        columns.append(("factor", "right", lambda layer: figures.upper(layer.factor)))
    if any(layer.share is not None for layer in layers):
        columns.append(("share", "right", lambda layer: "-" if layer.share is None else figures.percent(layer.share)))
    if width >= 100 and any(layer.stable_rank is not None for layer in layers):
        columns.append(("stable rank", "right", lambda layer: figures.nearest(layer.stable_rank, 3)))
    return columns


def _broken(name: str, width: int) -> str:
    """The name of a layer; a long one that joins several breaks at the joints where the table is narrow."""
    return name.replace("+", "+\n") if len(name) > width // 5 else name


def slope(layer: LayerInfo) -> str:
    """The slope range of an activation, rounded outwards: "[0, 1]"."""
    if layer.slope_lower is None and layer.slope_upper is None:
        return "-"
    return f"[{figures.lower(layer.slope_lower)}, {figures.upper(layer.slope_upper)}]"


def accuracy_table(record: Record, console: Console) -> None:
    """Print clean, certified and attacked accuracy, one row an epsilon."""
    clean = record.clean_accuracy
    if clean is None:
        return
    heading(console, f"Accuracy ({record.norm} changes of the input, epsilon in {words.UNITS}; {words.INTERVALS})")
    line(console, f"clean (measured): {rate(clean)} of {figures.count(clean.samples)} samples")
    if not record.certified_accuracy:
        return
    table = new_table()
    narrow = console.width < 90
    table.add_column("epsilon", justify="right")
    certified = f"certified (proved, {figures.count(clean.samples)} samples)"
    table.add_column("certified (proved)" if narrow else certified, justify="right")
    if record.attacked_accuracy:
        subset = figures.count(record.attacked_accuracy[0].samples)
        if words.subset(record):
            table.add_column(f"certified ({subset})" if narrow else f"certified ({subset} attacked)", justify="right")
        table.add_column("survived (measured)" if narrow else "survived attack (measured)", justify="right")
    for proved in record.certified_accuracy:
        cells = [figures.nearest(proved.epsilon), rate(proved)]
        if record.attacked_accuracy:
            if words.subset(record):
                cells.append(rate(words.at_epsilon(record.certified_on_attacked, proved.epsilon)))
            cells.append(rate(words.at_epsilon(record.attacked_accuracy, proved.epsilon)))
        table.add_row(*cells)
    console.print(table)
    if record.attacked_accuracy:
        subset = figures.count(record.attacked_accuracy[0].samples)
        line(
            console,
            f"attacked subset: {subset} samples; attack ({record.norm}, measured): {record.attack}",
            style="dim",
        )


def rate(value: Rate | None) -> str:
    """A rate with its interval: "97.5 % [97.1, 98.0]"."""
    if value is None:
        return "-"
    return f"{figures.percent(value.value)} {figures.interval(value).removesuffix(' %')}"


def _radii(record: Record, console: Console) -> None:
    """The median radius and the undecided samples in a line."""
    radii = record.radii
    if radii is None:
        return
    undecided = f"; {figures.count(radii.undecided)} samples undecided in float64 (radius 0)" if radii.undecided else ""
    median = f"median proved radius: {figures.lower(radii.median)} ({record.norm}, {words.UNITS}"
    line(console, f"{median}; wrong samples count as 0){undecided}")


def findings(record: Record, console: Console) -> None:
    """Print findings with codes and what to do about them."""
    if not record.findings:
        return
    heading(console, "Findings")
    for finding in words.ordered_findings(record):
        what, action = words.finding_lines(finding)
        console.print(
            Text(f"{finding.code} {finding.level}: ", style=_STYLES[finding.level]).append(
                figures.printable(what), style="default"
            ),
            highlight=False,
        )
        if action:
            line(console, f"      {action}", style="dim")
