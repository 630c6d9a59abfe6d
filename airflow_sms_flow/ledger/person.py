"""What was heard of one number, for a person who asks. The moves of deliveries are the history's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.callbacks import Outcome
from airflow_sms_flow.ledger import changes
from airflow_sms_flow.ledger.schema import callbacks, deliveries, dispatches, members, opt_ins, receipts


@dataclass(frozen=True, slots=True)
class PersonEntry:
    """One thing that was heard. `at`: event time, aware UTC.

    `what`: "subscribed", "asked", "opt-in confirmed", "text delivered" …; `where`: "list 12", "campaign C1",
    "code 52623", or a campaign key; `source`: callback, extract, poll.
    """

    at: datetime
    company_key: str
    what: str
    where: str
    detail: str
    source: str


def heard_of(connection: Connection, phone: str) -> list[PersonEntry]:
    """Everything, oldest first."""
    found = [
        *_memberships(connection, phone),
        *_changes(connection, phone),
        *_opt_ins(connection, phone),
        *_receipts(connection, phone),
        *_old_news(connection, phone),
    ]
    return sorted(found, key=lambda entry: entry.at)


def _memberships(connection: Connection, phone: str) -> Iterator[PersonEntry]:
    for row in connection.execute(select(members).where(members.c.phone == phone)):
        what = "is on the list since" if row.subscribed else "is off the list since"
        yield PersonEntry(
            row.since, row.company_key, what, f"list {row.list_id}", row.reason or "", row.source
        )


def _changes(connection: Connection, phone: str) -> Iterator[PersonEntry]:
    for one in changes.of_phone(connection, phone):
        where = f"{one.kind.scope} {one.scope_id}"
        yield PersonEntry(one.at, one.company_key, one.kind.value, where, one.reason or "", one.source)


def _opt_ins(connection: Connection, phone: str) -> Iterator[PersonEntry]:
    for row in connection.execute(select(opt_ins).where(opt_ins.c.phone == phone)):
        where = f"campaign {row.acquisition_campaign_id}"
        if row.asked_at is not None:
            yield PersonEntry(row.asked_at, row.company_key, "asked", where, "", "callback")
        source = "callback" if row.answered_at is not None else "poll"
        at = row.answered_at or row.updated_at
        yield PersonEntry(at, row.company_key, f"opt-in {row.state}", where, "", source)


def _receipts(connection: Connection, phone: str) -> Iterator[PersonEntry]:
    query = (
        select(receipts, dispatches.c.campaign_key)
        .join(deliveries, deliveries.c.event_id == receipts.c.event_id)
        .join(dispatches, dispatches.c.id == deliveries.c.dispatch_id)
        .where(deliveries.c.phone == phone)
    )
    for row in connection.execute(query):
        detail = ", ".join(text for text in (row.bounce, row.reason) if text)
        what = f"text {row.stage}".replace("_", " ")
        yield PersonEntry(row.at, row.company_key, what, row.campaign_key, detail, "callback")


def _old_news(connection: Connection, phone: str) -> Iterator[PersonEntry]:
    """Callbacks that came in and changed nothing: older than what was known, or told twice."""
    query = select(callbacks.c.received_at, callbacks.c.company_key, callbacks.c.callback_type).where(
        callbacks.c.phone == phone, callbacks.c.outcome == Outcome.NOTHING_NEW.value
    )
    for row in connection.execute(query):
        yield PersonEntry(
            row.received_at, row.company_key, f"{row.callback_type} came in", "", "nothing new", "callback"
        )
