"""The tape of changes, and the cursors over it. Each change goes to each cursor exactly once.

Whoever writes to the tape holds one lock until it commits. So rows become visible in the order of their ids,
and a cursor that stands at the highest visible id has passed nobody by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, exists, func, insert, select, text
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.facts import ChangeKind
from airflow_sms_flow.ledger.schema import changes, takes

#: Any number, the same in every process: under this PostgreSQL advisory lock people's states change.
_PEOPLE_LOCK = 7_370_002


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the tape. `at`: event time, `noted_at`: when the ledger heard of it (aware UTC).

    `reason`: of `unsubscribed` the vendor's `opt_out_reason` in lower case, of `bounced` "soft" or "hard".
    """

    company_key: str
    kind: ChangeKind
    scope_id: str
    phone: str
    at: datetime
    noted_at: datetime
    lead_id: str | None = None
    reason: str | None = None
    source: str = "callback"


@dataclass(frozen=True, slots=True)
class Taken:
    """The part of the tape that one owner was given: after `from_id`, up to `to_id`."""

    company_key: str
    kind: ChangeKind
    scope_id: str
    from_id: int
    to_id: int


def lock_people(connection: Connection) -> None:
    """From here to the end of the transaction nobody else changes memberships, opt-ins, receipts or the tape.
    SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PEOPLE_LOCK})


def write(connection: Connection, rows: Sequence[Change]) -> None:
    """Append to the tape. The caller holds `lock_people`."""
    if rows:
        connection.execute(
            insert(changes),
            [asdict(row) | {"kind": row.kind.value, "scope": row.kind.scope} for row in rows],
        )


def latest(connection: Connection, company_key: str, kind: ChangeKind, scope_id: str) -> int:
    """The id of the newest change of this kind; 0 where there is none."""
    query = select(func.coalesce(func.max(changes.c.id), 0)).where(*_of(company_key, kind, scope_id))
    return int(connection.execute(query).scalar_one())


def take(
    connection: Connection,
    name: str,
    owner: str,
    company_key: str,
    kind: ChangeKind,
    scope_id: str,
    first_since: datetime,
    at: datetime,
) -> Taken:
    """What nobody of this cursor took yet; for an owner who took before, the same again. A cursor that is
    new begins with what was noted at `first_since`."""
    lock_people(connection)
    cursor = {"company_key": company_key, "kind": kind.value, "scope_id": scope_id, "name": name}
    own = select(takes.c.from_id, takes.c.to_id).where(
        *(takes.c[column] == value for column, value in cursor.items()), takes.c.owner == owner
    )
    found = connection.execute(own).one_or_none()
    if found is not None:
        return Taken(company_key, kind, scope_id, found.from_id, found.to_id)
    taken = peek(connection, name, company_key, kind, scope_id, first_since)
    values = {"owner": owner, "from_id": taken.from_id, "to_id": taken.to_id, "taken_at": at}
    connection.execute(insert(takes).values(**cursor, **values))
    return taken


def peek(
    connection: Connection,
    name: str,
    company_key: str,
    kind: ChangeKind,
    scope_id: str,
    first_since: datetime,
) -> Taken:
    """What a new owner would be given now."""
    from_id = last_taken(connection, company_key, kind, scope_id, name)
    if from_id is None:
        from_id = _last_before(connection, company_key, kind, scope_id, first_since)
    to_id = max(from_id, latest(connection, company_key, kind, scope_id))
    return Taken(company_key, kind, scope_id, from_id, to_id)


def last_taken(
    connection: Connection, company_key: str, kind: ChangeKind, scope_id: str, name: str | None = None
) -> int | None:
    """Where the cursor of this name stands, or the one that stands furthest; None where there is none."""
    query = select(func.max(takes.c.to_id)).where(
        takes.c.company_key == company_key, takes.c.kind == kind.value, takes.c.scope_id == scope_id
    )
    if name is not None:
        query = query.where(takes.c.name == name)
    found: int | None = connection.execute(query).scalar_one()
    return found


def _last_before(
    connection: Connection, company_key: str, kind: ChangeKind, scope_id: str, since: datetime
) -> int:
    noted_before = changes.c.noted_at < since
    query = select(func.coalesce(func.max(changes.c.id), 0)).where(
        *_of(company_key, kind, scope_id), noted_before
    )
    return int(connection.execute(query).scalar_one())


def read(connection: Connection, taken: Taken, after: int, limit: int) -> list[tuple[int, Change]]:
    """The next rows of what was taken, with their ids, oldest first."""
    query = (
        select(changes)
        .where(
            *_of(taken.company_key, taken.kind, taken.scope_id),
            changes.c.id > max(after, taken.from_id),
            changes.c.id <= taken.to_id,
        )
        .order_by(changes.c.id)
        .limit(limit)
    )
    return [(row.id, _change(row)) for row in connection.execute(query)]


def of_phone(connection: Connection, phone: str) -> Iterator[Change]:
    """Everything on the tape about this number, oldest first."""
    for row in connection.execute(select(changes).where(changes.c.phone == phone).order_by(changes.c.id)):
        yield _change(row)


def _change(row: object) -> Change:
    values = {name: getattr(row, name) for name in Change.__slots__}
    return Change(**values | {"kind": ChangeKind(values["kind"])})


def _of(company_key: str, kind: ChangeKind, scope_id: str) -> list[ColumnElement[bool]]:
    return [
        changes.c.company_key == company_key,
        changes.c.kind == kind.value,
        changes.c.scope_id == scope_id,
    ]


def prune(connection: Connection, before: datetime) -> int:
    """Forget changes noted before then, and old takes but for the one at which each cursor stands."""
    forgotten = connection.execute(delete(changes).where(changes.c.noted_at < before)).rowcount
    later = takes.alias()
    stands_further = exists().where(
        and_(*(later.c[name] == takes.c[name] for name in ("company_key", "kind", "scope_id", "name"))),
        later.c.to_id > takes.c.to_id,
    )
    connection.execute(delete(takes).where(takes.c.taken_at < before, stands_further))
    return forgotten
