"""When a vendor is plainly down: stop claiming, wait, let one request through now and then, go on.

Without it a dispatch would run through its whole audience during an outage, leaving everybody open or, worse,
in doubt. What fails may be one kind of call among healthy others, so each kind has a watch of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from airflow_sms_flow.core.errors import Stopped, Unavailable

_GLANCE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class OutageRules:
    """What counts as an outage, and for how long a task sits it out."""

    #: Of so many answers at the most, and so many at the least, so large a share must have failed.
    last_answers: int = 40
    at_least: int = 20
    failing_share: float = 0.5
    first_probe_seconds: float = 1.0
    longest_probe_seconds: float = 30.0
    budget_seconds: float = 900.0


class Turn:
    """Leave to make one call, until it is told what came of that call."""

    def __init__(self, watch: OutageWatch, *, probes: bool) -> None:
        self._watch = watch
        self.is_unused_probe = probes

    def tell(self, *, failed: bool) -> None:
        """See `OutageWatch.tell`."""
        self.is_unused_probe = False
        self._watch.tell(failed=failed)


class OutageWatch:
    """Threads ask it before each attempt, and tell it what came of it."""

    def __init__(self, rules: OutageRules | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules or OutageRules()
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: deque[bool] = deque(maxlen=self._rules.last_answers)
        self._down_since: float | None = None
        self._probe_at = 0.0
        self._probe_wait = 0.0

    @contextmanager
    def turn(self, halt: threading.Event) -> Iterator[Turn]:
        """`wait_for_turn`, for an attempt that may come to nothing before it has called: a probe that was
        told of no call is handed back."""
        turn = Turn(self, probes=self.wait_for_turn(halt))
        try:
            yield turn
        finally:
            if turn.is_unused_probe:
                self._hand_back_probe()

    def wait_for_turn(self, halt: threading.Event) -> bool:
        """Return at once while all is well; in an outage, when it is this caller's turn to probe (True) or
        when it is over. Raises `Unavailable` past the budget, `Stopped` when halted."""
        while (probes := self._look_for_turn()) is None:
            if halt.wait(_GLANCE_SECONDS):
                raise Stopped("stopped while the vendor was down")
        return probes

    def tell(self, *, failed: bool) -> None:
        """One call's outcome. `failed`: no answer, or one that says that the vendor is ill."""
        with self._lock:
            rules, now = self._rules, self._clock()
            if self._down_since is not None:
                if failed:
                    return
                self._down_since = None
                self._answers.clear()
            self._answers.append(failed)
            enough = len(self._answers) >= rules.at_least
            if enough and sum(self._answers) >= rules.failing_share * len(self._answers):
                self._down_since = now
                self._probe_wait = rules.first_probe_seconds
                self._probe_at = now + self._probe_wait

    def _hand_back_probe(self) -> None:
        with self._lock:
            self._probe_at = self._clock()
            self._probe_wait = max(self._probe_wait / 2, self._rules.first_probe_seconds)

    def _look_for_turn(self) -> bool | None:
        """Whether this caller probes; None: not yet."""
        with self._lock:
            if self._down_since is None:
                return False
            rules, now = self._rules, self._clock()
            if now - self._down_since > rules.budget_seconds:
                raise Unavailable(
                    f"the vendor has been failing for {now - self._down_since:.0f} seconds: this try "
                    f"gives up, the next one goes on from the ledger"
                )
            if now < self._probe_at:
                return None
            # This caller probes; the next one not before twice the wait, whatever becomes of this.
            self._probe_wait = min(self._probe_wait * 2, rules.longest_probe_seconds)
            self._probe_at = now + self._probe_wait
            return True
