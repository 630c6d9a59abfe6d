"""Hearing the inbox: raw callbacks become memberships, opt-ins, receipts and changes. Anybody may do it, any
number at once: one batch is one transaction under one lock, in bulk."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from airflow_sms_flow.core.callbacks import Callback, Outcome, read_callback
from airflow_sms_flow.core.facts import Answered, Asked, ChangeKind, EventStage, Fact, Joined, Left, Replied
from airflow_sms_flow.ledger import answers, changes, inbox, members, receipts
from airflow_sms_flow.ledger.changes import Change
from airflow_sms_flow.ledger.inbox import Unheard, Verdict

log = logging.getLogger(__name__)

SOURCE = "callback"


@dataclass(frozen=True, slots=True)
class Heard:
    """What one call of `hear` did: rows read, those of them that changed something, and what is left (counted
    up to 100,000)."""

    read: int
    applied: int
    left: int


@dataclass(frozen=True, slots=True)
class _Row:
    """One callback, read; `news` once its fact has changed something."""

    raw: Unheard
    callback: Callback

    @property
    def fact(self) -> Fact | None:
        return self.callback.facts[0] if self.callback.facts else None


def hear(connection: Connection, limit: int, at: datetime) -> Heard:
    """The oldest `limit` callbacks of the inbox. The transaction is the caller's."""
    changes.lock_people(connection)
    rows = inbox.read_unheard(connection, limit)
    verdicts = _apply_all(connection, rows, at)
    inbox.mark_heard(connection, verdicts, at)
    receipts.settle_waiting(connection, at)
    _tell_unreadable([verdict for verdict in verdicts if verdict.outcome is Outcome.UNREADABLE])
    applied = sum(verdict.outcome is Outcome.APPLIED for verdict in verdicts)
    return Heard(len(rows), applied, inbox.count_unheard(connection) if len(rows) == limit else 0)


def _apply_all(connection: Connection, rows: Sequence[Unheard], at: datetime) -> list[Verdict]:
    """All at once; where one of them cannot be stored, one by one, so that it does not block the others."""
    if not rows:
        return []
    try:
        with connection.begin_nested():
            return _apply(connection, rows, at)
    except Exception as error:
        if not _is_poison(error):
            raise
        if len(rows) == 1:
            return [Verdict(rows[0].id, Outcome.UNREADABLE, trouble=type(error).__name__)]
    half = len(rows) // 2
    return _apply_all(connection, rows[:half], at) + _apply_all(connection, rows[half:], at)


def _tell_unreadable(verdicts: Sequence[Verdict]) -> None:
    """An opt-out may be among them. The kinds are words of ours: no other kind is unreadable."""
    if not verdicts:
        return
    kinds = Counter(verdict.trouble or verdict.kind or "no JSON object" for verdict in verdicts)
    log.warning(
        "%s callback(s) are kept but cannot be read (%s); the first is row %d of sms_flow_callbacks. What "
        "they tell is not applied; Vibes' daily files make up for it: SyncSubscribersOperator and "
        "SyncDeliveriesOperator",
        f"{len(verdicts):,}",
        ", ".join(f"{kind}: {count:,}" for kind, count in kinds.most_common()),
        min(verdict.id for verdict in verdicts),
    )


def _is_poison(error: Exception) -> bool:
    """Whether a value did it. Where the database is locked or gone, the whole batch waits instead."""
    return not isinstance(error, DBAPIError) or isinstance(error, DataError | IntegrityError)


def _apply(connection: Connection, rows: Sequence[Unheard], at: datetime) -> list[Verdict]:
    read = [_Row(raw, read_callback(raw.body, raw.received_at)) for raw in rows]
    by_company: dict[str, list[_Row]] = {}
    for row in read:
        by_company.setdefault(row.raw.company_key, []).append(row)
    verdicts: list[Verdict] = []
    for company_key, of_company in by_company.items():
        verdicts += _apply_of(connection, company_key, of_company, at)
    return verdicts


def _apply_of(connection: Connection, company_key: str, rows: Sequence[_Row], at: datetime) -> list[Verdict]:
    """The callbacks of one company."""
    facts = [(row.raw.id, row.fact) for row in rows if row.fact is not None]
    news, turns = _people(connection, company_key, facts, at)
    stages = [(id_, fact) for id_, fact in facts if isinstance(fact, EventStage)]
    noted = receipts.note(connection, company_key, [stage for _, stage in stages], SOURCE, at)
    news |= {stages[place][0] for place in noted.news}
    replies = [(id_, fact) for id_, fact in facts if isinstance(fact, Replied)]
    news |= {id_ for id_, _ in replies}
    told = [_reply(company_key, fact, at) for _, fact in replies]
    changes.write(connection, [*turns, *noted.bounces, *told])
    return [_verdict(row, row.raw.id in news, noted.phones) for row in rows]


def _people(
    connection: Connection, company_key: str, facts: Sequence[tuple[int, Fact]], at: datetime
) -> tuple[set[int], tuple[Change, ...]]:
    """Memberships first, in the order of arrival, then the opt-ins, which look at them."""
    asked = [(id_, fact) for id_, fact in facts if isinstance(fact, Asked | Answered)]
    lists = answers.lists_of(connection, company_key, {fact.campaign_id for _, fact in asked})
    moves: list[tuple[int, Joined | Left]] = []
    for id_, fact in facts:
        move = answers.as_membership(fact, lists) if isinstance(fact, Answered) else fact
        if isinstance(move, Joined | Left):
            moves.append((id_, move))
    memberships = [move for _, move in moves]
    noted = members.note(connection, company_key, memberships, SOURCE, at)
    news = {moves[place][0] for place in noted.news}
    answered = answers.note(connection, company_key, [fact for _, fact in asked], lists, at)
    news |= {asked[place][0] for place in answered}
    answers.note_joins(connection, company_key, memberships, at)
    return news, noted.turns


def _reply(company_key: str, fact: Replied, at: datetime) -> Change:
    return Change(company_key, ChangeKind.REPLIED, fact.code, fact.phone, fact.at, at)


def _verdict(row: _Row, is_news: bool, phones: dict[str, str]) -> Verdict:
    callback = row.callback
    outcome = callback.outcome or (Outcome.APPLIED if is_news else Outcome.NOTHING_NEW)
    phone = phones.get(row.fact.event_id) if isinstance(row.fact, EventStage) else callback.phone
    return Verdict(row.raw.id, outcome, callback.kind, phone)
