"""One line every ten seconds: done of total, rate, refusals, in doubt, time left."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter

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
        left = f"{(total - done) / rate / 60:.1f} min left" if rate else "time left unknown"
        log.info(
            "%s of %s done, %.0f/s, %s refused, %s in doubt, %s",
            f"{done:,}",
            f"{total:,}",
            rate,
            f"{counts['refused']:,}",
            f"{counts['in_doubt']:,}",
            left,
        )
