"""Two living tries of one task: what one of them asks or has done, the other waits for, or leaves alone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import update

from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import Stopped
from airflow_sms_flow.courier import Plan
from airflow_sms_flow.dispatch import Dispatcher, Result
from airflow_sms_flow.ledger import Ledger, database
from airflow_sms_flow.ledger.deliveries import Move
from airflow_sms_flow.ledger.schema import deliveries
from airflow_sms_flow.steps.step import Go, Recipient
from tests.dispatching import CAMPAIGN, PLAN, SHORT, run, states
from tests.ledger.callbacks import NOT_SUBSCRIBED, event, hear
from tests.ledger.moves import path_of
from tests.scripted_step import LOST, OK, REJECTED, RETRY, Look, Scripted, ScriptedStep, people

CLAIMED, ACCEPTED, REFUSED = DeliveryState.CLAIMED, DeliveryState.ACCEPTED, DeliveryState.REFUSED
IN_DOUBT = DeliveryState.IN_DOUBT


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
