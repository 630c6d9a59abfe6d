"""Group commit of callbacks: one thread writes whatever requests have waiting, in one transaction.

A request that hears "kept" knows that its callback is on disk. What cannot be kept soon is answered "later",
and Vibes repeats it; the inbox recognises what it has already.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from airflow_sms_flow.core.errors import SmsFlowError
from airflow_sms_flow.ledger.inbox import RawCallback
from airflow_sms_flow.plugin.reopening import Reopened
from airflow_sms_flow.plugin.telling import NowAndThen

log = logging.getLogger(__name__)

#: How long a request waits for its commit. Vibes' patience is not published; its other product has 2 s.
_PATIENCE_SECONDS = 1.5
_MAX_BATCH = 250
#: What may wait, so that a database that hangs cannot fill the API server's memory.
_MAX_WAITING, _MAX_WAITING_BYTES = 2_000, 33_554_432


class Inbox(Protocol):
    """The part of the ledger that is needed here."""

    def store_callbacks(self, rows: Sequence[RawCallback]) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    callback: RawCallback
    answer: asyncio.Future[bool]
    loop: asyncio.AbstractEventLoop

    def tell(self, kept: bool) -> None:
        if not self.answer.done():
            self.answer.set_result(kept)


class Store:
    """Begins with `start`, ends with `close`. `open_inbox` may fail: it is tried again with the next one. A
    new one takes the place of an inbox that failed. `on_kept` is called, in the writer's thread, whenever
    something new lies in the inbox."""

    def __init__(self, open_inbox: Callable[[], Inbox], on_kept: Callable[[], None]) -> None:
        self._inbox = Reopened(open_inbox)
        self._on_kept = on_kept
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._failures = 0
        self._failing = NowAndThen()
        self._slow = NowAndThen()
        self._thread = threading.Thread(target=self._run, name="sms-flow-callbacks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)

    async def keep(self, callback: RawCallback, waited: float = 0.0) -> bool:
        """True: it is on disk. False: it is not known to be; say "later". `waited`: so many seconds of the
        caller's patience are gone already."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(callback, loop.create_future(), loop)
        if not self._enqueue(waiting):
            self._tell_slow("too many wait already")
            return False
        left = max(0.0, _PATIENCE_SECONDS - waited)
        try:
            async with asyncio.timeout(left):
                return await waiting.answer
        except TimeoutError:
            self._tell_slow(f"the ledger takes longer than {left:.1f} seconds")
            return False

    def _enqueue(self, waiting: _Waiting) -> bool:
        size = len(waiting.callback.body)
        with self._changed:
            full = len(self._waiting) >= _MAX_WAITING or self._waiting_bytes + size > _MAX_WAITING_BYTES
            if full or self._closed:
                return False
            self._waiting.append(waiting)
            self._waiting_bytes += size
            self._changed.notify()
        return True

    def _run(self) -> None:
        self._store([])  # opens the inbox before anybody waits for that, and tells at once where it cannot
        while batch := self._next_batch():
            kept = self._write([one.callback for one in batch])
            if any(kept):
                self._on_kept()
            for loop in {one.loop for one in batch}:
                answers = [(one, said) for one, said in zip(batch, kept, strict=True) if one.loop is loop]
                try:
                    loop.call_soon_threadsafe(_tell_all, answers)
                except RuntimeError:  # the server is gone, and its callers with it
                    continue

    def _next_batch(self) -> list[_Waiting]:
        """Whatever came in while the last batch was written; empty: the end."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_BATCH))]
            self._waiting_bytes -= sum(len(one.callback.body) for one in batch)
        return batch

    def _write(self, callbacks: Sequence[RawCallback]) -> list[bool]:
        """For each, whether it is on disk. A row that the database cannot take must not take the others of
        its batch down, again and again; so a batch that failed is tried row by row, until it is plain that
        no row goes in."""
        if self._store(callbacks):
            return [True] * len(callbacks)
        kept: list[bool] = []
        for callback in callbacks if len(callbacks) > 1 else ():
            kept.append(self._store([callback]))
            if kept[-2:] == [False, False]:
                break
        return kept + [False] * (len(callbacks) - len(kept))

    def _store(self, callbacks: Sequence[RawCallback]) -> bool:
        try:
            with self._inbox.lent() as inbox:
                if callbacks:
                    inbox.store_callbacks(callbacks)
        except SmsFlowError as error:
            self._tell_failure(str(error))
            return False
        except Exception as error:  # whatever it is, the callers wait; its text may carry a number
            self._tell_failure(type(error).__name__)
            return False
        if self._failures:
            log.info("Callbacks are stored again, after %d attempts that failed", self._failures)
            self._failures = 0
            self._failing.over()
        return True

    def _tell_failure(self, what: str) -> None:
        self._failures += 1
        if self._failing.due():
            log.error("Callbacks cannot be stored and are answered 503, so that Vibes repeats them: %s", what)

    def _tell_slow(self, what: str) -> None:
        if self._slow.due():
            log.warning("Callbacks are answered 503, so that Vibes repeats them: %s", what)


def _tell_all(answers: Sequence[tuple[_Waiting, bool]]) -> None:
    for waiting, kept in answers:
        waiting.tell(kept)
