"""The engine under all steps: everybody once, whatever breaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import (
    BugError,
    ConfigError,
    InvalidInput,
    QuotaExhausted,
)
from airflow_sms_flow.courier import BUG_AFTER_REFUSALS
from airflow_sms_flow.dispatch import Dispatcher, Settled
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.steps.step import Recipient
from tests.dispatching import CAMPAIGN, PLAN, run, states
from tests.scripted_step import LOST, OK, REJECTED, RETRY, Scripted, ScriptedStep, people

REFUSED = DeliveryState.REFUSED
NOT_ON_LIST = Answer(AnswerClass.REFUSED, "not_subscribed", "looked")


def slowly(seconds: float) -> Answer:
    """A good answer, after so long."""
    time.sleep(seconds)
    return OK


def test_everybody_is_reached_once(ledger: Ledger) -> None:
    """And a second try, a cleared task, a backfill of the same interval reach nobody again."""
    who, step = people(150), ScriptedStep()
    result = run(ledger, step, who)
    assert result.attempted == 150
    assert run(ledger, step, who).attempted == 0
    assert set(step.requests.values()) == {1}
    assert states(ledger, who) == {"accepted": 150}
    row = ledger.rows(result.dispatch_id, [who[0].phone])[who[0].phone]
    assert row.claimer_id == result.claimer_id
    assert step.event_ids[who[0].phone] == {row.event_id}


def test_a_long_audience_may_leave_out_who_is_settled(ledger: Ledger) -> None:
    """It is told of a whole batch at once who needs no further look; the others come as ever."""
    who, step = people(30), ScriptedStep()
    run(ledger, step, who[:20])
    asked: list[list[bool]] = []

    def the_rest(settled: Settled) -> Iterator[Recipient]:
        asked.append(settled([one.phone for one in who]).tolist())
        yield from (one for one, done in zip(who, asked[0], strict=True) if not done)

    assert Dispatcher(ledger, step, PLAN).run(the_rest, len(who)).attempted == 10
    assert asked == [[True] * 20 + [False] * 10]
    assert states(ledger, who) == {"accepted": 30}


def test_an_empty_audience_is_a_success(sqlite_ledger: Ledger) -> None:
    """Nobody was to be reached, nobody was."""
    assert run(sqlite_ledger, ScriptedStep(), []).attempted == 0


def test_decisions_need_no_request(sqlite_ledger: Ledger) -> None:
    """Who is not on the list is refused by us; who refuses nobody for good is looked at again next time."""
    who = people(3)
    there = Answer(AnswerClass.ALREADY, "subscribed", "looked")
    step = ScriptedStep(looks={who[0].phone: [NOT_ON_LIST], who[1].phone: [there]})
    assert run(sqlite_ledger, step, who).attempted == 1
    assert states(sqlite_ledger, who) == {"refused": 1, "already": 1, "accepted": 1}
    assert run(sqlite_ledger, step, who).attempted == 1
    assert states(sqlite_ledger, who) == {"already": 1, "accepted": 2}
    assert step.seen[-1] is REFUSED


def test_a_passing_fault_is_met_with_patience(sqlite_ledger: Ledger) -> None:
    """Look and request are repeated; in the end everybody is reached."""
    who = people(20)
    step = ScriptedStep({one.phone: [RETRY, RETRY] for one in who[:10]}, {who[15].phone: [RETRY]})
    run(sqlite_ledger, step, who)
    assert states(sqlite_ledger, who) == {"accepted": 20}
    assert step.requests[who[0].phone] == 3


def test_patience_is_bounded_and_the_next_try_goes_on(sqlite_ledger: Ledger) -> None:
    """Whoever could not be reached stays open."""
    who = people(5)
    step = ScriptedStep({who[0].phone: [RETRY] * 4}, {who[1].phone: [RETRY] * 4})
    run(sqlite_ledger, step, who)
    assert states(sqlite_ledger, who) == {"open": 2, "accepted": 3}
    assert (step.requests[who[0].phone], step.requests[who[1].phone]) == (3, 0)
    run(sqlite_ledger, step, who)
    assert states(sqlite_ledger, who) == {"accepted": 5}


def test_whoever_is_left_as_an_earlier_try_left_them_is_counted(sqlite_ledger: Ledger) -> None:
    """Their rows say refused, asked long ago, in doubt; but nobody got to look at them this time."""
    who = people(5)
    again = replace(PLAN, ask_again_after=timedelta(milliseconds=5))
    before = ScriptedStep({who[1].phone: [LOST]}, {who[0].phone: [NOT_ON_LIST]})
    assert run(sqlite_ledger, before, who[:4]).left == 0
    time.sleep(0.02)
    blind = ScriptedStep(looks={one.phone: [RETRY] * 3 for one in who[:3]}, repeats_in_doubt=True)
    assert run(sqlite_ledger, blind, who, again).left == 3
    assert states(sqlite_ledger, who) == {"refused": 1, "in_doubt": 1, "accepted": 3}
    assert run(sqlite_ledger, ScriptedStep(repeats_in_doubt=True), who).left == 0
    assert states(sqlite_ledger, who) == {"accepted": 5}


def test_whoever_is_left_open_is_counted_by_their_row(sqlite_ledger: Ledger) -> None:
    """Nobody counts twice: rows that are open say by themselves that they were not reached."""
    who = people(2)
    step = ScriptedStep({who[0].phone: [RETRY] * 6}, {who[1].phone: [RETRY] * 6})
    for _ in range(2):
        assert run(sqlite_ledger, step, who).left == 0
        assert states(sqlite_ledger, who) == {"open": 2}


@pytest.mark.parametrize(("kind", "error"), [(AnswerClass.CONFIG, ConfigError), (AnswerClass.BUG, BugError)])
def test_a_fault_of_the_whole_task_ends_it(
    sqlite_ledger: Ledger, kind: AnswerClass, error: type[Exception]
) -> None:
    """After at most one request per thread; nobody is done, nobody in doubt, nobody lost."""
    who = people(200)
    step = ScriptedStep(always=Answer(kind, "forbidden", "POST …/events answered 403"))
    with pytest.raises(error, match="answered 403"):
        run(sqlite_ledger, step, who)
    assert 1 <= sum(step.requests.values()) <= PLAN.concurrency
    assert states(sqlite_ledger, who).keys() <= {"open", "none"}
    run(sqlite_ledger, ScriptedStep(), who)
    assert states(sqlite_ledger, who) == {"accepted": 200}


def test_a_used_up_quota_says_when_to_come_back(sqlite_ledger: Ledger) -> None:
    """The error carries the moment, for Airflow to wait until then."""
    retry_at = datetime(2026, 7, 1, 6, tzinfo=UTC)
    step = ScriptedStep(
        looks={p.phone: [Answer(AnswerClass.WAIT, "quota", "used up", retry_at)] for p in people(9)}
    )
    with pytest.raises(QuotaExhausted) as caught:
        run(sqlite_ledger, step, people(9))
    assert caught.value.retry_at == retry_at
    assert sum(step.requests.values()) == 0


def test_when_the_first_answers_all_blame_the_request_it_is_ours(sqlite_ledger: Ledger) -> None:
    """Nobody counts as refused then, not even those whose refusals came in after the twentieth."""
    who = people(100)
    plan = replace(PLAN, concurrency=30)
    all_under_way = threading.Event()

    def refuse() -> Answer:
        if sum(step.requests.values()) >= plan.concurrency:
            all_under_way.set()
        all_under_way.wait(5)
        return REJECTED

    step = ScriptedStep(always=refuse)
    with pytest.raises(BugError, match=f"the first {BUG_AFTER_REFUSALS} requests were all refused"):
        run(sqlite_ledger, step, who, plan)
    assert 30 <= sum(step.requests.values()) < 60
    assert states(sqlite_ledger, who).keys() <= {"open", "none"}


def test_one_good_answer_clears_our_request(sqlite_ledger: Ledger) -> None:
    """From then on a refusal is about the person, however many come."""
    who = people(60)
    step = ScriptedStep({who[0].phone: [OK]}, always=REJECTED)
    run(sqlite_ledger, step, who, replace(PLAN, concurrency=1))
    assert states(sqlite_ledger, who) == {"refused": 59, "accepted": 1}
    assert run(sqlite_ledger, step, who).attempted == 0


def test_another_text_under_the_same_key_is_not_sent(
    sqlite_ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts as done, with a warning that says what to do."""
    run(sqlite_ledger, ScriptedStep(), people(3))
    assert run(sqlite_ledger, ScriptedStep(), people(3), replace(PLAN, fingerprint="e" * 64)).attempted == 0
    assert "3 people got another text under campaign key 'summer'" in caplog.text


def test_a_second_press_of_trigger_skips_who_got_the_text(sqlite_ledger: Ledger) -> None:
    """A new logical date is a new key; `repeat_within` looks past the key."""
    who = people(10)
    again = replace(PLAN, campaign=replace(CAMPAIGN, campaign_key="second press"))
    run(sqlite_ledger, ScriptedStep(), who[:5])
    step = ScriptedStep()
    run(sqlite_ledger, step, who, replace(again, repeat_within=timedelta(hours=24)))
    assert states(sqlite_ledger, who, again.campaign) == {"skipped": 5, "accepted": 5}
    run(sqlite_ledger, step, who, again)
    assert states(sqlite_ledger, who, again.campaign) == {"accepted": 10}


def test_those_asked_long_ago_are_asked_again(sqlite_ledger: Ledger) -> None:
    """Only where the author said so."""
    who = people(3)
    run(sqlite_ledger, ScriptedStep(), who)
    time.sleep(0.02)
    step = ScriptedStep()
    run(sqlite_ledger, step, who, replace(PLAN, ask_again_after=timedelta(milliseconds=5)))
    assert sum(step.requests.values()) == 3


def test_an_error_among_the_recipients_is_raised_after_settling(sqlite_ledger: Ledger) -> None:
    """An audience file that breaks off half-way."""

    def broken() -> Iterator[Recipient]:
        yield from people(3)
        raise InvalidInput("audience", "file", "broke off")

    with pytest.raises(InvalidInput):
        Dispatcher(sqlite_ledger, ScriptedStep(), PLAN).run(broken())
    assert states(sqlite_ledger, people(3)).keys() <= {"accepted", "none"}


def test_a_bug_in_a_step_ends_the_task(sqlite_ledger: Ledger) -> None:
    """A thread that died silently would lose people."""

    def broken() -> Answer:
        raise ZeroDivisionError

    script: dict[str, list[Scripted]] = {people(9)[4].phone: [broken]}
    with pytest.raises(ZeroDivisionError):
        run(sqlite_ledger, ScriptedStep(script), people(9))


def test_no_number_is_logged(sqlite_ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """Not whole, at any level."""
    caplog.set_level("DEBUG")
    who = people(5)
    run(sqlite_ledger, ScriptedStep({who[0].phone: [RETRY] * 4, who[1].phone: [LOST]}), who)
    assert "+1******0000 is left as it stands" in caplog.text
    assert not [one.phone for one in who if one.phone in caplog.text or one.phone[1:] in caplog.text]


def test_a_plan_needs_at_least_one_request_at_a_time() -> None:
    """Zero threads would wait for ever."""
    with pytest.raises(InvalidInput, match="concurrency"):
        replace(PLAN, concurrency=0)
