"""Options that commands share, gathered into values. One decorator a group; help texts say units."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import click

from netgain.cli.session import Session

_Command = Callable[..., Any]
_NORMS = click.Choice(["l2", "l1", "linf"])
METHODS = {
    "auto": "all that apply, cheap to dear",
    "product": "factors of the layers",
    "absolute product": "magnitudes of all weights",
    "centred product": "an interval for each entry of the Jacobian",
    "rescaled product": "factors of layers scaled against each other",
    "closed form": "quadratic forms with multipliers in closed form",
    "lbfgs": "the same multipliers improved by descent",
    "newton": "their optimum by a barrier method",
    "convolutional": "one multiplier a channel, for convolutions of any size",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """Which model to read and how."""

    weights: str | None
    preprocess: str | None
    input_shape: tuple[int, ...] | None
    output: str | None
    allow_pickle: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Computing:
    """In which norm, for how long, from which seed, where."""

    norm: str
    method: str
    seconds: float | None
    seed: int
    device: str
    quiet: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checks:
    """Which data, which radii, how many samples to attack (None: all)."""

    data: str | None
    epsilon: tuple[float, ...]
    attack: int | None
    command: str = "audit"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gates:
    """What must hold for exit code 0."""

    max_gain: float | None
    min_certified: tuple[tuple[float, float], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where results go; None: not written. `json` may be "-" for standard output."""

    report: str | None
    json: str | None
    csv: str | None = None
    certificate: str | None = None


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    """Comma-separated positive numbers, in increasing order, each once."""
    try:
        numbers = [float(part) for part in value.split(",") if part.strip()]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 0.1,0.25") from None
    if not numbers or not all(0 < number < math.inf for number in numbers):
        raise click.BadParameter(f"{value!r}: each number must be finite and above 0")
    return tuple(sorted(set(numbers)))


def _shape(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Comma-separated positive integers."""
    if value is None:
        return None
    parts = value.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{value!r} is not a shape such as 1,28,28 (without the batch axis)")
    return tuple(int(part) for part in parts)


def _attack(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """How many samples to attack; None for all."""
    named = {"subset": 500, "all": None, "none": 0}
    if value in named:
        return named[value]
    if not value.isdecimal():
        raise click.BadParameter(f"{value!r} is none of subset, all, none or a number of samples")
    return int(value)


def _floors(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[float, float], ...]:
    """Gates on certified accuracy, EPSILON:ACCURACY, with the accuracy from 0 to 1."""
    floors: list[tuple[float, float]] = []
    for value in values:
        try:
            epsilon, accuracy = (float(part) for part in value.split(":"))
        except ValueError:
            raise click.BadParameter(f"{value!r} is not EPSILON:ACCURACY such as 0.1:0.8") from None
        if not (0 < epsilon < math.inf and 0 <= accuracy <= 1):
            raise click.BadParameter(f"{value!r}: epsilon must be above 0 and the accuracy between 0 and 1")
        floors.append((epsilon, accuracy))
    return tuple(floors)


def gathered(factory: type, name: str, *declarations: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """A decorator that declares options and hands them to the command as one dataclass value.

    Args:
        factory: the dataclass; its fields are the options' names.
        name: the command's argument that takes it.
        *declarations: click decorators, in the order of the help page.
    """
    fields = [field.name for field in dataclasses.fields(factory)]

    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def gather(**values: Any) -> Any:
            own = {field: values.pop(field) for field in fields if field in values}
            return command(**{name: factory(**own)}, **values)

        declared: _Command = gather
        for declaration in reversed(declarations):
            declared = declaration(declared)
        return declared

    return decorate


def _note_json(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Remember that standard output belongs to a document, before anything can fail."""
    session = context.find_object(Session)
    if value == "-" and session is not None:
        session.json_on_stdout = True
    return value


json_option = click.option(
    "--json",
    metavar="FILE|-",
    is_eager=True,
    callback=_note_json,
    help="Write the JSON document (schema netgain/1); - prints it, and nothing else, on standard output.",
)
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")
report_option = click.option("--report", metavar="F.html", help="Write the self-contained HTML page.")
csv_option = click.option("--csv", metavar="FILE", help="Write one row a sample: label, decision, margin, radius.")
data_option = click.option(
    "--data",
    metavar="SPEC",
    help="F.npz (arrays x, y), F.csv, package.module:dataset, or a name of `netgain data` such as mnist:test. "
    "Inputs in raw units.",
)
epsilon_option = click.option(
    "--epsilon",
    callback=_numbers,
    default="0.1,0.25",
    show_default=True,
    metavar="E,E,...",
    help="Radii to certify, in raw input units, measured in --norm.",
)
attack_option = click.option(
    "--attack",
    callback=_attack,
    default="subset",
    show_default=True,
    metavar="subset|all|none|N",
    help="How many samples the attack tries: subset is a seeded 500.",
)
max_gain_option = click.option(
    "--max-gain",
    type=click.FloatRange(min=0),
    metavar="X",
    help="Gate: exit 1 unless the proved upper bound of the gain is at most X (output units per input unit).",
)
min_certified_option = click.option(
    "--min-certified",
    callback=_floors,
    multiple=True,
    metavar="E:A",
    help="Gate: exit 1 unless at least the proportion A (0 to 1) of samples is certified at epsilon E. Repeatable.",
)

certificate_option = click.option(
    "--certificate",
    metavar="F.json",
    help="Write the certificate: the multipliers that prove the bound, for `netgain verify F.json MODEL`.",
)

reading = gathered(
    Reading,
    "reading",
    click.option("--weights", metavar="FILE", help="Weights for a factory: F.safetensors (or a state dict)."),
    click.option(
        "--preprocess",
        metavar="MEAN,STD",
        help="Read (x - mean) / std as part of the network, so that radii stay in raw units. "
        "Per channel: 'm,m,m;s,s,s'.",
    ),
    click.option(
        "--input-shape", callback=_shape, metavar="1,28,28", help="Shape of one input, without the batch axis."
    ),
    click.option("--output", metavar="NAME", help="Which output of a model with several (all of them by default)."),
    click.option(
        "--allow-pickle", is_flag=True, help="Load a pickled checkpoint. Pickles can run code: trust it first."
    ),
)
computing = gathered(
    Computing,
    "computing",
    click.option("--norm", type=_NORMS, default="l2", show_default=True, help="Norm of input and output changes."),
    click.option(
        "--method",
        type=click.Choice(list(METHODS)),
        default="auto",
        show_default=True,
        metavar="NAME",
        help="How the upper bound is found: " + "; ".join(f"'{name}' ({what})" for name, what in METHODS.items()) + ".",
    ),
    click.option(
        "--seconds",
        type=click.FloatRange(min=0, min_open=True),
        metavar="N",
        help="Time for tightening the bounds, in seconds. What was proved by then stands.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random choice."),
    click.option(
        "--device", default="cpu", show_default=True, metavar="NAME", help="Where attacks run. Proofs run on the CPU."
    ),
    quiet_option,
)
data_argument = click.argument("data", metavar="DATA")
checks = gathered(Checks, "checks", data_option, epsilon_option, attack_option)
checks_of_argument = gathered(Checks, "checks", data_argument, epsilon_option, attack_option)
gain_gate = gathered(Gates, "gates", max_gain_option)
all_gates = gathered(Gates, "gates", max_gain_option, min_certified_option)
report_outputs = gathered(Outputs, "outputs", report_option, json_option)
bound_outputs = gathered(Outputs, "outputs", report_option, json_option, certificate_option)
all_outputs = gathered(Outputs, "outputs", report_option, json_option, csv_option, certificate_option)
