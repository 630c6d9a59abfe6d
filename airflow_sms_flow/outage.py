"""When a vendor is plainly down: stop claiming, wait, let one request through now and then, go on.

Without it a dispatch would run through its whole audience during an outage, leaving everybody open or, worse,
in doubt.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
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

    def wait_for_turn(self, halt: threading.Event) -> None:
        """Return at once while all is well; in an outage, when it is this caller's turn to probe or when it
        is over. Raises `Unavailable` past the budget, `Stopped` when halted."""
        while not self._may_go():
            if halt.wait(_GLANCE_SECONDS):
                raise Stopped("stopped while the vendor was down")

    def tell(self, *, failed: bool) -> None:
        """One attempt's outcome. `failed`: no answer, or one that says that the vendor is ill."""
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

    def _may_go(self) -> bool:
        with self._lock:
            if self._down_since is None:
                return True
            rules, now = self._rules, self._clock()
            if now - self._down_since > rules.budget_seconds:
                raise Unavailable(
                    f"the vendor has been failing for {now - self._down_since:.0f} seconds: this try "
                    f"gives up, the next one goes on from the ledger"
                )
            if now < self._probe_at:
                return False
            # This caller probes; the next one not before twice the wait, whatever becomes of this.
            self._probe_wait = min(self._probe_wait * 2, rules.longest_probe_seconds)
            self._probe_at = now + self._probe_wait
            return True
