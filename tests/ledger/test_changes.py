"""The tape of changes: each row to each cursor exactly once, whoever writes and takes at the same time."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from airflow_sms_flow.core.facts import ChangeKind, Joined, Left
from airflow_sms_flow.ledger import Ledger, Taken
from tests.ledger.callbacks import CODE, COMPANY, LIST, at, hear, joined, left, raw, reply
from tests.ledger.moves import A, B, C

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def _take(ledger: Ledger, owner: str, name: str = "welcome", **of: Any) -> Taken:
    asked = {"company_key": COMPANY, "kind": ChangeKind.SUBSCRIBED, "scope_id": LIST, "first_since": LONG_AGO}
    return ledger.take_changes(name, owner, **asked | of)


def _phones(ledger: Ledger, taken: Taken) -> list[str]:
    return [change.phone for batch in ledger.changes(taken, batch=2) for change in batch]


def test_every_turn_is_taken_once_over_the_owners(ledger: Ledger) -> None:
    """One after the other; nothing new is an empty take."""
    hear(ledger, joined(A, 1), joined(B, 1))
    first = _take(ledger, "run 1")
    hear(ledger, joined(C, 1), joined(A, 2), left(B, 2), joined(B, 3))
    second, third = _take(ledger, "run 2"), _take(ledger, "run 3")
    assert [_phones(ledger, one) for one in (first, second, third)] == [[A, B], [C, B], []]


def test_the_same_owner_takes_the_same_again(ledger: Ledger) -> None:
    """A retry, or a cleared task: whatever came or was taken since."""
    hear(ledger, joined(A, 1))
    first = _take(ledger, "run 1")
    hear(ledger, joined(B, 1))
    second = _take(ledger, "run 2")
    assert _take(ledger, "run 1") == first
    assert _take(ledger, "run 2") == second
    assert _phones(ledger, _take(ledger, "run 3")) == []


def test_cursors_and_kinds_and_lists_and_companies_do_not_touch(ledger: Ledger) -> None:
    """Even under one name."""
    hear(ledger, joined(A, 1), left(B, 1), joined(C, 1, list_id="other"), reply(A, 1))
    hear(ledger, joined(B, 1), company_key="globex")
    assert _phones(ledger, _take(ledger, "me")) == [A]
    assert _phones(ledger, _take(ledger, "me", kind=ChangeKind.UNSUBSCRIBED)) == [B]
    assert _phones(ledger, _take(ledger, "me", scope_id="other")) == [C]
    assert _phones(ledger, _take(ledger, "me", company_key="globex")) == [B]
    assert _phones(ledger, _take(ledger, "me", name="other")) == [A]
    assert _phones(ledger, _take(ledger, "me", kind=ChangeKind.REPLIED, scope_id=CODE)) == [A]


def test_a_new_cursor_begins_where_it_is_told(ledger: Ledger) -> None:
    """By when the ledger heard of a change: what happened before but was told later is not lost."""
    hear(ledger, joined(A, 1))
    assert _phones(ledger, _take(ledger, "late", first_since=datetime.now(UTC) + timedelta(minutes=1))) == []
    since = ledger.now()
    hear(ledger, joined(B, -600))
    assert _phones(ledger, _take(ledger, "mine", name="new", first_since=since)) == [B]


def test_the_bell_only_grows(ledger: Ledger) -> None:
    """It looks at one kind of one list."""
    of = (COMPANY, ChangeKind.SUBSCRIBED, LIST)
    assert ledger.latest_change(*of) == 0
    hear(ledger, joined(A, 1))
    first = ledger.latest_change(*of)
    hear(ledger, left(A, 2), joined(B, 2, list_id="other"))
    assert ledger.latest_change(*of) == first > 0
    hear(ledger, joined(A, 3))
    assert ledger.latest_change(*of) > first


def test_pruning_neither_repeats_nor_hides(ledger: Ledger, engine: Engine) -> None:
    """Old changes and takes go; the cursor stands where it stood, and ids are never used again."""
    hear(ledger, joined(A, 1))
    for owner in ("run 1", "run 2"):
        _take(ledger, owner)
    old = datetime.now(UTC) - timedelta(days=100)
    when = {"old": old if engine.name != "sqlite" else old.replace(tzinfo=None).isoformat(" ")}
    with engine.begin() as connection:
        connection.execute(text("UPDATE sms_flow_changes SET noted_at = :old"), when)
        connection.execute(text("UPDATE sms_flow_takes SET taken_at = :old"), when)
    ledger.prune(history_days=90, rows_days=None)
    assert _phones(ledger, _take(ledger, "run 3")) == []
    hear(ledger, joined(B, 1))
    assert _phones(ledger, _take(ledger, "run 4")) == [B]


def test_what_comes_while_others_take_is_taken_once(ledger: Ledger, ledger_address: str) -> None:
    """Writers and takers at the same time, each on a connection of its own: nobody is passed by."""
    phones = [f"+1202555{n:04}" for n in range(400)]
    others = [Ledger.open(ledger_address) for _ in range(4)]
    done = threading.Event()

    def write(ledger: Ledger, part: list[str]) -> None:
        for place, phone in enumerate(part):
            if place % 2:
                ledger.note_membership(COMPANY, LIST, [Joined(LIST, phone, at(1))], "poll")
            else:
                ledger.store_callbacks([raw(joined(phone, 1))])
                ledger.hear(1)

    def take(ledger: Ledger, who: int) -> list[str]:
        found: list[str] = []
        number = 0
        while True:
            last = done.is_set()
            number += 1
            found += _phones(ledger, _take(ledger, f"{who}/{number}"))
            if last:
                return found

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, others[n], phones[n::2]) for n in range(2)]
        takers = [pool.submit(take, others[2 + n], n) for n in range(2)]
        try:
            for writer in writers:
                writer.result()
        finally:
            done.set()
        taken = Counter(phone for taker in takers for phone in taker.result())
    for other in others:
        other.close()
    ledger.hear_all()
    taken.update(_phones(ledger, _take(ledger, "the last")))
    assert taken == Counter(phones)


def test_many_hear_at_once_and_each_callback_counts_once(ledger: Ledger, ledger_address: str) -> None:
    """API servers, triggers and tasks, all hearing the same inbox."""
    phones = [f"+1202555{n:04}" for n in range(120)]
    bodies = [body for phone in phones for body in (joined(phone, 1), left(phone, 2), joined(phone, 3))]
    ledger.store_callbacks([raw(body) for body in bodies])
    others = [Ledger.open(ledger_address) for _ in range(4)]

    def run(other: Ledger) -> int:
        read = 0
        while heard := other.hear(25).read:
            read += heard
        return read

    with ThreadPoolExecutor(4) as pool:
        read = sum(pool.map(run, others))
    for other in others:
        other.close()
    assert (read, ledger.unheard_callbacks()) == (len(bodies), 0)
    assert len(ledger.subscribers(COMPANY, LIST)) == len(phones)
    assert Counter(_phones(ledger, _take(ledger, "me"))) == Counter(phones * 2)


def test_a_turn_in_one_call_is_told_in_its_order(ledger: Ledger) -> None:
    """Came, left, came: both turns to each side are on the tape."""
    facts = [Joined(LIST, A, at(1)), Left(LIST, A, at(2)), Joined(LIST, A, at(3))]
    assert ledger.note_membership(COMPANY, LIST, facts, "poll") == 3
    assert _phones(ledger, _take(ledger, "me")) == [A, A]
    assert _phones(ledger, _take(ledger, "me", kind=ChangeKind.UNSUBSCRIBED)) == [A]
