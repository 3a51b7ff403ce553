"""Two records side by side: what changed, in numbers and in words, with what of it is proved."""

import dataclasses
import difflib
import math
from typing import Any

from netgain.core.errors import UsageError
from netgain.core.record import SCHEMA, GainInfo, LayerInfo, Rate, Record
from netgain.report import figures, words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One quantity before and after.

    Attributes:
        quantity: "gain upper bound", "gain lower bound", "clean accuracy", "certified accuracy", "attacked accuracy".
        before: its value in the first record.
        after: its value in the second.
        guarantee: "proved" or "measured".
        epsilon: the radius in raw input units, None where there is none.
    """

    quantity: str
    before: float
    after: float
    guarantee: str
    epsilon: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two records and what differs.

    Attributes:
        before: the first record.
        after: the second.
        changes: quantities that both have.
        layers: layers of both networks, matched where operation and shapes agree.
        sentences: the differences in words.
        caveats: why numbers may not be comparable; empty where they are.
    """

    before: Record
    after: Record
    changes: tuple[Change, ...]
    layers: tuple[tuple[LayerInfo | None, LayerInfo | None], ...]
    sentences: tuple[str, ...]
    caveats: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON-ready values of the schema `netgain/1`."""
        return {
            "schema": SCHEMA,
            "command": "compare",
            "sentences": list(self.sentences),
            "caveats": list(self.caveats),
            "changes": [dataclasses.asdict(change) for change in self.changes],
            "layer_changes": [_layer_dict(first, second) for first, second in self.layers],
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }

    @property
    def labels(self) -> tuple[str, str]:
        """What pictures and tables call the two: their origins, or before and after where these agree."""
        first, second = self.before.model.origin, self.after.model.origin
        return (first, second) if first != second else ("before", "after")


def compare(before: Record, after: Record) -> Comparison:
    """Put two records side by side.

    Args:
        before: the first.
        after: the second, compared with the first.

    Returns:
        The comparison.

    Raises:
        UsageError: if the norms differ: a gain in one norm says nothing about another.
    """
    if before.norm != after.norm:
        raise UsageError(
            f"{before.model.origin} was audited in {before.norm}, {after.model.origin} in {after.norm}; "
            "only records in one norm can be compared"
        )
    changes = (*_gain_changes(before, after), *_rate_changes(before, after))
    return Comparison(
        before=before,
        after=after,
        changes=changes,
        layers=_matched(before.layers, after.layers),
        sentences=(*_gain_words(before, after), *_rate_words(before, after)),
        caveats=tuple(_caveats(before, after)),
    )


def _gain_changes(before: Record, after: Record) -> list[Change]:
    """Both sides of both enclosures."""
    if before.gain is None or after.gain is None:
        return []
    return [
        Change(quantity="gain upper bound", before=before.gain.upper, after=after.gain.upper, guarantee="proved"),
        Change(quantity="gain lower bound", before=before.gain.lower, after=after.gain.lower, guarantee="proved"),
    ]


def _rate_changes(before: Record, after: Record) -> list[Change]:
    """Accuracies that both records have."""
    changes: list[Change] = []
    if before.clean_accuracy and after.clean_accuracy:
        changes.append(_rate_change("clean accuracy", before.clean_accuracy, after.clean_accuracy, "measured"))
    for first, second in pairs(before.certified_accuracy, after.certified_accuracy):
        changes.append(_rate_change("certified accuracy", first, second, "proved"))
    for first, second in pairs(before.attacked_accuracy, after.attacked_accuracy):
        changes.append(_rate_change("attacked accuracy", first, second, "measured"))
    return changes


def _rate_change(quantity: str, first: Rate, second: Rate, guarantee: str) -> Change:
    """One accuracy before and after."""
    return Change(quantity=quantity, before=first.value, after=second.value, guarantee=guarantee, epsilon=first.epsilon)


def pairs(before: tuple[Rate, ...], after: tuple[Rate, ...]) -> list[tuple[Rate, Rate]]:
    """Rates at the epsilons that both have."""
    found = ((rate, words.at_epsilon(after, rate.epsilon)) for rate in before if rate.label is None)
    return [(first, second) for first, second in found if second is not None]


def _gain_words(before: Record, after: Record) -> list[str]:
    """What became of the bound, and whether that is proved of the gain itself."""
    first, second = before.gain, after.gain
    if first is None or second is None:
        return ["The gain of one of them is not bounded, so gains are not compared."]
    return [_bound_words(first, second), _truth_words(first, second)]


def _bound_words(first: GainInfo, second: GainInfo) -> str:
    """The two upper bounds and their quotient."""
    went = f"from {figures.upper(first.upper)} to {figures.upper(second.upper)}"
    what = f"The proved upper bound of the gain ({first.norm}, {first.region})"
    if first.upper == second.upper:
        return f"{what} stayed at {figures.upper(first.upper)}."
    word = "fell" if second.upper < first.upper else "rose"
    low, high = sorted((first.upper, second.upper))
    factor = (
        f" ({figures.times(high / low)} {'lower' if word == 'fell' else 'higher'})"
        if low > 0 and high < math.inf
        else ""
    )
    return f"{what} {word} {went}{factor}."


def _truth_words(first: GainInfo, second: GainInfo) -> str:
    """What the two enclosures together prove about the two gains."""
    for name, low, high in (("lower", second, first), ("higher", first, second)):
        if low.upper < high.lower:
            least = math.nextafter(high.lower / low.upper, 0.0) if low.upper > 0 else math.inf
            factor = f", by a factor of at least {figures.lower(least, 3)}" if math.isfinite(least) else ""
            return f"The gain itself is {name} now (proved: the enclosures are apart{factor})."
    return "Whether the gain itself changed is not proved: the enclosures overlap."


def _rate_words(before: Record, after: Record) -> list[str]:
    """Accuracies in words; differences within sampling error are called that."""
    sentences: list[str] = []
    for first, second in pairs(before.certified_accuracy, after.certified_accuracy):
        where = f"at {before.norm} {figures.nearest(first.epsilon)} ({words.UNITS})"
        sentences.append(f"Certified accuracy {where} (proved) {_went(first, second)}.")
    for first, second in pairs(before.attacked_accuracy, after.attacked_accuracy):
        where = f"at {before.norm} {figures.nearest(first.epsilon)}"
        sentences.append(f"Accuracy under attack {where} (measured) {_went(first, second)}.")
    if before.clean_accuracy and after.clean_accuracy:
        sentences.append(f"Clean accuracy (measured) {_went(before.clean_accuracy, after.clean_accuracy)}.")
    return sentences


def _went(first: Rate, second: Rate) -> str:
    """Like this: "went from 18.0 % to 62.0 % (+44.0 points)"."""
    if first.value == second.value:
        return f"stayed at {figures.percent(first.value)}"
    overlap = first.low <= second.high and second.low <= first.high
    noise = "; the 95 % intervals overlap" if overlap else ""
    return (
        f"went from {figures.percent(first.value)} to {figures.percent(second.value)} "
        f"({figures.points(first.value, second.value)}{noise})"
    )


def _caveats(before: Record, after: Record) -> list[str]:
    """Why two numbers may not mean the same."""
    caveats: list[str] = []
    if before.data and after.data and before.data.sha256 != after.data.sha256:
        caveats.append("The two were measured on different data, so their accuracies are not comparable.")
    if before.model.input_shape != after.model.input_shape:
        shapes = f"{figures.shape(before.model.input_shape)} and {figures.shape(after.model.input_shape)}"
        caveats.append(f"The models take different inputs ({shapes}), so their gains are in different units.")
    if before.model.output_shape != after.model.output_shape:
        shapes = f"{figures.shape(before.model.output_shape)} and {figures.shape(after.model.output_shape)}"
        caveats.append(f"The models have different outputs ({shapes}); a gain counts all of them.")
    if before.model.preprocess != after.model.preprocess:
        caveats.append(
            f"Preprocessing differs ({before.model.preprocess or 'none'} and {after.model.preprocess or 'none'}); it "
            "is part of both networks, so gains are in raw input units, which must be the same for both."
        )
    if before.gain and after.gain and before.gain.region != after.gain.region:
        caveats.append(f"The gains hold on different regions ({before.gain.region} and {after.gain.region}).")
    return caveats


def _matched(
    before: tuple[LayerInfo, ...], after: tuple[LayerInfo, ...]
) -> tuple[tuple[LayerInfo | None, LayerInfo | None], ...]:
    """Layers of both in order, matched where operation and shapes agree, else one side alone."""

    def key(layer: LayerInfo) -> tuple[object, ...]:
        return layer.operation, layer.in_shape, layer.out_shape

    matcher = difflib.SequenceMatcher(None, [key(a) for a in before], [key(b) for b in after], autojunk=False)
    rows: list[tuple[LayerInfo | None, LayerInfo | None]] = []
    for kind, start, stop, first, last in matcher.get_opcodes():
        if kind == "equal":
            rows += zip(before[start:stop], after[first:last], strict=True)
        else:
            rows += [(layer, None) for layer in before[start:stop]]
            rows += [(None, layer) for layer in after[first:last]]
    return tuple(rows)


def _layer_dict(first: LayerInfo | None, second: LayerInfo | None) -> dict[str, Any]:
    """A row of `layer_changes`."""
    either = first or second
    return {
        "before": first.name if first else None,
        "after": second.name if second else None,
        "operation": either.operation if either else "",
        "norm_before": first.norm_upper if first else None,
        "norm_after": second.norm_upper if second else None,
        "factor_before": first.factor if first else None,
        "factor_after": second.factor if second else None,
    }
