"""Vibes' stand-in: event-triggered campaigns, and what becomes of an event after its 202."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_sms_flow.sandbox.vibes.events import render
from tests.sandbox.sandbox_caller import DB, EVENTS, OTHER, PERSON, THIRD, Caller, campaign_body

CAMPAIGNS = f"{DB}/event_triggered_messages"


@pytest.fixture
def running(caller: Caller) -> Caller:
    """PERSON is on list 1201, and the campaign runs."""
    caller.load(subscriptions=[{"phone": PERSON, "list_id": "1201", "external_person_id": "42"}])
    caller.create_campaign()
    caller.advance(5)
    return caller


def test_an_event_becomes_a_text_only_later(running: Caller) -> None:
    """202 with the event_id means accepted; the text comes on the sandbox's clock."""
    answer = running.send(event_id="E1")
    assert (answer.status_code, answer.json()) == (202, {"event_id": "E1"})
    running.advance(1)
    assert running.texts() == ["Hello"]
    (effect,) = running.effects("text_delivered")
    assert (effect["event_id"], effect["phone"], effect["list_id"]) == ("E1", PERSON, "1201")


def test_a_campaign_is_scheduled_before_it_runs(caller: Caller) -> None:
    """202 is not "ready": an event that comes too early finds no route."""
    campaign = caller.create_campaign()
    assert campaign["status"] == "scheduled"
    assert caller.vibes("GET", CAMPAIGNS, params={"status": "in_progress"}).json() == []
    caller.send(event_id="early")
    caller.advance(0.5)
    assert [one["reason"] for one in caller.effects("event_dropped")] == ["no_route_rules"]
    caller.advance(5)
    found = caller.vibes("GET", CAMPAIGNS, params={"status": "in_progress", "event_type": "PROMO"}).json()
    assert [one["event_triggered_message_id"] for one in found] == [campaign["event_triggered_message_id"]]
    assert caller.vibes("GET", CAMPAIGNS, params={"event_type": "other"}).json() == []


def test_everybody_gets_202_and_not_everybody_a_text(running: Caller) -> None:
    """Not on the list, unknown, landline, unknown event type: accepted, then dropped with a reason."""
    running.load(
        persons=[{"phone": OTHER}],
        subscriptions=[{"phone": "+12025550100", "list_id": "1201"}],
        phones=[{"phone": "+12025550100", "carrier": "landline"}],
    )
    for number in (OTHER, THIRD, "+12025550100"):
        assert running.send(number).status_code == 202
    assert running.send(event_type="nothing").status_code == 202
    running.advance(1)
    assert [one["reason"] for one in running.effects("event_dropped")] == [
        "person_not_in_subscription_list",
        "person_not_found",
        "carrier_not_supported",
        "no_route_rules",
    ]
    assert running.effects("text_delivered") == []


def test_a_person_is_named_in_several_ways_but_in_one_at_a_time(running: Caller) -> None:
    """By person_key or external id as well; two identifiers or none are refused."""
    key = running.vibes("GET", f"{DB}/persons/external/42").json()["person_key"]
    for name, value in (("person_key", key), ("person_id", key), ("external_person_id", "42")):
        assert running.send(event_data={name: value, "message_body": name}).status_code == 202
    running.advance(1)
    assert running.texts() == ["person_key", "person_id", "external_person_id"]
    assert running.send(event_data={"mdn": PERSON, "person_key": key}).status_code == 422
    assert running.send(event_data={"message_body": "x"}).status_code == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"event_type": "two words"}, 422),
        ({"event_data": "text"}, 422),
        ({"event_data": {"mdn": "2025550132"}}, 400),
        ({"event_id": 7}, 422),
        ({"event_data": {"mdn": PERSON, "message_body": "x" * 17_000}}, 413),
    ],
)
def test_a_malformed_event_is_refused_at_once(caller: Caller, body: dict[str, Any], status: int) -> None:
    """Missing fields, bad names, bad numbers and more than 16 KB never become events."""
    whole = {"event_type": "promo", "event_data": {"mdn": PERSON}} | body if body else {}
    assert caller.vibes("POST", EVENTS, json=whole).status_code == status
    assert caller.effects("event_accepted") == []


@pytest.mark.parametrize(("setting", "texts"), [("deliver", 2), ("drop", 1)])
def test_a_reused_event_id_is_written_down(running: Caller, setting: str, texts: int) -> None:
    """A second copy is delivered by default, so that a double send shows, and recorded in any case."""
    running.panel("POST", "settings", json={"reused_event_id": setting})
    for _ in range(2):
        assert running.send(event_id="same").status_code == 202
    running.advance(1)
    assert len(running.texts()) == texts
    assert [one["event_id"] for one in running.effects("event_reused")] == ["same"]


def test_two_campaigns_of_one_type_send_twice(running: Caller) -> None:
    """Whoever creates a second campaign sees its text, too."""
    running.create_campaign(event_type="Promo")
    running.advance(5)
    running.send()
    running.advance(1)
    assert len(running.texts()) == 2


def test_nothing_inside_a_value_is_evaluated() -> None:
    """The campaign's template is rendered, once; what a person's name looks like does not matter."""
    data = {"message_body": "{{ ev.secret }} {% raw %} \\1 \\g<0>", "secret": "told", "n": 3, "none": None}
    assert render("{{ ev.message_body }}", data) == data["message_body"]
    assert render("Hi {{ev.name | default: 'there'}}, {{ ev.n }}{{ ev.none }}!", data) == "Hi there, 3!"
    assert render('{{ ev.none | default: "x" }}{{ person.name }}{{ ev.gone }}', data) == "x"


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"event_type": "two words"},
        {"start_date": "tomorrow"},
        {"start_date": None},
        {"targeting": None},
        {"targeting": {"message_template": "x"}},
        {"targeting": campaign_body()["targeting"] | {"message_template": ""}},
        {"targeting": campaign_body()["targeting"] | {"sms": {"sourcecode": "99999"}}},
        {"targeting": campaign_body()["targeting"] | {"channel": "SMS"}},
    ],
)
def test_a_malformed_campaign_is_refused(caller: Caller, change: dict[str, Any]) -> None:
    """Name, type, date, template and our own short code are all needed."""
    assert caller.vibes("POST", CAMPAIGNS, json=campaign_body() | change).status_code == 422
    assert caller.vibes("GET", CAMPAIGNS).json() == []


@pytest.mark.parametrize("value", [["1201"], [77], "1201", [True]])
def test_a_subscription_filter_takes_existing_lists_as_numbers(caller: Caller, value: Any) -> None:
    """A list id as text, or of no list, is refused rather than ignored."""
    body = campaign_body()
    body["targeting"]["filters"][0]["value"] = value
    assert caller.vibes("POST", CAMPAIGNS, json=body).status_code == 422


def test_a_running_campaign_changes_and_ends(running: Caller) -> None:
    """PUT keeps what is omitted; the start date of a running one stands; canceled is final."""
    (campaign,) = running.vibes("GET", CAMPAIGNS).json()
    url = campaign["targeting"]["url"]
    targeting = campaign_body()["targeting"] | {"message_template": "New: {{ ev.message_body }}"}
    changed = running.vibes("PUT", url, json={"targeting": targeting, "start_date": campaign["start_date"]})
    assert changed.json()["targeting"]["message_template"] == "New: {{ ev.message_body }}"
    assert changed.json()["name"] == "Promo"
    assert running.vibes("PUT", url, json={"start_date": "2031-01-01"}).status_code == 422
    assert running.vibes("DELETE", url).json()["status"] == "canceled"
    assert running.vibes("PUT", url, json={"name": "x"}).status_code == 422
    assert running.vibes("GET", url).json()["status"] == "canceled"
    assert running.vibes("GET", f"{CAMPAIGNS}/999").status_code == 404
    running.send()
    running.advance(1)
    assert running.texts() == []


def test_a_campaign_waits_for_its_start_and_ends_after_its_end(caller: Caller) -> None:
    """Dates decide: scheduled until the first, ended after the last."""
    assert caller.create_campaign(start_date="2126-01-01")["status"] == "scheduled"
    caller.create_campaign(end_date="2026-01-02")
    caller.advance(5)
    states = [one["status"] for one in caller.vibes("GET", CAMPAIGNS).json()]
    assert states == ["scheduled", "ended"]
