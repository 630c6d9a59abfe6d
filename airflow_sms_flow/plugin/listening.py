"""Hearing the inbox in the background: what was stored moves the ledger within a second or two.

Nothing depends on it: sensors, triggers and operators hear the inbox before they look, too. It only makes
sure that somebody does where no campaign runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from airflow_sms_flow.core.errors import SmsFlowError
from airflow_sms_flow.plugin.reopening import Reopened
from airflow_sms_flow.plugin.telling import NowAndThen

log = logging.getLogger(__name__)

#: Between two looks while there is work, so that a burst is heard in large pieces.
_BUSY_SECONDS = 1.0
#: Without work: other API servers, or this one before it was restarted, may have left some.
_IDLE_SECONDS = 30.0
#: A piece small enough that storing never waits long for it (SQLite has one writer).
_PIECE = 200


class Heard(Protocol):
    """What one look did."""

    @property
    def left(self) -> int: ...


class Inbox(Protocol):
    """The part of the ledger that is needed here."""

    def hear(self, limit: int = ...) -> Heard: ...

    def close(self) -> None: ...


class Listener:
    """A thread that hears. Begins with `start`, ends with `close`; whatever fails is told and tried again,
    with a new inbox."""

    def __init__(self, open_inbox: Callable[[], Inbox]) -> None:
        self._inbox = Reopened(open_inbox)
        self._work = threading.Event()
        self._closing = threading.Event()
        self._failing = NowAndThen()
        self._thread = threading.Thread(target=self._run, name="sms-flow-hearing", daemon=True)

    def start(self) -> None:
        self._work.set()  # what an earlier process left
        self._thread.start()

    def wake(self) -> None:
        """Something new lies in the inbox. Any thread may say so, as often as it likes."""
        self._work.set()

    def close(self, seconds: float = 5.0) -> None:
        self._closing.set()
        self._work.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._work.clear()
            self._hear_all()
            self._closing.wait(_BUSY_SECONDS)
            self._work.wait(_IDLE_SECONDS)

    def _hear_all(self) -> None:
        try:
            with self._inbox.lent() as inbox:
                began = time.monotonic()
                while not self._closing.is_set() and inbox.hear(_PIECE).left:
                    # Half the time is the receiver's: SQLite has one writer, and Python one thread at a time.
                    self._closing.wait(min(_BUSY_SECONDS, time.monotonic() - began))
                    began = time.monotonic()
        except SmsFlowError as error:
            self._tell(str(error))
        except Exception as error:  # it must never end the thread, and its text may carry a number
            self._tell(type(error).__name__)

    def _tell(self, what: str) -> None:
        if self._failing.due():
            log.warning("Callbacks are stored, but were not heard; it is tried again: %s", what)
