"""What a record's numbers should make the user look at. One function a finding."""

from collections.abc import Callable, Iterator

from netgain.certification.result import Certification
from netgain.core.record import Finding, Level, Record

WIDE = 10.0
DOMINANT = 0.5


def findings(
    record: Record, notes: tuple[tuple[str, str], ...], certification: Certification | None
) -> tuple[Finding, ...]:
    """The findings of a record, most important first.

    Args:
        record: the record without findings.
        notes: what reading noticed: (code, sentence).
        certification: the certification behind the record.
    """
    found = [Finding(code=code, level=_LEVELS.get(code, Level.INFO), detail=detail) for code, detail in notes]
    if certification is not None and certification.cut:
        found.append(
            Finding(code="NG107", level=Level.INFO, detail=f"decisions are certified before {certification.cut}")
        )
    for check in _CHECKS:
        found.extend(check(record))
    order = list(Level)[::-1]
    return tuple(sorted(found, key=lambda finding: (order.index(finding.level), finding.code)))


def _dominant(record: Record) -> Iterator[Finding]:
    """One layer makes most of the gain."""
    layers = [layer for layer in record.layers if layer.norm_upper is not None and layer.share is not None]
    if len(layers) < 3:
        return
    most = max(layers, key=lambda layer: layer.share or 0.0)
    if (most.share or 0.0) > DOMINANT:
        yield Finding(
            code="NG101",
            level=Level.INFO,
            detail=f"{most.name} makes {most.share:.0%} of the product bound's logarithm (its norm is "
            f"{most.norm_upper:.4g})",
            location=most.location,
        )


def _wide(record: Record) -> Iterator[Finding]:
    """Upper and lower bound are far apart."""
    gain = record.gain
    if gain is not None and gain.upper > WIDE * gain.lower:
        ratio = f"{gain.upper / gain.lower:.3g} times" if gain.lower > 0 else "without limit"
        yield Finding(code="NG102", level=Level.WARNING, detail=f"the upper bound is {ratio} above the lower bound")


def _dead(record: Record) -> Iterator[Finding]:
    """A layer maps everything to a constant."""
    for layer in record.layers:
        if layer.factor is not None and layer.factor < 2.0**-1000:
            yield Finding(code="NG110", level=Level.WARNING, detail=f"{layer.name} has norm 0", location=layer.location)


def _unscaled(record: Record) -> Iterator[Finding]:
    """Pixels from 0 to 255."""
    data = record.data
    if data is not None and len(record.model.input_shape) >= 3 and data.minimum >= 0 and 100 < data.maximum <= 255:
        yield Finding(
            code="NG103",
            level=Level.WARNING,
            detail=f"inputs run from {data.minimum:g} to {data.maximum:g}; epsilon is in these units",
        )


def _undecided(record: Record) -> Iterator[Finding]:
    """Ties and margins within the evaluation error."""
    if record.radii is not None and record.radii.undecided:
        yield Finding(
            code="NG104",
            level=Level.WARNING,
            detail=f"{record.radii.undecided} inputs have a margin of zero or within the float64 evaluation error",
        )


def _chance(record: Record) -> Iterator[Finding]:
    """Accuracy no better than guessing."""
    clean, classes = record.clean_accuracy, max(2, max(record.model.output_shape, default=2))
    if clean is not None and clean.value < 1.5 / classes:
        yield Finding(
            code="NG105",
            level=Level.WARNING,
            detail=f"clean accuracy is {clean.value:.1%} with {classes} classes",
        )


def _vacuous(record: Record) -> Iterator[Finding]:
    """Nothing certified although attacks fail."""
    for certified, attacked in zip(record.certified_on_attacked, record.attacked_accuracy, strict=True):
        if certified.count == 0 and attacked.count > 0:
            yield Finding(
                code="NG109",
                level=Level.WARNING,
                detail=f"at epsilon {certified.epsilon:g} nothing is certified, and {attacked.value:.0%} resist the "
                "attack",
            )


_LEVELS = {
    "NG106": Level.WARNING,
    "NG108": Level.INFO,
    "NG111": Level.WARNING,
    "NG112": Level.WARNING,
    "NG113": Level.WARNING,
}
_CHECKS: tuple[Callable[[Record], Iterator[Finding]], ...] = (
    _dominant,
    _wide,
    _dead,
    _unscaled,
    _undecided,
    _chance,
    _vacuous,
)
