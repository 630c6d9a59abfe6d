"""A ledger that a thread keeps open. One that failed is opened anew the next time: its database may have
moved, have been restored, or have got another password."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What a ledger is here."""

    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class Reopened(Generic[T]):
    """One thread at a time may use it. Opening is slow, and happens in that thread."""

    def __init__(self, open_it: Callable[[], T]) -> None:
        self._open_it = open_it
        self._found: T | None = None

    @contextmanager
    def lent(self) -> Iterator[T]:
        """It, open. Raises whatever opening it raises."""
        found = self._found = self._found or self._open_it()
        try:
            yield found
        except Exception:  # whatever it is, this one may be broken for good
            self._found = None
            found.close()
            raise
