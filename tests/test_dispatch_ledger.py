"""Dispatching when the ledger fails, when the lease runs out, and when two tries run side by side."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event as database_event
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.answers import Answer
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import LedgerError
from airflow_sms_flow.ledger import Lease, Ledger, database
from airflow_sms_flow.ledger.deliveries import Move
from tests.dispatching import CAMPAIGN, PLAN, SHORT, run, states
from tests.scripted_step import LOST, OK, ScriptedStep, people

CLAIMED, ACCEPTED, REFUSED = DeliveryState.CLAIMED, DeliveryState.ACCEPTED, DeliveryState.REFUSED
IN_DOUBT = DeliveryState.IN_DOUBT


def test_a_lost_lease_stops_the_sending(ledger: Ledger) -> None:
    """Somebody else may have acted on its end: nothing leaves after that."""
    who = people(50)
    step = ScriptedStep()

    def lose_it() -> Answer:
        claimers = ledger.rows(ledger.dispatch_id(CAMPAIGN), [who[0].phone])
        ledger.end_claimer(str(claimers[who[0].phone].claimer_id))
        time.sleep(0.5)
        return OK

    step = ScriptedStep({who[0].phone: [lose_it]})
    plan = replace(PLAN, concurrency=1, lease=SHORT)
    with pytest.raises(LedgerError, match="lease of this task ran out"):
        run(ledger, step, who, plan)
    assert states(ledger, who)["accepted"] == sum(step.requests.values()) == 1


def test_a_locked_ledger_stops_the_sending_before_the_next_request(
    sqlite_ledger: Ledger, sqlite_address: str
) -> None:
    """A claim that cannot be written is a request that does not leave; the error says what is wrong."""
    who, began = people(200), threading.Event()
    impatient = Ledger.open(sqlite_address, busy_seconds=0.3)
    other = database.create_ledger_engine(sqlite_address)

    def slow() -> Answer:
        began.set()
        time.sleep(0.02)
        return OK

    def lock() -> None:
        began.wait(5)
        with other.begin():
            time.sleep(1.0)

    locking = threading.Thread(target=lock)
    locking.start()
    step = ScriptedStep(always=slow)
    with pytest.raises(LedgerError, match="database is locked"):
        run(impatient, step, who, replace(PLAN, lease=SHORT))
    locking.join()
    asked = sum(step.requests.values())
    assert asked < 200
    run(sqlite_ledger, step, who)
    assert set(step.requests.values()) == {1}
    stood = states(sqlite_ledger, who)
    assert stood["accepted"] + stood["in_doubt"] == 200
    assert stood["in_doubt"] <= PLAN.concurrency
    impatient.close()
    other.dispose()


def test_a_full_disk_stops_the_sending_before_the_next_request(
    sqlite_ledger: Ledger, sqlite_address: str
) -> None:
    """The error says so; with room again, the next try reaches the others, and nobody twice."""
    who, full = people(400), threading.Event()
    cramped = Ledger.open(sqlite_address)

    @database_event.listens_for(cramped._engine, "begin")
    def _take_no_more_pages(connection: Connection) -> None:
        if full.is_set():  # a limit below the present size means the present size
            connection.exec_driver_sql("PRAGMA max_page_count = 1")

    def fill_it() -> Answer:
        full.set()
        return OK

    step = ScriptedStep({who[50].phone: [fill_it]})
    with pytest.raises(LedgerError, match="writing claims and results: database or disk is full"):
        run(cramped, step, who, replace(PLAN, lease=SHORT))
    asked = sum(step.requests.values())
    assert 50 <= asked < 400
    assert sum(states(sqlite_ledger, who)[state] for state in ("accepted", "claimed", "in_doubt")) == asked
    run(sqlite_ledger, step, who)
    assert set(step.requests.values()) == {1}
    stood = states(sqlite_ledger, who)
    assert stood["accepted"] + stood["in_doubt"] == 400
    assert stood["in_doubt"] <= PLAN.concurrency
    cramped.close()


def test_a_vanished_ledger_stops_the_sending_before_the_next_request(
    sqlite_ledger: Ledger, tmp_path: Path
) -> None:
    """Otherwise everybody would be claimed in a file that nobody will ever read again."""
    who = people(100)

    def vanish() -> Answer:
        (tmp_path / "ledger" / "ledger.db").rename(tmp_path / "gone.db")
        return OK

    step = ScriptedStep({who[10].phone: [vanish]})
    with pytest.raises(LedgerError, match="deleted or replaced while it was in use"):
        run(sqlite_ledger, step, who, replace(PLAN, concurrency=1))
    assert sum(step.requests.values()) == 11


def test_a_second_try_waits_for_the_first_ones_answers(ledger: Ledger) -> None:
    """Airflow started it while the old process lives: it takes over only what that one leaves."""
    who = people(6)
    slow = threading.Event()
    step = ScriptedStep({who[0].phone: [lambda: OK if slow.wait(10) else LOST]})
    old = threading.Thread(target=run, args=(ledger, step, who))
    old.start()
    while sum(step.requests.values()) < 6:
        time.sleep(0.01)
    new = threading.Thread(target=run, args=(ledger, step, who))
    new.start()
    time.sleep(0.7)
    assert new.is_alive()
    slow.set()
    old.join(5)
    new.join(5)
    assert not new.is_alive()
    assert set(step.requests.values()) == {1}
    assert states(ledger, who) == {"accepted": 6}


@pytest.mark.parametrize(("harmless", "end"), [(True, "accepted"), (False, "in_doubt")])
def test_an_abandoned_claim_is_taken_over_only_after_lease_and_answer_time(
    ledger: Ledger, harmless: bool, end: str
) -> None:
    """By a step whose repeats are harmless; Send leaves it in doubt."""
    who = people(2)
    dispatch_id = ledger.dispatch_id(CAMPAIGN)
    dead = ledger.register_claimer(dispatch_id, PLAN.task_try, SHORT)
    began = time.monotonic()
    with ledger.writer(CAMPAIGN, PLAN.fingerprint, dead) as writer:
        writer.write(Move(who[0].phone, CLAIMED, "request leaves", claim_id="dead"))
    step = ScriptedStep(repeats_in_doubt=harmless)
    run(ledger, step, who)
    assert time.monotonic() - began > SHORT.seconds + SHORT.answer_seconds
    assert step.requests == {who[1].phone: 1} | ({who[0].phone: 1} if harmless else {})
    assert states(ledger, who) == Counter(["accepted", end])


def test_two_tries_side_by_side_share_the_work(ledger: Ledger) -> None:
    """Nobody is reached twice, and nobody is left out."""
    who, step = people(300), ScriptedStep()
    tries = [threading.Thread(target=run, args=(ledger, step, part)) for part in (who, who[::-1])]
    for one in tries:
        one.start()
    for one in tries:
        one.join(30)
    assert set(step.requests.values()) == {1}
    assert states(ledger, who) == {"accepted": 300}


def test_a_claim_that_another_try_never_ends_is_left_and_counted(
    sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither answered nor in doubt for longer than a request takes: this try cannot say what came of it."""
    monkeypatch.setattr("airflow_sms_flow.dispatch._MARGIN_SECONDS", 0.2)
    who = people(2)
    other = sqlite_ledger.register_claimer(sqlite_ledger.dispatch_id(CAMPAIGN), PLAN.task_try, Lease(60, 60))
    with sqlite_ledger.writer(CAMPAIGN, PLAN.fingerprint, other) as writer:
        writer.write(Move(who[0].phone, CLAIMED, "request leaves", claim_id="other"))
    assert run(sqlite_ledger, ScriptedStep(), who, replace(PLAN, lease=SHORT)).left == 1
    assert states(sqlite_ledger, who) == {"claimed": 1, "accepted": 1}
