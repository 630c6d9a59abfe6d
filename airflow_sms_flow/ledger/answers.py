"""Opt-ins as callbacks move them: the question, the answer, and having joined the list, which is one too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby

from sqlalchemy import and_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.delivery import ONCE_PREFIX, StepName
from airflow_sms_flow.core.facts import Answered, Asked, Joined, Left
from airflow_sms_flow.core.heard_opt_in import (
    after_answer,
    after_join,
    after_question,
    after_stored_poll,
    is_dated,
)
from airflow_sms_flow.core.opt_in import OptIn, OptInState
from airflow_sms_flow.ledger import members
from airflow_sms_flow.ledger.deliveries import IN_LIST
from airflow_sms_flow.ledger.opt_ins import read_opt_ins, write_opt_ins
from airflow_sms_flow.ledger.schema import campaign_lists, dispatches, opt_ins

#: The list of an opt-in of which only callbacks told: they name the campaign alone.
UNKNOWN_LIST = ""


def lists_of(connection: Connection, company_key: str, campaign_ids: Iterable[str]) -> dict[str, str]:
    """The list that each of these acquisition campaigns asks for, as far as sensors, registrations or
    Subscribe told."""
    wanted = sorted(set(campaign_ids))
    found: dict[str, str] = {}
    for start in range(0, len(wanted), IN_LIST):
        part = wanted[start : start + IN_LIST]
        named = select(campaign_lists.c.acquisition_campaign_id, campaign_lists.c.list_id).where(
            campaign_lists.c.company_key == company_key,
            campaign_lists.c.acquisition_campaign_id.in_(part),
        )
        # Subscribe's usual key names the campaign.
        begun = select(dispatches.c.campaign_key, dispatches.c.list_id).where(
            dispatches.c.company_key == company_key,
            dispatches.c.campaign_key.in_([ONCE_PREFIX + campaign_id for campaign_id in part]),
            dispatches.c.step == StepName.SUBSCRIBE.value,
        )
        found |= {
            row.campaign_key.removeprefix(ONCE_PREFIX): row.list_id for row in connection.execute(begun)
        }
        found |= {row.acquisition_campaign_id: row.list_id for row in connection.execute(named)}
    return found


def as_membership(fact: Answered, lists: Mapping[str, str]) -> Joined | Left | None:
    """What an answer says about the list, where it is known which: Yes joins; after a No, or a STOP, nothing
    older than it counts."""
    list_id = lists.get(fact.campaign_id)
    if list_id is None:
        return None
    if fact.confirmed:
        return Joined(list_id, fact.phone, fact.at, None, fact.lead_id)
    return Left(list_id, fact.phone, fact.at, members.DECLINED, fact.lead_id)


def note(
    connection: Connection,
    company_key: str,
    facts: Sequence[Asked | Answered],
    lists: Mapping[str, str],
    at: datetime,
) -> frozenset[int]:
    """Fold questions and answers in; returns which of them (by place) were news. Memberships that they are
    about were noted before. The caller holds `changes.lock_people`."""
    news: set[int] = set()
    places = sorted(range(len(facts)), key=lambda place: facts[place].campaign_id)
    for campaign_id, of_campaign in groupby(places, key=lambda place: facts[place].campaign_id):
        numbered = [(place, facts[place]) for place in of_campaign]
        phones = list({fact.phone for _, fact in numbered})
        before = read_opt_ins(connection, company_key, campaign_id, phones)
        now: dict[str, OptIn] = {}
        for place, fact in numbered:
            known = now.get(fact.phone, before.get(fact.phone))
            found = _after(known, fact)
            if found != known:
                now[fact.phone] = found
                news.add(place)
        list_id = lists.get(campaign_id, UNKNOWN_LIST)
        _fold_joins(connection, company_key, list_id, now)
        write_opt_ins(connection, company_key, campaign_id, list_id, now, at)
    return frozenset(news)


def _after(known: OptIn | None, fact: Asked | Answered) -> OptIn:
    if isinstance(fact, Asked):
        return after_question(known, at=fact.at, expire_at=fact.expire_at)
    return after_answer(known, confirmed=fact.confirmed, at=fact.at, expire_at=fact.expire_at)


def _fold_joins(connection: Connection, company_key: str, list_id: str, now: dict[str, OptIn]) -> None:
    if list_id == UNKNOWN_LIST or not now:
        return
    joined = members.joined_at(connection, company_key, list_id, list(now))
    undated = [phone for phone in joined if not is_dated(now[phone])]
    standing = members.read(connection, company_key, list_id, undated)
    for phone, moment in joined.items():
        stands = phone not in standing or standing[phone].subscribed
        now[phone] = after_join(now[phone], at=moment, stands=stands)


def note_joins(connection: Connection, company_key: str, facts: Sequence[Joined | Left], at: datetime) -> int:
    """Who joined a list has answered what Vibes asked them about it; returns how many opt-ins moved. The
    memberships were noted before."""
    joined: dict[str, set[str]] = {}
    for fact in facts:
        if isinstance(fact, Joined):
            joined.setdefault(fact.list_id, set()).add(fact.phone)
    moved = 0
    for list_id, phones in joined.items():
        for campaign_id in _campaigns_of(connection, company_key, list_id):
            before = read_opt_ins(connection, company_key, campaign_id, sorted(phones))
            after = dict(before)
            _fold_joins(connection, company_key, list_id, after)
            changed = {phone: found for phone, found in after.items() if found != before[phone]}
            write_opt_ins(connection, company_key, campaign_id, list_id, changed, at)
            moved += len(changed)
    return moved


def _campaigns_of(connection: Connection, company_key: str, list_id: str) -> list[str]:
    query = select(campaign_lists.c.acquisition_campaign_id).where(
        campaign_lists.c.company_key == company_key, campaign_lists.c.list_id == list_id
    )
    return list(connection.execute(query).scalars())


def store_polls(
    connection: Connection,
    company_key: str,
    campaign_id: str,
    list_id: str,
    polled: Mapping[str, OptIn],
    at: datetime,
) -> list[Joined | Left]:
    """Write what a sensor saw, unless callbacks told more meanwhile. Returns what earlier answers say about
    the list, where it is known only now. The caller holds `changes.lock_people`."""
    facts = name_list(connection, company_key, campaign_id, list_id)
    before = read_opt_ins(connection, company_key, campaign_id, list(polled))
    now = {phone: after_stored_poll(before.get(phone), opt_in) for phone, opt_in in polled.items()}
    _fold_joins(connection, company_key, list_id, now)
    write_opt_ins(connection, company_key, campaign_id, list_id, now, at)
    return facts


def name_list(
    connection: Connection, company_key: str, campaign_id: str, list_id: str
) -> list[Joined | Left]:
    """Write down which list the campaign asks for. Where that is news: what the answers that were heard
    before say about the list."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = dialect.insert(campaign_lists).values(
        company_key=company_key, acquisition_campaign_id=campaign_id, list_id=list_id
    )
    written = row.on_conflict_do_update(
        index_elements=[campaign_lists.c.company_key, campaign_lists.c.acquisition_campaign_id],
        set_={"list_id": row.excluded.list_id},
        where=campaign_lists.c.list_id != row.excluded.list_id,
    )
    if connection.execute(written.returning(campaign_lists.c.list_id)).first() is None:
        return []
    return _told_before(connection, company_key, campaign_id, list_id)


def _told_before(
    connection: Connection, company_key: str, campaign_id: str, list_id: str
) -> list[Joined | Left]:
    is_nameless = and_(
        opt_ins.c.company_key == company_key,
        opt_ins.c.acquisition_campaign_id == campaign_id,
        opt_ins.c.list_id == UNKNOWN_LIST,
    )
    answered = select(opt_ins.c.phone, opt_ins.c.state, opt_ins.c.answered_at).where(
        is_nameless, opt_ins.c.answered_at.is_not(None)
    )
    facts: list[Joined | Left] = []
    for row in connection.execute(answered).all():
        answer = Answered(campaign_id, row.phone, row.state == OptInState.CONFIRMED.value, row.answered_at)
        fact = as_membership(answer, {campaign_id: list_id})
        facts += [fact] if fact is not None else []
    connection.execute(update(opt_ins).where(is_nameless).values(list_id=list_id))
    return facts
