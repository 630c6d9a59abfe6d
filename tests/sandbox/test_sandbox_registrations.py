"""Vibes' stand-in: registering for callbacks, and the test event."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_sms_flow.sandbox import accounts
from tests.sandbox.callback_receiver import Receiver
from tests.sandbox.conftest import MakeCaller
from tests.sandbox.sandbox_caller import CALLBACKS, SCOPES, Caller

TEST = "/companies/acme/config/callback_events/test"
URL = "http://127.0.0.1:9/hear"


def test_a_registration_is_listed_read_and_removed(caller: Caller) -> None:
    """Created with defaults, found by id and in the list, gone after DELETE."""
    assert caller.vibes("GET", CALLBACKS).json() == []
    created = caller.register("subscription_added", URL, start_date="2026-01-01")
    assert created.status_code == 201
    body = created.json()
    assert body["destination"] == {"url": URL, "method": "POST", "content_type": "application/json"}
    assert (body["subscription_added"], body["start_date"]) == ({"list_id": "1201"}, "2026-01-01")
    assert isinstance(body["callback_id"], str)
    assert caller.vibes("GET", body["url"]).json() == body
    assert caller.vibes("GET", CALLBACKS).json() == [body]
    assert caller.vibes("DELETE", body["url"]).status_code == 200
    for method in ("GET", "DELETE"):
        assert caller.vibes(method, body["url"]).status_code == 404


def test_putting_changes_what_is_given(caller: Caller) -> None:
    """Destination and scope may change; the type may not."""
    url = caller.register("subscription_added", URL).json()["url"]
    changed = {"destination": {"url": URL + "/new", "method": "PUT"}}
    body = caller.vibes("PUT", url, json=changed).json()
    assert (body["destination"]["url"], body["subscription_added"]) == (URL + "/new", {"list_id": "1201"})
    scope = {"callback_type": "subscription_added", "subscription_added": {"list_id": "1202"}}
    assert caller.vibes("PUT", url, json=scope).json()["subscription_added"] == {"list_id": "1202"}
    assert caller.vibes("PUT", url, json={"callback_type": "event_processed"}).status_code == 422
    assert caller.vibes("PUT", url, json={"subscription_added": {"list_id": "7"}}).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"callback_type": "device_added", "destination": {"url": URL}},
        {"callback_type": "subscription_added", "destination": {"url": URL}},
        {"callback_type": "subscription_added", "destination": {"url": URL}, "subscription_added": "1201"},
        {
            "callback_type": "subscription_added",
            "destination": {"url": URL},
            "subscription_added": {"list_id": "7"},
        },
        {
            "callback_type": "ack_participant_added",
            "destination": {"url": URL},
            "ack_participant_added": {"campaign_id": "1201"},
        },
        {
            "callback_type": "event_processed",
            "destination": {"url": URL},
            "event_processed": {"callbacks_to_send": "some"},
        },
        {
            "callback_type": "unmatched_message_received",
            "destination": {"url": URL},
            "unmatched_message_received": {"source_code": "99999"},
        },
        {"callback_type": "event_processed"},
        {"callback_type": "event_processed", "destination": {"url": "example.com/hear"}},
        {"callback_type": "event_processed", "destination": {"url": "http://x/" + "y" * 1016}},
        {"callback_type": "event_processed", "destination": {"url": "http://[x"}},
        {"callback_type": "event_processed", "destination": {"url": URL, "method": "GET"}},
        {"callback_type": "event_processed", "destination": {"url": URL, "content_type": "text/xml"}},
        {"callback_type": "event_processed", "destination": {"url": URL}, "end_date": "tomorrow"},
    ],
)
def test_a_malformed_registration_is_refused(caller: Caller, body: dict[str, Any]) -> None:
    """Type, scope and a whole address are needed; at most 1024 characters of it."""
    answer = caller.vibes("POST", CALLBACKS, json=body)
    assert (answer.status_code, bool(answer.json()["errors"][0]["message"])) == (422, True)
    assert caller.vibes("GET", CALLBACKS).json() == []


def test_the_portal_way_of_registering_is_taken_too(caller: Caller) -> None:
    """`event_type` for `callback_type`, an address of 1024 characters, and events without a scope object."""
    url = "http://127.0.0.1:9/" + "y" * 1005
    body = {"event_type": "event_processed", "destination": {"url": url}}
    created = caller.vibes("POST", CALLBACKS, json=body).json()
    assert (created["callback_type"], created["event_processed"]) == ("event_processed", {})


def test_only_the_owner_of_the_code_hears_unmatched_messages(caller: Caller) -> None:
    """Another company is refused: the code's primary account is not its."""
    other = (accounts.OTHER_VIBES_LOGIN, accounts.OTHER_VIBES_PASSWORD)
    body = {
        "callback_type": "unmatched_message_received",
        "destination": {"url": URL},
        "unmatched_message_received": SCOPES["unmatched_message_received"],
    }
    answer = caller.vibes("POST", CALLBACKS.replace("acme", "globex"), auth=other, json=body)
    assert answer.status_code == 422


def test_a_company_has_at_most_50_destinations(caller: Caller) -> None:
    """The 51st is refused; a place that was given back can be taken again."""
    answers = [caller.register("event_processed", f"{URL}/{one}") for one in range(51)]
    assert [one.status_code for one in answers] == [201] * 50 + [422]
    caller.vibes("DELETE", answers[0].json()["url"])
    assert caller.register("event_processed", URL).status_code == 201


def test_dates_come_under_either_name(make_caller: MakeCaller) -> None:
    """Specification and portal disagree; with moods both occur."""
    caller = make_caller(moods=True)
    for one in range(2):
        caller.register("event_processed", f"{URL}/{one}")
    names = [set(one) & {"created_at", "created_date"} for one in caller.vibes("GET", CALLBACKS).json()]
    assert sorted(names, key=str) == [{"created_at"}, {"created_date"}]


def test_the_test_event_arrives_with_the_id_of_its_answer(caller: Caller, receiver: Receiver) -> None:
    """201 with the id that the callback carries; values given replace those of the dummy."""
    caller.register("subscription_removed", receiver.url())
    subscription = {"person": {"id": "77"}, "subscription_list": {"id": "1201"}}
    body = {"callback_type": "subscription_removed", "subscription": subscription}
    answer = caller.vibes("POST", TEST, json=body)
    assert answer.status_code == 201
    (heard,) = receiver.wait_for(1)
    assert heard.json["event_id"] == answer.json()["event_id"]
    assert heard.json["subscription"]["subscription_list"]["id"] == "1201"
    assert heard.json["subscription"]["person"]["id"] == "77"
    assert heard.json["subscription"]["opt_out_reason"] == "user_opt_out"


@pytest.mark.parametrize(
    ("callback_type", "more"),
    [
        ("ack_participant_changed", {"participant": {"acquisition_campaign": {"api_key": "NEWS1201"}}}),
        ("company_participant_added", {}),
        ("event_processed", {"event_processed": {"event_id": "mine", "event_data": {"mdn": "+12025550100"}}}),
        ("person_updated", {"person": {"mobile": {"mdn": "+12025550100"}}}),
        ("subscription_list_added", {"subscription_list": {"id": "7", "name": "New"}}),
    ],
)
def test_other_types_have_a_test_event_too(
    caller: Caller, receiver: Receiver, callback_type: str, more: dict[str, Any]
) -> None:
    """Everything in the vendor's schema."""
    caller.register(callback_type, receiver.url())
    answer = caller.vibes("POST", TEST, json={"callback_type": callback_type} | more)
    assert answer.status_code == 201, answer.text
    (heard,) = receiver.wait_for(1)
    assert heard.json["event_type"] == callback_type


def test_a_test_event_needs_a_registration_and_its_scope(caller: Caller) -> None:
    """404 where nobody registered for this list; 422 where the scope is missing, or the type has no test."""

    def status(callback_type: str, **more: object) -> int:
        return caller.vibes("POST", TEST, json={"callback_type": callback_type, **more}).status_code

    assert status("event_processed") == 404
    caller.register("subscription_added", URL)
    assert status("subscription_added", subscription={"subscription_list": {"id": "1202"}}) == 404
    assert status("subscription_added") == 422
    assert status("subscription_added", subscription="1201") == 422
    assert status("ack_participant_added") == 422
    assert status("unmatched_message_received") == 422
    caller.register("event_processed", URL, end_date="2026-01-01")
    assert status("event_processed") == 404
