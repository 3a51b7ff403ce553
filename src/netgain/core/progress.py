"""How long computations tell what they are doing, without knowing who listens."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total): "layer norms", 3, 12. Calls are cheap and may be frequent.

What stands behind a colon is the state of the same task, such as its best bound so far: "newton: 24.371", 8, 40.
"""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
