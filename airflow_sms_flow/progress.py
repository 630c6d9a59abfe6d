"""One line every ten seconds: done of total, rate, time left, and what else a reader wants to know."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

log = logging.getLogger(__name__)

_EVERY_SECONDS = 10.0


class Progress:
    """Counts what the engine's threads do. Any thread may call it."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._began = self._told = time.monotonic()
        self._finished_at_last_line = 0

    def count(self, name: str, more: int = 1) -> None:
        """So many more of `name`; "finished" is what the rate and the time left are counted by."""
        with self._lock:
            self._counts[name] += more

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._counts[name]

    def tell_now_and_then(self) -> None:
        """Log a line if the last one is ten seconds old."""
        now = time.monotonic()
        with self._lock:
            seconds = now - self._told
            if seconds < _EVERY_SECONDS:
                return
            finished, counts = self._counts["finished"], Counter(self._counts)
            rate = (finished - self._finished_at_last_line) / seconds
            self._told, self._finished_at_last_line = now, finished
        done = finished + counts["done before"]
        total = self._total if self._total is not None else done
        log.info(
            "%s of %s done, %.0f/s, %s refused, %s in doubt, %s",
            f"{done:,}",
            f"{total:,}",
            rate,
            f"{counts['refused']:,}",
            f"{counts['in_doubt']:,}",
            _time_left(total - done, rate),
        )


class Meter:
    """Work of one thread, measured in `unit`s: `Downloading: 120.0 of 500.0 MB, 41.2 MB/s, 0.2 min left`.

    What was done before the first call of `reached` counts as done, but not as this work's speed.
    """

    def __init__(
        self,
        doing: str,
        unit: str,
        total: float | None,
        say: Callable[..., None] = log.info,
        *,
        digits: int = 0,
    ) -> None:
        self._doing, self._unit, self._total, self._say, self._digits = doing, unit, total, say, digits
        self._told_at = time.monotonic()
        self._done_then: float | None = None

    def reached(self, done: float) -> None:
        """So much is done; says so if the last line is ten seconds old."""
        now = time.monotonic()
        if self._done_then is None:
            self._done_then = done
        seconds = now - self._told_at
        if seconds < _EVERY_SECONDS:
            return
        rate = max(0.0, done - self._done_then) / seconds  # a download may begin again
        self._told_at, self._done_then = now, done
        so_far, of_all = self._number(done), ""
        if self._total is not None:
            of_all = f" of {self._number(self._total)}"
        left = "time left unknown" if self._total is None else _time_left(self._total - done, rate)
        speed = f"{self._number(rate)} {self._unit}/s"
        self._say("%s: %s%s %s, %s, %s", self._doing, so_far, of_all, self._unit, speed, left)

    def _number(self, value: float) -> str:
        return f"{value:,.{self._digits}f}"


def _time_left(remaining: float, rate: float) -> str:
    return f"{remaining / rate / 60:.1f} min left" if rate else "time left unknown"
