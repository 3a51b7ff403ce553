"""What happens with a finished record: gates, standard output, files, exit code."""

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from netgain.cli.options import Outputs
from netgain.cli.session import INTERRUPTED, Session
from netgain.core.record import Record, Verification

if TYPE_CHECKING:
    from rich.console import Console

    from netgain.report.write import Table

GATE_FAILED = 1
_PIPE_WIDTH = 100


def console() -> "Console":
    """The console of standard output: the terminal's width, 100 columns in a pipe unless COLUMNS says otherwise."""
    from rich.console import Console

    piped = not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    return Console(file=sys.stdout, width=_PIPE_WIDTH if piped else None)


@dataclasses.dataclass(frozen=True)
class Gate:
    """One requirement: what it says, and whether the record meets it."""

    text: str
    passed: bool

    def __str__(self) -> str:
        return f"gate {'passed' if self.passed else 'FAILED'}: {self.text}"


def gain_gate(record: Record, limit: float | None) -> list[Gate]:
    """The gate `--max-gain`: the proved upper bound is at most the limit."""
    from netgain.report import figures

    if limit is None:
        return []
    upper = record.gain.upper if record.gain is not None else None
    sign = "<=" if upper is not None and upper <= limit else ">"
    text = f"proved gain {figures.upper(upper, 8)} {sign} {figures.nearest(limit, 8)} ({record.norm}, --max-gain)"
    return [Gate(text, sign == "<=")]


def certified_gates(record: Record, floors: Sequence[tuple[float, float]]) -> list[Gate]:
    """The gates `--min-certified`: the certified proportion at each epsilon is at least the floor."""
    from netgain.report import figures, words

    gates: list[Gate] = []
    for epsilon, floor in floors:
        rate = words.at_epsilon(record.certified_accuracy, epsilon)
        passed = rate is not None and rate.samples > 0 and rate.count >= floor * rate.samples
        value = "nothing" if rate is None else f"{figures.percent(rate.value, 2)} of {rate.samples} samples"
        text = f"certified at {record.norm} {figures.nearest(epsilon)}: {value}, at least {figures.percent(floor, 2)}"
        gates.append(Gate(f"{text} wanted (--min-certified)", passed))
    return gates


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command found.

    Attributes:
        record: for the screen, the report and the document.
        table: one row a sample, for `--csv`.
        certificate: the document for `--certificate`.
        claims: what the certificate claims, in words.
        interrupted: whether Ctrl-C ended the search.
    """

    record: Record
    table: "Table | None" = None
    certificate: str | None = None
    claims: str = ""
    interrupted: bool = False


def deliver(found: Outcome, outputs: Outputs, gates: Sequence[Gate] = ()) -> None:
    """Print the record, write its files, and leave with the gates' exit code.

    Everything is rendered before anything is written, and every file is written whole.

    Args:
        found: the record and what goes to files.
        outputs: where to.
        gates: requirements; a failed one exits with 1 after everything is written, a search that was interrupted with
            130.
    """
    from netgain.report import html, json, terminal, write

    record = found.record
    document = json.dumps(record)
    page = html.render(record, command_line()) if outputs.report else ""
    if outputs.json == "-":
        sys.stdout.write(document)
    else:
        terminal.render(record, console())
    if outputs.json and outputs.json != "-":
        write.write_text(outputs.json, document)
    if outputs.report:
        write.write_text(outputs.report, page)
    if outputs.csv and found.table is not None:
        write.write_rows(outputs.csv, *found.table)
    if outputs.certificate and found.certificate is not None:
        write.write_text(outputs.certificate, found.certificate)
    if found.interrupted:
        click.echo("Interrupted: what was proved by then stands.", err=True)
    tell(outputs, gates, found.claims, INTERRUPTED if found.interrupted else 0)


def tell(outputs: Outputs, gates: Sequence[Gate] = (), claims: str = "", code: int = 0) -> None:
    """Say which files were written and what became of the gates; exit with `code`, or 1 if a gate failed."""
    aside = outputs.json == "-"
    for name in (outputs.json, outputs.report, outputs.csv):
        if name and name != "-":
            click.echo(f"wrote {name}", err=aside)
    if outputs.certificate:
        click.echo(f"wrote {outputs.certificate}: {claims}", err=aside)
    for gate in gates:
        click.echo(str(gate), err=aside)
    code = code or (0 if all(gate.passed for gate in gates) else GATE_FAILED)
    if code:
        click.get_current_context().exit(code)


def command_line() -> str:
    """The command line of this run, quoted as a shell takes it."""
    session = click.get_current_context().find_object(Session)
    return shlex.join(("netgain", *session.arguments)) if session is not None else "netgain"


def check_writable(outputs: Outputs) -> None:
    """Refuse before the work, not after it, where a file cannot be written.

    Raises:
        UsageError: if the folder of an output does not exist, two outputs are one file, or an output other than `json`
            is "-".
    """
    from netgain.core.errors import UsageError

    files = (outputs.report, outputs.json, outputs.csv, outputs.certificate)
    names = [name for name in files if name and name != "-"]
    if "-" in (outputs.report, outputs.csv, outputs.certificate):
        raise UsageError("only --json takes - for standard output: give the other outputs a file name")
    for name in names:
        folder = os.path.dirname(os.path.abspath(name))
        if not os.path.isdir(folder):
            raise UsageError(f"cannot write {name}: the folder {folder} does not exist")
        if os.path.isdir(name):
            raise UsageError(f"cannot write {name}: it is a folder, a file name was expected")
    if len({os.path.realpath(name) for name in names}) < len(names):
        raise UsageError("two outputs have the same file name")


def deliver_verification(verification: Verification, outputs: Outputs) -> None:
    """Print what was proved again, or its JSON document.

    Args:
        verification: the claims, all proved.
        outputs: only `json` is used.
    """
    from netgain.report import json, terminal, write

    document = json.document(verification.to_dict())
    if outputs.json == "-":
        sys.stdout.write(document)
        return
    terminal.verification(verification, console())
    if outputs.json:
        write.write_text(outputs.json, document)
    tell(outputs)


def deliver_show(record: Record, rules: Mapping[str, str], outputs: Outputs) -> None:
    """Print the layer table of `show`, or its JSON document.

    Args:
        record: the network without bounds.
        rules: by layer name, what can be proved for it.
        outputs: only `json` is used.
    """
    from netgain.report import json, terminal, words, write

    if outputs.json == "-":
        sys.stdout.write(json.dumps(record))
        return
    screen = console()
    terminal.line(screen, f"model: {words.model_line(record.model)}")
    terminal.layer_table(record, screen, rules)
    terminal.findings(record, screen)
    if outputs.json:
        write.write_text(outputs.json, json.dumps(record))
    tell(outputs)
