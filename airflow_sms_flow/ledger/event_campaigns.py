"""Who creates the event-triggered campaign of a list: one task at a time, told by one row."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from airflow_sms_flow.ledger.schema import event_campaigns


def claim_creation(
    connection: Connection, company_key: str, list_id: str, event_type: str, claim_id: str, at: datetime
) -> bool:
    """Whether this caller, and nobody else for the next two minutes, may create the campaign. Whoever holds
    the claim may claim again."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    key = {"company_key": company_key, "list_id": list_id}
    connection.execute(
        dialect.insert(event_campaigns).values(**key, event_type=event_type).on_conflict_do_nothing()
    )
    claimed = connection.execute(
        update(event_campaigns)
        .where(
            event_campaigns.c.company_key == company_key,
            event_campaigns.c.list_id == list_id,
            or_(
                event_campaigns.c.claimed_until.is_(None),
                event_campaigns.c.claimed_until < at,
                event_campaigns.c.claim_id == claim_id,
            ),
        )
        .values(claim_id=claim_id, claimed_until=at + timedelta(minutes=2))
    )
    return claimed.rowcount == 1


def release_creation(connection: Connection, company_key: str, list_id: str, claim_id: str) -> None:
    """Let the next caller look, and create if there is still nothing."""
    connection.execute(
        update(event_campaigns)
        .where(
            event_campaigns.c.company_key == company_key,
            event_campaigns.c.list_id == list_id,
            event_campaigns.c.claim_id == claim_id,
        )
        .values(claim_id=None, claimed_until=None)
    )


def event_type_of(connection: Connection, company_key: str, list_id: str) -> str | None:
    """The event type under which our campaign of this list was first created."""
    return connection.execute(
        select(event_campaigns.c.event_type).where(
            event_campaigns.c.company_key == company_key, event_campaigns.c.list_id == list_id
        )
    ).scalar_one_or_none()
