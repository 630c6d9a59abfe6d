"""The delivery engine: when each callback goes out, how often, and when an address gets a rest.

A 2XX settles a callback. A 4XX settles it, too: straight into the failure queue. Everything else (3XX, 5XX,
no answer in time, no connection) is tried again by the settings' scheme, then it joins the failure queue. An
address that failed many times in a row is downed: for a while nothing goes there, and nothing loses an
attempt for it. Scheme and limits are the sandbox's own; the vendor publishes the outcomes only.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import random
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from airflow_sms_flow.sandbox.clock import Clock
from airflow_sms_flow.sandbox.settings import Settings
from airflow_sms_flow.sandbox.vibes.callback_posting import Callback, Poster, body_of
from airflow_sms_flow.sandbox.vibes.callback_record import CallbackRecord

__all__ = ["Callback", "Deliveries"]

_TICK = 0.02
_MOST_FAILURES = 100_000
_SHOWN_FAILURES = 1_000


@dataclass(slots=True)
class Destination:
    """How an address has behaved."""

    failures_in_a_row: int = 0
    downed_until: float = 0.0
    times_downed: int = 0


class Deliveries:
    """The callbacks under way. Threads start with the first registration; they never hold the sandbox's lock
    while they talk to anybody. `advance` lets the sandbox's world go on, for nobody else may be asking.
    """

    def __init__(self, settings: Callable[[], Settings], clock: Clock, advance: Callable[[], None]) -> None:
        self._settings, self._clock, self._advance = settings, clock, advance
        self.record = CallbackRecord(settings().log_size)
        self._lock = threading.Lock()
        self._random = random.Random(f"{settings().seed}:callbacks")
        self._later: list[tuple[float, int, Callback]] = []
        self._counter = itertools.count()
        self._ready: queue.SimpleQueue[Callback | None] = queue.SimpleQueue()
        self._unsettled = 0
        self._destinations: dict[str, Destination] = {}
        self._failures: list[Callback] = []
        self._posters: list[Poster] = []
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to deliver. A second call does nothing."""
        with self._lock:
            if self._threads or self._stopped.is_set():
                return
            self._posters = [Poster() for _ in range(self._settings().callback_connections)]
            self._threads = [threading.Thread(target=self._tick, daemon=True)]
            self._threads += [
                threading.Thread(target=self._work, args=(poster,), daemon=True) for poster in self._posters
            ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End at once. What waits is forgotten; a post under way is cut off."""
        self._stopped.set()
        for poster in self._posters:
            poster.close()
            self._ready.put(None)

    def join(self, seconds: float) -> None:
        """Wait for the threads to end, after `stop`. The sandbox's lock must not be held."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def offer(self, callback: Callback, after: float = 0.0) -> None:
        """One callback to deliver in `after` seconds and the usual delay: once, or twice, or never."""
        settings = self._settings()
        self._write("made", callback, payload=callback.payload)
        with self._lock:
            lost = self._random.random() < settings.share_callbacks_lost
            twice = not lost and self._random.random() < settings.share_callbacks_duplicated
            for one in [callback] * (not lost) + [replace(callback, is_copy=True)] * twice:
                shuffled = self._random.random() * settings.callback_reorder_seconds
                self._unsettled += 1
                self._push(one, after + settings.callback_delay_seconds + shuffled)
        if lost:
            self._write("lost", callback)
        if twice:
            self._write("duplicated", callback)

    def resend(self) -> int:
        """Try the whole failure queue once more, from the first attempt; how many these are."""
        with self._lock:
            again, self._failures = self._failures, []
            self._unsettled += len(again)
            for callback in again:
                callback.attempts = 0
                self._push(callback, 0.0)
        return len(again)

    def as_dict(self) -> dict[str, Any]:
        """For the control panel; of the failure queue, the newest thousand."""
        with self._lock:
            now = self._now()
            destinations = [
                {
                    "url": url,
                    "state": "downed" if one.downed_until > now else "up",
                    "failures_in_a_row": one.failures_in_a_row,
                    "times_downed": one.times_downed,
                }
                for url, one in self._destinations.items()
            ]
            failures = [
                {"callback_id": one.callback_id, "callback_type": one.callback_type, "event_id": one.event_id}
                for one in self._failures[-_SHOWN_FAILURES:]
            ]
            waiting, failed = self._unsettled, len(self._failures)
        return {
            "counts": self.record.counts(),
            "waiting": waiting,
            "destinations": destinations,
            "in_failure_queue": failed,
            "failures": failures,
        }

    def _now(self) -> float:
        """Seconds that move with the sandbox's clock, and with nobody else's."""
        return time.monotonic() + self._clock.ahead_seconds

    def _push(self, callback: Callback, seconds: float) -> None:
        heapq.heappush(self._later, (self._now() + seconds, next(self._counter), callback))

    def _tick(self) -> None:
        """Let the world go on, and hand out what is due."""
        while not self._stopped.wait(_TICK):
            try:
                self._advance()
            except Exception:  # a bug of the sandbox's own; what is due later must not wait for it
                traceback.print_exc()
            with self._lock:
                now = self._now()
                while self._later and self._later[0][0] <= now:
                    self._ready.put(heapq.heappop(self._later)[2])

    def _work(self, poster: Poster) -> None:
        while (callback := self._ready.get()) is not None and not self._stopped.is_set():
            if not self._is_put_off(callback):
                settings = self._settings()
                callback.attempts += 1
                body = body_of(callback, broken=settings.callback_broken_json, numbered=settings.moods)
                status = poster.post(callback, body, settings.callback_timeout_seconds)
                if not self._stopped.is_set():
                    self._settle(callback, status, settings)

    def _is_put_off(self, callback: Callback) -> bool:
        """Whether its address has a rest now; it then comes again when that is over."""
        with self._lock:
            rest = self._destination(callback).downed_until - self._now()
            if rest > 0:
                self._push(callback, rest)
            return rest > 0

    def _destination(self, callback: Callback) -> Destination:
        return self._destinations.setdefault(callback.url, Destination())

    def _settle(self, callback: Callback, status: int, settings: Settings) -> None:
        answered = 200 <= status < 300 or 400 <= status < 500
        gives_up = 400 <= status < 500 or callback.attempts >= settings.callback_attempts
        what = "sent" if 200 <= status < 300 else "failed" if gives_up else "retried"
        self._write(what, callback, attempt=callback.attempts, status=status)
        with self._lock:
            self._judge(self._destination(callback), answered, settings)
            if what == "retried":
                self._push(callback, settings.callback_retry_seconds)
                return
            self._unsettled -= 1
            if what == "failed" and len(self._failures) < _MOST_FAILURES:
                self._failures.append(callback)

    def _judge(self, destination: Destination, answered: bool, settings: Settings) -> None:
        if answered:
            destination.failures_in_a_row = 0
            return
        destination.failures_in_a_row += 1
        if destination.failures_in_a_row >= settings.callback_downed_after:
            destination.times_downed += destination.downed_until <= self._now()
            destination.downed_until = self._now() + settings.callback_downed_seconds

    def _write(self, what: str, callback: Callback, **more: Any) -> None:
        which = {"event_id": callback.event_id, "callback_id": callback.callback_id}
        self.record.write(self._clock.now(), what, callback.callback_type, **which, **more)
