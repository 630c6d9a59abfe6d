"""Moves of deliveries: many in one transaction, each only from where its mover believes it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Column, String, and_, bindparam, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, RowMapping

from airflow_sms_flow.core.delivery import Campaign, DeliveryState, StepName, is_settled, may_move
from airflow_sms_flow.ledger.schema import deliveries, dispatches, history

#: Rows per IN list: SQLite allows 32,766 parameters, older builds 999.
IN_LIST = 900


@dataclass(frozen=True, slots=True)
class Move:
    """One wished-for move of one number.

    A *claim* (`to` CLAIMED) and a decision that needs no request are made from the state their maker saw
    (`seen`; None: no row), and only where the row is still due: another try may have been through with it
    meanwhile and have left it in the same state. In doubt again after another request is such a state: a
    claim names the doubt that its maker looked into (`lost_claim_id`). A *settlement* names its `claim_id`
    and lands wherever that claim still stands, however late; nobody else's claim can be settled.
    """

    phone: str
    to: DeliveryState
    why: str
    reason: str | None = None
    seen: DeliveryState | None = None
    claim_id: str | None = None
    #: For claims of what is in doubt: under which claim that request left.
    lost_claim_id: str | None = None
    expire_at: datetime | None = None
    #: For claims: refuse where the same fingerprint went to this number and list since then.
    not_if_sent_since: datetime | None = None
    #: For claims and decisions: who is done for longer than this is due again.
    again_after: timedelta | None = None

    @property
    def is_settlement(self) -> bool:
        return self.claim_id is not None and self.to is not DeliveryState.CLAIMED


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the move was made, and where the delivery stands after it. `overtaken`: it was not, because
    somebody else moved the delivery since the maker of this move looked."""

    moved: bool
    state: DeliveryState | None
    reason: str | None = None
    overtaken: bool = False


@dataclass(frozen=True, slots=True)
class Mover:
    """Who moves: one try of one task (`claimer_id`), or nobody of ours (a person, a callback: None)."""

    dispatch_id: int
    campaign: Campaign
    fingerprint: str
    claimer_id: str | None = None


def apply_moves(connection: Connection, mover: Mover, moves: Sequence[Move], at: datetime) -> list[Outcome]:
    """Make each move that is still allowed; tell for each what came of it. At most one move per number, and
    in a transaction that holds no row yet: whoever holds rows while waiting for the list blocks for ever."""
    _lock_list(connection, mover.campaign, moves)
    rows = _lock_rows(connection, mover.dispatch_id, [move.phone for move in moves])
    recent = _recently_sent(connection, mover, moves)
    inserts: list[dict[str, Any]] = []
    updates: list[dict[str, Any]] = []
    outcomes: list[Outcome] = []
    for move in moves:
        row = rows.get(move.phone)
        before = DeliveryState(row["state"]) if row is not None else None
        if not _is_due(move, row, before, at):
            reason = row["reason"] if row is not None else None
            outcomes.append(Outcome(False, before, reason, overtaken=not _is_as_seen(move, row, before)))
            continue
        if move.phone in recent:
            if not may_move(before, DeliveryState.SKIPPED):  # in doubt or done: that is worth more
                outcomes.append(Outcome(False, before, row["reason"] if row is not None else None))
                continue
            move = Move(move.phone, DeliveryState.SKIPPED, "same text within repeat_within", "recently_sent")
        (inserts if row is None else updates).append(_values(mover, move, at))
        outcomes.append(Outcome(move.phone not in recent, move.to, move.reason))
    lost = _insert_new(connection, mover, inserts)
    if updates:
        connection.execute(_UPDATE, updates)
    moved = [values for values in inserts + updates if values["b_phone"] not in lost]
    if moved:
        connection.execute(insert(history), [_history(values, rows) for values in moved])
    if not lost:
        return outcomes
    return [
        _lost(connection, mover, m) if m.phone in lost else o for m, o in zip(moves, outcomes, strict=True)
    ]


def _is_due(move: Move, row: RowMapping | None, before: DeliveryState | None, at: datetime) -> bool:
    if not may_move(before, move.to):
        return False
    if move.is_settlement:
        return row is not None and row["claim_id"] == move.claim_id
    if not _is_as_seen(move, row, before):
        return False
    if row is None or before is None or move.to is DeliveryState.OPEN:  # OPEN is what makes somebody due
        return True
    is_old = move.again_after is not None and row["updated_at"] < at - move.again_after
    return not is_settled(before, row["reason"], is_old=is_old)


def _is_as_seen(move: Move, row: RowMapping | None, before: DeliveryState | None) -> bool:
    if before is not move.seen:
        return False
    is_repeat = before is DeliveryState.IN_DOUBT and move.to is DeliveryState.CLAIMED
    return not is_repeat or (row is not None and row["claim_id"] == move.lost_claim_id)


def _values(mover: Mover, move: Move, at: datetime) -> dict[str, Any]:
    """Parameters with a prefix: SQLAlchemy keeps the plain column names for itself in an UPDATE."""
    return {
        "b_dispatch_id": mover.dispatch_id,
        "b_phone": move.phone,
        "event_id": mover.campaign.event_id(move.phone),
        "fingerprint": mover.fingerprint,
        "state": move.to.value,
        "reason": fit(move.reason, deliveries.c.reason),
        "claim_id": move.claim_id,
        "claimer_id": mover.claimer_id,
        "expire_at": move.expire_at,
        "updated_at": at,
        "why": fit(move.why, history.c.why),
    }


def fit(text: str | None, column: Column[Any]) -> str | None:
    """Cut to the column: PostgreSQL would refuse the whole transaction for one long sentence."""
    length: int = cast("String", column.type).length or 0
    return text[:length] if text is not None else None


_SET = ("event_id", "fingerprint", "state", "reason", "claim_id", "claimer_id", "expire_at", "updated_at")
_UPDATE = (
    update(deliveries)
    .where(deliveries.c.dispatch_id == bindparam("b_dispatch_id"), deliveries.c.phone == bindparam("b_phone"))
    .values({name: bindparam(name) for name in _SET})
)


def _history(values: dict[str, Any], rows: dict[str, RowMapping]) -> dict[str, Any]:
    before = rows.get(values["b_phone"])
    return {
        "dispatch_id": values["b_dispatch_id"],
        "phone": values["b_phone"],
        "at": values["updated_at"],
        "from_state": before["state"] if before is not None else None,
        "to_state": values["state"],
        "reason": values["reason"],
        "why": values["why"],
        "claimer_id": values["claimer_id"],
    }


def _lock_rows(
    connection: Connection, dispatch_id: int, phones: Sequence[str], *, lock: bool = True
) -> dict[str, RowMapping]:
    """The rows as they stand, held until the transaction ends (SQLite holds the whole database anyway)."""
    found: dict[str, RowMapping] = {}
    for start in range(0, len(phones), IN_LIST):
        query = (
            select(deliveries)
            .where(
                deliveries.c.dispatch_id == dispatch_id,
                deliveries.c.phone.in_(phones[start : start + IN_LIST]),
            )
            .order_by(deliveries.c.phone)  # one order for everybody: no deadlock
        )
        query = query.with_for_update() if lock else query
        found.update({row["phone"]: row for row in connection.execute(query).mappings()})
    return found


def _insert_new(connection: Connection, mover: Mover, inserts: list[dict[str, Any]]) -> set[str]:
    """Insert, and tell which numbers another sender inserted in the same instant (PostgreSQL only:
    SQLite has one writer at a time)."""
    if not inserts:
        return set()
    rows = [
        {"dispatch_id": v["b_dispatch_id"], "phone": v["b_phone"]} | {name: v[name] for name in _SET}
        for v in sorted(inserts, key=lambda values: str(values["b_phone"]))
    ]
    if connection.dialect.name == "sqlite":
        connection.execute(sqlite.insert(deliveries), rows)
        return set()
    statement = postgresql.insert(deliveries).on_conflict_do_nothing().returning(deliveries.c.phone)
    won = set(connection.execute(statement, rows).scalars())
    return {str(row["phone"]) for row in rows} - won


def _lost(connection: Connection, mover: Mover, move: Move) -> Outcome:
    row = _lock_rows(connection, mover.dispatch_id, [move.phone], lock=False)[move.phone]
    return Outcome(False, DeliveryState(row["state"]), row["reason"], overtaken=True)


def lock_of_list(campaign: Campaign) -> int:
    """Of PostgreSQL's advisory locks, the one that whoever looks for recent texts on this list holds."""
    name = f"{campaign.company_key}/{campaign.list_id}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], signed=True)


def _lock_list(connection: Connection, campaign: Campaign, moves: Sequence[Move]) -> None:
    """Two runs that look for recent texts at the same instant would both see nothing: one looks after the
    other. Everybody takes this lock before any row."""
    if connection.dialect.name == "postgresql" and any(move.not_if_sent_since for move in moves):
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock_of_list(campaign)})


def _recently_sent(connection: Connection, mover: Mover, moves: Sequence[Move]) -> set[str]:
    """Numbers that this very text went to, on this list, under another key, too short a time ago."""
    guarded = [move for move in moves if move.not_if_sent_since is not None]
    if not guarded:
        return set()
    campaign = mover.campaign
    found: set[str] = set()
    for start in range(0, len(guarded), IN_LIST):
        part = guarded[start : start + IN_LIST]
        query = (
            select(deliveries.c.phone, func.max(deliveries.c.updated_at))
            .join(dispatches, dispatches.c.id == deliveries.c.dispatch_id)
            .where(
                and_(
                    deliveries.c.phone.in_([move.phone for move in part]),
                    deliveries.c.fingerprint == mover.fingerprint,
                    deliveries.c.dispatch_id != mover.dispatch_id,
                    deliveries.c.state.in_([s.value for s in _MAY_HAVE_HAPPENED]),
                    dispatches.c.company_key == campaign.company_key,
                    dispatches.c.list_id == campaign.list_id,
                    dispatches.c.step == StepName.SEND.value,
                )
            )
            .group_by(deliveries.c.phone)
        )
        since = {move.phone: move.not_if_sent_since for move in part}
        found |= {phone for phone, last in connection.execute(query) if last >= since[phone]}
    return found


_MAY_HAVE_HAPPENED = (DeliveryState.ACCEPTED, DeliveryState.CLAIMED, DeliveryState.IN_DOUBT)
