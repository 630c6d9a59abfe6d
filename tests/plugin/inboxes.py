"""Inboxes in memory that can be slow, down or choosy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

from airflow_sms_flow.core.errors import LedgerError
from airflow_sms_flow.ledger.inbox import RawCallback


class MemoryInbox:
    """What the ledger does for callbacks. `refuses` says which row no database could take."""

    def __init__(self) -> None:
        self.rows: dict[str, RawCallback] = {}
        self.transactions: list[int] = []
        self.down = False
        self.seconds = 0.0
        self.refuses: Callable[[RawCallback], bool] = lambda row: False
        self.looks = 0
        self.to_hear = 0
        self.deaf: Exception | None = None
        self.closed = 0
        self._lock = threading.Lock()

    def store_callbacks(self, rows: Sequence[RawCallback]) -> int:
        time.sleep(self.seconds)
        with self._lock:
            if self.down:
                raise LedgerError("the ledger failed while storing callbacks: connection refused")
            if any(self.refuses(row) for row in rows):
                raise ValueError("a value with a phone number in it")
            self.transactions.append(len(rows))
            before = len(self.rows)
            for row in rows:
                self.rows.setdefault(row.dedupe_key, row)
            return len(self.rows) - before

    def hear(self, limit: int = 500) -> SimpleNamespace:
        self.looks += 1
        if self.deaf is not None:
            raise self.deaf
        read = min(limit, self.to_hear)
        self.to_hear -= read
        return SimpleNamespace(left=self.to_hear)

    def close(self) -> None:
        self.closed += 1
