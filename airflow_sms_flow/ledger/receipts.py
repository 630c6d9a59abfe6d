"""What Vibes tells about texts after it took them, and what that says about our deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, delete, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.delivery import DeliveryState, StepName, may_move
from airflow_sms_flow.core.facts import ChangeKind, EventStage
from airflow_sms_flow.core.receipts import LEFT_VIBES, Bounce, Receipt, Stage, later
from airflow_sms_flow.ledger.changes import Change
from airflow_sms_flow.ledger.deliveries import IN_LIST
from airflow_sms_flow.ledger.schema import deliveries, dispatches, history, receipts

#: How many deliveries one call settles; the rest waits for the next.
_SETTLED_AT_ONCE = 5_000
#: Written out, so that databases see that the small index will do.
_IS_WAITING = text("sms_flow_receipts.is_waiting")
_CLAIMED = DeliveryState.CLAIMED.value


@dataclass(frozen=True, slots=True)
class Noted:
    """Which stages (by place) were news, the numbers that they were about, and the new bounces."""

    news: frozenset[int]
    phones: dict[str, str]  #: event_id -> phone
    bounces: tuple[Change, ...]


def note(
    connection: Connection, company_key: str, stages: Sequence[EventStage], source: str, at: datetime
) -> Noted:
    """Fold stages into the receipts, in bulk; `settle_waiting` then moves the deliveries. Events that are not
    ours are passed over. The caller holds `changes.lock_people`."""
    ours = _deliveries_of(connection, company_key, [stage.event_id for stage in stages])
    known = _read(connection, list(ours))
    now: dict[str, Receipt] = {}
    news: set[int] = set()
    bounces: list[Change] = []
    for place, stage in enumerate(stages):
        row = ours.get(stage.event_id)
        if row is None:
            continue
        before = now.get(stage.event_id, known.get(stage.event_id))
        found = later(before, Receipt(stage.stage, stage.at, stage.bounce, stage.reason))
        if found == before:
            continue
        news.add(place)
        now[stage.event_id] = found
        if found.stage is Stage.BOUNCED and (before is None or before.stage is not Stage.BOUNCED):
            kind, bounce = ChangeKind.BOUNCED, (found.bounce or Bounce.SOFT).value
            bounces.append(
                Change(company_key, kind, row.list_id, row.phone, found.at, at, None, bounce, source)
            )
    waiting = {event_id for event_id, receipt in now.items() if _says_more(receipt, ours[event_id])}
    _write(connection, company_key, ours, now, waiting, at)
    return Noted(frozenset(news), {event_id: row.phone for event_id, row in ours.items()}, tuple(bounces))


def _says_more(receipt: Receipt, delivery: Any) -> bool:
    """Whether the delivery has something to learn from its receipt, now or once its answer is in."""
    state = DeliveryState(delivery.state)
    if state is DeliveryState.REFUSED:
        return receipt.stage in LEFT_VIBES
    if receipt.stage is Stage.REFUSED:
        return True
    return state in (DeliveryState.CLAIMED, DeliveryState.IN_DOUBT, DeliveryState.OPEN)


def _deliveries_of(connection: Connection, company_key: str, event_ids: Sequence[str]) -> dict[str, Any]:
    unique = sorted(set(event_ids))
    found: dict[str, Any] = {}
    kept = [deliveries.c[name] for name in ("event_id", "dispatch_id", "phone", "state")]
    for start in range(0, len(unique), IN_LIST):
        query = (
            select(*kept, dispatches.c.list_id)
            .join(dispatches, dispatches.c.id == deliveries.c.dispatch_id)
            .where(
                deliveries.c.event_id.in_(unique[start : start + IN_LIST]),
                dispatches.c.company_key == company_key,
                dispatches.c.step == StepName.SEND.value,
            )
        )
        found |= {row.event_id: row for row in connection.execute(query)}
    return found


def _read(connection: Connection, event_ids: Sequence[str]) -> dict[str, Receipt]:
    found: dict[str, Receipt] = {}
    for start in range(0, len(event_ids), IN_LIST):
        query = select(receipts).where(receipts.c.event_id.in_(event_ids[start : start + IN_LIST]))
        found |= {row.event_id: _receipt(row) for row in connection.execute(query)}
    return found


def _receipt(row: Any) -> Receipt:
    return Receipt(Stage(row.stage), row.at, Bounce(row.bounce) if row.bounce else None, row.reason)


_STORED = ("dispatch_id", "company_key", "stage", "bounce", "reason", "at", "updated_at", "is_waiting")


def _write(
    connection: Connection,
    company_key: str,
    ours: dict[str, Any],
    found: dict[str, Receipt],
    waiting: set[str],
    at: datetime,
) -> None:
    rows = [
        {
            "event_id": event_id,
            "dispatch_id": ours[event_id].dispatch_id,
            "company_key": company_key,
            "stage": receipt.stage.value,
            "bounce": receipt.bounce.value if receipt.bounce is not None else None,
            "reason": receipt.reason[:64] if receipt.reason is not None else None,
            "at": receipt.at,
            "updated_at": at,
            "is_waiting": event_id in waiting,
        }
        for event_id, receipt in found.items()
    ]
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(receipts)
    statement = statement.on_conflict_do_update(
        index_elements=[receipts.c.event_id],
        set_={name: statement.excluded[name] for name in _STORED},
    )
    connection.execute(statement, rows)


def settle_waiting(connection: Connection, at: datetime, dispatch_id: int | None = None) -> int:
    """Move the deliveries whose receipts prove more than they know, of one dispatch or of all; returns how
    many. Claims whose claimer may still be waiting for the answer are left alone, and so are rows that
    somebody is writing just now: each is looked at again by the next call.
    """
    told = _read_waiting(connection)
    rows = _lock_settleable(connection, list(told), dispatch_id)
    moves = [(row, move) for row in rows if (move := _move(row, told[row.event_id])) is not None]
    if moves:
        connection.execute(_UPDATE, [_values(row, move, at) for row, move in moves])
        connection.execute(insert(history), [_history(row, move, at) for row, move in moves])
    if rows:
        done = update(receipts).where(receipts.c.event_id == bindparam("b_event_id")).values(is_waiting=False)
        connection.execute(done, [{"b_event_id": row.event_id} for row in rows])
    return len(moves)


def has_waiting(connection: Connection) -> bool:
    """Whether `settle_waiting` would find anything."""
    event_ids = list(_read_waiting(connection))
    return any(
        connection.execute(_settleable(event_ids[start : start + IN_LIST]).limit(1)).first() is not None
        for start in range(0, len(event_ids), IN_LIST)
    )


def _read_waiting(connection: Connection) -> dict[str, Any]:
    """A query of its own: joined to the deliveries, SQLite would go through all of those instead."""
    columns = (receipts.c.event_id, receipts.c.stage, receipts.c.reason)
    query = select(*columns).where(_IS_WAITING).limit(_SETTLED_AT_ONCE)
    return {row.event_id: row for row in connection.execute(query)}


def _lock_settleable(connection: Connection, event_ids: list[str], dispatch_id: int | None) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(event_ids), IN_LIST):
        query = _settleable(event_ids[start : start + IN_LIST])
        if dispatch_id is not None:
            query = query.where(deliveries.c.dispatch_id == dispatch_id)
        # Not waiting for rows that a sender holds, who may wait for one of ours: a deadlock.
        found += connection.execute(query.with_for_update(skip_locked=True)).all()
    return found


def _settleable(event_ids: list[str]) -> Select[Any]:
    columns = (deliveries.c.dispatch_id, deliveries.c.phone, deliveries.c.state, deliveries.c.event_id)
    return select(*columns).where(deliveries.c.event_id.in_(event_ids), deliveries.c.state != _CLAIMED)


_Move = tuple[DeliveryState, str | None]


def _move(row: Any, told: Any) -> _Move | None:
    """Any stage proves that the event arrived, so it must not be sent again."""
    before = DeliveryState(row.state)
    if told.stage == Stage.REFUSED.value:
        to = DeliveryState.REFUSED
        return (to, told.reason) if before is not to and may_move(before, to) else None
    if before in (DeliveryState.IN_DOUBT, DeliveryState.OPEN):
        return DeliveryState.ACCEPTED, None
    # A refusal stands unless the text is known to have left; whom we skipped was decided by something else.
    if before is DeliveryState.REFUSED and Stage(told.stage) in LEFT_VIBES:
        return DeliveryState.ACCEPTED, None
    return None


# The claim goes: an answer that comes after all knows less than the callback did.
_UPDATE = (
    update(deliveries)
    .where(deliveries.c.dispatch_id == bindparam("b_dispatch_id"), deliveries.c.phone == bindparam("b_phone"))
    .values(
        state=bindparam("b_state"),
        reason=bindparam("b_reason"),
        updated_at=bindparam("b_at"),
        claim_id=None,
        claimer_id=None,
    )
)


def _values(row: Any, move: _Move, at: datetime) -> dict[str, Any]:
    return {
        "b_dispatch_id": row.dispatch_id,
        "b_phone": row.phone,
        "b_state": move[0].value,
        "b_reason": move[1],
        "b_at": at,
    }


def _history(row: Any, move: _Move, at: datetime) -> dict[str, Any]:
    return {
        "dispatch_id": row.dispatch_id,
        "phone": row.phone,
        "at": at,
        "from_state": row.state,
        "to_state": move[0].value,
        "reason": move[1],
        "why": "callback",
        "claimer_id": None,
    }


def prune(connection: Connection, before: datetime) -> None:
    """Forget receipts that are older than this and whose delivery is forgotten."""
    stands = select(deliveries.c.event_id).where(deliveries.c.event_id == receipts.c.event_id).exists()
    connection.execute(delete(receipts).where(receipts.c.updated_at < before, ~stands))
