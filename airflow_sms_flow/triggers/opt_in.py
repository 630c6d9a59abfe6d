"""Waiting for replies without a worker: looks, and writes down what was found. What comes of it, the sensor
says."""

from __future__ import annotations

import threading
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.triggers._waiting import Look, WaitingTrigger

if TYPE_CHECKING:
    from airflow_sms_flow.triggers._shared import Shared
    from airflow_sms_flow.waiting.watch import OptInWatch


class VibesOptInTrigger(WaitingTrigger):
    """Fires when everybody is decided, when enough people have confirmed, and at the deadline.

    It asks the ledger, which callbacks keep current, and Vibes only about who is due: see
    `core.opt_in_wait.LookPlan`. It may be restarted, or run twice, at any time: what was found stands in the
    ledger, and so does when to look again. What keeps it from looking makes the sensor look, which can say
    what is wrong; a ledger that does not answer is waited for.

    The event is logged by Airflow as it is, so it holds counts only: `{"status": "ready",
    "deadline": ISO 8601, "open": n, "confirmed": n, "declined": n, "expired": n}`.

    :param audience_path: the pending audience.
    :param poll_interval_seconds: between two looks at the ledger; at least 1. Looks at Vibes begin with it.
    :param deadline: ISO 8601 with zone: when the sensor times out, however often it was deferred.
    :param needed: so many confirmed people are enough; None: it takes a decision of everybody.
    """

    _watch: OptInWatch | None = None

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

    def look(self, shared: Shared, halt: threading.Event) -> Look:
        """Hear what has come in, and look up who is due."""
        from airflow_sms_flow.waiting.looking import steady

        with shared.ledger() as ledger:
            shared.hear(ledger)
            watch = self._watch = self._watch or self._begin()
            now = steady(self.now(ledger))
            watch.read(ledger, now())
            if not watch.is_over:
                watch.ask(ledger, now(), halt, partial(shared.line, self.vibes_conn_id, ledger))
            at = now()
        counts = watch.board.counts()
        told = {"open": counts.pop("pending"), **counts}
        left = (datetime.fromisoformat(self.deadline) - at).total_seconds()
        if watch.is_over or left <= 0:
            return Look(told, None)
        return Look(told, min(watch.pause(at), left))

    def _begin(self) -> OptInWatch:
        from airflow_sms_flow.core.opt_in_wait import LookPlan
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.settings import opt_in_calls_per_minute
        from airflow_sms_flow.waiting.looking import Question
        from airflow_sms_flow.waiting.watch import OptInWatch

        company_key = VibesHook(self.vibes_conn_id).company_key
        question = Question(company_key, self.list_id, self.acquisition_campaign_id)
        plan = LookPlan(self.interval, opt_in_calls_per_minute())
        return OptInWatch(question, self.audience_path, plan, self.needed)
