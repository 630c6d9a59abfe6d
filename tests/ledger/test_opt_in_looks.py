"""Everybody who waits for one campaign shares its looks: none is made twice, and only so many a minute."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from airflow_sms_flow.core.opt_in import OptIn, OptInState
from airflow_sms_flow.core.opt_in_wait import Look, LookPlan
from airflow_sms_flow.ledger import Ledger

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = NOW + timedelta(hours=24)
PLAN = LookPlan(60.0, calls_per_minute=20)
PEOPLE = [f"+1202555{n:04d}" for n in range(100, 140)]


def waiting(ledger: Ledger, phones: list[str], at: datetime = NOW, end: datetime = END) -> None:
    """These are pending, and due in this order, a millisecond apart."""
    ledger.store_opt_ins("acme", "NEWS", "1201", {phone: OptIn(end) for phone in phones})
    steps = {phone: Look(at + timedelta(milliseconds=n), 60.0) for n, phone in enumerate(phones)}
    ledger.opt_in_looks("acme", "NEWS").schedule(steps)


def claim(ledger: Ledger, at: datetime, *, told: bool = False, limit: int = 200) -> list[str]:
    """Who is to be looked at."""
    return list(ledger.opt_in_looks("acme", "NEWS").claim(at, PLAN, limit, told=told))


def later(**distance: float) -> datetime:
    return NOW + timedelta(**distance)


def test_the_oldest_are_looked_at_first_and_nobody_before_their_time(ledger: Ledger) -> None:
    """Ten a minute here: a look may take two calls."""
    waiting(ledger, PEOPLE)
    assert claim(ledger, later(seconds=-1)) == []
    assert claim(ledger, later(seconds=1)) == PEOPLE[:10]
    assert claim(ledger, later(seconds=59)) == []
    assert claim(ledger, later(seconds=62)) == PEOPLE[10:20]


def test_several_who_claim_at_once_get_different_people_within_one_budget(ledger: Ledger) -> None:
    """Eight sensors, on as many workers."""
    waiting(ledger, PEOPLE)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: claim(ledger, later(seconds=1), limit=3), range(8)))
    claimed = [phone for part in parts for phone in part]
    assert len(claimed) == len(set(claimed)) == 10


def test_looks_that_end_a_window_take_no_part_in_the_budget(ledger: Ledger) -> None:
    """Everybody is decided in time, however many they are."""
    waiting(ledger, PEOPLE, end=later(hours=-1))
    assert sorted(claim(ledger, later(seconds=1))) == PEOPLE


def test_each_campaign_has_its_own_budget(ledger: Ledger) -> None:
    """And its own people."""
    waiting(ledger, PEOPLE)
    assert ledger.opt_in_looks("acme", "OTHER").claim(later(seconds=1), PLAN, 10, told=False) == {}
    assert len(claim(ledger, later(seconds=1))) == 10


def test_where_callbacks_come_nobody_is_looked_at_for_six_hours(ledger: Ledger) -> None:
    """And then once in a while; but who seems to have declined is seen again at once."""
    waiting(ledger, PEOPLE[:3])
    absent = OptIn(END, absent_since=later(seconds=-30))
    ledger.store_opt_ins("acme", "NEWS", "1201", {PEOPLE[2]: absent})
    assert claim(ledger, later(seconds=1), told=True) == [PEOPLE[2]]
    assert claim(ledger, later(hours=5.3), told=True) == []
    assert sorted(claim(ledger, later(hours=6.7), told=True)) == PEOPLE[:3]


def test_the_distance_doubles_up_to_an_hour_and_ends_with_the_window(ledger: Ledger) -> None:
    """The looks of a day: the first hour has six, the others one each."""
    waiting(ledger, PEOPLE[:1])
    looks, at = [], NOW
    while at < later(days=2):
        if claim(ledger, at):
            looks.append((at - NOW).total_seconds())
        due = ledger.opt_in_looks("acme", "NEWS").news(NOW).next_look_at
        assert due is not None
        at = max(at, due)
        if at > END + timedelta(seconds=60):
            break
    assert 27 <= len(looks) <= 33
    assert [look / 60 for look in looks[:5]] == pytest.approx([0, 2, 6, 14, 30], rel=0.1)
    assert (at - END).total_seconds() == 61


def test_a_minute_that_lies_ahead_is_begun_anew(ledger: Ledger) -> None:
    """The clock was set back by a day."""
    waiting(ledger, PEOPLE)
    waiting(ledger, PEOPLE[:1], at=later(hours=-30))
    assert len(claim(ledger, later(seconds=1))) == 10
    waiting(ledger, PEOPLE[20:], at=later(hours=-30))
    assert len(claim(ledger, later(hours=-24))) == 10


def test_news_are_decisions_alone_and_tell_of_callbacks(ledger: Ledger) -> None:
    """A million open people are not read again at every look."""
    looks = ledger.opt_in_looks("acme", "NEWS")
    began = ledger.now()
    waiting(ledger, PEOPLE)
    assert (looks.news(began).decided, looks.news(began).told) == ({}, False)
    confirmed = OptIn(END, OptInState.CONFIRMED)
    ledger.store_opt_ins("acme", "NEWS", "1201", {PEOPLE[0]: confirmed})
    news = looks.news(began)
    assert (news.decided, news.told) == ({PEOPLE[0]: confirmed}, False)
    asked = OptIn(END, asked_at=NOW)
    ledger.store_opt_ins("acme", "NEWS", "1201", {"+12025550199": asked})
    assert looks.news(began).told
    assert looks.read(["+12025550199"])["+12025550199"].told_at == NOW


def test_who_is_decided_is_never_due_again(ledger: Ledger) -> None:
    """Whoever decided it."""
    waiting(ledger, PEOPLE[:2])
    ledger.store_opt_ins("acme", "NEWS", "1201", {PEOPLE[0]: OptIn(END, OptInState.DECLINED)})
    ledger.opt_in_looks("acme", "NEWS").look_again(dict.fromkeys(PEOPLE[:2], NOW))
    assert claim(ledger, later(seconds=1)) == PEOPLE[1:2]
