"""Who is sending, and whether they still live.

Airflow may start a retry while the old process still runs. So a claim is left alone as long as its claimer's
lease stands, and the time in which an answer may still come after it; only then is it in doubt.
"""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, insert, or_, select, update
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.ledger import receipts
from airflow_sms_flow.ledger.schema import IS_CLAIMED, claimers, deliveries, history


@dataclass(frozen=True, slots=True)
class TaskTry:
    """One try of one task, as the history tells it."""

    owner: str = "by hand"  #: dag_id/task_id, with [map_index] where mapped
    run_id: str = ""
    try_number: int = 1


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a claimer counts as alive, and how long its requests may still be answered after that."""

    seconds: float = 15.0
    answer_seconds: float = 35.0  #: the clients' whole request timeout

    @property
    def renew_every_seconds(self) -> float:
        return self.seconds / 4


def register(connection: Connection, dispatch_id: int, task_try: TaskTry, lease: Lease, at: datetime) -> str:
    """A new claimer; its id is what its claims carry."""
    claimer_id = uuid.uuid4().hex
    connection.execute(
        insert(claimers).values(
            id=claimer_id,
            dispatch_id=dispatch_id,
            owner=task_try.owner,
            run_id=task_try.run_id,
            try_number=task_try.try_number,
            process=f"{socket.gethostname()}:{os.getpid()}"[:300],
            started_at=at,
            **_until(lease, at),
        )
    )
    return claimer_id


def renew(connection: Connection, claimer_id: str, lease: Lease, at: datetime) -> bool:
    """Whether the claimer may go on: False once its lease had run out, for others may have acted on it."""
    result = connection.execute(
        update(claimers)
        .where(claimers.c.id == claimer_id, claimers.c.ended_at.is_(None), claimers.c.lease_until >= at)
        .values(**_until(lease, at))
    )
    return result.rowcount == 1


def end(connection: Connection, claimer_id: str, at: datetime) -> None:
    """Nothing of this claimer is under way any more; what it left claimed is in doubt from now on."""
    connection.execute(
        update(claimers)
        .where(claimers.c.id == claimer_id)
        .values(ended_at=at, lease_until=at, in_doubt_after=at)
    )


def _until(lease: Lease, at: datetime) -> dict[str, datetime]:
    lease_until = at + timedelta(seconds=lease.seconds)
    return {
        "lease_until": lease_until,
        "in_doubt_after": lease_until + timedelta(seconds=lease.answer_seconds),
    }


def find_abandoned_claims(connection: Connection, dispatch_id: int, at: datetime) -> int:
    """Turn the claims whose claimer is gone to IN_DOUBT; returns how many. Those of which a callback has told
    the fate meanwhile are settled at once."""
    gone = select(claimers.c.id).where(
        claimers.c.dispatch_id == dispatch_id,
        or_(claimers.c.ended_at.is_not(None), claimers.c.in_doubt_after < at),
    )
    abandoned = (
        deliveries.c.dispatch_id == dispatch_id,
        IS_CLAIMED,
        deliveries.c.claimer_id.in_(gone),
    )
    query = select(deliveries.c.phone, deliveries.c.claimer_id).where(*abandoned)
    rows = connection.execute(query.order_by(deliveries.c.phone).with_for_update()).all()
    if rows:
        # By number, not by the condition again: another claimer may have ended since.
        connection.execute(
            update(deliveries)
            .where(deliveries.c.dispatch_id == dispatch_id, deliveries.c.phone == bindparam("b_phone"))
            .values(state=DeliveryState.IN_DOUBT.value, reason="no_answer", updated_at=at),
            [{"b_phone": row.phone} for row in rows],
        )
        connection.execute(
            insert(history),
            [
                {
                    "dispatch_id": dispatch_id,
                    "phone": row.phone,
                    "at": at,
                    "from_state": DeliveryState.CLAIMED.value,
                    "to_state": DeliveryState.IN_DOUBT.value,
                    "reason": "no_answer",
                    "why": "its claimer is gone",
                    "claimer_id": row.claimer_id,
                }
                for row in rows
            ],
        )
    receipts.settle_waiting(connection, at, dispatch_id)
    return len(rows)
