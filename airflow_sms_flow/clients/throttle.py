"""The ring: never more calls in any sliding window than the vendor allows, as the vendor counts.

A call is counted by the server at some moment between the taking of its slot and its response. Each slot
is free again one window after its *response*, so no window can hold the same slot twice, and there are
only as many slots as the limit. Token buckets, pacers and sliding logs lack this: they stamp the moment
of sending, and the network moves the moment of counting. Pacing on top only keeps the stream smooth.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from types import TracebackType

from airflow_sms_flow.core.errors import InvalidInput, Stopped

#: The server's clock may run a little differently: a slot rests this much longer than the window.
_CLOCK_MARGIN = 1.002

#: How much slower 429s make the ring, at most, and how long a slow-down takes to halve.
_MAX_SLOWDOWN = 8.0
_RECOVERY_SECONDS = 10.0

#: How often somebody who waits looks up for `stop`, which nobody signals.
_GLANCE_SECONDS = 0.25


class Slot:
    """The right to one call. Given back once, when its response is in."""

    def __init__(self, ring: Ring) -> None:
        self._ring: Ring | None = ring

    def give_back(self, hold_seconds: float = 0.0) -> None:
        """Free the slot one window from now, or later by `hold_seconds` where no response came:
        the server may count such a call long after we stopped waiting for it."""
        ring, self._ring = self._ring, None
        if ring is not None:
            ring._give_back(hold_seconds)

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()


class Ring:
    """`limit` slots, each usable once per `window_seconds`; threads share one ring.

    `concurrency` bounds the calls under way at once (Marketo: 10 in all); None means no bound but the limit.
    """

    def __init__(
        self,
        limit: int,
        window_seconds: float = 1.0,
        *,
        concurrency: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if limit < 1:
            raise InvalidInput("limit", limit, "a rate limit is a whole number of calls, at least 1")
        if window_seconds <= 0:
            raise InvalidInput("window_seconds", window_seconds, "give the length of the vendor's window")
        if concurrency is not None and concurrency < 1:
            raise InvalidInput("concurrency", concurrency, "at least 1 call at once, or None for no bound")
        self.window_seconds = window_seconds
        self._clock = clock
        self._turn = threading.Lock()  # whoever waits for a slot; the others wait for the turn, asleep
        self._lock = threading.Condition()
        self._free_at: list[float] = [0.0] * limit  # a heap; slots in use are not in it
        self._size = limit
        self._retiring = 0
        self._in_use = 0
        self._concurrency = concurrency
        self._next_at = 0.0
        self._slowdown = 1.0
        self._slowed_at = float("-inf")
        self._trusted_until = float("inf")

    @property
    def rest_seconds(self) -> float:
        """How long until the last call that is over counts no more, one held after a time-out included."""
        with self._lock:
            return max(0.0, max(self._free_at, default=0.0) - self._clock())

    @property
    def in_use(self) -> int:
        """How many calls are under way."""
        with self._lock:
            return self._in_use

    @property
    def concurrency(self) -> int | None:
        """How many calls may be under way at once; None: as many as there are slots."""
        with self._lock:
            return self._concurrency

    @property
    def size(self) -> int:
        """How many slots this ring still answers for, those on their way out included."""
        with self._lock:
            return self._size

    def take(self, stop: Callable[[], bool] | None = None) -> Slot:
        """Wait for a slot. Raises `Stopped` as soon as `stop()` is true, without having taken one."""
        _refuse_if(stop)
        while not self._turn.acquire(timeout=_GLANCE_SECONDS):
            _refuse_if(stop)
        try:
            with self._lock:
                return self._take_free(stop)
        finally:
            self._turn.release()

    def _take_free(self, stop: Callable[[], bool] | None) -> Slot:
        while True:
            _refuse_if(stop)
            wait = self._seconds_until_free()
            if wait <= 0:
                break
            self._lock.wait(min(wait, _GLANCE_SECONDS))
        heapq.heappop(self._free_at)
        self._in_use += 1
        now = self._clock()
        pace = self.window_seconds / max(self._size, 1) * self._current_slowdown(now)
        self._next_at = max(self._next_at, now - pace) + pace
        return Slot(self)

    def slow_down(self) -> None:
        """After a 429: halve the pace (at most to an eighth); it recovers by itself.

        Calls that were under way together are refused together: they count as one within a window.
        """
        with self._lock:
            now = self._clock()
            if now - self._slowed_at < self.window_seconds:
                return
            self._slowdown = min(self._current_slowdown(now) * 2, _MAX_SLOWDOWN)
            self._slowed_at = now

    def trust_for(self, seconds: float) -> None:
        """From then on no slot is given out until this is called again: for a ring whose slots are lent."""
        with self._lock:
            self._trusted_until = self._clock() + seconds
            self._lock.notify_all()

    def resize(self, wanted: int, concurrency: int | None = None) -> int:
        """Grow at once, or shrink as slots come free; returns how many slots are still answered for.
        `concurrency` replaces the bound on calls under way, where the ring has one."""
        with self._lock:
            if self._concurrency is not None and concurrency is not None:
                self._concurrency = concurrency
            if wanted > self._size - self._retiring:
                revived = min(self._retiring, wanted - (self._size - self._retiring))
                self._retiring -= revived
                for _ in range(wanted - (self._size - self._retiring)):
                    heapq.heappush(self._free_at, self._clock())
                    self._size += 1
            else:
                self._retiring = self._size - wanted
                self._retire_idle()
            self._lock.notify_all()
            return self._size

    def _retire_idle(self) -> None:
        """Drop slots whose last window is over; one still in its window may not leave yet."""
        now = self._clock()
        while self._retiring and self._free_at and self._free_at[0] <= now:
            heapq.heappop(self._free_at)
            self._size -= 1
            self._retiring -= 1

    def _seconds_until_free(self) -> float:
        self._retire_idle()
        if self._is_full() or self._clock() > self._trusted_until:
            return self.window_seconds
        return max(self._free_at[0], self._next_at) - self._clock()

    def _is_full(self) -> bool:
        """Whether a call under way has to end first (or the ring to grow): whoever waits is notified then."""
        at_once = self._size - self._retiring
        if self._concurrency is not None:
            at_once = min(at_once, self._concurrency)
        return not self._free_at or self._in_use >= at_once

    def _current_slowdown(self, now: float) -> float:
        halvings = (now - self._slowed_at) / _RECOVERY_SECONDS
        return max(1.0, self._slowdown * float(0.5**halvings))

    def _give_back(self, hold_seconds: float) -> None:
        with self._lock:
            free_at = self._clock() + self.window_seconds * _CLOCK_MARGIN + hold_seconds
            was_full = self._is_full()
            self._in_use -= 1
            heapq.heappush(self._free_at, free_at)
            if was_full or self._free_at[0] == free_at:  # else whoever waits already waits for a better slot
                self._lock.notify()


def _refuse_if(stop: Callable[[], bool] | None) -> None:
    if stop is not None and stop():
        raise Stopped("stopped while waiting for the rate limit")
