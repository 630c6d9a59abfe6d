"""A part of the tape of changes as an audience: each number once, nobody lost, nobody who turned since."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow_sms_flow.core.facts import ChangeKind, Joined, Left
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.new_people import NewPeople

COMPANY, LIST = "acme", "1201"
ANN, BOB, CYD, DEE = "+12025550111", "+12025550112", "+12025550113", "+12025550114"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
AGES_AGO = NOON - timedelta(days=9999)


def at(minute: int) -> datetime:
    """A moment of the test's day."""
    return NOON + timedelta(minutes=minute)


def joins(ledger: Ledger, *people: tuple[str, int, str | None]) -> None:
    """(phone, minute, Marketo id) of those who join."""
    facts = [Joined(LIST, phone, at(minute), lead_id=lead) for phone, minute, lead in people]
    ledger.note_membership(COMPANY, LIST, facts, "callback")


def leaves(ledger: Ledger, phone: str, minute: int) -> None:
    """Somebody leaves."""
    ledger.note_membership(COMPANY, LIST, [Left(LIST, phone, at(minute), "keyword_opt_out")], "callback")


def read(ledger: Ledger, owner: str = "run 1", kind: ChangeKind = ChangeKind.SUBSCRIBED) -> NewPeople:
    """What a run of this name takes and reads."""
    taken = ledger.take_changes(
        "welcome", owner, company_key=COMPANY, kind=kind, scope_id=LIST, first_since=AGES_AGO
    )
    return NewPeople.read(ledger, taken)


def test_everybody_new_is_in_it_once(ledger: Ledger) -> None:
    """With the Marketo id where Vibes knows it; others get a number that is no lead's."""
    joins(ledger, (ANN, 0, "42"), (BOB, 1, None), (CYD, 2, "no number"), (DEE, 3, "-7"))
    people = read(ledger)
    assert people.kept.column("phone").to_pylist() == [ANN, BOB, CYD, DEE]
    ids = people.kept.column("id").to_pylist()
    assert ids[0] == 42
    assert all(one < 0 for one in ids[1:])
    assert len(set(ids)) == 4
    assert people.funnel() == {"extracted": 4, "kept": 4}


def test_who_left_again_is_told_apart_from_who_came_twice(ledger: Ledger) -> None:
    """The funnel adds up: joined, left and joined again is one person and one duplicate."""
    joins(ledger, (ANN, 0, "1"), (BOB, 0, "2"))
    leaves(ledger, ANN, 1)
    leaves(ledger, BOB, 1)
    joins(ledger, (BOB, 2, "2"))
    people = read(ledger)
    assert people.kept.column("phone").to_pylist() == [BOB]
    assert people.kept.column("at").to_pylist() == [at(2)]
    assert people.funnel() == {"extracted": 3, "kept": 1, "left_again": 1, "duplicate": 1}


def test_a_run_that_is_repeated_takes_the_same_people_and_the_next_one_the_others(ledger: Ledger) -> None:
    """Whatever came in between."""
    joins(ledger, (ANN, 0, "1"))
    first = read(ledger)
    joins(ledger, (BOB, 1, "2"))
    assert read(ledger).kept.equals(first.kept)
    assert read(ledger, "run 2").kept.column("phone").to_pylist() == [BOB]
    assert read(ledger, "run 3").kept.num_rows == 0


def test_those_who_left_are_read_with_why(ledger: Ledger) -> None:
    """In Vibes' own word; who came back is not among them."""
    joins(ledger, (ANN, 0, "1"), (BOB, 0, "2"))
    leaves(ledger, ANN, 1)
    leaves(ledger, BOB, 1)
    joins(ledger, (ANN, 2, "1"))
    people = read(ledger, kind=ChangeKind.UNSUBSCRIBED)
    assert people.kept.column("phone").to_pylist() == [BOB]
    assert people.kept.column("why").to_pylist() == ["keyword_opt_out"]
    assert people.rejected.column("reason").to_pylist() == ["joined_again"]


def test_a_dry_run_lets_nobody_through_and_loses_nobody(ledger: Ledger) -> None:
    """Everybody is counted, with the reason."""
    joins(ledger, (ANN, 0, "1"))
    people = read(ledger).all_rejected("dry_run")
    assert people.kept.num_rows == 0
    assert people.funnel() == {"extracted": 1, "kept": 0, "dry_run": 1}
