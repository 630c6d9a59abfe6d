"""What the server saw: every request, and how many of them fell into any sliding window."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any


class Window:
    """A sliding window over real (monotonic) time: `(t - seconds, t]` never lets more than `limit` in.

    `highest` counts everything that arrived, also what was turned away: that is what a client did.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit, self.seconds = limit, seconds
        self.highest = 0
        self.arrived = 0
        self.turned_away = 0
        self._seen: deque[float] = deque()
        self._let_in: deque[float] = deque()

    def arrive(self, at: float) -> bool:
        """Count one call. Whether it was let in."""
        self.arrived += 1
        self._seen.append(at)
        _drop_until(self._seen, at - self.seconds)
        self.highest = max(self.highest, len(self._seen))
        _drop_until(self._let_in, at - self.seconds)
        if len(self._let_in) >= self.limit:
            self.turned_away += 1
            return False
        self._let_in.append(at)
        return True

    def forget_last(self) -> None:
        """Take back the newest call that was let in: some Marketo errors do not count."""
        if self._let_in:
            self._let_in.pop()

    def as_dict(self) -> dict[str, Any]:
        """For the control panel."""
        return {
            "limit": self.limit,
            "window_seconds": self.seconds,
            "highest_in_any_window": self.highest,
            "arrived": self.arrived,
            "turned_away": self.turned_away,
        }


def _drop_until(moments: deque[float], until: float) -> None:
    while moments and moments[0] <= until:
        moments.popleft()


class Record:
    """The request log and the windows. It has a lock of its own, so that counting never waits for work."""

    def __init__(self, size: int) -> None:
        self.lock = threading.Lock()
        self.windows: dict[str, Window] = {}
        self.in_flight: Counter[str] = Counter()
        self.highest_in_flight: Counter[str] = Counter()
        self.by_route: Counter[tuple[str, str, int]] = Counter()
        self._entries: deque[dict[str, Any]] = deque(maxlen=size)
        self._number = 0

    def arrive(self, ring: str, limit: int, seconds: float) -> bool:
        """Count a call in its ring. Whether the ring let it in."""
        with self.lock:
            window = self.windows.get(ring)
            if window is None:
                window = self.windows[ring] = Window(limit, seconds)
            window.limit, window.seconds = limit, seconds  # the control panel may have changed them
            return window.arrive(time.monotonic())

    def enter(self, ring: str) -> int:
        """One more call of this ring under way; how many there are now."""
        with self.lock:
            self.in_flight[ring] += 1
            self.highest_in_flight[ring] = max(self.highest_in_flight[ring], self.in_flight[ring])
            return self.in_flight[ring]

    def leave(self, ring: str) -> None:
        """That call is over."""
        with self.lock:
            self.in_flight[ring] -= 1

    def forgive(self, ring: str) -> None:
        """The call just counted is free of charge."""
        with self.lock:
            if ring in self.windows:
                self.windows[ring].forget_last()

    def write(self, entry: dict[str, Any]) -> None:
        """Add a request to the log. `entry` has at least method, route and status."""
        with self.lock:
            self._number += 1
            self.by_route[entry["method"], entry["route"], entry["status"]] += 1
            self._entries.append({"n": self._number, **entry})

    def since(self, number: int) -> list[dict[str, Any]]:
        """The entries after that number, oldest first."""
        with self.lock:
            return list(self._newer_than(number))[::-1]

    def _newer_than(self, number: int) -> Iterator[dict[str, Any]]:
        for entry in reversed(self._entries):
            if entry["n"] <= number:
                return
            yield entry

    def stats(self) -> dict[str, Any]:
        """Highest counts per ring, and requests by route and status."""
        with self.lock:
            counts = [
                {"method": method, "path": route, "status": status, "count": count}
                for (method, route, status), count in sorted(self.by_route.items())
            ]
            return {
                "rings": {name: window.as_dict() for name, window in sorted(self.windows.items())},
                "highest_in_flight": dict(self.highest_in_flight),
                "requests": counts,
                "total": self._number,
            }
