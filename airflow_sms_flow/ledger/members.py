"""The ledger's own copy of who is on a list: kept by callbacks, corrected by extracts, narrowed by our own
unsubscribes. Newer event times win; nothing in here is ever pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.delivery import DeliveryState, StepName
from airflow_sms_flow.core.facts import ChangeKind, Joined, Left
from airflow_sms_flow.core.membership import Membership
from airflow_sms_flow.ledger.changes import Change
from airflow_sms_flow.ledger.deliveries import IN_LIST
from airflow_sms_flow.ledger.schema import deliveries, dispatches, members, syncs

#: What an Unsubscribe of ours that came to this says: they are, or may be, off the list since.
_UNSUBSCRIBED = (DeliveryState.ACCEPTED, DeliveryState.ALREADY, DeliveryState.IN_DOUBT)
OWN_UNSUBSCRIBE = "unsubscribe"  #: the `source` of a `Member` that such a step took off the list
EXTRACT = "extract"  #: the `source` of what a daily file told
#: The reason of somebody who is not on the list since they answered No, or STOP, when asked to join.
DECLINED = "declined"
#: Why somebody left of whom only an extract tells.
NOT_IN_EXTRACT = "not_in_extract"


@dataclass(frozen=True, slots=True)
class Member:
    """Where one person stands on one list, since an event at `since`. `source`: callback, extract, poll, or
    `unsubscribe` for our own step."""

    subscribed: bool
    since: datetime
    reason: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Sync:
    """The last correction of a list's mirror. `as_of`: the moment that the extract describes."""

    as_of: datetime
    rows: int
    synced_at: datetime


@dataclass(frozen=True, slots=True)
class Noted:
    """What became of some facts: which of them (by place) added something, and the turns that they made."""

    news: frozenset[int]
    turns: tuple[Change, ...]


def note(
    connection: Connection, company_key: str, facts: Sequence[Joined | Left], source: str, at: datetime
) -> Noted:
    """Fold facts into the memberships, in bulk. The caller holds `changes.lock_people`.

    Who joined before the moment of the last extract, and was not in it, had left again by then: nothing told
    of that, and a join that is heard late does not bring them back.
    """
    before = _read(connection, company_key, facts)
    extracts = _last_syncs(connection, company_key, facts) if source != EXTRACT else {}
    now: dict[tuple[str, str], tuple[Membership, str]] = {}
    news: set[int] = set()
    turns: list[Change] = []
    for place, fact in enumerate(facts):
        key = (fact.list_id, fact.phone)
        known = now[key][0] if key in now else before.get(key)
        found = (known or Membership()).after(fact)
        if found is known:
            continue
        is_back = found.subscribed and not (known is not None and known.subscribed)
        extract_of = extracts.get(fact.list_id)
        if is_back and extract_of is not None and found.since <= extract_of:
            found = found.after(Left(fact.list_id, fact.phone, extract_of, NOT_IN_EXTRACT))
        news.add(place)
        counts = known is None or found.since != known.since or found.subscribed != known.subscribed
        now[key] = (found, source if counts or key not in now else now[key][1])
        if _turned(known, found):
            kind = ChangeKind.SUBSCRIBED if found.subscribed else ChangeKind.UNSUBSCRIBED
            turns.append(
                Change(
                    company_key,
                    kind,
                    fact.list_id,
                    fact.phone,
                    fact.at,
                    at,
                    fact.lead_id,
                    fact.reason,
                    source,
                )
            )
    _write(connection, company_key, now, at)
    return Noted(frozenset(news), tuple(turns))


def _turned(before: Membership | None, after: Membership) -> bool:
    """Who declined was never on the list, and who is not in an extract is only known to be off it: the first
    that is known of them is no leaving."""
    if before is None:
        return after.subscribed or after.reason not in (DECLINED, NOT_IN_EXTRACT)
    return before.subscribed is not after.subscribed


def _read(
    connection: Connection, company_key: str, facts: Sequence[Joined | Left]
) -> dict[tuple[str, str], Membership]:
    keys = sorted({(fact.list_id, fact.phone) for fact in facts})
    found: dict[tuple[str, str], Membership] = {}
    columns = (members.c.phone, members.c.joined_at, members.c.left_at, members.c.reason)
    for list_id, of_list in groupby(keys, key=lambda key: key[0]):
        phones = [phone for _, phone in of_list]
        for start in range(0, len(phones), IN_LIST):
            query = select(*columns).where(
                members.c.company_key == company_key,
                members.c.list_id == list_id,
                members.c.phone.in_(phones[start : start + IN_LIST]),
            )
            for row in connection.execute(query):
                found[list_id, row.phone] = Membership(row.joined_at, row.left_at, row.reason)
    return found


_STORED = ("joined_at", "left_at", "subscribed", "since", "reason", "source", "updated_at")


def _write(
    connection: Connection,
    company_key: str,
    found: dict[tuple[str, str], tuple[Membership, str]],
    at: datetime,
) -> None:
    rows = [
        {
            "company_key": company_key,
            "list_id": list_id,
            "phone": phone,
            "joined_at": membership.joined_at,
            "left_at": membership.left_at,
            "subscribed": membership.subscribed,
            "since": membership.since,
            "reason": membership.reason[:64] if membership.reason is not None else None,
            "source": source,
            "updated_at": at,
        }
        for (list_id, phone), (membership, source) in found.items()
    ]
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(members)
    statement = statement.on_conflict_do_update(
        index_elements=[members.c.company_key, members.c.list_id, members.c.phone],
        set_={name: statement.excluded[name] for name in _STORED},
    )
    connection.execute(statement, rows)


# -- reading -----------------------------------------------------------------------------------------


def joined_at(
    connection: Connection, company_key: str, list_id: str, phones: Sequence[str]
) -> dict[str, datetime]:
    """When each of these last came on the list, whether or not they left since."""
    found: dict[str, datetime] = {}
    for start in range(0, len(phones), IN_LIST):
        query = select(members.c.phone, members.c.joined_at).where(
            members.c.company_key == company_key,
            members.c.list_id == list_id,
            members.c.phone.in_(phones[start : start + IN_LIST]),
            members.c.joined_at.is_not(None),
        )
        found |= {row.phone: row.joined_at for row in connection.execute(query)}
    return found


def read(connection: Connection, company_key: str, list_id: str, phones: Sequence[str]) -> dict[str, Member]:
    """Where each of these stands; who is absent was never heard of."""
    found: dict[str, Member] = {}
    columns = [members.c[name] for name in ("phone", "subscribed", "since", "reason", "source")]
    own = own_unsubscribes(company_key, list_id).subquery()
    for start in range(0, len(phones), IN_LIST):
        part = phones[start : start + IN_LIST]
        query = select(*columns).where(*_of(company_key, list_id), members.c.phone.in_(part))
        for row in connection.execute(query):
            found[row.phone] = Member(row.subscribed, row.since, row.reason, row.source)
        for row in connection.execute(select(own).where(own.c.phone.in_(part))):
            known = found.get(row.phone)
            if known is None or row.at >= known.since:
                found[row.phone] = Member(False, row.at, OWN_UNSUBSCRIBE, OWN_UNSUBSCRIBE)
    return found


def own_unsubscribes(company_key: str, list_id: str) -> Select[Any]:
    """Numbers that our own Unsubscribe took off this list, each with its last time (`phone`, `at`)."""
    return (
        select(deliveries.c.phone, func.max(deliveries.c.updated_at).label("at"))
        .join(dispatches, dispatches.c.id == deliveries.c.dispatch_id)
        .where(
            dispatches.c.company_key == company_key,
            dispatches.c.list_id == list_id,
            dispatches.c.step == StepName.UNSUBSCRIBE.value,
            deliveries.c.state.in_([state.value for state in _UNSUBSCRIBED]),
            deliveries.c.phone.startswith("+"),
        )
        .group_by(deliveries.c.phone)
    )


def page(
    connection: Connection, company_key: str, list_id: str, after: str, limit: int
) -> list[tuple[str, datetime, bool]]:
    """The next numbers in their own order: since when they stand so, and whether they are on the list, our
    own unsubscribes apart."""
    query = (
        select(members.c.phone, members.c.since, members.c.subscribed)
        .where(*_of(company_key, list_id), members.c.phone > after)
        .order_by(members.c.phone)
        .limit(limit)
    )
    return [(row.phone, row.since, row.subscribed) for row in connection.execute(query)]


def off_by_us(
    connection: Connection, company_key: str, list_id: str, newer_than: datetime | None = None
) -> set[str]:
    """Numbers that our own Unsubscribe took off the list, and that did not come back after it. Of our own
    doing, the time and that of writing it down are one."""
    own = own_unsubscribes(company_key, list_id).subquery()
    back = and_(*_of(company_key, list_id), members.c.phone == own.c.phone, members.c.joined_at > own.c.at)
    query = select(own.c.phone).outerjoin(members, back).where(members.c.phone.is_(None))
    if newer_than is not None:
        query = query.where(own.c.at >= newer_than)
    return set(connection.execute(query).scalars())


def on_list(connection: Connection, company_key: str, list_id: str) -> str:
    """All numbers on the list, our own unsubscribes apart, as one long text with commas: a million rows of
    their own would take ten times as long."""
    query = select(func.aggregate_strings(members.c.phone, ",")).where(
        *_of(company_key, list_id), members.c.subscribed
    )
    return connection.execute(query).scalar_one() or ""


def left(
    connection: Connection,
    company_key: str,
    list_id: str,
    *,
    newer_than: datetime | None = None,
    noted_since: datetime | None = None,
) -> list[str]:
    """Numbers off the list, our own unsubscribes apart: since `newer_than` or later by the event's own time,
    written down at `noted_since` or later, whatever the event's time."""
    query = select(members.c.phone).where(*_of(company_key, list_id), members.c.subscribed.is_(False))
    if newer_than is not None:
        query = query.where(members.c.since >= newer_than)
    if noted_since is not None:
        query = query.where(members.c.updated_at >= noted_since)
    return list(connection.execute(query).scalars())


def _of(company_key: str, list_id: str) -> list[Any]:
    return [members.c.company_key == company_key, members.c.list_id == list_id]


# -- corrections -------------------------------------------------------------------------------------


def last_sync(connection: Connection, company_key: str, list_id: str) -> Sync | None:
    """When this list was last corrected from an extract; None for never."""
    columns = (syncs.c.as_of, syncs.c.rows, syncs.c.synced_at)
    query = select(*columns).where(syncs.c.company_key == company_key, syncs.c.list_id == list_id)
    found = connection.execute(query).one_or_none()
    return Sync(*found) if found is not None else None


def _last_syncs(
    connection: Connection, company_key: str, facts: Sequence[Joined | Left]
) -> dict[str, datetime]:
    """The moments of the newest extracts of all these lists, of those that have any."""
    lists = {fact.list_id for fact in facts}
    query = select(syncs.c.list_id, syncs.c.as_of).where(
        syncs.c.company_key == company_key, syncs.c.list_id.in_(lists)
    )
    return {row.list_id: row.as_of for row in connection.execute(query)}


def record_sync(
    connection: Connection, company_key: str, list_id: str, as_of: datetime, rows: int, at: datetime
) -> None:
    """Write down such a correction. An older extract than the one before does not turn the clock back."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(syncs).values(
        company_key=company_key, list_id=list_id, as_of=as_of, rows=rows, synced_at=at
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[syncs.c.company_key, syncs.c.list_id],
            set_={name: statement.excluded[name] for name in ("as_of", "rows", "synced_at")},
            where=syncs.c.as_of <= statement.excluded.as_of,
        )
    )
