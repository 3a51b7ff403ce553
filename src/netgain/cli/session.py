"""What one run of the command line knows about itself, and the options that every command has."""

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Generator
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


INTERRUPTED, INTERRUPTED_TEXT = 130, "Interrupted; no file was left half-written."


@contextlib.contextmanager
def loading() -> Generator[None]:
    """Ctrl-C leaves at once while libraries load: an exception raised inside torch's start aborts the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: object) -> None:
        os.write(2, f"{INTERRUPTED_TEXT}\n".encode())
        os._exit(INTERRUPTED)

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN if before is signal.SIG_IGN else leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
