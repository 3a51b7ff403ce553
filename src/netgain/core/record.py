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
        layers: the layer table.
        clean_accuracy: on all samples.
        certified_accuracy: one an epsilon, on all samples.
        attacked_accuracy: one an epsilon, on the attacked subset: accuracy that survived the attack.
        certified_on_attacked: certified accuracy on that same subset, one an epsilon (certified <= attacked).
        per_class: certified accuracy by class, at each epsilon.
        radii: distribution of the radii.
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
    layers: tuple[LayerInfo, ...] = ()
    clean_accuracy: Rate | None = None
    certified_accuracy: tuple[Rate, ...] = ()
    attacked_accuracy: tuple[Rate, ...] = ()
    certified_on_attacked: tuple[Rate, ...] = ()
    per_class: tuple[Rate, ...] = ()
    radii: RadiusInfo | None = None
    attack: str = ""
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-ready values, with the schema's name first."""
        return {"schema": SCHEMA} | dataclasses.asdict(self)
