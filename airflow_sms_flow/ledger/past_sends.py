"""Our texts of the past, as one finds those that a file of messages is about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, func, or_, select
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.delivery import DeliveryState, StepName
from airflow_sms_flow.core.past_sends import PastSend
from airflow_sms_flow.core.receipts import LATE_PREFIX, Stage
from airflow_sms_flow.ledger.deliveries import IN_LIST
from airflow_sms_flow.ledger.schema import deliveries, dispatches, history, receipts

_MAY_HAVE_LEFT = (DeliveryState.CLAIMED, DeliveryState.IN_DOUBT, DeliveryState.ACCEPTED)
_FINAL = {Stage.AT_CARRIER, Stage.DELIVERED, Stage.BOUNCED, Stage.REFUSED}


def events_of(connection: Connection, company_key: str, event_ids: Sequence[str]) -> set[str]:
    """Those of these ids that are our texts'."""
    found: set[str] = set()
    for start in range(0, len(event_ids), IN_LIST):
        query = (
            select(deliveries.c.event_id)
            .join(dispatches, dispatches.c.id == deliveries.c.dispatch_id)
            .where(
                deliveries.c.event_id.in_(event_ids[start : start + IN_LIST]),
                dispatches.c.company_key == company_key,
                dispatches.c.step == StepName.SEND.value,
            )
        )
        found.update(connection.execute(query).scalars())
    return found


def sends_to(connection: Connection, company_key: str, phones: Sequence[str]) -> dict[str, list[PastSend]]:
    """Our texts to these numbers that left, or may have; a number without any is absent."""
    left = history.c.to_state == DeliveryState.CLAIMED.value
    # Moves are forgotten sooner than rows; what is left then is the time of the last one.
    requested_at = func.coalesce(history.c.at, deliveries.c.updated_at, type_=history.c.at.type)
    late = and_(
        deliveries.c.state == DeliveryState.REFUSED.value, deliveries.c.reason.startswith(LATE_PREFIX)
    )
    query = (
        select(
            deliveries.c.phone,
            deliveries.c.event_id,
            receipts.c.stage,
            requested_at.label("requested_at"),
        )
        .join(dispatches, dispatches.c.id == deliveries.c.dispatch_id)
        .outerjoin(
            history,
            and_(
                history.c.dispatch_id == deliveries.c.dispatch_id,
                history.c.phone == deliveries.c.phone,
                left,
            ),
        )
        .outerjoin(receipts, receipts.c.event_id == deliveries.c.event_id)
        .where(
            dispatches.c.company_key == company_key,
            dispatches.c.step == StepName.SEND.value,
            or_(deliveries.c.state.in_([state.value for state in _MAY_HAVE_LEFT]), late),
        )
    )
    times: dict[tuple[str, str, bool], list[datetime]] = {}
    for start in range(0, len(phones), IN_LIST):
        part = query.where(deliveries.c.phone.in_(phones[start : start + IN_LIST]))
        for row in connection.execute(part):
            is_final = row.stage is not None and Stage(row.stage) in _FINAL
            times.setdefault((row.phone, row.event_id, is_final), []).append(row.requested_at)
    found: dict[str, list[PastSend]] = {}
    for (phone, event_id, is_final), requested in times.items():
        found.setdefault(phone, []).append(PastSend(event_id, tuple(requested), is_final))
    return found
