"""Dispatching when the ledger fails, when the lease runs out, and when two tries run side by side."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import event as database_event
from sqlalchemy import update
from sqlalchemy.engine import Connection

from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import LedgerError, Stopped
from airflow_sms_flow.courier import Plan
from airflow_sms_flow.dispatch import Dispatcher, Result
from airflow_sms_flow.ledger import Lease, Ledger, database
from airflow_sms_flow.ledger.deliveries import Move
from airflow_sms_flow.ledger.schema import deliveries
from airflow_sms_flow.steps.step import Go, Recipient
from tests.dispatching import CAMPAIGN, PLAN, SHORT, run, states
from tests.ledger.callbacks import NOT_SUBSCRIBED, event, hear
from tests.ledger.moves import path_of
from tests.scripted_step import LOST, OK, REJECTED, RETRY, Look, Scripted, ScriptedStep, people

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


class TwoTries:
    """Two living tries that come to the same person in the same instant: the second one looked before the
    first one claims, and claims after that."""

    def __init__(self, ledger: Ledger, *answers: Answer, harmless: bool = False) -> None:
        self.who, self.ledger = people(3), ledger
        self.claimed, self.answer_now, self.stop = threading.Event(), threading.Event(), threading.Event()
        script: list[Scripted] = [partial(self._answer, answer) for answer in answers]
        self.first = ScriptedStep({self.who[0].phone: script}, repeats_in_doubt=harmless)
        self.second = LateStep(self.claimed, harmless)
        self.errors: list[BaseException] = []
        self.stood = Counter[str]()

    def _answer(self, answer: Answer) -> Answer:
        self.claimed.set()
        self.answer_now.wait(10)
        return answer

    @contextmanager
    def at_once(self) -> Iterator[threading.Thread]:
        """Both under way, the second one with nothing left to do but to wait; both ended afterwards."""
        second = threading.Thread(target=self._run_second)
        second.start()
        while not self.second.seen:
            time.sleep(0.01)
        first = threading.Thread(target=run, args=(self.ledger, self.first, self.who[:1]))
        first.start()
        assert self.claimed.wait(5)
        while sum(self.second.requests.values()) < 2:
            time.sleep(0.01)
        time.sleep(0.5)
        yield second
        self.answer_now.set()
        first.join(10)
        second.join(10)
        assert not second.is_alive()

    def _run_second(self) -> None:
        try:
            Dispatcher(self.ledger, self.second, PLAN, self.stop).run(self.who, 3)
        except Stopped as error:
            self.errors.append(error)
        self.stood = states(self.ledger, self.who)


class LateStep(ScriptedStep):
    """Goes on with the first person once somebody else has claimed them."""

    def __init__(self, claimed: threading.Event, harmless: bool) -> None:
        super().__init__(repeats_in_doubt=harmless)
        self._claimed = claimed

    def decide(self, recipient: Recipient, seen: DeliveryState | None) -> Go | Answer:
        """As ever, but late."""
        decision = super().decide(recipient, seen)
        self._claimed.wait(10)
        return decision


@pytest.mark.parametrize(
    ("answers", "harmless", "of_second", "end"),
    [
        ([OK], False, 0, "accepted"),
        ([REJECTED], False, 0, "refused"),
        ([RETRY] * 3, False, 1, "accepted"),
        ([LOST], False, 0, "in_doubt"),
        ([LOST] * 3, True, 1, "accepted"),
    ],
)
def test_a_claim_of_another_living_try_is_waited_for(
    ledger: Ledger, answers: list[Answer], harmless: bool, of_second: int, end: str
) -> None:
    """Never taken over; reported as what it comes to, and gone on with where that leaves something due."""
    tries = TwoTries(ledger, *answers, harmless=harmless)
    with tries.at_once() as second:
        assert second.is_alive(), "it has work of its own left: to wait"
    assert tries.second.requests[tries.who[0].phone] <= of_second
    assert tries.stood == Counter(["accepted", "accepted", end])
    assert path_of(ledger, tries.who[0].phone)[-1] == end


class SlowStep(ScriptedStep):
    """Looks at somebody, and comes back to them when it is told to."""

    def __init__(self, *, harmless: bool = False, looks: Mapping[str, Iterable[Look]] | None = None) -> None:
        super().__init__(looks=looks, repeats_in_doubt=harmless)
        self.looked, self.go_on = threading.Event(), threading.Event()

    def decide(self, recipient: Recipient, seen: DeliveryState | None) -> Go | Answer:
        """As ever, but late."""
        decision = super().decide(recipient, seen)
        self.looked.set()
        self.go_on.wait(10)
        return decision


@contextmanager
def a_slow_try(
    ledger: Ledger, who: list[Recipient], plan: Plan = PLAN, *, harmless: bool = False
) -> Iterator[SlowStep]:
    """A try that looked at everybody before the block, and goes on with them after it."""
    step = SlowStep(harmless=harmless)
    trying = threading.Thread(target=run, args=(ledger, step, who, plan))
    trying.start()
    assert step.looked.wait(5)
    yield step
    step.go_on.set()
    trying.join(10)
    assert not trying.is_alive()


def test_of_two_living_tries_one_asks_again(ledger: Ledger, ledger_address: str) -> None:
    """Both found somebody who was asked long ago; they look the same after they were asked anew."""
    who, plan = people(1), replace(PLAN, ask_again_after=timedelta(hours=1))
    run(ledger, ScriptedStep(), who)
    engine = database.create_ledger_engine(ledger_address)
    with engine.begin() as connection:
        connection.execute(update(deliveries).values(updated_at=datetime.now(UTC) - timedelta(hours=2)))
    engine.dispose()
    first = ScriptedStep()
    with a_slow_try(ledger, who, plan) as second:
        run(ledger, first, who, plan)
    assert (first.requests, second.requests) == ({who[0].phone: 1}, {})
    assert path_of(ledger, who[0].phone) == [CLAIMED, ACCEPTED, CLAIMED, ACCEPTED]


def test_of_two_living_tries_one_sends_whatever_vibes_says_of_it_later(ledger: Ledger) -> None:
    """Both found somebody who was not on the list; they are refused again after their text, but for good."""
    who, first = people(1), ScriptedStep()
    not_on_list = Answer(AnswerClass.REFUSED, "not_subscribed", "looked")
    run(ledger, ScriptedStep(looks={who[0].phone: [not_on_list]}), who)
    with a_slow_try(ledger, who) as second:
        run(ledger, first, who)
        hear(ledger, event(CAMPAIGN.event_id(who[0].phone), NOT_SUBSCRIBED, 1))
    assert (first.requests, second.requests) == ({who[0].phone: 1}, {})
    assert path_of(ledger, who[0].phone) == [REFUSED, CLAIMED, ACCEPTED, REFUSED]


def test_of_two_living_tries_one_repeats_and_the_other_looks_again(
    ledger: Ledger,
) -> None:
    """Both looked for the lost question of an earlier try and found none. The first one's is lost as well:
    the second one looks for that, too, before it asks, and finds it."""
    who = people(1)
    run(ledger, ScriptedStep({who[0].phone: [LOST]}), who)
    first = ScriptedStep({who[0].phone: [LOST] * 3}, repeats_in_doubt=True)
    with a_slow_try(ledger, who, harmless=True) as second:
        run(ledger, first, who)
        second.play_looks(who[0], Answer(AnswerClass.OK, "pending", "found"))
    assert first.requests[who[0].phone] == 3
    assert (second.requests, second.seen) == ({}, [IN_DOUBT, IN_DOUBT])
    assert path_of(ledger, who[0].phone)[-1] is ACCEPTED


def test_a_request_under_way_is_no_doubt_that_a_look_may_settle(ledger: Ledger) -> None:
    """It may take effect after the look, and its answer be lost: whoever looked meanwhile looks again."""
    who, under_way, looked, lost = people(1), threading.Event(), threading.Event(), threading.Event()
    run(ledger, ScriptedStep({who[0].phone: [LOST]}), who)

    def late() -> Answer:
        under_way.set()
        looked.wait(5)
        return LOST

    def looks_meanwhile() -> Go:
        looked.set()
        lost.wait(5)
        return Go()

    def once_it_is_under_way(settled: object) -> Iterator[Recipient]:
        """The ledger was read before: as in doubt."""
        read.set()
        under_way.wait(5)
        yield who[0]

    read = threading.Event()
    found = Answer(AnswerClass.OK, "pending", "found")
    second = ScriptedStep(looks={who[0].phone: [looks_meanwhile, found]}, repeats_in_doubt=True)
    trying = threading.Thread(target=Dispatcher(ledger, second, PLAN).run, args=(once_it_is_under_way, 1))
    trying.start()
    assert read.wait(5)
    first = ScriptedStep({who[0].phone: [late]}, repeats_in_doubt=True)
    run(ledger, first, who, replace(PLAN, backoff=replace(PLAN.backoff, attempts=1)))
    lost.set()
    trying.join(10)
    assert not trying.is_alive()
    assert (first.requests[who[0].phone], second.requests[who[0].phone]) == (1, 0)
    assert states(ledger, who) == {"accepted": 1}


def test_who_is_done_by_another_living_try_is_not_left_by_this_one(ledger: Ledger) -> None:
    """Its look came to nothing, but nothing was left to do."""
    who, ill = people(1), Answer(AnswerClass.RETRY, "unreachable", "no connection")
    results: list[Result] = []
    slow = SlowStep(looks={who[0].phone: [ill] * 9})
    trying = threading.Thread(target=lambda: results.append(run(ledger, slow, who)))
    trying.start()
    assert slow.looked.wait(5)
    run(ledger, ScriptedStep(), who)
    slow.go_on.set()
    trying.join(10)
    assert results[0].left == 0
    assert len(slow.seen) == 1


def test_a_stop_ends_the_waiting_for_another_try(ledger: Ledger) -> None:
    """The claim is left to its claimer."""
    tries = TwoTries(ledger, OK)
    with tries.at_once() as second:
        tries.stop.set()
        second.join(2)
        assert not second.is_alive()
        assert [type(error) for error in tries.errors] == [Stopped]
        assert tries.stood == {"claimed": 1, "accepted": 2}
    assert states(ledger, tries.who) == {"accepted": 3}
    assert not tries.second.requests[tries.who[0].phone]


def test_a_claim_whose_try_dies_is_waited_for_until_it_is_in_doubt(ledger: Ledger) -> None:
    """Its lease and the time for an answer bound the waiting."""
    who, claimed = people(3), threading.Event()
    dispatch_id = ledger.dispatch_id(CAMPAIGN)
    step = LateStep(claimed, False)
    trying = threading.Thread(target=run, args=(ledger, step, who))
    trying.start()
    while not step.seen:
        time.sleep(0.01)
    dead = ledger.register_claimer(dispatch_id, PLAN.task_try, SHORT)
    with ledger.writer(CAMPAIGN, PLAN.fingerprint, dead) as writer:
        writer.write(Move(who[0].phone, CLAIMED, "request leaves", claim_id="dead"))
    claimed.set()
    trying.join(SHORT.seconds + SHORT.answer_seconds + 3)
    assert not trying.is_alive()
    assert states(ledger, who) == {"in_doubt": 1, "accepted": 2}
    assert who[0].phone not in step.requests
