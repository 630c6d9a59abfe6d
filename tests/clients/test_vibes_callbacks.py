"""Registrations of callbacks: what is sent, and what each answer means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from airflow_sms_flow.clients.vibes import VibesClient
from airflow_sms_flow.core.answers import AnswerClass
from airflow_sms_flow.core.callback_tests import is_test_callback
from airflow_sms_flow.core.errors import BugError, ConfigError, Unavailable
from airflow_sms_flow.core.registrations import Need
from tests.clients.scripted_server import ScriptedServer, Step, answer, envelope, reset

OK, ALREADY, RETRY = AnswerClass.OK, AnswerClass.ALREADY, AnswerClass.RETRY
CONFIG, BUG, IN_DOUBT = AnswerClass.CONFIG, AnswerClass.BUG, AnswerClass.IN_DOUBT
Play = Callable[..., VibesClient]

OURS = "https://flow.example.com/sms-flow/callbacks/an-unguessable-secret"
JOINED = Need("subscription_added", "12")


def registered(**changes: Any) -> dict[str, Any]:
    """A registration as Vibes shows it."""
    return {
        "callback_id": "77",
        "callback_type": "subscription_added",
        "subscription_added": {"list_id": "12"},
        "destination": {"url": OURS, "method": "POST", "content_type": "application/json"},
        "url": "/companies/ACME/config/callbacks/77",
        "created_date": "2026-01-02T03:04:05Z",
        **changes,
    }


def test_registrations_are_read(play: Play, server: ScriptedServer) -> None:
    """Ids as text or number, either name of the type, either pair of dates, and types of other people."""
    client = play(
        answer(
            200,
            [
                registered(callback_id=77, subscription_added={"list_id": 12}, end_date="2026-12-31"),
                registered(callback_type=None, event_type="subscription_added", created_at="2026-01-02"),
                registered(callback_type="person_added", start_date="whenever", destination=None),
                registered(callback_type="event_processed", event_processed={"callbacks_to_send": "Routing"}),
                registered(callback_type="event_processed", event_processed=None),
                registered(
                    callback_type="unmatched_message_received",
                    unmatched_message_received={"source_code": 52623, "country_code": "1"},
                ),
            ],
        )
    )
    first, second, others, routing, every, replies = client.list_callbacks()
    assert (first.id, first.subject, first.url, first.end_date) == ("77", "12", OURS, date(2026, 12, 31))
    assert (second.callback_type, second.subject, second.end_date) == ("subscription_added", "12", None)
    assert (others.callback_type, others.subject, others.url) == ("person_added", None, "")
    assert (routing.subject, routing.callbacks_to_send) == (None, "routing")
    assert (every.subject, every.callbacks_to_send) == (None, "all")
    assert (replies.subject, replies.country_code) == ("52623", "1")
    assert server.requests[0].path == "/companies/ACME/config/callbacks/"


def test_a_registration_does_not_show_its_secret() -> None:
    """Neither in a log line nor in a traceback."""
    from airflow_sms_flow.clients.vibes_callbacks import parse_registration

    assert "unguessable" not in repr(parse_registration(registered()))


def test_one_registration_is_read_by_its_id(play: Play) -> None:
    """An unknown one is said by its id."""
    client = play(answer(200, registered()), answer(404, envelope("x")))
    assert client.get_callback("77").subject == "12"
    with pytest.raises(ConfigError, match="callback_id='78'"):
        client.get_callback("78")


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"<html>", "cannot be read"), ([{"callback_type": "x"}], "cannot be read"), ({}, "cannot be read")],
)
def test_what_cannot_be_read_is_not_taken_for_no_registrations(
    make_vibes: Play, body: object, words: str
) -> None:
    """Else everything would be registered a second time."""
    with ScriptedServer(forever=answer(200, body)) as server, pytest.raises(Unavailable, match=words):
        make_vibes(server.url).list_callbacks()


@pytest.mark.parametrize(
    ("need", "scope"),
    [
        (JOINED, {"list_id": "12"}),
        (Need("ack_participant_changed", "ACQ1"), {"campaign_id": "ACQ1"}),
        (Need("event_processed", "offer"), {"event_type": "offer", "callbacks_to_send": "all"}),
        (
            Need("unmatched_message_received", "52623", "1"),
            {"source_code": "52623", "country_code": "1"},
        ),
        (Need("unmatched_message_received", "52623"), {"source_code": "52623"}),
    ],
)
def test_a_registration_names_what_it_is_about(
    play: Play, server: ScriptedServer, need: Need, scope: dict[str, str]
) -> None:
    """The scope object is named like the type; version 2 is what makes later numbers E.164."""
    play(answer(201, registered())).register_callback(need, OURS)
    (request,) = server.requests
    assert request.headers["x-api-version"] == "2"
    assert request.json() == {
        "callback_type": need.callback_type,
        need.callback_type: scope,
        "destination": {"url": OURS, "method": "POST", "content_type": "application/json"},
    }


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (answer(201, registered()), OK, "created"),
        (answer(200, registered()), OK, "created"),
        (answer(201), OK, "created"),
        (answer(201, b"<html>"), IN_DOUBT, "unreadable"),
        (answer(409, envelope("x")), ALREADY, "exists"),
        (answer(400, envelope("x")), CONFIG, "refused"),
        (answer(422, envelope("x")), CONFIG, "refused"),
        (answer(404, envelope("x")), CONFIG, "not_found"),
        (answer(401), CONFIG, "credentials"),
        (answer(405), BUG, "unexpected_status"),
        (answer(429), RETRY, "rate_limited"),
        (answer(503, envelope("x")), RETRY, "unavailable"),
        (answer(500), IN_DOUBT, "server_error"),
        (reset, IN_DOUBT, "no_answer"),
    ],
)
def test_registering_is_tried_once(
    play: Play, server: ScriptedServer, step: Step, kind: AnswerClass, reason: str
) -> None:
    """After a lost answer the caller looks first: a second one would tell everything twice."""
    got = play(step).register_callback(JOINED, OURS)
    assert (got.kind, got.reason) == (kind, reason)
    assert len(server.requests) == 1
    assert "unguessable" not in got.detail


def test_a_refused_registration_says_what_to_check(play: Play) -> None:
    """The field that was given, and the address."""
    got = play(answer(422, envelope("x"))).register_callback(JOINED, OURS)
    assert "list_id" in got.detail
    assert "https" in got.detail


def test_deleting_repeats_until_it_is_gone(play: Play, server: ScriptedServer) -> None:
    """A repeat is harmless, and 404 is what was wanted."""
    play(answer(500), reset, answer(404, envelope("x"))).delete_callback("77")
    assert [(one.method, one.path) for one in server.requests] == [
        ("DELETE", "/companies/ACME/config/callbacks/77")
    ] * 3
    play(answer(200)).delete_callback("78")


def test_a_gateways_404_does_not_count_as_gone(make_vibes: Play) -> None:
    """The old address would go on hearing everything."""
    with ScriptedServer(forever=answer(404, b"<html>")) as server, pytest.raises(Unavailable):
        make_vibes(server.url).delete_callback("77")


@pytest.mark.parametrize(
    ("need", "place"),
    [
        (Need("ack_participant_added", "ACQ1"), ("participant", "acquisition_campaign", "api_key")),
        (Need("ack_participant_changed", "ACQ1"), ("participant", "acquisition_campaign", "api_key")),
        (JOINED, ("subscription", "subscription_list", "id")),
        (Need("subscription_removed", "12"), ("subscription", "subscription_list", "id")),
    ],
)
def test_a_test_event_says_what_it_is_about(
    play: Play, server: ScriptedServer, need: Need, place: tuple[str, ...]
) -> None:
    """Where the vendor's description wants it."""
    got = play(answer(201, {"message": "queued", "event_id": "cb-1"})).fire_test_callback(need)
    assert (got.kind, got.reason, got.value) == (OK, "fired", "cb-1")
    found = server.requests[0].json()
    assert found["callback_type"] == need.callback_type
    for name in place:
        found = found[name]
    assert found == need.subject


@pytest.mark.parametrize("kind", ["ack_participant_added", "subscription_removed", "event_processed"])
def test_a_test_event_carries_our_mark(play: Play, server: ScriptedServer, kind: str) -> None:
    """What is passed overrides the vendor's made-up values, so the callback is known by it."""
    play(answer(201, {"event_id": 5})).fire_test_callback(Need(kind, "12"))
    assert is_test_callback(server.requests[0].json())


@pytest.mark.parametrize(
    ("step", "kind", "reason"),
    [
        (answer(404, envelope("x")), CONFIG, "not_registered"),
        (answer(422, envelope("x")), CONFIG, "refused"),
        (answer(405), BUG, "unexpected_status"),
    ],
)
def test_what_else_a_test_event_is_answered(play: Play, step: Step, kind: AnswerClass, reason: str) -> None:
    """404 is the vendor's word for "nobody is registered for that"."""
    got = play(step).fire_test_callback(JOINED)
    assert (got.kind, got.reason) == (kind, reason)


def test_a_test_event_is_repeated_after_a_lost_answer(play: Play, server: ScriptedServer) -> None:
    """One more does no harm, and without an answer its id is unknown."""
    got = play(reset, answer(201, {"message": "x"}), answer(201, {"event_id": "2"})).fire_test_callback(
        JOINED
    )
    assert (got.value, len(server.requests)) == ("2", 3)


def test_unmatched_messages_have_no_test_event(vibes: VibesClient) -> None:
    """The vendor describes none."""
    with pytest.raises(BugError, match="unmatched_message_received"):
        vibes.fire_test_callback(Need("unmatched_message_received", "52623"))
