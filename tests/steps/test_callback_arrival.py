"""Waiting for test events: what ends it, and what is said."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_sms_flow.clients.throttle import Ring
from airflow_sms_flow.clients.vibes import Patience, VibesClient, VibesRings
from airflow_sms_flow.core.errors import BugError, ConfigError, Stopped, Unavailable
from airflow_sms_flow.core.registrations import Need, Registration
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.steps.callback_arrival import ArrivalCheck
from tests.clients.scripted_server import ScriptedServer, Step, answer, envelope
from tests.ledger.test_arrivals import keep

JOINED, LEFT = Need("subscription_added", "12"), Need("subscription_removed", "12")
FIRED = answer(201, {"message": "queued", "event_id": "cb-1"})
Check = Callable[..., ArrivalCheck]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Vibes, which only knows the test call."""
    with ScriptedServer(forever=FIRED) as running:
        yield running


@pytest.fixture
def check(server: ScriptedServer, sqlite_ledger: Ledger) -> Check:
    """A check that looks often."""
    client = VibesClient(
        host=server.url,
        company_key="acme",
        username="u",
        password="p",
        rings=VibesRings(Ring(1000, 0.1), Ring(1000, 0.1)),
        patience=Patience(attempts=2, first_wait=0.01),
    )

    def make(**parameters: Any) -> ArrivalCheck:
        return ArrivalCheck(client, sqlite_ledger, "acme", look_every_seconds=0.01, **parameters)

    return make


def test_one_event_of_each_type_is_fired(check: Check, server: ScriptedServer, sqlite_ledger: Ledger) -> None:
    """Rather about something that nobody else hears; and none for replies, which have no test event."""
    keep(sqlite_ledger, "111")
    theirs = Registration("1", "subscription_added", "12", "https://other.example.com/x")
    needs = (JOINED, LEFT, Need("subscription_added", "13"), Need("unmatched_message_received", "52623"))
    assert check().run(needs, [theirs], 5) == {"subscription_added": True, "subscription_removed": True}
    lists = [one.json()["subscription"]["subscription_list"]["id"] for one in server.requests]
    assert lists == ["13", "12"]


def test_a_registration_that_vibes_does_not_know_yet_is_asked_for_again(
    check: Check, server: ScriptedServer, sqlite_ledger: Ledger
) -> None:
    """It was made a moment ago."""
    keep(sqlite_ledger, "111")
    server.play(answer(404, envelope("x")), answer(404, envelope("x")))
    assert check().run([JOINED], [], 5) == {"subscription_added": True}
    assert len(server.requests) == 3


def test_one_that_was_taken_for_real_is_warned_of(check: Check, sqlite_ledger: Ledger) -> None:
    """With what puts it right, and without a number."""
    keep(sqlite_ledger, "111")
    sqlite_ledger.hear_all()
    warnings: list[str] = []
    check(warn=lambda words, *values: warnings.append(words % values)).run([JOINED], [], 5)
    assert "subscription_added" in warnings[0]
    assert "SyncSubscribersOperator" in warnings[0]
    assert "555" not in warnings[0]


def test_what_does_not_arrive_in_time_is_named(check: Check) -> None:
    """With everything that may be in the way."""
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"0.1 seconds for: subscription_added, subscription_removed"):
        check().run([JOINED, LEFT], [], 0.1)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        (answer(422, envelope("x")), ConfigError, "check_arrival=False"),
        (answer(405), BugError, "405"),
        (answer(401), ConfigError, "login"),
    ],
)
def test_a_test_that_vibes_refuses_says_that_the_registrations_stand(
    check: Check, server: ScriptedServer, step: Step, error: type[Exception], words: str
) -> None:
    """It is the test alone that failed."""
    server.play(step)
    with pytest.raises(error, match=f"registrations stand.*{words}"):
        check().run([JOINED], [], 5)


def test_waiting_ends_when_the_task_is_told_to_stop(check: Check) -> None:
    """Within one look."""
    with pytest.raises(Stopped):
        check(stop=lambda: True).run([JOINED], [], 60)
