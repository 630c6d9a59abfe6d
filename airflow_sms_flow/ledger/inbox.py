"""Callbacks as they came in: kept first, heard later. What is not in here when we answer 2XX is lost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Sequence as IdSequence
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.sql.dml import ReturningInsert

from airflow_sms_flow.core.callbacks import Outcome
from airflow_sms_flow.ledger.schema import callbacks

#: Rows of one statement: PostgreSQL takes 65,535 parameters.
_AT_ONCE = 1_000
#: Nobody needs to know by how much a backlog is longer.
COUNTED_BACKLOG = 100_000


@dataclass(frozen=True, slots=True)
class RawCallback:
    """One request as it came in. `received_at`: aware; `source`: the address that it came from."""

    company_key: str
    received_at: datetime
    source: str
    headers: Mapping[str, str]
    body: bytes
    dedupe_key: str  #: see `core.callbacks.dedupe_key`


@dataclass(frozen=True, slots=True)
class Unheard:
    """One row of the inbox that nobody heard yet."""

    id: int
    company_key: str
    received_at: datetime
    body: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one row. `trouble`: the kind of the error, where one kept it from being stored."""

    id: int
    outcome: Outcome
    kind: str | None = None
    phone: str | None = None
    trouble: str | None = None


def store(connection: Connection, rows: Sequence[RawCallback]) -> int:
    """Keep these, to be heard in this order; those that stand there already are left out. Returns how many
    are new."""
    stored = 0
    for start in range(0, len(rows), _AT_ONCE):
        values = [_values(row) for row in rows[start : start + _AT_ONCE]]
        if connection.dialect.name == "sqlite":
            stored += connection.execute(sqlite.insert(callbacks).on_conflict_do_nothing(), values).rowcount
        else:
            columns = {name: [row[name] for row in values] for name in _COLUMNS}
            stored += len(connection.execute(_insert_arrays(), columns).all())
    return stored


_COLUMNS = ("dedupe_key", "company_key", "received_at", "source", "headers", "body")
#: PostgreSQL's own for the column `id`.
_IDS = IdSequence("sms_flow_callbacks_id_seq")


@cache
def _insert_arrays() -> ReturningInsert[tuple[int]]:
    """One array a column: the statement is the same for any number of rows, and so is compiled once.

    Ids follow the order of arrival. But the rows are written in one order for everybody, or two who store the
    same callbacks would wait for each other.
    """
    arrays = (bindparam(name, type_=postgresql.ARRAY(callbacks.c[name].type)) for name in _COLUMNS)
    rows = func.unnest(*arrays).table_valued(*_COLUMNS).render_derived()
    numbered = select(_IDS.next_value().label("id"), *(rows.c[name] for name in _COLUMNS)).cte("numbered")
    in_one_order = select(numbered).order_by(numbered.c.dedupe_key, numbered.c.id)
    insert = postgresql.insert(callbacks).from_select(["id", *_COLUMNS], in_one_order)
    return insert.on_conflict_do_nothing().returning(callbacks.c.id)


def _values(row: RawCallback) -> dict[str, Any]:
    return {
        "dedupe_key": row.dedupe_key,
        "company_key": row.company_key,
        "received_at": row.received_at,
        "source": row.source[:64],
        "headers": json.dumps(dict(row.headers)),  # pure ASCII, whatever the headers were
        "body": row.body,
    }


def read_unheard(connection: Connection, limit: int) -> list[Unheard]:
    """The oldest that nobody heard yet. The caller holds the lock under which they are heard."""
    query = (
        select(callbacks.c.id, callbacks.c.company_key, callbacks.c.received_at, callbacks.c.body)
        .where(callbacks.c.heard_at.is_(None))
        .order_by(callbacks.c.id)
        .limit(limit)
    )
    return [Unheard(*row) for row in connection.execute(query)]


def mark_heard(connection: Connection, verdicts: Sequence[Verdict], at: datetime) -> None:
    """Write down what became of each."""
    if not verdicts:
        return
    connection.execute(
        update(callbacks)
        .where(callbacks.c.id == bindparam("b_id"))
        .values(
            heard_at=at,
            outcome=bindparam("outcome"),
            callback_type=bindparam("callback_type"),
            phone=bindparam("phone"),
        ),
        [
            {"b_id": v.id, "outcome": v.outcome.value, "callback_type": v.kind, "phone": v.phone}
            for v in verdicts
        ],
    )


def has_unheard(connection: Connection) -> bool:
    """Whether anything waits."""
    query = select(callbacks.c.id).where(callbacks.c.heard_at.is_(None)).limit(1)
    return connection.execute(query).first() is not None


def count_unheard(connection: Connection) -> int:
    """How many wait, up to `COUNTED_BACKLOG`."""
    waiting = select(callbacks.c.id).where(callbacks.c.heard_at.is_(None)).limit(COUNTED_BACKLOG)
    return int(connection.execute(select(func.count()).select_from(waiting.subquery())).scalar_one())


def prune(connection: Connection, before: datetime) -> int:
    """Forget raw callbacks that were heard and came in before then: they hold numbers and texts."""
    old = delete(callbacks).where(callbacks.c.heard_at.is_not(None), callbacks.c.received_at < before)
    return connection.execute(old).rowcount
