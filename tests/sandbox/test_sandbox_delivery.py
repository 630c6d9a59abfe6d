"""Vibes' stand-in: how callbacks are delivered, lost, doubled, shuffled, tried again and given up."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter

import pytest
import requests

from tests.sandbox.callback_receiver import Heard, Receiver
from tests.sandbox.conftest import MakeCaller
from tests.sandbox.sandbox_caller import Caller, wait_until


def burst(caller: Caller, count: int, callback_type: str = "event_processed", **more: object) -> None:
    """So many made-up callbacks."""
    body = {"callback_type": callback_type, "count": count, **more}
    caller.panel("POST", "callbacks/burst", json=body)


def hear(make_caller: MakeCaller, receiver: Receiver, **settings: object) -> Caller:
    """A sandbox whose event callbacks go to the receiver without delay."""
    caller = make_caller(**({"callback_delay_seconds": 0.0} | settings))
    assert caller.register("event_processed", receiver.url()).status_code == 201
    return caller


def ids(heard: list[Heard]) -> Counter[str]:
    """How often each event came."""
    return Counter(one.json["event_id"] for one in heard)


def test_every_callback_comes_once_where_nothing_goes_wrong(
    make_caller: MakeCaller, receiver: Receiver
) -> None:
    """The record counts them as made and sent, and nothing else."""
    caller = hear(make_caller, receiver)
    burst(caller, 100)
    counts = caller.until_settled()["event_processed"]
    assert counts == {"made": 100, "sent": 100, "duplicated": 0, "retried": 0, "failed": 0, "lost": 0}
    assert set(ids(receiver.heard).values()) == {1}
    assert caller.callbacks()["destinations"][0]["state"] == "up"


def test_a_share_comes_twice(make_caller: MakeCaller, receiver: Receiver) -> None:
    """The same event id in both."""
    caller = hear(make_caller, receiver, share_callbacks_duplicated=0.3)
    burst(caller, 200)
    counts = caller.until_settled()["event_processed"]
    assert 30 < counts["duplicated"] < 90
    assert (counts["sent"], len(receiver.heard)) == (200 + counts["duplicated"],) * 2
    assert sum(times == 2 for times in ids(receiver.heard).values()) == counts["duplicated"]


def test_a_share_never_comes(make_caller: MakeCaller, receiver: Receiver) -> None:
    """The record alone knows which these were."""
    caller = hear(make_caller, receiver, share_callbacks_lost=0.2)
    burst(caller, 200)
    counts = caller.until_settled()["event_processed"]
    assert 20 < counts["lost"] < 65
    lost = caller.panel("GET", "callbacks/record", params={"what": "lost"})["entries"]
    made = caller.panel("GET", "callbacks/record", params={"what": "made"})["entries"]
    assert {one["event_id"] for one in made} - set(ids(receiver.heard)) == {one["event_id"] for one in lost}
    assert made[0]["payload"]["event_type"] == "event_processed"


def test_callbacks_overtake_each_other(make_caller: MakeCaller, receiver: Receiver) -> None:
    """Within the window that is set; without one and over one connection they keep their order."""

    def order() -> list[str]:
        return [one.json["event_processed"]["event_id"] for one in receiver.heard]

    caller = hear(make_caller, receiver, callback_connections=1)
    burst(caller, 50)
    caller.until_settled()
    assert order() == sorted(order())
    receiver.heard.clear()
    caller.panel("POST", "settings", json={"callback_reorder_seconds": 0.5})
    burst(caller, 50)
    caller.until_settled()
    assert order() != sorted(order())
    assert len(order()) == 50


@pytest.mark.parametrize("status", [500, 503, 302])
def test_a_5xx_and_a_3xx_are_tried_again(make_caller: MakeCaller, receiver: Receiver, status: int) -> None:
    """After the interval, until they are taken."""
    caller = hear(make_caller, receiver, callback_retry_seconds=0.2)
    answers = itertools.chain([status, status], itertools.repeat(204))
    receiver.answer = lambda heard: next(answers)
    burst(caller, 1)
    counts = caller.until_settled()["event_processed"]
    assert (counts["sent"], counts["retried"], counts["failed"]) == (1, 2, 0)
    first, second, third = receiver.heard
    assert first.body == second.body == third.body
    assert second.at - first.at >= 0.2


def test_no_answer_in_time_is_tried_again(make_caller: MakeCaller, receiver: Receiver) -> None:
    """It may have been received all the same: this is how duplicates come about."""
    caller = hear(make_caller, receiver, callback_timeout_seconds=0.2, callback_retry_seconds=0.1)
    answers = itertools.chain([0], itertools.repeat(200))
    receiver.answer = lambda heard: next(answers)
    burst(caller, 1)
    counts = caller.until_settled()["event_processed"]
    assert (counts["sent"], counts["retried"]) == (1, 1)
    assert set(ids(receiver.heard).values()) == {2}


@pytest.mark.parametrize("status", [400, 404, 413, 429])
def test_a_4xx_is_final(make_caller: MakeCaller, receiver: Receiver, status: int) -> None:
    """Straight into the failure queue, which can be sent once more by hand."""
    caller = hear(make_caller, receiver)
    receiver.status = status
    burst(caller, 1)
    counts = caller.until_settled()["event_processed"]
    assert (counts["sent"], counts["retried"], counts["failed"]) == (0, 0, 1)
    (failure,) = caller.callbacks()["failures"]
    assert [failure["event_id"]] == list(ids(receiver.heard))
    receiver.status = 204
    assert caller.panel("POST", "callbacks/resend") == {"resent": 1}
    caller.until_settled()
    assert caller.callbacks()["failures"] == []
    assert len(receiver.heard) == 2


def test_after_the_last_attempt_it_joins_the_failure_queue(
    make_caller: MakeCaller, receiver: Receiver
) -> None:
    """Intervals are of the sandbox's clock."""
    caller = hear(make_caller, receiver, callback_attempts=3, callback_retry_seconds=60.0)
    receiver.status = 500
    burst(caller, 1)
    for attempts in (1, 2, 3):
        receiver.wait_for(attempts)
        wait_until(
            lambda: sum(one["retried"] + one["failed"] for one in counts(caller)) == len(receiver.heard)
        )
        caller.advance(60)
    assert caller.until_settled()["event_processed"]["failed"] == 1
    assert len(receiver.heard) == 3


def counts(caller: Caller) -> list[dict[str, int]]:
    """The counts of every type."""
    return list(caller.callbacks()["counts"].values())


def test_an_address_that_keeps_failing_is_downed_and_recovers(
    make_caller: MakeCaller, receiver: Receiver
) -> None:
    """For a while nothing goes there, and no attempt is lost; others do not suffer; then it goes on."""
    caller = hear(
        make_caller,
        receiver,
        callback_connections=1,
        callback_downed_after=3,
        callback_downed_seconds=120.0,
        callback_retry_seconds=0.1,
        callback_attempts=5,
    )
    receiver.answer = lambda heard: 503 if heard.path.startswith("/hear") else 200
    burst(caller, 20)
    wait_until(lambda: [one["state"] for one in caller.callbacks()["destinations"]] == ["downed"])
    caller.register("subscription_added", receiver.url("/other"))
    burst(caller, 5, "subscription_added")
    wait_until(lambda: sum(one.path == "/other" for one in receiver.heard) == 5)
    time.sleep(0.3)
    assert sum(one.path != "/other" for one in receiver.heard) == 3
    assert caller.callbacks()["waiting"] == 20
    receiver.answer = lambda heard: 204
    caller.advance(121)
    settled = caller.until_settled()["event_processed"]
    assert (settled["sent"], settled["failed"], settled["retried"]) == (20, 0, 3)
    (downed, _) = caller.callbacks()["destinations"]
    assert (downed["state"], downed["times_downed"], downed["failures_in_a_row"]) == ("up", 1, 0)


def test_nobody_at_the_address_is_like_a_5xx(make_caller: MakeCaller) -> None:
    """A refused connection is tried again; a receiver that starts later gets everything."""
    gone = Receiver()
    url = gone.url()
    gone.stop()
    caller = make_caller(callback_delay_seconds=0.0, callback_retry_seconds=0.1, callback_downed_after=1000)
    caller.register("event_processed", url)
    burst(caller, 5)
    wait_until(lambda: caller.callbacks()["counts"]["event_processed"]["retried"] >= 5)
    assert caller.callbacks()["counts"]["event_processed"]["sent"] == 0
    caller.panel("POST", "settings", json={"callback_attempts": 1})
    assert caller.until_settled()["event_processed"]["failed"] == 5


def test_a_connection_that_the_receiver_closed_is_opened_again(
    make_caller: MakeCaller, receiver: Receiver
) -> None:
    """That is no failure of anybody's, and no attempt."""
    caller = hear(make_caller, receiver, callback_connections=1)
    burst(caller, 1)
    caller.until_settled()
    receiver.close_connections()
    burst(caller, 1)
    settled = caller.until_settled()["event_processed"]
    assert (settled["sent"], settled["retried"]) == (2, 0)


def test_a_destination_chooses_method_and_content_type(caller: Caller, receiver: Receiver) -> None:
    """PUT and text/json, where registered so."""
    destination = {"url": receiver.url(), "method": "PUT", "content_type": "text/json"}
    caller.register("event_processed", "", destination=destination)
    burst(caller, 1)
    (heard,) = receiver.wait_for(1)
    assert (heard.method, heard.content_type) == ("PUT", "text/json")


def test_a_burst_keeps_its_pace(make_caller: MakeCaller, receiver: Receiver) -> None:
    """`per_second` spreads it; each is about another person."""
    caller = hear(make_caller, receiver)
    started = time.monotonic()
    burst(caller, 60, per_second=100, first=7)
    receiver.wait_for(60)
    assert 0.5 < time.monotonic() - started < 3
    assert len({one.json["event_processed"]["event_data"]["mdn"] for one in receiver.heard}) == 60


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"callback_type": "person_added", "count": 1}, "callback_type"),
        ({"callback_type": "event_processed", "count": 0}, "count"),
        ({"callback_type": "event_processed", "count": 1, "per_second": 0}, "per_second"),
        ({"callback_type": "event_processed", "count": 1, "first": "a"}, "first"),
    ],
)
def test_a_senseless_burst_is_refused(
    make_caller: MakeCaller, receiver: Receiver, body: dict[str, object], field: str
) -> None:
    """With the field and what to give."""
    caller = hear(make_caller, receiver)
    answer = requests.post(f"{caller.sandbox.url}/_sandbox/callbacks/burst", json=body, timeout=5)
    assert (answer.status_code, field in answer.json()["error"]) == (400, True)


def test_stopping_and_resetting_end_what_is_under_way(make_caller: MakeCaller, receiver: Receiver) -> None:
    """Also a post that nobody answers; a new beginning knows no registrations."""
    caller = hear(make_caller, receiver, callback_timeout_seconds=60.0)
    receiver.status = 0
    burst(caller, 10)
    receiver.wait_for(4)
    caller.panel("POST", "reset")
    assert caller.callbacks()["registrations"] == []
    assert caller.callbacks()["waiting"] == 0
    assert caller.register("event_processed", receiver.url()).status_code == 201
    burst(caller, 10)
    receiver.wait_for(8)
    started, before = time.monotonic(), threading.active_count()
    caller.sandbox.stop()
    assert time.monotonic() - started < 2
    assert threading.active_count() < before
