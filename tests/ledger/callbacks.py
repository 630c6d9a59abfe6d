"""Callbacks as Vibes would send them, for the ledger's tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from airflow_sms_flow.core.callbacks import dedupe_key
from airflow_sms_flow.ledger import Heard, Ledger, RawCallback

COMPANY, LIST, CAMPAIGN_ID, CODE = "acme", "1201", "ACQ1", "52623"
#: A while ago, so that no event lies ahead of its arrival.
T = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)

_numbers = count(1)


def at(minutes: float) -> datetime:
    """So many minutes after `T`."""
    return T + timedelta(minutes=minutes)


def _envelope(kind: str, minutes: float, **more: Any) -> dict[str, Any]:
    number = f"CB{next(_numbers)}"
    return {"event_id": number, "callback_type": kind, "event_date": at(minutes).isoformat()} | more


def _person(phone: str) -> dict[str, Any]:
    return {"external_person_id": "42", "mobile_phone": {"mdn": phone}}


def joined(phone: str, minutes: float, list_id: str = LIST) -> dict[str, Any]:
    """`subscription_added`."""
    member = {"person": _person(phone), "subscription_list": {"id": list_id}}
    return _envelope("subscription_added", minutes, subscription=member)


def left(phone: str, minutes: float, reason: str = "user_opt_out", list_id: str = LIST) -> dict[str, Any]:
    """`subscription_removed`."""
    member = {"person": _person(phone), "subscription_list": {"id": list_id}, "opt_out_reason": reason}
    return _envelope("subscription_removed", minutes, subscription=member)


def asked(phone: str, minutes: float, campaign_id: str = CAMPAIGN_ID) -> dict[str, Any]:
    """`ack_participant_added`; the question stands for a day."""
    return _participant(phone, "PENDING", minutes, minutes, campaign_id)


def answered(
    phone: str, minutes: float, *, yes: bool, asked_minutes: float = 0, campaign_id: str = CAMPAIGN_ID
) -> dict[str, Any]:
    """`ack_participant_changed`."""
    return _participant(phone, "CONFIRMED" if yes else "REJECTED", minutes, asked_minutes, campaign_id)


def _participant(
    phone: str, status: str, minutes: float, asked_minutes: float, campaign: str
) -> dict[str, Any]:
    participant = {
        "person": _person(phone),
        "acquisition_campaign": {"id": "C1", "url": f"/companies/x/campaigns/acquisition/{campaign}"},
        "participation_date": at(asked_minutes).isoformat(),
        "expire_date": (at(asked_minutes) + timedelta(days=1)).isoformat(),
        "status": status,
    }
    return _envelope("ack_participant_changed", minutes, participant=participant)


ROUTED = ("routing", "processing", "accepted_by_event_triggered_message")
SENT = ("processing", "success", "queued")
AT_CARRIER = ("carrier_dlr", "success", "ok")
DELIVERED = ("handset_dlr", "success", "ok")
SOFT_BOUNCE = ("carrier_dlr", "failed", "queue_full")
HARD_BOUNCE = ("carrier_dlr", "failed", "invalid_number")
NOT_SUBSCRIBED = ("routing", "failed", "person_not_in_subscription_list")


def event(event_id: str, action: tuple[str, str, str], minutes: float) -> dict[str, Any]:
    """`event_processed`."""
    words = dict(zip(("type", "status", "status_reason"), action, strict=True))
    return _envelope("event_processed", minutes, event_processed={"event_id": event_id, "action": words})


def reply(phone: str, minutes: float, code: str = CODE) -> dict[str, Any]:
    """`unmatched_message_received`."""
    parts = {"participant": {"mdn": phone}, "source_code": {"code": code}, "message": "hello"}
    return _envelope("unmatched_message_received", minutes, **parts)


def raw(body: dict[str, Any] | bytes, company_key: str = COMPANY) -> RawCallback:
    """As it comes in over the door."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    key = dedupe_key(company_key, data)
    return RawCallback(company_key, datetime.now(UTC), "35.155.139.143", {"Host": "here"}, data, key)


def hear(ledger: Ledger, *bodies: dict[str, Any] | bytes, company_key: str = COMPANY) -> Heard:
    """Store these and hear everything."""
    ledger.store_callbacks([raw(body, company_key) for body in bodies])
    return ledger.hear()
