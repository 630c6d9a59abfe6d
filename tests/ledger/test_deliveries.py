"""Claims and settlements: who may move a delivery, and who may not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.engine import Engine

from airflow_sms_flow.core.delivery import DeliveryState, StepName
from airflow_sms_flow.ledger import Ledger, database
from airflow_sms_flow.ledger.deliveries import Move, Mover, Outcome, apply_moves, lock_of_list
from airflow_sms_flow.ledger.schema import deliveries
from tests.ledger.moves import CAMPAIGN, TEXT, A, B, Sender, claim, path_of, settle

OPEN, CLAIMED, IN_DOUBT = DeliveryState.OPEN, DeliveryState.CLAIMED, DeliveryState.IN_DOUBT
ACCEPTED, REFUSED, SKIPPED = DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.SKIPPED


def at_once(*jobs: Callable[[], list[Outcome]]) -> list[list[Outcome]]:
    """Run all jobs in threads that start in the same instant."""
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], list[Outcome]]) -> list[Outcome]:
        barrier.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def test_of_two_that_claim_one_number_at_once_one_wins(ledger: Ledger) -> None:
    """The one promise that everything else rests on; tried with many numbers in many transactions."""
    numbers = [f"+1202555{n:04}" for n in range(40)]
    first, second = Sender(ledger), Sender(ledger)
    results = at_once(
        lambda: first.write(*[claim(phone, "first") for phone in numbers]),
        lambda: second.write(*[claim(phone, "second") for phone in numbers]),
    )
    for phone, one, other in zip(numbers, *results, strict=True):
        assert one.moved != other.moved
        assert {one.state, other.state} == {CLAIMED}
        assert path_of(ledger, phone) == [CLAIMED]


def test_of_two_that_claim_an_open_row_at_once_one_wins(ledger: Ledger) -> None:
    """The same for a row that stands already, where no unique key helps."""
    first, second = Sender(ledger), Sender(ledger)
    numbers = [f"+1202555{n:04}" for n in range(20)]
    first.write(*[Move(phone, OPEN, "not reached") for phone in numbers])
    one, other = at_once(
        lambda: first.write(*[claim(phone, "first", OPEN) for phone in numbers]),
        lambda: second.write(*[claim(phone, "second", OPEN) for phone in reversed(numbers)]),
    )
    assert [a.moved != b.moved for a, b in zip(one, reversed(other), strict=True)] == [True] * 20


def test_a_settlement_with_anothers_claim_changes_nothing(ledger: Ledger) -> None:
    """Only the claim that stands may be settled."""
    sender = Sender(ledger)
    outcomes = sender.write(claim(A, "mine"), settle(A, REFUSED, "yours"), settle(B, ACCEPTED, "mine"))
    assert [outcome.moved for outcome in outcomes] == [True, False, False]
    assert (sender.state(A), sender.state(B)) == (CLAIMED, None)


def test_a_late_answer_lands_on_the_row_in_doubt(ledger: Ledger) -> None:
    """However late it is, an answer knows more than a doubt."""
    sender = Sender(ledger)
    sender.write(claim(A, "mine"), settle(A, IN_DOUBT, "mine", "no_answer"))
    assert sender.write(settle(A, ACCEPTED, "mine"))[0].moved
    assert path_of(ledger, A) == [CLAIMED, IN_DOUBT, ACCEPTED]


def test_a_late_answer_cannot_settle_a_newer_claim(ledger: Ledger) -> None:
    """Each claim has an id of its own: what was claimed again belongs to its new claimer."""
    sender = Sender(ledger)
    sender.write(claim(A, "old"), settle(A, IN_DOUBT, "old"), claim(A, "new", IN_DOUBT, "old"))
    assert not sender.write(settle(A, ACCEPTED, "old"))[0].moved
    assert sender.state(A) is CLAIMED


@pytest.mark.parametrize(
    "move", [claim(A, "x"), claim(A, "x", ACCEPTED), Move(A, OPEN, "again", seen=ACCEPTED)]
)
def test_moves_from_elsewhere_are_refused(ledger: Ledger, move: Move) -> None:
    """Made from a state that is past, or not allowed at all: the row and its history stay as they are."""
    sender = Sender(ledger)
    sender.write(claim(A, "mine"), settle(A, ACCEPTED, "mine"))
    assert sender.write(move) == [Outcome(False, ACCEPTED, None, overtaken=move.seen is not ACCEPTED)]
    assert path_of(ledger, A) == [CLAIMED, ACCEPTED]


def test_of_two_that_looked_into_one_doubt_one_repeats(ledger: Ledger) -> None:
    """The first one's request was lost as well, so that the row stands as the second one saw it; only under
    another claim. What that request did, the second one has not looked for."""
    sender = Sender(ledger)
    sender.write(claim(A, "lost"), settle(A, IN_DOUBT, "lost"))
    first, second = claim(A, "first", IN_DOUBT, "lost"), claim(A, "second", IN_DOUBT, "lost")
    assert sender.write(first, settle(A, IN_DOUBT, "first"), second)[2] == Outcome(
        False, IN_DOUBT, None, overtaken=True
    )
    assert not sender.write(claim(A, "blind", IN_DOUBT))[0].moved
    assert sender.write(claim(A, "second", IN_DOUBT, "first"))[0].moved


_DECISION = Move(A, DeliveryState.ALREADY, "looked", "subscribed")


@pytest.mark.parametrize("move", [claim(A, "again"), _DECISION])
@pytest.mark.parametrize("state", [ACCEPTED, DeliveryState.ALREADY])
def test_who_is_done_is_due_again_by_the_age_of_the_row(
    ledger: Ledger, engine: Engine, state: DeliveryState, move: Move
) -> None:
    """`ask_again_after`: another try may have asked since this one looked, and have left the same state."""
    sender = Sender(ledger)
    sender.write(claim(A, "mine"), settle(A, state, "mine"))
    again = replace(move, seen=state, again_after=timedelta(hours=1))
    assert sender.write(again) == [Outcome(False, state, None)]
    with engine.begin() as connection:
        connection.execute(update(deliveries).values(updated_at=datetime.now(UTC) - timedelta(hours=2)))
    assert sender.write(replace(again, again_after=None)) == [Outcome(False, state, None)]
    assert sender.write(again)[0].moved


@pytest.mark.parametrize("move", [claim(A, "again", REFUSED), replace(_DECISION, seen=REFUSED)])
@pytest.mark.parametrize(("reason", "due"), [("not_subscribed", True), ("late_not_subscribed", False)])
def test_who_was_refused_is_due_again_by_the_reason_of_the_row(
    ledger: Ledger, move: Move, reason: str, due: bool
) -> None:
    """Another try may have sent since this one looked, and Vibes may have refused it late: no second event,
    and no reason of ours in place of that one, which the next try would take for leave to send."""
    sender = Sender(ledger)
    sender.write(Move(A, REFUSED, "looked", reason))
    assert sender.write(replace(move, again_after=timedelta(0)))[0].moved is due
    assert (path_of(ledger, A) == [REFUSED]) is not due


def test_the_history_has_every_move_with_who_and_why(ledger: Ledger) -> None:
    """What somebody asks who was texted: when, by which task, and what was answered."""
    sender = Sender(ledger)
    sender.write(claim(A, "mine"), settle(A, REFUSED, "mine", "bad_number"), claim(B, "other"))
    entries = ledger.history(A)
    assert [(e.from_state, e.to_state, e.reason, e.why) for e in entries] == [
        (None, CLAIMED, None, "request leaves"),
        (CLAIMED, REFUSED, "bad_number", "answered"),
    ]
    assert {(e.campaign, e.owner, e.run_id, e.try_number) for e in entries} == {
        (CAMPAIGN, "dag/send", "run", 1)
    }
    assert abs(entries[0].at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_long_sentence_does_not_stop_the_sending(ledger: Ledger) -> None:
    """PostgreSQL refuses what exceeds a column, SQLite does not: it is cut before."""
    sender = Sender(ledger)
    assert sender.write(Move(A, REFUSED, "why " * 100, "reason" * 40))[0].moved
    entry = ledger.history(A)[0]
    assert (len(entry.why), len(entry.reason or "")) == (200, 64)


def test_another_step_list_key_or_company_is_another_delivery(ledger: Ledger) -> None:
    """The five parts of what is the same message, each on its own."""
    Sender(ledger).write(claim(A, "mine"))
    others = [
        replace(CAMPAIGN, company_key="globex"),
        replace(CAMPAIGN, campaign_key="autumn"),
        replace(CAMPAIGN, step=StepName.UNSUBSCRIBE),
        replace(CAMPAIGN, list_id="1202"),
    ]
    for other in others:
        assert Sender(ledger, other).write(claim(A, "mine"))[0].moved
    assert len({campaign.event_id(A) for campaign in [CAMPAIGN, *others]}) == 5


def _guarded(phone: str, claim_id: str, seen: DeliveryState | None = None, lost: str | None = None) -> Move:
    a_day_ago = datetime.now(UTC) - timedelta(hours=24)
    return replace(claim(phone, claim_id, seen, lost), not_if_sent_since=a_day_ago)


def test_the_same_text_a_short_time_ago_is_skipped(ledger: Ledger) -> None:
    """Under another key, on the same list: whatever may have reached the person counts."""
    first, second = Sender(ledger), Sender(ledger, replace(CAMPAIGN, campaign_key="second press"))
    first.write(claim(A, "1"), settle(A, ACCEPTED, "1"), claim(B, "2"), settle(B, REFUSED, "2", "bad_number"))
    skipped, claimed = second.write(_guarded(A, "3"), _guarded(B, "4"))
    assert skipped == Outcome(False, SKIPPED, "recently_sent")
    assert claimed.moved, "a refused text reached nobody"
    assert second.write(_guarded(A, "5", SKIPPED))[0].moved is False, "a retry looks again, and skips again"


@pytest.mark.parametrize("difference", ["text", "list", "company", "long ago"])
def test_another_text_list_or_day_is_no_repeat(ledger: Ledger, difference: str) -> None:
    """`recently_sent` is for the same text on the same list only."""
    first = Sender(ledger)
    first.write(claim(A, "1"), settle(A, ACCEPTED, "1"))
    campaign = replace(CAMPAIGN, campaign_key="second press")
    if difference == "list":
        campaign = replace(campaign, list_id="1202")
    if difference == "company":
        campaign = replace(campaign, company_key="globex")
    second = Sender(ledger, campaign, "e" * 64 if difference == "text" else TEXT)
    move = _guarded(A, "2")
    if difference == "long ago":
        move = replace(move, not_if_sent_since=datetime.now(UTC) + timedelta(seconds=5))
    assert second.write(move)[0].moved


def test_what_is_in_doubt_is_not_skipped(ledger: Ledger) -> None:
    """A row that may have happened stays in doubt until somebody knows; "skipped" would hide it."""
    first, second = Sender(ledger), Sender(ledger, replace(CAMPAIGN, campaign_key="second press"))
    second.write(claim(A, "1"), settle(A, IN_DOUBT, "1"))
    first.write(claim(A, "2"), settle(A, ACCEPTED, "2"))
    assert second.write(_guarded(A, "3", IN_DOUBT, "1")) == [Outcome(False, IN_DOUBT, None)]


def test_whoever_waits_for_the_list_holds_no_row(postgres_address: str) -> None:
    """The one statement for expected moves takes the list first and its rows then: in another order two tries
    of one run would wait for each other."""
    with closing(Ledger.open(postgres_address)) as ledger:
        sender = Sender(ledger)
        sender.write(Move(A, OPEN, "not reached"))
        engine = database.create_ledger_engine(postgres_address)
        lock = text("SELECT pg_advisory_xact_lock(:key)").bindparams(key=lock_of_list(CAMPAIGN))

        def move_carefully() -> None:
            mover = Mover(sender.dispatch_id, CAMPAIGN, TEXT, sender.id)
            with engine.begin() as connection:
                apply_moves(connection, mover, [_guarded(A, "1", OPEN)], datetime.now(UTC))

        with ThreadPoolExecutor(1) as pool:
            with engine.begin() as connection:
                connection.execute(lock)
                moving = pool.submit(move_carefully)
                while not connection.execute(_WAITING_FOR_A_LIST).scalar_one():
                    time.sleep(0.01)
                row = select(deliveries.c.state).where(deliveries.c.phone == A)
                assert connection.execute(row.with_for_update(nowait=True)).scalar_one() == OPEN.value
            moving.result(10)
        engine.dispose()
        assert sender.state(A) is CLAIMED


_WAITING_FOR_A_LIST = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


def test_of_two_runs_started_at_once_one_sends_the_text(ledger: Ledger) -> None:
    """Two presses of Trigger in one second: each number is claimed by one run and skipped by the other."""
    numbers = [f"+1202555{n:04}" for n in range(30)]
    runs = [Sender(ledger, replace(CAMPAIGN, campaign_key=f"press {n}")) for n in range(2)]
    one, other = at_once(
        *[lambda run=run: run.write(*[_guarded(phone, run.id) for phone in numbers]) for run in runs]
    )
    for a, b in zip(one, other, strict=True):
        assert {a.state, b.state} == {CLAIMED, SKIPPED}
