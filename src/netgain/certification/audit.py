"""The audit: gain, certification and findings of one network, joined into one Record."""

import dataclasses
import datetime
import math
import time

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from netgain.certification.certify import certify_analysed, check_data, check_domain, remaining, shared, tensors
from netgain.certification.findings import findings
from netgain.certification.logits import logits
from netgain.certification.options import CertifyOptions
from netgain.certification.pairs import with_pairs
from netgain.certification.proportions import rate
from netgain.certification.provenance import model_info, versions
from netgain.certification.result import Certification
from netgain.core.errors import UsageError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.record import DataInfo, GainInfo, LayerInfo, MethodInfo, RadiusInfo, Rate, Record
from netgain.core.results import Enclosure, Side
from netgain.core.rounding import mul_up
from netgain.gain.lipschitz import Analysis, Effort, analyse, checked
from netgain.gain.result import GainBound, Run
from netgain.network import describe
from netgain.network.graph import Affine, Network

_STARTS = 64
_CURVE = 200
_BINS = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """How to audit.

    Attributes:
        norm: of inputs, outputs and radii.
        certify: epsilon, attack, subset, time limit and seed.
        command: the command that the record is for.
        preprocess: the preprocessing in words, part of the network already.
    """

    norm: Norm = Norm.L2
    certify: CertifyOptions = dataclasses.field(default_factory=CertifyOptions)
    command: str = "audit"
    preprocess: str | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class Audit:
    """What an audit found.

    Attributes:
        record: all of it as plain values.
        certification: the radii behind it where there were data.
        analysis: the bounds behind it, for a certificate; with data of the scores that decide.
    """

    record: Record
    certification: Certification | None
    analysis: Analysis

    def __repr__(self) -> str:
        gain = self.record.gain
        sides = "" if gain is None else f": {Side.LOWER.shown(gain.lower)} <= L <= {Side.UPPER.shown(gain.upper)}"
        certified = "" if self.certification is None else f", {self.certification!r}"
        return f"<Audit of {self.record.model.origin}{sides} ({self.record.norm}, proved){certified}>"


def audit(
    network: Network,
    inputs: Shaped[Tensor | np.ndarray, "samples *shape"] | None = None,
    labels: Shaped[Tensor | np.ndarray, " samples"] | None = None,
    *,
    data: DataInfo | None = None,
    options: AuditOptions | None = None,
    progress: Progress = silent,
) -> Audit:
    """Bound the gain of a network and, with data, certify it on them.

    Guarantee:
        As `netgain.lipschitz` and `netgain.certify`: bounds are proved, attacked accuracy is measured.

    Args:
        network: as `netgain.read` gives it.
        inputs: data in raw units and in the network's shape; None to bound the gain only.
        labels: their classes.
        data: facts about the data for the record.
        options: norm, epsilon, attack, time limit, seed.
        progress: told about each part.

    Returns:
        The record, and the certification with one radius an input.

    Raises:
        NoSoundRuleError: if an operation has no proved rule; nothing is reported then.
        UsageError: if inputs come without labels, or an argument is of the wrong kind.
    """
    options = options or AuditOptions()
    checked(network, options.norm, options.certify.seconds, options.certify.decisions.gain)
    if (inputs is None) != (labels is None):
        raise UsageError("inputs and labels go together")
    began, limits = time.monotonic(), options.certify.checked()
    starts, head, cut = None, network, ""
    given = None if inputs is None or labels is None else tensors(inputs, labels)
    if given is not None:
        head, cut = logits(network)
        check_data(head, *given)
        check_domain(given[0].double(), limits.decisions.domain)
        starts = given[0][:_STARTS].double()
    effort = limits.effort if given is None else shared(limits)
    analysis = analyse(head, options.norm, effort=effort, starts=starts, progress=progress)
    if given is not None:
        analysis = with_pairs(analysis, given[0], seconds=effort.half().seconds, progress=progress)
    certification, decisive = None, analysis
    if cut:
        analysis = _behind(decisive, network, effort.half(), starts, progress)
    if given is not None:
        certification = certify_analysed(decisive, *given, remaining(limits, began), cut, progress)
    record = _record(network, analysis, certification, data, options)
    return Audit(dataclasses.replace(record, seconds=time.monotonic() - began), certification, decisive)


def _behind(scores: Analysis, network: Network, effort: Effort, starts: Tensor | None, progress: Progress) -> Analysis:
    """The analysis of a network from that of its scores: what follows them multiplies by its factors.

    All that is searched again is the lower bound; a bound of the scores with multipliers keeps them.
    """
    plain = dataclasses.replace(
        effort, method="product", seconds=None if effort.seconds is None else effort.seconds / 3
    )
    whole = analyse(network, scores.norm, effort=plain, starts=starts, progress=progress)
    factor, name = 1.0, whole.network.output
    while name != scores.network.output:
        if name not in whole.layers:  # folding moved the boundary; the product stands
            return whole
        factor = mul_up(factor, whole.layers[name].factor)
        name = whole.network.node(name).inputs[0]
    best = scores.bounds[0].bound
    value = mul_up(best.value, factor)
    if value >= whole.enclosure.upper.value:
        return whole
    bound = dataclasses.replace(best, value=value, method=f"{best.method} up to the scores, then product")
    run = Run(name=best.method, bound=bound, note="of the scores, times the factors of what follows")
    return dataclasses.replace(
        whole,
        enclosure=Enclosure(whole.enclosure.lower, bound),
        bounds=(GainBound(bound), *whole.bounds),
        runs=(*whole.runs, run),
        interrupted=scores.interrupted or whole.interrupted,
    )


def _record(
    network: Network,
    analysis: Analysis,
    certification: Certification | None,
    data: DataInfo | None,
    options: AuditOptions,
) -> Record:
    """The record, its findings included."""
    record = Record(
        command=options.command,
        norm=str(options.norm),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        seed=options.certify.seed,
        versions=versions(),
        model=model_info(network, options.preprocess),
        data=data,
        gain=gain_info(analysis),
        methods=method_infos(analysis),
        layers=layer_infos(analysis),
    )
    if certification is not None:
        record = dataclasses.replace(
            record,
            clean_accuracy=certification.clean_accuracy,
            certified_accuracy=certification.certified_accuracy,
            attacked_accuracy=certification.attacked_accuracy,
            certified_on_attacked=certification.certified_on_attacked,
            per_class=_per_class(certification),
            radii=_radius_info(certification),
            decisions=certification.decisions,
            domain=options.certify.decisions.domain,
            attack=str(options.certify.attack) if certification.attacked else "",
        )
    stopped = analysis.interrupted or (certification is not None and certification.interrupted)
    notes = network.notes + ((("NG113", "bounds are those proved by then"),) if stopped else ())
    return dataclasses.replace(record, findings=findings(record, notes, certification))


def gain_info(analysis: Analysis) -> GainInfo:
    """The enclosure with its methods."""
    lower, upper = analysis.enclosure.lower, analysis.enclosure.upper
    return GainInfo(
        lower=lower.value,
        upper=upper.value,
        norm=str(upper.norm),
        region=upper.region,
        method=upper.method,
        lower_method=lower.method,
    )


def method_infos(analysis: Analysis) -> tuple[MethodInfo, ...]:
    """What each upper-bound method did."""
    return tuple(
        MethodInfo(
            name=run.name,
            upper=None if run.bound is None else run.bound.value,
            seconds=run.seconds,
            steps=run.steps,
            gap=None if run.gap is None else run.gap.value,
            note=run.note,
        )
        for run in analysis.runs
    )


def layer_infos(analysis: Analysis) -> tuple[LayerInfo, ...]:
    """The layer table, without nodes that neither compute nor bound anything."""
    shapes = analysis.network.shapes()
    rows: list[LayerInfo] = []
    for node in analysis.network.nodes:
        layer = analysis.layers.get(node.name)
        if layer is None:
            continue
        norm, slope = layer.norm, layer.slope
        rows.append(
            LayerInfo(
                name=node.name,
                operation=describe.operation(node),
                module=node.source.module,
                location=node.source.location,
                in_shape=shapes[node.inputs[0]],
                out_shape=node.shape,
                parameters=describe.parameters(node.kind.map) if isinstance(node.kind, Affine) else 0,
                norm_lower=None if norm is None else norm.lower.value,
                norm_upper=None if norm is None else norm.upper.value,
                slope_lower=None if slope is None else slope[0],
                slope_upper=None if slope is None else slope[1],
                factor=layer.factor,
                share=layer.share,
                stable_rank=layer.stable_rank,
            )
        )
    return tuple(rows)


def _per_class(certification: Certification) -> tuple[Rate, ...]:
    """Certified accuracy of each class at each epsilon (clean accuracy as epsilon None)."""
    rates: list[Rate] = []
    for label in certification.labels.unique().tolist():
        mine = certification.labels == label
        size = int(mine.sum())
        rates.append(rate(int(certification.correct[mine].sum()), size, label=label))
        for epsilon in certification.epsilon:
            count = int(certification.certified(epsilon)[mine].sum())
            rates.append(rate(count, size, epsilon=epsilon, label=label))
    return tuple(rates)


def _radius_info(certification: Certification) -> RadiusInfo:
    """Histogram, curve and median of the radii."""
    correct = certification.correct & ~certification.undecided
    radii = certification.robust_radii
    finite = radii[correct & torch.isfinite(radii)]
    top = float(finite.max()) if len(finite) else 0.0
    edges = torch.linspace(0.0, top if top > 0 else 1.0, _BINS + 1, dtype=torch.float64)
    counts = torch.histogram(finite, edges).hist if len(finite) else torch.zeros(_BINS)
    at = torch.linspace(0.0, top, _CURVE, dtype=torch.float64)
    # Certified at r means radius >= r; at r = 0 every correct, decided input counts.
    ordered = radii[correct].sort().values
    share = (len(ordered) - torch.searchsorted(ordered, at)) / len(radii)
    median = float(radii.sort().values[(len(radii) - 1) // 2])
    return RadiusInfo(
        median=median if math.isfinite(median) else math.inf,
        edges=tuple(edges.tolist()),
        counts=tuple(int(count) for count in counts.tolist()),
        curve=tuple(zip(at.tolist(), share.tolist(), strict=True)),
        undecided=int(certification.undecided.sum()),
    )
