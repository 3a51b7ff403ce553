"""What was found, in sentences. Terminal and HTML print these; each says units, norm and guarantee."""

import math
from collections.abc import Iterable

from netgain.core.codes import CODES
from netgain.core.record import DataInfo, Finding, GainInfo, Level, ModelInfo, Rate, Record
from netgain.report import figures

UNITS = "raw input units"
INTERVALS = "intervals: exact (Clopper-Pearson), 95 %"


def gain_line(gain: GainInfo) -> str:
    """The enclosure in a line: "proved: 12.3 <= L <= 45.6 (l2, global; ratio 3.7)"."""
    sides = f"{figures.lower(gain.lower)} <= L <= {figures.upper(gain.upper)}"
    return f"proved: {sides} ({gain.norm}, {gain.region}; ratio {figures.upper(ratio(gain), 3)})"


def ratio(gain: GainInfo) -> float:
    """Upper over lower, rounded up: 1 is exact, infinity says that one side is trivial."""
    if gain.upper == gain.lower:
        return 1.0
    return math.inf if gain.lower == 0 else math.nextafter(gain.upper / gain.lower, math.inf)


def model_line(model: ModelInfo) -> str:
    """The model in a line: origin, shapes, size, dtype, preprocessing."""
    shapes = f"{figures.shape(model.input_shape)} -> {figures.shape(model.output_shape)}"
    scaling = f", preprocessing {model.preprocess}" if model.preprocess else ""
    return f"{model.origin} ({shapes}, {figures.count(model.parameters)} parameters, {model.dtype}{scaling})"


def data_line(data: DataInfo) -> str:
    """The data in a line: origin, size, classes, range of values."""
    values = f"values from {figures.nearest(data.minimum)} to {figures.nearest(data.maximum)} in {UNITS}"
    return f"{data.origin} ({figures.count(data.samples)} samples, {data.classes} classes, {values})"


def method_rows(record: Record) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the methods table; columns in which no method has something to say are left out.

    Args:
        record: what a command found.
    """
    columns = {
        "method": [method.name for method in record.methods],
        f"upper bound ({record.norm}, proved)": [figures.upper(method.upper, 6) for method in record.methods],
        "gap (estimate)": ["-" if m.gap is None else f"{100 * m.gap:.2g} %" for m in record.methods],
        "steps": [figures.count(method.steps) if method.steps else "-" for method in record.methods],
        "seconds": [f"{method.seconds:.2f}" for method in record.methods],
        "note": [method.note for method in record.methods],
    }
    kept = {title: cells for title, cells in columns.items() if any(cell not in {"", "-"} for cell in cells)}
    return list(kept), [list(row) for row in zip(*kept.values(), strict=True)]


def headline(record: Record) -> list[str]:
    """What was proved about which model on which data, one sentence an entry."""
    sentences: list[str] = []
    if record.gain is not None:
        sentences += _gain_sentences(record.gain)
    if record.clean_accuracy is not None and record.data is not None:
        sentences.append(
            f"Of {figures.count(record.clean_accuracy.samples)} samples of {record.data.origin}, "
            f"{figures.percent(record.clean_accuracy.value)} are classified correctly (measured)."
        )
    best = _telling_rate(record.certified_accuracy)
    if best is not None:
        sentences.append(
            f"{figures.percent(best.value)} are proved to keep their correct class under every change of "
            f"{record.norm} size up to {figures.nearest(best.epsilon)} ({UNITS}): no attack of that size, known or "
            "unknown, can change them."
        )
        sentences += _attack_sentences(record, best)
    return sentences


def _gain_sentences(gain: GainInfo) -> list[str]:
    """What the enclosure means."""
    where = "wherever the input lies" if gain.region == "global" else f"for inputs in the region {gain.region}"
    if math.isinf(gain.upper):
        return [
            f"No finite upper bound of the {gain.norm} gain was proved; it is at least {figures.lower(gain.lower)}."
        ]
    first = (
        f"A change of the input of {gain.norm} size d moves the output by at most {figures.upper(gain.upper)} d, "
        f"{where} (proved)."
    )
    if gain.lower <= 0:
        return [first, "No input pair was found that proves a lower bound above 0."]
    return [first, f"Some change moves it by at least {figures.lower(gain.lower)} d (proved)."]


def _telling_rate(rates: tuple[Rate, ...]) -> Rate | None:
    """The certified rate for a headline: at the largest epsilon that still certifies half, or at the first."""
    if not rates:
        return None
    ordered = sorted(rates, key=lambda rate: rate.epsilon or 0.0)
    strong = [rate for rate in ordered if rate.value >= 0.5]
    return strong[-1] if strong else ordered[0]


def _attack_sentences(record: Record, certified: Rate) -> list[str]:
    """The other side at the same epsilon, on the attacked subset."""
    attacked = at_epsilon(record.attacked_accuracy, certified.epsilon)
    if attacked is None:
        return []
    same = at_epsilon(record.certified_on_attacked, certified.epsilon) if subset(record) else None
    proved = f"; {figures.percent(same.value)} of them are proved" if same is not None else ""
    return [
        f"On the {figures.count(attacked.samples)} samples that were attacked, {figures.percent(attacked.value)} "
        f"survive the attack at that size (measured){proved}. The truth lies between."
    ]


def at_epsilon(rates: Iterable[Rate], epsilon: float | None) -> Rate | None:
    """The rate at that epsilon over all classes, or None."""
    return next((rate for rate in rates if rate.epsilon == epsilon and rate.label is None), None)


def subset(record: Record) -> bool:
    """Whether fewer samples were attacked than certified, so that certified accuracy differs between the two sets."""
    attacked, clean = record.attacked_accuracy, record.clean_accuracy
    return bool(attacked) and clean is not None and attacked[0].samples < clean.samples


def finding_lines(finding: Finding) -> tuple[str, str]:
    """A finding as (what, what to do). A code this version does not know prints its detail alone."""
    entry = CODES.get(finding.code)
    where = f" ({finding.location})" if finding.location else ""
    if entry is None:
        return f"{finding.detail}{where}", ""
    detail = f": {finding.detail}" if finding.detail else ""
    return f"{entry.title}{detail}{where}", entry.action


def ordered_findings(record: Record) -> list[Finding]:
    """Findings, gravest first."""
    gravity = [Level.ERROR, Level.WARNING, Level.INFO]
    return sorted(record.findings, key=lambda finding: gravity.index(finding.level))


def provenance(record: Record) -> list[tuple[str, str]]:
    """What a reader needs to repeat the run, as (name, value)."""
    rows = [
        ("model", model_line(record.model)),
        ("model sha256", record.model.sha256),
    ]
    if record.data is not None:
        rows += [("data", data_line(record.data)), ("data sha256", record.data.sha256)]
    if record.gain is not None:
        rows += [("upper bound by", record.gain.method), ("lower bound by", record.gain.lower_method)]
    if record.attack:
        rows.append(("attack", record.attack))
    rows += [
        ("command", record.command),
        ("norm", record.norm),
        ("seed", str(record.seed)),
        ("created", record.created),
        ("time", f"{figures.nearest(record.seconds, 3)} s"),
    ]
    return rows + [(name, value) for name, value in record.versions.items()]
