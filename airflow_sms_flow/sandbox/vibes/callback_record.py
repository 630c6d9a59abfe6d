"""What became of every callback: counts per type, the newest entries, and the failure queue."""

from __future__ import annotations

import threading
from collections import Counter, deque
from datetime import datetime
from typing import Any

from airflow_sms_flow.sandbox.clock import iso

WHAT = ("made", "sent", "duplicated", "retried", "failed", "lost")


class CallbackRecord:
    """Has a lock of its own. When nothing waits, sent + failed + lost == made + duplicated."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._entries: deque[dict[str, Any]] = deque(maxlen=size)
        self._number = 0

    def write(self, at: datetime, what: str, callback_type: str, **more: Any) -> None:
        """Count one more of `what`, and remember it. `more` tells which one, and how it went."""
        with self._lock:
            self._number += 1
            self._counts.setdefault(callback_type, Counter())[what] += 1
            entry = {"n": self._number, "at": iso(at), "what": what, "callback_type": callback_type}
            self._entries.append(entry | more)

    def counts(self) -> dict[str, dict[str, int]]:
        """Per type: made (events times destinations), answered with 2XX, doubled, put off, given up, lost."""
        with self._lock:
            return {kind: {what: found[what] for what in WHAT} for kind, found in self._counts.items()}

    def since(self, number: int, what: str | None) -> list[dict[str, Any]]:
        """The entries after that number, oldest first, of one kind or all."""
        with self._lock:
            found = [one for one in self._entries if one["n"] > number]
        return [one for one in found if what in (None, one["what"])]
