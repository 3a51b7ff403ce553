"""The Record: everything a command found, as plain values. Renderers read only this; `--json` prints it."""

import dataclasses
import enum
from typing import Any

SCHEMA = "netgain/1"


class Level(enum.StrEnum):
    """How much a finding matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """Something the user should know: a code of `codes.CODES`, a level, one sentence, and where."""

    code: str
    level: Level
    detail: str
    location: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What was audited. `sha256` is over the lowered graph and its weights; shapes exclude the batch axis."""

    origin: str
    sha256: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int
    dtype: str
    preprocess: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataInfo:
    """The data in raw input units. `minimum` and `maximum` are over all inputs."""

    origin: str
    sha256: str
    samples: int
    classes: int
    minimum: float
    maximum: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class GainInfo:
    """The proved enclosure of the Lipschitz constant: lower <= L <= upper."""

    lower: float
    upper: float
    norm: str
    region: str
    method: str
    lower_method: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """What one upper-bound method did.

    Attributes:
        name: as `--method` takes it.
        upper: the upper bound that it proved; None where it proved none, and `note` says why.
        seconds: the time it took.
        steps: evaluations or Newton steps of its search; 0 where there is none.
        gap: how far the bound is above the least that the method can reach, relative, an estimate; None if unknown.
        note: why there is no bound, or what there is to know about it.
    """

    name: str
    upper: float | None
    seconds: float
    steps: int = 0
    gap: float | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """One row of the layer table.

    Attributes:
        name: node name; folded layers are joined by "+".
        operation: short name of the operation with its parameters.
        module: dotted module path or ONNX node name.
        location: the user's file and line.
        in_shape: shape of one input.
        out_shape: shape of one output.
        parameters: scalars the layer stores.
        norm_lower: proved lower bound of the operator norm (affine layers).
        norm_upper: proved upper bound of it.
        slope_lower: least slope of an activation.
        slope_upper: greatest slope.
        factor: proved Lipschitz factor of the layer; None where no rule exists.
        share: its share of the product bound's logarithm, between 0 and 1; None where undefined.
        stable_rank: ||A||_F^2 / ||A||_2^2, an estimate.
    """

    name: str
    operation: str
    module: str
    location: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    parameters: int = 0
    norm_lower: float | None = None
    norm_upper: float | None = None
    slope_lower: float | None = None
    slope_upper: float | None = None
    factor: float | None = None
    share: float | None = None
    stable_rank: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """A proportion of samples with its exact (Clopper-Pearson) 95 % interval.

    `epsilon` is the radius in raw input units (None for clean accuracy); `label` the class (None for all).
    """

    value: float
    low: float
    high: float
    count: int
    samples: int
    epsilon: float | None = None
    label: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RadiusInfo:
    """Distribution of the proved radii of correctly classified samples, in raw input units.

    Attributes:
        median: over all samples, wrong ones counted as 0.
        edges: histogram edges, one more than `counts`.
        counts: correctly classified samples in each bin.
        curve: (radius, certified accuracy) points of the whole curve, at most 200.
        undecided: samples whose margin lies within the evaluation error (radius 0).
    """

    median: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    curve: tuple[tuple[float, float], ...]
    undecided: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionInfo:
    """What one method of certification did.

    Attributes:
        name: the method: "global" is the gain of score differences; the others look at one region an input.
        inputs: how many inputs have their largest proved radius from it.
        tried: how many inputs it was tried on.
        seconds: the time it took.
        note: what there is to know about it: why it does not apply, how many inputs were left out.
    """

    name: str
    inputs: int
    tried: int
    seconds: float = 0.0
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClaimInfo:
    """One claim of a certificate, checked.

    Attributes:
        about: what is bounded, in words: "the whole output", "output 3 - output 5".
        target: None for the whole output, (i, j) for the difference of two outputs, (i, -1) for one output.
        claimed: the upper bound that the certificate states.
        proved: the upper bound that the checker proved from it; at most `claimed`.
        inflation: claimed over proved, minus 1.
        method: how the multipliers were found, as the certificate says.
    """

    about: str
    target: tuple[int, int] | None
    claimed: float
    proved: float
    inflation: float
    method: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """A certificate that holds for a model.

    Attributes:
        command: "verify".
        norm: "l1", "l2" or "linf": of inputs and outputs.
        region: where the claims hold.
        certificate: the file.
        written: when and by which netgain the certificate was written, as it says.
        arithmetic: how the check was computed.
        created: ISO time of the check.
        seconds: wall-clock time of the check, without reading the model.
        versions: of netgain, torch, python, and the machine in words.
        model: what it was checked against.
        claims: every claim; all of them hold.
    """

    command: str
    norm: str
    region: str
    certificate: str
    written: str
    arithmetic: str
    created: str
    seconds: float
    versions: dict[str, str]
    model: ModelInfo
    claims: tuple[ClaimInfo, ...]

    def to_dict(self) -> dict[str, Any]:
        """The verification as JSON-ready values, with the schema's name first."""
        return {"schema": SCHEMA} | dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What a command found.

    Attributes:
        command: "audit", "bound", "certify", "show".
        norm: "l1", "l2" or "linf": of inputs and outputs.
        created: ISO time.
        seconds: wall-clock time of the whole command.
        seed: of every random choice.
        versions: of netgain, torch, python, and the machine in words.
        model: what was audited.
        data: on which data; None for commands without.
        gain: the enclosure; None where nothing could be bounded.
        methods: the upper-bound methods in the order in which they ran.
        layers: the layer table.
        clean_accuracy: on all samples.
        certified_accuracy: one an epsilon, on all samples.
        attacked_accuracy: one an epsilon, on the attacked subset: accuracy that survived the attack.
        certified_on_attacked: certified accuracy on that same subset, one an epsilon (certified <= attacked).
        per_class: certified accuracy by class, at each epsilon.
        radii: distribution of the radii.
        decisions: what each method of certification did, in the order of the cascade.
        domain: least and greatest value of inputs that radii and attacks keep to; None for all of space.
        attack: the attack in words, with its steps and restarts.
        findings: what the user should know.
    """

    command: str
    norm: str
    created: str
    seconds: float
    seed: int
    versions: dict[str, str]
    model: ModelInfo
    data: DataInfo | None = None
    gain: GainInfo | None = None
    methods: tuple[MethodInfo, ...] = ()
    layers: tuple[LayerInfo, ...] = ()
    clean_accuracy: Rate | None = None
    certified_accuracy: tuple[Rate, ...] = ()
    attacked_accuracy: tuple[Rate, ...] = ()
    certified_on_attacked: tuple[Rate, ...] = ()
    per_class: tuple[Rate, ...] = ()
    radii: RadiusInfo | None = None
    decisions: tuple[DecisionInfo, ...] = ()
    domain: tuple[float, float] | None = None
    attack: str = ""
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-ready values, with the schema's name first."""
        return {"schema": SCHEMA} | dataclasses.asdict(self)
