"""One delivery at a time, at the places where the engine as a whole cannot be made to stand still."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from airflow_sms_flow import courier as courier_module
from airflow_sms_flow.clients.vibes_records import Participation
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import LedgerError, Stopped
from airflow_sms_flow.courier import Courier, Doubt, Plan
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.progress import Progress
from tests.ledger.moves import CAMPAIGN, TEXT, Sender, claim, path_of, settle
from tests.scripted_step import OK, RETRY, ScriptedStep, people

OPEN, CLAIMED, ACCEPTED = DeliveryState.OPEN, DeliveryState.CLAIMED, DeliveryState.ACCEPTED
IN_DOUBT = DeliveryState.IN_DOUBT
SOMEBODY = people(1)[0]
DAY = timedelta(days=1)


@contextmanager
def a_courier(
    ledger: Ledger,
    step: ScriptedStep,
    halt: threading.Event,
    lease_stands: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[Courier, Progress]]:
    """A courier of one try, as the dispatcher makes it."""
    sender, progress = Sender(ledger), Progress(1)
    with ledger.writer(CAMPAIGN, TEXT, sender.id) as writer:
        plan = Plan(CAMPAIGN, TEXT)

        def doubt_of(phone: str) -> Doubt:
            return Doubt(ledger.rows(sender.dispatch_id, [phone])[phone].claim_id, 0.0)

        yield Courier(step, plan, writer, progress, halt, lease_stands, doubt_of), progress


def test_no_request_leaves_under_a_lease_that_ran_out_meanwhile(ledger: Ledger) -> None:
    """A process that was suspended between its look and its claim: others may count the row as in doubt."""
    step = ScriptedStep()
    with (
        a_courier(ledger, step, threading.Event(), lambda: False) as (courier, _),
        pytest.raises(LedgerError, match="nothing was sent"),
    ):
        courier.deliver(SOMEBODY, None)
    assert not step.requests
    assert path_of(ledger, SOMEBODY.phone) == [CLAIMED, OPEN]


def test_no_request_leaves_after_a_stop_that_came_during_the_claim(sqlite_ledger: Ledger) -> None:
    """The claim may have waited long for the database; what leaves after a stop could be killed under way."""
    halt, step = threading.Event(), ScriptedStep()

    def told_to_stop_just_now() -> bool:
        halt.set()
        return True

    with (
        a_courier(sqlite_ledger, step, halt, told_to_stop_just_now) as (courier, _),
        pytest.raises(Stopped),
    ):
        courier.deliver(SOMEBODY, None)
    assert not step.requests
    assert path_of(sqlite_ledger, SOMEBODY.phone) == [CLAIMED, OPEN]


@pytest.mark.parametrize(
    ("seen", "path"),
    [
        (None, [CLAIMED, OPEN, CLAIMED, ACCEPTED]),
        (IN_DOUBT, [CLAIMED, IN_DOUBT, CLAIMED, IN_DOUBT, CLAIMED, ACCEPTED]),
    ],
)
def test_no_request_leaves_on_a_look_that_grew_old_during_the_claim(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, seen: DeliveryState | None, path: list[DeliveryState]
) -> None:
    """The claim may have waited long for the database, and the person have left meanwhile: another look."""
    monkeypatch.setattr(courier_module, "LOOK_VALID_SECONDS", 1.0)
    if seen is IN_DOUBT:
        Sender(ledger).write(claim(SOMEBODY.phone, "lost"), settle(SOMEBODY.phone, IN_DOUBT, "lost"))
    waits, asked_at_claim = [1.1], []
    step = ScriptedStep(repeats_in_doubt=True)

    def after_the_claim() -> bool:
        asked_at_claim.append(step.requests.total())
        time.sleep(waits.pop() if waits else 0)
        return True

    with a_courier(ledger, step, threading.Event(), after_the_claim) as (courier, _):
        assert courier.deliver(SOMEBODY, seen)
        assert step.effects.in_use == 0
    assert (asked_at_claim, step.requests.total(), len(step.seen)) == ([0, 0], 1, 2)
    assert path_of(ledger, SOMEBODY.phone) == path


def test_a_delivery_that_somebody_else_took_is_left_to_them(sqlite_ledger: Ledger) -> None:
    """The claim is refused, and that is all: whoever runs the couriers sees what it comes to."""
    Sender(sqlite_ledger).write(claim(SOMEBODY.phone, "other"))
    step = ScriptedStep()
    with a_courier(sqlite_ledger, step, threading.Event()) as (courier, progress):
        assert not courier.deliver(SOMEBODY, None)
    assert (step.requests, progress["attempted"], progress["finished"]) == ({}, 0, 0)


def test_who_was_in_doubt_before_a_stop_is_so_after_it(sqlite_ledger: Ledger) -> None:
    """No second request left; of the first nobody knows more than before."""
    Sender(sqlite_ledger).write(claim(SOMEBODY.phone, "lost"), settle(SOMEBODY.phone, IN_DOUBT, "lost"))
    halt = threading.Event()
    halt.set()
    step = ScriptedStep(repeats_in_doubt=True)
    with a_courier(sqlite_ledger, step, halt) as (courier, _), pytest.raises(Stopped):
        courier._claim(SOMEBODY, IN_DOUBT, "again", "lost")
    assert not step.requests
    assert path_of(sqlite_ledger, SOMEBODY.phone) == [CLAIMED, IN_DOUBT, CLAIMED, IN_DOUBT]


def test_a_late_answer_that_changes_nothing_is_not_followed_by_a_repeat(sqlite_ledger: Ledger) -> None:
    """Somebody settled the row meanwhile as sent: "try again" is no longer for us to follow."""
    other = Sender(sqlite_ledger)

    def settled_meanwhile() -> Answer:
        row = sqlite_ledger.rows(other.dispatch_id, [SOMEBODY.phone])[SOMEBODY.phone]
        sqlite_ledger.end_claimer(str(row.claimer_id))
        sqlite_ledger.settle_in_doubt("summer", sent=True, by="kim")
        return RETRY

    step = ScriptedStep(always=settled_meanwhile)
    with a_courier(sqlite_ledger, step, threading.Event()) as (courier, _):
        assert courier.deliver(SOMEBODY, None)
    assert step.requests == {SOMEBODY.phone: 1}
    assert other.state(SOMEBODY.phone) is ACCEPTED


def test_an_answer_that_finds_its_row_settled_changes_nothing(
    sqlite_ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """A person, or the vendor's callback, was faster; somebody is told, with the number masked."""
    other = Sender(sqlite_ledger)

    def settled_meanwhile() -> Answer:
        row = sqlite_ledger.rows(other.dispatch_id, [SOMEBODY.phone])[SOMEBODY.phone]
        sqlite_ledger.end_claimer(str(row.claimer_id))
        sqlite_ledger.settle_in_doubt("summer", sent=True, by="kim")
        return OK

    with a_courier(sqlite_ledger, ScriptedStep(always=settled_meanwhile), threading.Event()) as (courier, _):
        courier.deliver(SOMEBODY, None)
    assert other.state(SOMEBODY.phone) is ACCEPTED
    assert "A late answer for +1******0000 found its row settled already" in caplog.text


def test_the_end_of_a_pending_question_is_kept(sqlite_ledger: Ledger) -> None:
    """`expire_date` of the answer goes into the row, for the sensor."""
    expires = datetime(2026, 7, 2, tzinfo=UTC)
    pending = Participation("PENDING", None, expires)
    answer = Answer(AnswerClass.OK, "pending", "answered 201", pending)
    with a_courier(sqlite_ledger, ScriptedStep(always=answer), threading.Event()) as (courier, _):
        courier.deliver(SOMEBODY, None)
    sender = Sender(sqlite_ledger)
    assert sqlite_ledger.rows(sender.dispatch_id, [SOMEBODY.phone])[SOMEBODY.phone].expire_at == expires


@pytest.mark.parametrize("kind", [AnswerClass.OK, AnswerClass.ALREADY])
def test_a_question_whose_end_vibes_does_not_tell_stands_for_a_day(
    sqlite_ledger: Ledger, kind: AnswerClass
) -> None:
    """From now on: the sensor tells by it an answer to this question from one to an older one."""
    answer = Answer(kind, "pending", "answered", Participation("PENDING", None, None))
    before = datetime.now(UTC)
    with a_courier(sqlite_ledger, ScriptedStep(always=answer), threading.Event()) as (courier, _):
        courier.deliver(SOMEBODY, None)
    sender = Sender(sqlite_ledger)
    found = sqlite_ledger.rows(sender.dispatch_id, [SOMEBODY.phone])[SOMEBODY.phone].expire_at
    assert found is not None
    assert before + DAY <= found <= datetime.now(UTC) + DAY


def test_nobody_is_waited_for_who_is_not_asked(sqlite_ledger: Ledger) -> None:
    """A campaign that asks nothing: they are on the list."""
    answer = Answer(AnswerClass.OK, "subscribed", "answered 201", Participation("SUBSCRIBED", None, None))
    with a_courier(sqlite_ledger, ScriptedStep(always=answer), threading.Event()) as (courier, _):
        courier.deliver(SOMEBODY, None)
    sender = Sender(sqlite_ledger)
    assert sqlite_ledger.rows(sender.dispatch_id, [SOMEBODY.phone])[SOMEBODY.phone].expire_at is None
