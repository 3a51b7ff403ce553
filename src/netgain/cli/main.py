"""The `netgain` command: finds the subcommand, turns errors into sentences and exit codes.

Exit codes: 0 pass, 1 a gate failed, 2 usage, 3 model unreadable or no sound rule, 4 internal error, 5 nothing was
checked, 130 interrupted, 141 the reader of standard output went away.
"""

import difflib
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from netgain import __version__
from netgain.cli.session import INTERRUPTED, INTERRUPTED_TEXT, Session, debug_option
from netgain.core.errors import NetgainError

COMMANDS = {
    "audit": "Prove a model's gain; with data, certify and attack it; write the report.",
    "bound": "Prove a model's gain: lower and upper bound, layer table.",
    "verify": "Check a certificate against a model, independently of how it was found.",
    "certify": "Prove a radius for each sample; certified accuracy.",
    "compare": "Two models or two audits side by side: what changed.",
    "show": "The layers of a model as read; which have no proof rule.",
    "data": "Known data sets: where found, checksums, how to get them.",
    "doctor": "Versions, threads, arithmetic, optional packages, data sets.",
    "explain": "What an error or finding code means and what to do.",
}
INTERNAL, PIPE_CLOSED = 4, 141


class _PipeClosedError(Exception):
    """Standard output was closed by its reader; click would otherwise exit 1, which means a failed gate here."""


class _Commands(click.Group):
    """The group: a command's module is imported when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a user's day, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"netgain.cli.{cmd_name}").command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command, or an error that offers the nearest name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Commands are {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and flush here, where a closed pipe can still be told from a failure."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise _PipeClosedError from error
        return result


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 pass, 1 gate failed, 2 usage, 3 unreadable or no sound rule, 4 internal, 5 nothing checked.",
)
@click.version_option(__version__, prog_name="netgain", message="%(prog)s %(version)s")
@debug_option
def group() -> None:
    """Prove how strongly a neural network's output can react to its input, and certify robustness from it."""


def main() -> NoReturn:
    """The console entry point: runs `sys.argv` and exits. Characters that a terminal lacks print as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: the words behind `netgain`.

    Returns:
        The exit code. Every failure prints one paragraph to standard error; `--debug` adds the traceback.
    """
    session = Session(arguments=tuple(arguments))
    try:
        code = group.main(list(arguments), prog_name="netgain", standalone_mode=False, obj=session)
        return code if isinstance(code, int) else 0
    except click.exceptions.Abort:
        _say(INTERRUPTED_TEXT)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return 2
    except _PipeClosedError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except NetgainError as error:
        return _refuse(error, session)
    except Exception as error:  # the last line of defence: whatever it is, one paragraph and exit code 4
        return _internal(error, session)


def _refuse(error: NetgainError, session: Session) -> int:
    """Say what netgain refuses and why; with `--json -`, as the document that standard output promises."""
    if session.debug:
        traceback.print_exception(error)
    if session.json_on_stdout:
        documents = importlib.import_module("netgain.report.json")
        sys.stdout.write(documents.document(documents.error_document(error)))
        sys.stdout.flush()
    _say(f"netgain: {error}")
    return error.exit_code


def _internal(error: Exception, session: Session) -> int:
    """Say that this is netgain's fault, where it happened, and how to report it."""
    if session.debug:
        traceback.print_exception(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}netgain{os.sep}" in frame.filename] or frames
    where = f"{os.path.basename(own[-1].filename)}:{own[-1].lineno}" if own else "an unknown place"
    text = " ".join(str(error).split())
    text = text if len(text) <= 400 else f"{text[:400]} ..."
    _say(
        f"netgain: internal error at {where} (netgain {__version__}): {type(error).__name__}: {text}. No file "
        "was left half-written. This is a defect; please report it with the command line and the output "
        "of the same command with --debug."
    )
    return INTERNAL


def _say(text: str) -> None:
    """One paragraph to standard error."""
    click.echo(text, err=True)
