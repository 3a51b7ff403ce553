"""A named table that refuses duplicates and explains unknown names."""

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from netgain.core.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries by name. `what` names the kind of entry in messages."""

    def __init__(self, what: str):
        self._what = what
        self._entries: dict[str, T] = {}

    def register(self, *names: str) -> Callable[[T], T]:
        """A decorator that files its object under each name; a name that is taken raises ValueError."""

        def put(entry: T) -> T:
            for name in names:
                if name in self._entries:
                    raise ValueError(f"{self._what} {name!r} is registered already")
                self._entries[name] = entry
            return entry

        return put

    def __getitem__(self, name: str) -> T:
        """The entry of that name.

        Raises:
            UsageError: if there is none; the message offers the nearest names.
        """
        if name not in self._entries:
            near = difflib.get_close_matches(name, self._entries, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(self._entries))}"
            raise UsageError(f"unknown {self._what} {name!r}; {hint}")
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)
