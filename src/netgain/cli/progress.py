"""Progress on standard error: bars on a terminal, a few plain lines elsewhere, silence when asked for."""

import contextlib
import sys
import time
from collections.abc import Generator

from netgain.core.progress import Progress, silent

_FIRST, _EVERY = 1.0, 10.0


@contextlib.contextmanager
def reporter(quiet: bool) -> Generator[Progress]:
    """A progress callback for the time of the `with` block.

    Args:
        quiet: say nothing.

    Yields:
        The callback.
    """
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        with _bars() as progress:
            yield progress
    else:
        yield _Lines()


@contextlib.contextmanager
def _bars() -> Generator[Progress]:
    """One rich bar a task, gone when all is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    tasks: dict[str, int] = {}

    def update(what: str, done: int, total: int) -> None:
        task = what.partition(":")[0]
        if task not in tasks:
            tasks[task] = bars.add_task(what, total=total)
        bars.update(tasks[task], description=what, completed=done, total=total)  # pyright: ignore[reportArgumentType]

    with bars:
        yield update


class _Lines:
    """A plain line once a task has taken a second, then one every ten seconds."""

    def __init__(self):
        self._next: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Print the state if it is time."""
        now = time.monotonic()
        task = what.partition(":")[0]
        due = self._next.setdefault(task, now + _FIRST)
        if now >= due and done < total:
            self._next[task] = now + _EVERY
            print(f"netgain: {what} {done}/{total}", file=sys.stderr, flush=True)
