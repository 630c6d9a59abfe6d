"""Waits in place of the delivery sensor, without a worker: it reads the ledger and reaches nobody."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_sms_flow.triggers._waiting import Look, WaitingTrigger

if TYPE_CHECKING:
    from airflow_sms_flow.core.receipts import DeliveryReport
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.triggers._shared import Shared


class SmsDeliveryTrigger(WaitingTrigger):
    """Fires when enough of a campaign's messages have their final state, at `until`, and at the deadline.

    It asks the ledger alone, which callbacks keep current. Beside `deadline` and `until` its event holds
    `messages` and `final`, in messages.

    :param min_final: the share of messages, from 0 to 1, that is enough.
    :param poll_interval_seconds: between its first two looks; later ones are up to five minutes apart.
    :param until: ISO 8601 with zone: when the sensor succeeds with what is known.
    :param deadline: ISO 8601 with zone: when the sensor times out.
    """

    times_to_hand_back: ClassVar[tuple[str, ...]] = ("until", "deadline")

    _pause: float | None = None

    def __init__(
        self,
        *,
        company_key: str,
        campaign_key: str,
        list_id: str,
        min_final: float,
        poll_interval_seconds: float,
        until: str,
        deadline: str,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own has no types
        self.company_key = company_key
        self.campaign_key = campaign_key
        self.list_id = list_id
        self.min_final = min_final
        self.poll_interval_seconds = poll_interval_seconds
        self.until = until
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """For Airflow's database. Keys, ids and times: no person."""
        names = (
            "company_key",
            "campaign_key",
            "list_id",
            "min_final",
            "poll_interval_seconds",
            "until",
            "deadline",
        )
        return "airflow_sms_flow.triggers.delivery.SmsDeliveryTrigger", {n: getattr(self, n) for n in names}

    def look(self, shared: Shared, halt: threading.Event) -> Look:
        """Hear what has come in, and count."""
        from airflow_sms_flow.core.delivery_wait import next_pause

        with shared.ledger() as ledger:
            shared.hear(ledger)
            began = time.monotonic()
            report = self._report(ledger)
            took = time.monotonic() - began
            at = self.now(ledger)
        counts = {"messages": report.sent + report.refused_late, "final": report.final}
        ends = min(datetime.fromisoformat(self.until), datetime.fromisoformat(self.deadline))
        left = (ends - at).total_seconds()
        if report.final_share >= self.min_final or left <= 0:
            return Look(counts, None)
        self._pause = next_pause(self._pause, self.interval, took)
        return Look(counts, min(self._pause, left))

    def _report(self, ledger: Ledger) -> DeliveryReport:
        from airflow_sms_flow.core.delivery import Campaign, StepName

        campaign = Campaign(self.company_key, self.campaign_key, StepName.SEND, self.list_id)
        return ledger.delivery_report(campaign)
