"""The seam between commands and computation: reads the model and the data, calls, and returns a Record.

Only this module and what it imports need torch; commands import it when they run. A user's model or data code may
print: while it runs, standard output goes to standard error, so that results stay alone on standard output.
"""

import contextlib
import datetime
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from netgain.certification import audit as auditing
from netgain.certification.attacks.pgd import PGD
from netgain.certification.certificates import verification, written
from netgain.certification.options import CertifyOptions, Decisions
from netgain.certification.provenance import model_info, versions
from netgain.certification.result import Certification
from netgain.cli.options import Checks, Computing, Gates, Outputs, Reading
from netgain.cli.output import Outcome
from netgain.cli.progress import reporter
from netgain.core.errors import DataMismatchError, ExampleError, UsageError
from netgain.core.norms import Norm
from netgain.core.record import Finding, LayerInfo, Level, Record, Verification
from netgain.core.results import Bound
from netgain.data.dataset import Dataset, load
from netgain.network import describe
from netgain.network.graph import Affine, Bilinear, Elementwise, Network, Node, Opaque, Vector
from netgain.network.read.read import read
from netgain.report import figures
from netgain.report.write import Row, Table
from netgain.witness.certificate import Certificate


def audit(
    model: str,
    checks: Checks,
    reading: Reading,
    computing: Computing,
    gates: Gates,
    outputs: Outputs,
) -> Outcome:
    """Audit a model, with data if there are any.

    Args:
        model: file or factory.
        checks: data, radii, attack.
        reading: how to read the model.
        computing: norm, time, seed.
        gates: their epsilons are certified too.
        outputs: with `csv`, the table of all samples is made, which a record does not keep.

    Returns:
        The record, and the table and the certificate if they are wanted.

    Raises:
        UsageError: if options contradict each other.
    """
    _check_device(computing.device)
    if not checks.data and (gates.min_certified or outputs.csv):
        raise UsageError(f"{'--csv' if outputs.csv else '--min-certified'} needs --data")
    with contextlib.redirect_stdout(sys.stderr), reporter(computing.quiet) as progress:
        data = load(checks.data) if checks.data else None
        progress("reading the model", 0, 1)
        network = _read(model, reading, data)
        progress("reading the model", 1, 1)
        if data is not None:
            data = data.shaped(network.input_shape)
        found = auditing.audit(
            network,
            None if data is None else data.x,
            None if data is None else data.y,
            data=None if data is None else data.info(),
            options=_options(checks, reading, computing, gates),
            progress=progress,
        )
        return _outcome(found, outputs)


def compared(model: str, checks: Checks, reading: Reading, computing: Computing) -> Record:
    """Audit one side of a comparison."""
    return audit(model, checks, reading, computing, Gates(max_gain=None), Outputs(report=None, json=None)).record


def bound(model: str, reading: Reading, computing: Computing, outputs: Outputs) -> Outcome:
    """The gain and the layer table of a model, without data."""
    _check_device(computing.device)
    options = auditing.AuditOptions(
        norm=Norm(computing.norm),
        certify=CertifyOptions(
            attack=None,
            seconds=computing.seconds,
            seed=computing.seed,
            decisions=Decisions(gain=computing.method),
        ),
        command="bound",
        preprocess=reading.preprocess,
    )
    with contextlib.redirect_stdout(sys.stderr), reporter(computing.quiet) as progress:
        progress("reading the model", 0, 1)
        network = _read(model, reading, None)
        progress("reading the model", 1, 1)
        return _outcome(auditing.audit(network, options=options, progress=progress), outputs)


def _outcome(found: auditing.Audit, outputs: Outputs) -> Outcome:
    """What an audit found, with the files that are wanted."""
    table = _samples(found.certification) if outputs.csv and found.certification is not None else None
    held = found.analysis.certificate() if outputs.certificate else None
    return Outcome(
        record=found.record,
        table=table,
        certificate=None if held is None else written(held),
        claims="" if held is None else _claims(held, found.analysis.enclosure.upper),
        interrupted=any(finding.code == "NG113" for finding in found.record.findings),
    )


def _claims(held: Certificate, upper: Bound) -> str:
    """What a certificate claims, and whether a tighter bound was left out."""
    whole = held.claims[0]
    pairs = len(held.claims) - 1
    more = f" and {pairs} bounds of output differences" if pairs else ""
    text = f"L <= {figures.upper(whole.bound, 6)} ({held.norm}, {held.region}) by {whole.method}{more}"
    if upper.value < whole.bound * (1 - 1e-6):
        text += f"; the tighter {figures.upper(upper.value, 6)} by {upper.method} has no multipliers to write down"
    return text


def verify(certificate: str, model: str, exact: bool, reading: Reading, quiet: bool) -> Verification:
    """A certificate checked against a model."""
    with contextlib.redirect_stdout(sys.stderr), reporter(quiet) as progress:
        progress("reading the model", 0, 1)
        network = _read(model, reading, None)
        progress("reading the model", 1, 1)
        progress("checking the certificate", 0, 1)
        return verification(certificate, network, exact=exact, preprocess=reading.preprocess)


def show(model: str, reading: Reading, quiet: bool) -> tuple[Record, Mapping[str, str]]:
    """The layers of a model as read, and by name what can be proved for each: "yes" or the code of the reason."""
    began = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr), reporter(quiet) as progress:
        progress("reading the model", 0, 1)
        network = _read(model, reading, None)
    rules = {node.name: _rule(node) for node in network.nodes}
    notes = [Finding(code=code, level=Level.INFO, detail=detail) for code, detail in network.notes]
    barred = [
        Finding(code=rules[node.name], level=Level.WARNING, detail=_reason(node), location=str(node.source))
        for node in network.nodes
        if rules[node.name] != "yes"
    ]
    record = Record(
        command="show",
        norm=str(Norm.L2),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        seed=0,
        versions=versions(),
        model=model_info(network, reading.preprocess),
        layers=_layers(network),
        findings=(*barred, *notes),
    )
    return record, rules


def _read(model: str, reading: Reading, data: Dataset | None) -> Network:
    """The network; the example input has the shape asked for, or the data's where the model does not fix its own.

    Raises:
        DataMismatchError: if the model fails on an input of the data's shape.
        ExampleError: if it fails on an input of the shape asked for.
    """
    options: dict[str, Any] = {
        "weights": reading.weights,
        "preprocess": reading.preprocess,
        "output": reading.output,
        "allow_pickle": reading.allow_pickle,
    }
    try:
        return read(model, _example(reading.input_shape, data), **options)
    except ExampleError as error:
        if data is None or reading.input_shape is not None:
            raise
        if model.lower().endswith(".onnx"):
            return read(model, **options)  # its declared shape; Dataset.shaped says whether the data fit
        flat = len(data.x.shape) == 2  # samples, and one axis of values
        hint = ". If these are flattened images, give --input-shape 1,28,28 or the like" if flat else ""
        shape = tuple(data.x.shape[1:])
        raise DataMismatchError(f"an input of {data.origin} has shape {shape}; {error.detail}{hint}") from error


def _example(shape: tuple[int, ...] | None, data: Dataset | None) -> Tensor | tuple[int, ...] | None:
    """What the reader traces with: the shape given, or the first two inputs of the data; None: the file decides."""
    if shape is not None:
        return shape
    return None if data is None else data.x[torch.arange(2) % len(data)].float()


def _options(checks: Checks, reading: Reading, computing: Computing, gates: Gates) -> auditing.AuditOptions:
    """The command line as options of the audit."""
    epsilon = sorted({*checks.epsilon, *(epsilon for epsilon, _ in gates.min_certified)}) if checks.data else []
    certify = CertifyOptions(
        epsilon=tuple(epsilon),
        attack=None if checks.attack == 0 else PGD(seed=computing.seed),
        subset=checks.attack,
        seconds=computing.seconds,
        seed=computing.seed,
        decisions=Decisions(gain=computing.method),
    )
    return auditing.AuditOptions(
        norm=Norm(computing.norm), certify=certify, command=checks.command, preprocess=reading.preprocess
    )


def _check_device(device: str) -> None:
    """Refuse a device that nothing runs on yet.

    Raises:
        UsageError: if it is not the CPU.
    """
    if device != "cpu":
        raise UsageError(f"--device {device}: proofs and attacks run on the CPU in this version; give --device cpu")


def _layers(network: Network) -> tuple[LayerInfo, ...]:
    """The nodes as read."""
    shapes = network.shapes()
    return tuple(
        LayerInfo(
            name=node.name,
            operation=describe.operation(node),
            module=node.source.module,
            location=node.source.location,
            in_shape=shapes[node.inputs[0]] if node.inputs else (),
            out_shape=node.shape,
            parameters=describe.parameters(node.kind.map) if isinstance(node.kind, Affine) else 0,
        )
        for node in network.nodes
    )


def _rule(node: Node) -> str:
    """Yes, or the code of the error that a bound would raise."""
    match node.kind:
        case Opaque(code=code):
            return code
        case Bilinear():
            return "NG012"
        case Elementwise(activation=activation):
            if not activation.continuous:
                return "NG011"
            line = torch.tensor([-math.inf], dtype=torch.float64), torch.tensor([math.inf], dtype=torch.float64)
            low, high = activation.slope_range(*line)
            return "yes" if bool(torch.isfinite(low).all() & torch.isfinite(high).all()) else "NG012"
        case Vector(function=function):
            return "yes" if math.isfinite(function.gain(Norm.L2)) else "NG012"
        case _:
            return "yes"


def _reason(node: Node) -> str:
    """Why a node has no bound."""
    return node.kind.reason if isinstance(node.kind, Opaque) else f"{describe.operation(node)} at {node.name}"


def _samples(found: Certification) -> Table:
    """Header and rows, one row a sample; radii are proved, in raw input units, 0 for decisions that are not proved."""
    survived: dict[float, dict[int, bool]] = {
        part.epsilon: dict(zip(part.indices.tolist(), part.survived.tolist(), strict=True)) for part in found.attacked
    }
    header = ["sample", "label", "predicted", "correct", "margin_lower", f"radius_{found.norm}", "undecided"]
    header += [f"certified_{epsilon:g}" for epsilon in found.epsilon]
    header += [f"survived_attack_{epsilon:g}" for epsilon in survived]
    certified = [found.certified(epsilon).tolist() for epsilon in found.epsilon]
    columns = zip(
        found.labels.tolist(),
        found.predictions.tolist(),
        found.margins.tolist(),
        found.radii.tolist(),
        found.undecided.tolist(),
        strict=True,
    )
    rows: list[Row] = []
    for index, (label, predicted, margin, radius, undecided) in enumerate(columns):
        row: Row = [index, label, predicted, int(label == predicted), margin, radius]
        row += [int(undecided), *(int(column[index]) for column in certified)]
        row += [None if index not in part else int(part[index]) for part in survived.values()]
        rows.append(row)
    return header, rows
