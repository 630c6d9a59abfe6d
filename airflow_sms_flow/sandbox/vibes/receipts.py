"""What becomes of an event once it found its campaign: sent or failed, received or bounced, and told so.

The routing success is the vendor's wording. All other values of `type`, `status` and `status_reason` are the
sandbox's own: the vendor publishes the stages by title only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_sms_flow.sandbox.vibes.models import Company, Person

ACCEPTED = "accepted_by_event_triggered_message"
#: Why a text bounces: reason -> whether the carrier took it before the phone did not.
SOFT = {"carrier_temporarily_unavailable": False, "handset_unreachable": True}
HARD = {"number_disconnected": False, "unknown_subscriber": False}


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it was sent to Vibes. `identifier` names the member of `data` that says for whom."""

    event_id: str
    event_type: str
    identifier: str
    data: dict[str, Any]
    debug_data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EventStage:
    """How far an event came: the `action` of an `event_processed` callback."""

    event: Event
    type: str
    status: str
    reason: str
    message_id: int | None = None


class Receipts:
    """Sends texts, lets a share of them bounce, and tells each stage. Chances depend on seed and event_id."""

    def __init__(self, company: Company) -> None:
        self._company = company

    def refuse(self, event: Event, number: str, reason: str, message_id: int | None = None) -> None:
        """An event finds no way to a person."""
        self._company.phones.effect("event_dropped", number, event_id=event.event_id, reason=reason)
        self._tell(event, "routing", "failed", reason, message_id)

    def send(self, event: Event, message_id: int, person: Person, text: str, list_id: str) -> None:
        """An event becomes a text, unless chance has it otherwise."""
        phones, number = self._company.phones, person.mdn or ""
        self._tell(event, "routing", "processing", ACCEPTED, message_id)
        if phones.chance("unexpected error", event.event_id) < phones.settings.share_unexpected_errors:
            reason = "unexpected_error"
            phones.effect("event_dropped", number, event_id=event.event_id, reason=reason)
            self._tell(event, "processing", "failed", reason, message_id)
            return
        self._tell(event, "processing", "success", "queued", message_id)
        where = {"list_id": list_id, "campaign_id": str(message_id), "event_id": event.event_id}
        kind, reason = self._bounce(event.event_id)
        if reason:
            phones.effect("text_bounced", number, text=text, bounce=kind, reason=reason, **where)
        else:
            phones.deliver(number, text, "event", **where)
            self._company.think_again(number)
        self._receive(event, message_id, person, reason)

    def _bounce(self, event_id: str) -> tuple[str, str]:
        """Soft, hard or neither, and why."""
        phones = self._company.phones
        chance, settings = phones.chance("bounce", event_id), phones.settings
        if chance >= settings.share_bounced_soft + settings.share_bounced_hard:
            return "", ""
        kind, reasons = ("soft", SOFT) if chance < settings.share_bounced_soft else ("hard", HARD)
        return kind, sorted(reasons)[phones.chance("bounce reason", event_id) < 0.5]

    def _receive(self, event: Event, message_id: int, person: Person, reason: str) -> None:
        """The carrier's receipt, and the phone's some time later."""
        clock, phones = self._company.clock, self._company.phones
        if not reason and not self._company.has_listener("event_processed"):
            return
        carrier_took_it = not reason or (SOFT | HARD)[reason]
        wanted = phones.chance("receipt", event.event_id) < phones.settings.share_handset_receipts

        def by_phone() -> None:
            self._tell(
                event, "handset_dlr", "failed" if reason else "success", reason or "delivered", message_id
            )

        def by_carrier() -> None:
            if not carrier_took_it:
                self._tell(event, "carrier_dlr", "failed", reason, message_id)
                if reason == "number_disconnected":
                    self._company.leave_everything(person, "disconnect")
                return
            self._tell(event, "carrier_dlr", "success", "delivered_to_carrier", message_id)
            if wanted or reason:
                clock.call_in(phones.settings.receipt_seconds, by_phone)

        clock.call_in(phones.settings.receipt_seconds, by_carrier)

    def _tell(
        self, event: Event, stage: str, status: str, reason: str, message_id: int | None = None
    ) -> None:
        self._company.tell("event_processed", EventStage(event, stage, status, reason, message_id))
