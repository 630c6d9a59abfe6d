"""What callbacks say about deliveries: settled, refused late, bounced; and the report of a campaign."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.event import listen, remove

from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.facts import ChangeKind, EventStage
from airflow_sms_flow.core.receipts import DeliveryReport, Stage
from airflow_sms_flow.ledger import Heard, Lease, Ledger
from airflow_sms_flow.ledger.deliveries import Move
from tests.ledger.callbacks import (
    AT_CARRIER,
    COMPANY,
    DELIVERED,
    HARD_BOUNCE,
    LIST,
    NOT_SUBSCRIBED,
    ROUTED,
    SENT,
    SOFT_BOUNCE,
    answered,
    asked,
    at,
    event,
    hear,
    joined,
    left,
    raw,
    reply,
)
from tests.ledger.moves import CAMPAIGN, A, B, C, Sender, claim, path_of, settle

OPEN, CLAIMED, IN_DOUBT = DeliveryState.OPEN, DeliveryState.CLAIMED, DeliveryState.IN_DOUBT
ACCEPTED, REFUSED = DeliveryState.ACCEPTED, DeliveryState.REFUSED
EVENT = {phone: CAMPAIGN.event_id(phone) for phone in (A, B, C)}


def _in_doubt(sender: Sender, phone: str) -> None:
    sender.write(claim(phone, "1"), settle(phone, IN_DOUBT, "1", "no_answer"))


@pytest.mark.parametrize("stage", [ROUTED, SENT, AT_CARRIER, DELIVERED, HARD_BOUNCE])
def test_any_stage_proves_that_an_event_in_doubt_arrived(ledger: Ledger, stage: tuple[str, str, str]) -> None:
    """It is accepted, and nobody sends it again; told twice changes nothing."""
    sender = Sender(ledger)
    _in_doubt(sender, A)
    assert hear(ledger, event(EVENT[A], stage, 1)) == Heard(1, 1, 0)
    assert hear(ledger, event(EVENT[A], stage, 1)) == Heard(1, 0, 0)
    assert path_of(ledger, A) == [CLAIMED, IN_DOUBT, ACCEPTED]
    assert (ledger.history(A)[-1].why, ledger.history(A)[-1].owner) == ("callback", None)
    assert not sender.write(claim(A, "2", IN_DOUBT, "1"))[0].moved


def test_an_event_in_doubt_may_turn_out_to_be_refused(ledger: Ledger) -> None:
    """The late answer to the request, if it ever comes, knows less."""
    sender = Sender(ledger)
    _in_doubt(sender, A)
    hear(ledger, event(EVENT[A], NOT_SUBSCRIBED, 1))
    sender.write(settle(A, ACCEPTED, "1"))
    row = ledger.rows(sender.dispatch_id, [A])[A]
    assert (row.state, row.reason) == (REFUSED, "late_not_subscribed")
    assert ledger.known(sender.dispatch_id, sender.fingerprint).look_up([A]) == [(REFUSED, True)]


def test_what_a_person_called_not_sent_was_sent_after_all(ledger: Ledger) -> None:
    """As long as nobody has sent it again."""
    sender = Sender(ledger)
    _in_doubt(sender, A)
    ledger.settle_in_doubt("summer", sent=False, by="kim")
    hear(ledger, event(EVENT[A], DELIVERED, 1))
    assert path_of(ledger, A) == [CLAIMED, IN_DOUBT, OPEN, ACCEPTED]


def test_a_late_refusal_ends_an_accepted_delivery(ledger: Ledger) -> None:
    """In whatever order the callbacks come; never sent again."""
    sender = Sender(ledger)
    for phone in (A, B):
        sender.write(claim(phone, phone), settle(phone, ACCEPTED, phone))
    hear(ledger, event(EVENT[A], NOT_SUBSCRIBED, 2), event(EVENT[A], ROUTED, 1))
    hear(ledger, event(EVENT[B], ROUTED, 3))
    hear(ledger, event(EVENT[B], NOT_SUBSCRIBED, 2))
    for phone in (A, B):
        assert path_of(ledger, phone) == [CLAIMED, ACCEPTED, REFUSED]
        assert not sender.write(claim(phone, "again", ACCEPTED))[0].moved


@pytest.mark.parametrize("proof", [AT_CARRIER, DELIVERED, HARD_BOUNCE])
def test_a_text_that_left_is_not_refused_by_the_fate_of_its_copy(
    ledger: Ledger, proof: tuple[str, str, str]
) -> None:
    """A resend carries the same id, and may fail for that: in whatever order the two are told, and whoever
    looks for recent texts finds it."""
    sender = Sender(ledger)
    for phone in (A, B):
        sender.write(claim(phone, phone), settle(phone, ACCEPTED, phone))
    hear(ledger, event(EVENT[A], proof, 2))
    hear(ledger, event(EVENT[A], NOT_SUBSCRIBED, 3))
    hear(ledger, event(EVENT[B], NOT_SUBSCRIBED, 3))
    hear(ledger, event(EVENT[B], proof, 2))
    assert path_of(ledger, A) == [CLAIMED, ACCEPTED]
    assert path_of(ledger, B) == [CLAIMED, ACCEPTED, REFUSED, ACCEPTED]
    report = ledger.delivery_report(CAMPAIGN)
    assert (report.sent, report.refused_late, report.unknown) == (2, 0, 0)
    known = ledger.known(sender.dispatch_id, sender.fingerprint)
    assert known.look_up([A, B]) == [(ACCEPTED, True)] * 2


def test_a_text_that_left_before_its_number_was_refused_is_accepted(ledger: Ledger) -> None:
    """Somebody had called it not sent, and the next try found them off the list: to join it again must not
    bring the same text twice."""
    sender = Sender(ledger)
    _in_doubt(sender, A)
    ledger.settle_in_doubt("summer", sent=False, by="kim")
    refusal = Move(A, REFUSED, "not on the list", "not_subscribed", seen=OPEN)
    assert sender.write(refusal)[0].moved
    hear(ledger, event(EVENT[A], SENT, 1))
    assert sender.state(A) is REFUSED
    hear(ledger, event(EVENT[A], DELIVERED, 2))
    assert sender.state(A) is ACCEPTED


def test_a_living_claim_is_left_alone_and_settled_once_it_is_answered(ledger: Ledger) -> None:
    """Callbacks may be faster than the answer: the refusal comes into force after it."""
    sender = Sender(ledger)
    sender.write(claim(A, "1"))
    assert hear(ledger, event(EVENT[A], NOT_SUBSCRIBED, 1)) == Heard(1, 1, 0)
    assert not ledger.has_unheard()
    assert sender.known(A) is CLAIMED
    sender.write(settle(A, ACCEPTED, "1"))
    assert ledger.has_unheard()
    assert ledger.hear() == Heard(0, 0, 0)
    assert path_of(ledger, A) == [CLAIMED, ACCEPTED, REFUSED]


def test_an_answer_that_was_lost_after_its_callback_came(ledger: Ledger) -> None:
    """The sender calls it in doubt; whoever looks next finds it settled."""
    sender = Sender(ledger)
    sender.write(claim(A, "1"))
    hear(ledger, event(EVENT[A], ROUTED, 1))
    sender.write(settle(A, IN_DOUBT, "1", "no_answer"))
    assert sender.known(A) is ACCEPTED
    assert path_of(ledger, A) == [CLAIMED, IN_DOUBT, ACCEPTED]


def test_an_abandoned_claim_whose_callback_came_first_is_no_doubt(ledger: Ledger) -> None:
    """The process died after its request: its receipt stood there already."""
    sender = Sender(ledger, lease=Lease(0.05, 0.05))
    sender.write(claim(A, "1"), claim(B, "2"))
    hear(ledger, event(EVENT[A], SENT, 1))
    time.sleep(0.2)
    assert (sender.known(A), sender.known(B)) == (ACCEPTED, IN_DOUBT)
    assert path_of(ledger, A) == [CLAIMED, IN_DOUBT, ACCEPTED]
    assert ledger.in_doubt_counts() == {CAMPAIGN: 1}


def test_nobody_elses_events_are_ours(ledger: Ledger) -> None:
    """An id that we never sent, or another company's callback about ours."""
    sender = Sender(ledger)
    _in_doubt(sender, A)
    assert hear(ledger, event("0" * 32, ROUTED, 1)) == Heard(1, 0, 0)
    assert hear(ledger, event(EVENT[A], ROUTED, 1), company_key="globex") == Heard(1, 0, 0)
    assert sender.state(A) is IN_DOUBT


def test_a_bounce_is_announced_once(ledger: Ledger) -> None:
    """With its hardness; a handset's receipt that is newer takes it back, and then it may bounce no more."""
    sender = Sender(ledger)
    for phone in (A, B):
        sender.write(claim(phone, phone), settle(phone, ACCEPTED, phone))
    hear(ledger, event(EVENT[A], HARD_BOUNCE, 2), event(EVENT[A], HARD_BOUNCE, 3), event(EVENT[A], SENT, 9))
    hear(ledger, event(EVENT[B], SOFT_BOUNCE, 2), event(EVENT[A], HARD_BOUNCE, 2))
    of = {"company_key": COMPANY, "kind": ChangeKind.BOUNCED, "scope_id": LIST}
    taken = ledger.take_changes("t", "me", **of, first_since=at(-60))  # type: ignore[arg-type]  # one dict of both kinds
    told = [(one.phone, one.reason, one.at) for batch in ledger.changes(taken) for one in batch]
    assert told == [(A, "hard", at(2)), (B, "soft", at(2))]


def test_a_file_tells_what_callbacks_missed(ledger: Ledger) -> None:
    """With the same effect; what is known already is no news."""
    sender = Sender(ledger)
    _in_doubt(sender, A)
    stages = [EventStage(EVENT[A], Stage.DELIVERED, at(5)), EventStage("f" * 32, Stage.SENT, at(5))]
    assert ledger.note_receipts(COMPANY, stages, "extract") == 1
    assert ledger.note_receipts(COMPANY, stages, "extract") == 0
    assert sender.state(A) is ACCEPTED


def test_the_report_of_a_campaign(ledger: Ledger) -> None:
    """Each message once, by how far it came; refusals before any sending are no messages."""
    phones = [f"+1202555{n:04}" for n in range(100, 107)]
    sender = Sender(ledger)
    for phone in phones:
        sender.write(claim(phone, phone), settle(phone, ACCEPTED, phone))
    sender.write(claim(A, "1"), settle(A, REFUSED, "1", "bad_number"))
    stages = [DELIVERED, AT_CARRIER, SOFT_BOUNCE, HARD_BOUNCE, ROUTED, NOT_SUBSCRIBED]
    hear(ledger, *(event(CAMPAIGN.event_id(p), s, 1) for p, s in zip(phones, stages, strict=False)))
    expected = DeliveryReport(6, 2, 1, 1, 1, 2, 1)
    assert ledger.delivery_report(CAMPAIGN) == expected
    [(start, report)] = ledger.delivery_report_over_time(CAMPAIGN, timedelta(days=365 * 100))
    assert (report, start.year) == (expected, 1970)
    hours = ledger.delivery_report_over_time(CAMPAIGN, timedelta(minutes=10))
    assert sum(one.sent for _, one in hours) == 6
    assert all(start.minute % 10 == start.second == 0 for start, _ in hours)
    assert ledger.delivery_report(replace(CAMPAIGN, campaign_key="other")) == DeliveryReport()


def test_what_was_heard_of_a_person_is_told(ledger: Ledger) -> None:
    """Beside the moves of their deliveries: for whoever is asked by that person."""
    sender = Sender(ledger)
    sender.write(claim(A, "1"), settle(A, ACCEPTED, "1"))
    ledger.name_list(COMPANY, "ACQ1", LIST)
    hear(ledger, asked(A, 1), answered(A, 2, yes=True), joined(A, 2))
    hear(ledger, event(EVENT[A], HARD_BOUNCE, 3), reply(A, 4), left(A, 5), joined(A, 1.5), reply(B, 1))
    told = [(entry.what, entry.where, entry.detail) for entry in ledger.heard_of(A)]
    assert told[:-2] == [
        ("asked", "campaign ACQ1", ""),
        ("subscribed", "list 1201", ""),
        ("opt-in confirmed", "campaign ACQ1", ""),
        ("bounced", "list 1201", "hard"),
        ("text bounced", "summer", "hard, invalid_number"),
        ("replied", "code 52623", ""),
        ("is off the list since", "list 1201", "user_opt_out"),
        ("unsubscribed", "list 1201", "user_opt_out"),
    ]
    assert {what for what, _, _ in told[-2:]} == {"subscription_added came in"}
    assert ledger.heard_of(C) == []


def test_senders_and_listeners_do_not_stand_in_each_others_way(ledger: Ledger, ledger_address: str) -> None:
    """Two senders claim and settle while callbacks about the same numbers are heard: nobody deadlocks, and
    every refusal is told in the end."""
    phones = [f"+1202555{n:04}" for n in range(120)]
    others = [Ledger.open(ledger_address) for _ in range(3)]
    done = threading.Event()

    def send(other: Ledger, part: list[str]) -> None:
        sender = Sender(other)
        for start in range(0, len(part), 10):
            some = part[start : start + 10]
            sender.write(*(claim(phone, phone) for phone in some))
            bodies = [event(CAMPAIGN.event_id(phone), NOT_SUBSCRIBED, 1) for phone in reversed(some)]
            other.store_callbacks([raw(body) for body in bodies])
            sender.write(*(settle(phone, ACCEPTED, phone) for phone in some))
            sender.known(some[0])

    def listen(other: Ledger) -> None:
        while not done.is_set():
            other.hear(7)

    with ThreadPoolExecutor(3) as pool:
        listener = pool.submit(listen, others[2])
        senders = [pool.submit(send, others[n], phones[n::2]) for n in range(2)]
        try:
            for one in senders:
                one.result()
        finally:
            done.set()
        listener.result()
    for other in others:
        other.close()
    ledger.hear_all()
    rows = ledger.rows(ledger.dispatch_id(CAMPAIGN), phones)
    assert {(row.state, row.reason) for row in rows.values()} == {(REFUSED, "late_not_subscribed")}
    assert len(rows) == len(phones)


def test_to_look_for_news_never_goes_through_all_deliveries(sqlite_ledger: Ledger) -> None:
    """It is done every second, beside millions of rows: SQLite must see the small indexes."""
    asked_of_it: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked_of_it.append((statement, parameters))

    sender = Sender(sqlite_ledger)
    _in_doubt(sender, A)
    listen(sqlite_ledger._engine, "before_cursor_execute", note)
    hear(sqlite_ledger, event(EVENT[A], ROUTED, 1))
    sqlite_ledger.has_unheard()
    remove(sqlite_ledger._engine, "before_cursor_execute", note)
    with sqlite_ledger._engine.connect() as connection:
        for statement, parameters in asked_of_it:
            if statement.startswith(("SELECT", "UPDATE")) and isinstance(parameters, tuple):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
                scans = [row[-1] for row in plan if row[-1].startswith("SCAN sms_flow")]
                assert all("USING INDEX" in scan for scan in scans), scans
