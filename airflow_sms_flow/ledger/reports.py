"""What became of a campaign's texts, counted by the database."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, cast, extract, func, select
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.delivery import Campaign, DeliveryState
from airflow_sms_flow.core.receipts import LATE_PREFIX, Bounce, DeliveryReport, Stage, make_report
from airflow_sms_flow.ledger.schema import deliveries, dispatches, receipts

_Counts = Counter[tuple[Stage | None, Bounce | None]]


def delivery_report(connection: Connection, campaign: Campaign) -> DeliveryReport:
    """Of all messages of this campaign; nothing in it where the ledger does not know it."""
    counts: _Counts = Counter()
    refused = 0
    for row in connection.execute(_query(campaign)):
        refused += _count(row, counts)
    return make_report(counts, refused)


def over_time(
    connection: Connection, campaign: Campaign, bucket: timedelta
) -> list[tuple[datetime, DeliveryReport]]:
    """The same, by when Vibes took (or late refused) each message: a report per bucket that has any."""
    seconds = int(bucket.total_seconds())
    if seconds < 1:
        raise ValueError("a bucket of less than a second")
    start = _epoch(connection) // seconds * seconds
    buckets: dict[int, tuple[_Counts, list[int]]] = {}
    for row in connection.execute(_query(campaign, start.label("start"))):
        counts, refused = buckets.setdefault(int(row.start), (Counter(), [0]))
        refused[0] += _count(row, counts)
    return [
        (datetime.fromtimestamp(start, UTC), make_report(counts, refused[0]))
        for start, (counts, refused) in sorted(buckets.items())
    ]


def _query(campaign: Campaign, *more: Any) -> Select[Any]:
    kinds = (deliveries.c.state, deliveries.c.reason, receipts.c.stage, receipts.c.bounce, *more)
    return (
        select(*kinds, func.count().label("rows"))
        .join(dispatches, dispatches.c.id == deliveries.c.dispatch_id)
        .outerjoin(receipts, receipts.c.event_id == deliveries.c.event_id)
        .where(
            dispatches.c.company_key == campaign.company_key,
            dispatches.c.campaign_key == campaign.campaign_key,
            dispatches.c.step == campaign.step.value,
            dispatches.c.list_id == campaign.list_id,
            deliveries.c.state.in_([DeliveryState.ACCEPTED.value, DeliveryState.REFUSED.value]),
        )
        .group_by(*kinds)
    )


def _count(row: Any, counts: _Counts) -> int:
    """Count one kind of row; returns how many of them were refused late."""
    if row.state == DeliveryState.ACCEPTED.value:
        stage = Stage(row.stage) if row.stage else None
        # Refused, but the delivery was not told yet: for that moment it counts as one of unknown fate.
        counts[stage, Bounce(row.bounce) if row.bounce else None] += row.rows
        return 0
    return row.rows if (row.reason or "").startswith(LATE_PREFIX) else 0


def _epoch(connection: Connection) -> ColumnElement[int]:
    """Seconds since 1970 of the delivery's last move."""
    if connection.dialect.name == "postgresql":
        return cast(func.floor(extract("epoch", deliveries.c.updated_at)), BigInteger)
    return cast(func.strftime("%s", deliveries.c.updated_at), BigInteger)
