"""Whether a test event that we had fired has come back, and that it is never taken for a real one."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.callbacks import Outcome
from airflow_sms_flow.ledger.schema import callbacks


class Arrival(StrEnum):
    """Where the callback of a test event is."""

    ABSENT = "absent"  #: not in the inbox yet
    KEPT = "kept"  #: in the inbox, and nothing of it is or will be applied
    APPLIED = "applied"  #: heard as if it were real, before anybody could know better


def look_for(
    connection: Connection, company_key: str, event_id: str, since: datetime, at: datetime
) -> Arrival:
    """Look among the callbacks that came in since then. One that nobody heard yet is marked as heard: the
    mark that its payload should carry may have been left out by the vendor."""
    ours = _of_event(company_key, event_id, since)
    unheard = update(callbacks).where(ours, callbacks.c.heard_at.is_(None))
    connection.execute(unheard.values(heard_at=at, outcome=Outcome.TEST.value))
    outcomes = set(connection.execute(select(callbacks.c.outcome).where(ours)).scalars())
    if not outcomes:
        return Arrival.ABSENT
    return Arrival.APPLIED if Outcome.APPLIED.value in outcomes else Arrival.KEPT


def _of_event(company_key: str, event_id: str, since: datetime) -> ColumnElement[bool]:
    """The key is that of `core.callbacks.dedupe_key`; the time keeps the search short."""
    begins = callbacks.c.dedupe_key.startswith(f"{company_key}:{event_id}:", autoescape=True)
    return and_(callbacks.c.received_at >= since, callbacks.c.company_key == company_key, begins)
