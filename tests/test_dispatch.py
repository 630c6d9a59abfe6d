"""The engine under all steps: everybody once, whatever breaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout

from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import OUR_REASONS, DeliveryState
from airflow_sms_flow.core.errors import (
    BugError,
    ConfigError,
    InvalidInput,
    QuotaExhausted,
    Stopped,
    Unavailable,
)
from airflow_sms_flow.courier import BUG_AFTER_REFUSALS
from airflow_sms_flow.dispatch import Dispatcher, Settled
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.outage import OutageRules
from airflow_sms_flow.steps.step import Decided, Recipient
from tests.dispatching import CAMPAIGN, PLAN, SHORT, run, states
from tests.scripted_step import LOST, OK, REJECTED, RETRY, Scripted, ScriptedStep, people

IN_DOUBT, REFUSED = DeliveryState.IN_DOUBT, DeliveryState.REFUSED
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


TOO_LONG = Decided(AnswerClass.REFUSED, "too_long", "rendered")
#: Probes after 0.1 and 0.3 seconds, then every 0.2: at most six before the try gives up.
SHORT_OUTAGE = OutageRules(first_probe_seconds=0.1, longest_probe_seconds=0.2, budget_seconds=1.0)
PROBES = 6


def _some(who: list[Recipient], percent: int) -> list[Recipient]:
    """So many of each hundred, evenly."""
    return [one for n, one in enumerate(who) if n % 10 < percent / 10]


@pytest.mark.parametrize("off_list", [0, 40, 60, 90])
def test_looks_that_go_well_do_not_hide_an_outage_of_requests(sqlite_ledger: Ledger, off_list: int) -> None:
    """Everybody on the list would end in doubt, one by one, and the task succeed."""
    who = people(2_000 if off_list == 90 else 600)
    failing = Answer(AnswerClass.IN_DOUBT, "server_error", "answered 500")
    step = ScriptedStep(looks={one.phone: [NOT_ON_LIST] for one in _some(who, off_list)}, always=failing)
    plan = replace(PLAN, outage=SHORT_OUTAGE)
    with pytest.raises(Unavailable):
        run(sqlite_ledger, step, who, plan)
    most = SHORT_OUTAGE.at_least + plan.concurrency + PROBES
    assert SHORT_OUTAGE.at_least < states(sqlite_ledger, who)["in_doubt"] <= most


def test_refusals_without_a_look_do_not_hide_an_outage_of_looks(sqlite_ledger: Ledger) -> None:
    """Nobody was asked about a text that is too long."""
    who = people(600)
    failing = Answer(AnswerClass.RETRY, "server_error", "answered 500")
    looks: dict[str, list[Scripted]] = {one.phone: [failing] * 3 for one in who}
    looks |= {one.phone: [TOO_LONG] for one in _some(who, 90)}
    step = ScriptedStep(looks=looks)
    with pytest.raises(Unavailable):
        run(sqlite_ledger, step, who, replace(PLAN, outage=SHORT_OUTAGE))
    assert step.requests == {}


def test_people_off_the_list_end_an_outage_of_looks(sqlite_ledger: Ledger) -> None:
    """They are answers like any other: the vendor is back."""
    who, failing = people(300), [Answer(AnswerClass.RETRY, "server_error", "answered 500")] * 22

    def look() -> Answer:
        return failing.pop() if failing else NOT_ON_LIST

    step = ScriptedStep(looks={one.phone: [look] * 3 for one in who})
    run(sqlite_ledger, step, who, replace(PLAN, outage=replace(SHORT_OUTAGE, budget_seconds=30.0)))
    assert states(sqlite_ledger, who)["refused"] > 280


def test_told_to_stop_it_settles_what_is_under_way(sqlite_ledger: Ledger) -> None:
    """Nothing is claimed any more, nothing is left in doubt, and it is gone in time."""
    who, stop = people(500), threading.Event()

    def slow() -> Answer:
        time.sleep(0.05)
        return OK

    step = ScriptedStep(always=slow)
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Stopped):
        Dispatcher(sqlite_ledger, step, PLAN, stop).run(who, len(who))
    stood = states(sqlite_ledger, who)
    assert stood.keys() <= {"accepted", "open", "none"}
    assert stood["accepted"] == sum(step.requests.values()) < 100
    run(sqlite_ledger, ScriptedStep(), who)
    assert states(sqlite_ledger, who) == {"accepted": 500}


@pytest.mark.parametrize("count", [200, 4], ids=["while handing out", "while waiting for the last"])
def test_airflows_own_time_out_settles_what_is_under_way(sqlite_ledger: Ledger, count: int) -> None:
    """`execution_timeout` is raised in the main thread, wherever that is, and no other word comes with it."""
    who, step = people(count), ScriptedStep(always=partial(slowly, 0.05 if count > 4 else 0.6))
    with pytest.raises(AirflowTaskTimeout), timeout(seconds=0.3):
        run(sqlite_ledger, step, who, replace(PLAN, finish_seconds=3.0))
    stood = states(sqlite_ledger, who)
    assert stood.keys() <= {"accepted", "open", "none"}
    assert stood["accepted"] == sum(step.requests.values()) < 100
    run(sqlite_ledger, step, who)
    assert states(sqlite_ledger, who) == {"accepted": count}
    assert set(step.requests.values()) == {1}


def test_a_request_that_hangs_is_in_doubt_afterwards(sqlite_ledger: Ledger) -> None:
    """Told to stop it waits `finish_seconds` and goes; the claim stands until its answer cannot come."""
    who, stop, free = people(3), threading.Event(), threading.Event()
    stopped_at: list[float] = []

    def hang() -> Answer:
        time.sleep(0.2)  # meanwhile the others are answered
        stopped_at.append(time.monotonic())
        stop.set()
        free.wait(20)
        return OK

    step = ScriptedStep({who[0].phone: [hang]})
    plan = replace(PLAN, lease=SHORT)
    with pytest.raises(Stopped):
        Dispatcher(sqlite_ledger, step, plan, stop).run(who, 3)
    assert time.monotonic() - stopped_at[0] < PLAN.finish_seconds + 0.5
    assert states(sqlite_ledger, who) == {"claimed": 1, "accepted": 2}
    run(sqlite_ledger, ScriptedStep(), who)
    free.set()
    assert states(sqlite_ledger, who) == {"in_doubt": 1, "accepted": 2}


def test_after_a_fault_of_the_task_slow_answers_are_waited_for(sqlite_ledger: Ledger) -> None:
    """Nobody waits for us to go, so nobody need be left in doubt."""
    who = people(2)

    def slow() -> Answer:
        time.sleep(1.0)
        return OK

    def forbidden() -> Answer:
        time.sleep(0.2)
        return Answer(AnswerClass.CONFIG, "forbidden", "answered 403")

    step = ScriptedStep({who[0].phone: [slow], who[1].phone: [forbidden]})
    with pytest.raises(ConfigError):
        run(sqlite_ledger, step, who)
    assert states(sqlite_ledger, who) == {"accepted": 1, "open": 1}


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
