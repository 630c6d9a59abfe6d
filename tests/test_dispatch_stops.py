"""The engine in an outage, and told to stop: it waits, or settles what is under way and goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout

from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.errors import (
    ConfigError,
    Stopped,
    Unavailable,
)
from airflow_sms_flow.dispatch import Dispatcher
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.outage import OutageRules
from airflow_sms_flow.steps.step import Decided, Recipient
from tests.dispatching import PLAN, SHORT, run, states
from tests.scripted_step import OK, Scripted, ScriptedStep, people

NOT_ON_LIST = Answer(AnswerClass.REFUSED, "not_subscribed", "looked")
TOO_LONG = Decided(AnswerClass.REFUSED, "too_long", "rendered")
#: Probes after 0.1 and 0.3 seconds, then every 0.2: at most six before the try gives up.
SHORT_OUTAGE = OutageRules(first_probe_seconds=0.1, longest_probe_seconds=0.2, budget_seconds=1.0)
PROBES = 6


def slowly(seconds: float) -> Answer:
    """A good answer, after so long."""
    time.sleep(seconds)
    return OK


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


def test_after_an_audience_that_breaks_off_slow_answers_are_waited_for(
    sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the main thread is no hurry, either: only a time-out, or somebody who stops us, is."""
    monkeypatch.setattr("airflow_sms_flow.dispatch._BATCH", 1)
    who, step = people(2), ScriptedStep(always=partial(slowly, 1.5))

    def breaks_off(settled: object) -> Iterator[Recipient]:
        yield from who
        time.sleep(0.3)  # both are under way
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="the store is gone"):
        Dispatcher(sqlite_ledger, step, PLAN).run(breaks_off)
    assert states(sqlite_ledger, who) == {"accepted": 2}


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
