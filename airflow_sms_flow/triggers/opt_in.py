"""Waiting for replies without a worker: reads Vibes and the ledger, and decides nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_sms_flow.core.errors import SmsFlowError

if TYPE_CHECKING:
    from airflow_sms_flow.triggers._opt_in_watch import OptInWatch

#: How long before the end of their confirm window the sensor is woken for those who declined: it needs a
#: worker twice, half a minute apart. Some poll intervals come on top, for a restart begins to count anew.
_DECLINE_LEAD = timedelta(minutes=15)


class VibesOptInTrigger(BaseTrigger):
    """Fires when a poll of the sensor would be worth a worker slot.

    That is when, by this trigger's own polls, the sensor could carry everybody on; when enough people have
    confirmed; when a decline would soon pass for an expiry; and at the deadline. It may be restarted, or run
    twice, at any time: it begins again from the ledger, and to read twice harms nobody. What keeps it from
    looking makes the sensor look, which can say what is wrong.

    The event is logged by Airflow as it is, so it holds counts only: `{"status": "ready",
    "deadline": ISO 8601, "open": n, "confirmed": n, "declined": n, "expired": n}`.

    :param audience_path: the pending audience.
    :param poll_interval_seconds: between the end of a poll and the next; at least 1.
    :param deadline: ISO 8601 with zone: when the sensor times out, however often it was deferred.
    :param needed: so many confirmed people are enough; None: it takes a decision of everybody.
    """

    #: Nothing fires before that: Airflow may fail a task whose trigger fires within some five seconds of
    #: its deferral (apache/airflow #66374).
    first_wait_seconds: ClassVar[float] = 10.0

    def __init__(
        self,
        *,
        audience_path: str,
        list_id: str,
        acquisition_campaign_id: str,
        vibes_conn_id: str,
        poll_interval_seconds: float,
        deadline: str,
        needed: int | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own has no types
        self.audience_path = audience_path
        self.list_id = list_id
        self.acquisition_campaign_id = acquisition_campaign_id
        self.vibes_conn_id = vibes_conn_id
        self.poll_interval_seconds = poll_interval_seconds
        self.deadline = deadline
        self.needed = needed

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """For Airflow's database. Paths, ids and times: no person."""
        names = (
            "audience_path",
            "list_id",
            "acquisition_campaign_id",
            "vibes_conn_id",
            "poll_interval_seconds",
            "deadline",
            "needed",
        )
        return "airflow_sms_flow.triggers.opt_in.VibesOptInTrigger", {n: getattr(self, n) for n in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Called by the triggerer; fires once."""
        halt = threading.Event()
        try:
            counts = await self._wait(halt)
        finally:
            # A cancelled poll lives on in its thread: this ends it before its next request.
            halt.set()
        payload = {"status": "ready", "deadline": self.deadline, **counts}
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]  # Airflow's own has no types

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait on the loop, beside all other triggers."""
        await asyncio.sleep(seconds)

    async def _wait(self, halt: threading.Event) -> dict[str, int]:
        """Return when the sensor should look, with the counts so far."""
        began = self.now()
        await self.sleep(self.first_wait_seconds)
        counts: dict[str, int] = {}
        try:
            watch, next_at = await asyncio.to_thread(self._load, began)
            while True:
                await self._sleep_until(next_at)
                counts, again_at = await asyncio.to_thread(self._look, watch, halt)
                if again_at is None:
                    return counts
                next_at = again_at
        except SmsFlowError as error:
            self.log.warning("The sensor will look, since this trigger cannot: %s", error)
            await self._sleep_until(self.now() + self._interval)
            return counts

    async def _sleep_until(self, at: datetime) -> None:
        end = min(at, datetime.fromisoformat(self.deadline))
        await self.sleep(max(0.0, (end - self.now()).total_seconds()))

    @property
    def _interval(self) -> timedelta:
        return timedelta(seconds=max(1.0, self.poll_interval_seconds))

    # -- in a thread ---------------------------------------------------------------------------------------

    def _load(self, began: datetime) -> tuple[OptInWatch, datetime]:
        """Where everybody stands, and when to look first."""
        from airflow_sms_flow.hooks.ledger import open_ledger
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.triggers._opt_in_watch import OptInWatch, Question

        company_key = VibesHook(self.vibes_conn_id).company_key
        question = Question(company_key, self.list_id, self.acquisition_campaign_id)
        with closing(open_ledger()) as ledger:
            watch = OptInWatch.load(ledger, question, self.audience_path, self.now())
        return watch, watch.next_look_at(began, self._interval)

    def _look(self, watch: OptInWatch, halt: threading.Event) -> tuple[dict[str, int], datetime | None]:
        """Counts, and when to look again; None: it is the sensor's turn."""
        if not self._is_due(watch):
            self._poll(watch, halt)
        counts = watch.counts()
        told = {"open": counts.pop("pending"), **counts}
        return told, None if self._is_due(watch) else watch.next_look_at(self.now(), self._interval)

    def _is_due(self, watch: OptInWatch) -> bool:
        now = self.now()
        lead = _DECLINE_LEAD + 4 * self._interval
        return now >= datetime.fromisoformat(self.deadline) or watch.is_due(now, self.needed, lead)

    def _poll(self, watch: OptInWatch, halt: threading.Event) -> None:
        from airflow_sms_flow.hooks.ledger import open_ledger
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.triggers._opt_in_watch import POLL_OPTIONS

        hook = VibesHook(self.vibes_conn_id)
        with (
            closing(open_ledger()) as ledger,
            hook.sharing_client(ledger, stop=halt.is_set, **POLL_OPTIONS) as client,
        ):
            watch.poll(client, now=self.now, halt=halt)
