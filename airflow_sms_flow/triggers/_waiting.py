"""What triggers have in common that wait in place of a sensor: they look, again and again, until it is worth
the sensor's while, and never lose patience before the sensor does."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_sms_flow.core.errors import LedgerError, SmsFlowError

if TYPE_CHECKING:
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.triggers._shared import Shared


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found: counts for the event, and seconds until the next look; None: it is the sensor's
    turn."""

    counts: dict[str, int]
    pause: float | None


class WaitingTrigger(BaseTrigger):
    """Fires once, when a look says so. What keeps it from looking makes the sensor look, which can say what
    is wrong; a ledger that does not answer is waited for. It may be restarted, or run twice, at any time.

    The event is logged by Airflow as it is, so it holds counts and times only: `{"status": "ready", …}` with
    `times_to_hand_back` and the counts.
    """

    #: Nothing fires before that: Airflow may fail a task whose trigger fires within some five seconds of
    #: its deferral (apache/airflow #66374).
    first_wait_seconds: ClassVar[float] = 10.0
    #: For so long a ledger that does not answer is waited for here, where that costs no worker.
    ledger_patience_seconds: ClassVar[float] = 600.0
    #: Arguments that the sensor gets back with the event: when what ends, however often it was deferred.
    times_to_hand_back: ClassVar[tuple[str, ...]] = ("deadline",)

    poll_interval_seconds: float

    @abstractmethod
    def look(self, shared: Shared, halt: threading.Event) -> Look:
        """One look, in a thread; `halt` is set when the trigger is cancelled."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Called by the triggerer; fires once."""
        halt = threading.Event()
        try:
            counts = await self._wait(halt)
        finally:
            # The thread of a cancelled look lives on: this ends it before its next request.
            halt.set()
        times: dict[str, Any] = {name: getattr(self, name) for name in self.times_to_hand_back}
        payload = {"status": "ready", **times, **counts}
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]  # Airflow's own has no types

    def now(self, ledger: Ledger) -> datetime:
        """Aware UTC; the database's, so that a triggerer whose clock is wrong decides nothing."""
        return ledger.now()

    async def sleep(self, seconds: float) -> None:
        """Wait on the loop, beside all other triggers."""
        await asyncio.sleep(seconds)

    @property
    def interval(self) -> float:
        """Seconds."""
        return max(1.0, self.poll_interval_seconds)

    async def _wait(self, halt: threading.Event) -> dict[str, int]:
        """Return when the sensor should look, with the counts so far."""
        await self.sleep(self.first_wait_seconds + random.uniform(0, min(5.0, self.interval)))
        found, silent_since = Look({}, None), None
        while True:
            try:
                found = await self._look(halt)
                silent_since = None
            except LedgerError as error:
                silent_since = silent_since or time.monotonic()
                self.log.warning("The ledger is waited for: %s", error)
                if time.monotonic() - silent_since > self.ledger_patience_seconds:
                    return found.counts
                found = Look(found.counts, self.interval)
            except Exception as error:  # one that got out would fail the task, or skip it with soft_fail
                # A stranger's text may hold anything.
                told = error if isinstance(error, SmsFlowError) else type(error).__name__
                self.log.warning("The sensor will look, since this trigger cannot: %s", told)
                await self.sleep(self.interval)
                return found.counts
            if found.pause is None:
                return found.counts
            await self.sleep(found.pause)

    async def _look(self, halt: threading.Event) -> Look:
        # Imported in a thread: it takes a second, the first time.
        shared = await asyncio.to_thread(_shared)
        return await shared.in_thread(self.look, shared, halt)


def _shared() -> Shared:
    from airflow_sms_flow.triggers._shared import this_process

    return this_process()
