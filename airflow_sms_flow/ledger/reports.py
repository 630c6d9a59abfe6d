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

_ACCEPTED = DeliveryState.ACCEPTED.value
_Counts = Counter[tuple[Stage | None, Bounce | None]]


def delivery_report(connection: Connection, campaign: Campaign) -> DeliveryReport:
    """Of all messages of this campaign; nothing in it where the ledger does not know it.

    What was accepted is most of it, and is counted without looking up a receipt for each: all receipts of the
    campaign, by their index, less those of the other deliveries.
    """
    of_campaign = select(dispatches.c.id).where(*_is(campaign)).scalar_subquery()
    kind = (receipts.c.stage, receipts.c.bounce)
    rows = func.count().label("rows")
    heard = select(*kind, rows).where(receipts.c.dispatch_id == of_campaign).group_by(*kind)
    mine, is_accepted = deliveries.c.dispatch_id == of_campaign, deliveries.c.state == _ACCEPTED
    others = (
        select(deliveries.c.state, deliveries.c.reason, *kind, rows)
        .outerjoin(receipts, receipts.c.event_id == deliveries.c.event_id)
        .where(mine, ~is_accepted)
        .group_by(deliveries.c.state, deliveries.c.reason, *kind)
    )
    counts: _Counts = Counter()
    for row in connection.execute(heard):
        counts[_kind(row)] += row.rows
    refused = 0
    for row in connection.execute(others):
        refused += _refused_late(row)
        if row.stage:
            counts[_kind(row)] -= row.rows
    accepted = connection.execute(select(rows).select_from(deliveries).where(mine, is_accepted)).scalar_one()
    counts[None, None] = max(0, accepted - counts.total())  # each of these looks is of its own moment
    return make_report(+counts, refused)


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
        if row.state == _ACCEPTED:
            counts[_kind(row)] += row.rows
        refused[0] += _refused_late(row)
    return [
        (datetime.fromtimestamp(start, UTC), make_report(counts, refused[0]))
        for start, (counts, refused) in sorted(buckets.items())
    ]


def _query(campaign: Campaign, start: Any) -> Select[Any]:
    kinds = (deliveries.c.state, deliveries.c.reason, receipts.c.stage, receipts.c.bounce, start)
    return (
        select(*kinds, func.count().label("rows"))
        .join(dispatches, dispatches.c.id == deliveries.c.dispatch_id)
        .outerjoin(receipts, receipts.c.event_id == deliveries.c.event_id)
        .where(*_is(campaign), deliveries.c.state.in_([_ACCEPTED, DeliveryState.REFUSED.value]))
        .group_by(*kinds)
    )


def _is(campaign: Campaign) -> tuple[ColumnElement[bool], ...]:
    return (
        dispatches.c.company_key == campaign.company_key,
        dispatches.c.campaign_key == campaign.campaign_key,
        dispatches.c.step == campaign.step.value,
        dispatches.c.list_id == campaign.list_id,
    )


def _kind(row: Any) -> tuple[Stage | None, Bounce | None]:
    # REFUSED where the delivery was not told yet: for that moment one of unknown fate.
    return Stage(row.stage) if row.stage else None, Bounce(row.bounce) if row.bounce else None


def _refused_late(row: Any) -> int:
    is_late = row.state == DeliveryState.REFUSED.value and (row.reason or "").startswith(LATE_PREFIX)
    return row.rows if is_late else 0


def _epoch(connection: Connection) -> ColumnElement[int]:
    """Seconds since 1970 of the delivery's last move."""
    if connection.dialect.name == "postgresql":
        return cast(func.floor(extract("epoch", deliveries.c.updated_at)), BigInteger)
    return cast(func.strftime("%s", deliveries.c.updated_at), BigInteger)
