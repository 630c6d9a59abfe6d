"""The sandbox's own clock: real time plus what the control panel added, and what is due on it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """Aware UTC. Not thread-safe by itself: the sandbox's one lock guards it."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self._standing_at: datetime | None = None
        self._due: list[tuple[datetime, int, Callable[[], None]]] = []
        self._counter = itertools.count()

    @property
    def ahead_seconds(self) -> float:
        """How far this clock was moved ahead of real time."""
        return self._ahead.total_seconds()

    def now(self) -> datetime:
        """The time here; while something due runs, the moment it was due at."""
        return self._standing_at or datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        """Move ahead. What falls due meanwhile happens in order, each at its own moment."""
        if seconds < 0:
            raise ValueError(f"advance_seconds={seconds!r}: the clock only moves forward")
        self._ahead += timedelta(seconds=seconds)
        self.run_due()

    def call_at(self, at: datetime, action: Callable[[], None]) -> None:
        """Do `action` once this clock has reached `at`."""
        heapq.heappush(self._due, (at, next(self._counter), action))

    def call_in(self, seconds: float, action: Callable[[], None]) -> None:
        """Do `action` after so many seconds of this clock."""
        self.call_at(self.now() + timedelta(seconds=seconds), action)

    def run_due(self) -> None:
        """Do everything that is due by now, also what that makes due in turn."""
        if self._standing_at is not None:
            return
        limit = self.now()
        try:
            while self._due and self._due[0][0] <= limit:
                self._standing_at, _, action = heapq.heappop(self._due)
                action()
        finally:
            self._standing_at = None


def iso(moment: datetime | None) -> str | None:
    """`2026-01-02T03:04:05.678Z`: how the control panel writes a time."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
