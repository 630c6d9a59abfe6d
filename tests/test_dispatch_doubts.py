"""The engine and lost answers: what is in doubt stays so until something settles it."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise

import pytest

from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import OUR_REASONS, DeliveryState
from airflow_sms_flow.core.errors import BugError, ConfigError, Stopped
from airflow_sms_flow.dispatch import Dispatcher
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.steps.step import Go, Recipient
from tests.dispatching import PLAN, run, states
from tests.scripted_step import LOST, REJECTED, RETRY, Scripted, ScriptedStep, people

IN_DOUBT = DeliveryState.IN_DOUBT


def test_a_lost_answer_is_held(sqlite_ledger: Ledger) -> None:
    """Never sent again by itself, in this try or another; a person's "not sent" frees it."""
    who = people(3)
    step = ScriptedStep({who[0].phone: [LOST]})
    for _ in range(2):
        run(sqlite_ledger, step, who)
        assert states(sqlite_ledger, who) == {"in_doubt": 1, "accepted": 2}
    assert set(step.requests.values()) == {1}
    sqlite_ledger.settle_in_doubt("summer", sent=False, by="kim")
    run(sqlite_ledger, step, who)
    assert states(sqlite_ledger, who) == {"accepted": 3}
    assert len(step.event_ids[who[0].phone]) == 1, "the same send carries the same id for ever"


def test_a_lost_answer_of_a_harmless_step_is_repeated(sqlite_ledger: Ledger) -> None:
    """At once, and after a try that gave up; the step is told that it looks at somebody in doubt."""
    who = people(2)
    step = ScriptedStep({who[0].phone: [LOST], who[1].phone: [LOST] * 4}, repeats_in_doubt=True)
    run(sqlite_ledger, step, who)
    assert states(sqlite_ledger, who) == {"accepted": 1, "in_doubt": 1}
    assert IN_DOUBT in step.seen
    run(sqlite_ledger, step, who)
    assert states(sqlite_ledger, who) == {"accepted": 2}


def test_a_look_for_a_lost_question_waits_until_the_question_must_show(sqlite_ledger: Ledger) -> None:
    """Vibes may still work on it: a look at once finds nothing, and the person is asked twice. Whoever takes
    over from a try that gave up waits for what is left of that time."""
    who, times = people(1), list[float]()

    def look() -> Go:
        times.append(time.monotonic())
        return Go()

    def lost() -> Answer:
        times.append(time.monotonic())
        return LOST

    phone = who[0].phone
    once = replace(PLAN, backoff=replace(PLAN.backoff, attempts=1))
    run(sqlite_ledger, ScriptedStep({phone: [lost]}, repeats_in_doubt=True), who, once)
    step = ScriptedStep(
        {phone: [lost]}, {phone: [look, look]}, repeats_in_doubt=True, late_effect_seconds=0.6
    )
    run(sqlite_ledger, step, who)
    assert [after - before >= 0.55 for before, after in pairwise(times)] == [True, False, True]
    assert states(sqlite_ledger, who) == {"accepted": 1}


def test_a_stop_ends_the_wait_for_a_lost_question(sqlite_ledger: Ledger) -> None:
    """They stay in doubt, and the next try looks."""
    who, stop = people(1), threading.Event()
    step = ScriptedStep(always=LOST, repeats_in_doubt=True, late_effect_seconds=60)
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        Dispatcher(sqlite_ledger, step, PLAN, stop).run(who, 1)
    assert time.monotonic() - began < 5
    assert states(sqlite_ledger, who) == {"in_doubt": 1}
    assert step.requests == {who[0].phone: 1}


def _in_doubt(ledger: Ledger) -> list[Recipient]:
    """One person whose first request may have happened."""
    run(ledger, ScriptedStep(always=LOST), people(1))
    assert states(ledger, people(1)) == {"in_doubt": 1}
    return people(1)


@pytest.mark.parametrize("reason", sorted(OUR_REASONS))
def test_who_left_the_list_while_in_doubt_stays_in_doubt(ledger: Ledger, reason: str) -> None:
    """A refusal of ours is looked at again by later tries: once the person is back, they would be texted as
    if nothing had left before."""
    who = _in_doubt(ledger)
    refusal = Answer(AnswerClass.REFUSED, reason, "looked")
    resend = ScriptedStep(looks={who[0].phone: [refusal]}, repeats_in_doubt=True)
    assert run(ledger, resend, who).attempted == 0
    assert states(ledger, who) == {"in_doubt": 1}
    hold = ScriptedStep()
    run(ledger, hold, who)
    assert (hold.requests, states(ledger, who)) == ({}, {"in_doubt": 1})


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (RETRY, None),
        (REJECTED, None),
        (Answer(AnswerClass.CONFIG, "forbidden", "answered 403"), ConfigError),
        (Answer(AnswerClass.BUG, "unexpected_status", "answered 418"), BugError),
    ],
)
def test_a_repeat_that_did_not_happen_leaves_the_doubt(
    ledger: Ledger, answer: Answer, error: type[Exception] | None
) -> None:
    """It says nothing of the first request; "known not to have happened" would be a lie."""
    who = _in_doubt(ledger)
    resend = ScriptedStep(always=answer, repeats_in_doubt=True)
    with pytest.raises(error) if error else nullcontext():
        run(ledger, resend, who)
    assert resend.requests[who[0].phone] >= 1
    assert states(ledger, who) == {"in_doubt": 1}
    run(ledger, ScriptedStep(repeats_in_doubt=True), who)
    assert states(ledger, who) == {"accepted": 1}


def test_what_settles_a_doubt_for_good_is_written_down(sqlite_ledger: Ledger) -> None:
    """A number that the vendor refuses can have got nothing, and no later try sends to it."""
    who = _in_doubt(sqlite_ledger)
    bad = Answer(AnswerClass.REFUSED, "bad_number", "looked")
    run(sqlite_ledger, ScriptedStep(looks={who[0].phone: [bad]}, repeats_in_doubt=True), who)
    assert states(sqlite_ledger, who) == {"refused": 1}
    again = ScriptedStep()
    run(sqlite_ledger, again, who)
    assert not again.requests


def test_where_a_doubt_makes_no_difference_the_next_try_goes_on(sqlite_ledger: Ledger) -> None:
    """Leaving a list twice is leaving it once: nobody may stay on it because an answer was lost."""
    who = _in_doubt(sqlite_ledger)
    leave = ScriptedStep(always=RETRY, repeats_in_doubt=True, doubt_matters=False)
    run(sqlite_ledger, leave, who)
    assert states(sqlite_ledger, who) == {"open": 1}


def test_where_a_doubt_makes_no_difference_a_look_that_fails_leaves_the_row_open(ledger: Ledger) -> None:
    """Of somebody whose request a kill cut off: nobody would look again at who is merely in doubt."""
    who = _in_doubt(ledger)
    looks: dict[str, list[Scripted]] = {who[0].phone: [RETRY] * 3}
    leave = ScriptedStep(looks=looks, repeats_in_doubt=True, doubt_matters=False)
    assert run(ledger, leave, who).left == 0
    assert states(ledger, who) == {"open": 1}
    run(ledger, leave, who)
    assert states(ledger, who) == {"accepted": 1}
