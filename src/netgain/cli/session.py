"""What one run of the command line knows about itself, and the options that every command has."""

import dataclasses
from collections.abc import Callable
from typing import Any

import click


@dataclasses.dataclass
class Session:
    """One run: set while options are parsed, read where errors are printed.

    Attributes:
        arguments: the words behind `netgain`.
        debug: print tracebacks.
        json_on_stdout: standard output carries one JSON document and nothing else.
    """

    arguments: tuple[str, ...] = ()
    debug: bool = False
    json_on_stdout: bool = False


def debug_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--debug`."""

    def switch_on(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            context.find_object(Session).debug = True  # pyright: ignore[reportOptionalMemberAccess]

    return click.option(
        "--debug",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=switch_on,
        help="Print the traceback of an error.",
    )(command)
