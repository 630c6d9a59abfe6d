"""The sandbox's answers, held to the vendors' own specifications: statuses and JSON bodies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import requests

from airflow_sms_flow.sandbox import Sandbox, Settings
from tests.contract.sandbox_specs import Spec
from tests.sandbox.sandbox_caller import (
    CALLBACKS,
    DB,
    NEWS,
    OTHER,
    PERSON,
    SCOPES,
    THIRD,
    Caller,
    campaign_body,
)

ROOT = "/companies/{company_key}"
SPEC_DB = f"{ROOT}/mobiledb"
SPEC_NEWS = f"{ROOT}/campaigns/acquisition/{{acquisition_id}}"
BULK = "/bulk/v1/leads/export"


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    """A sandbox without moods: specifications do not know them."""
    settings = Settings(
        leads=50, moods=False, share_landline=0, export_queued_seconds=0, export_processing_seconds=0
    )
    with Sandbox(settings) as sandbox:
        caller = Caller(sandbox)
        caller.load(
            subscriptions=[{"phone": PERSON, "list_id": "1201", "external_person_id": "42"}],
            blocks=[{"phone": OTHER, "campaign_id": "NEWS1201"}],
        )
        yield caller


@pytest.fixture(scope="module")
def vibes() -> Spec:
    """Vibes' specification."""
    return Spec("vibes")


@pytest.fixture(scope="module")
def marketo() -> Spec:
    """Marketo's specification."""
    return Spec("marketo")


def hold(spec: Spec, template: str, answer: requests.Response, status: int) -> Any:
    """Check one answer; its body."""
    assert answer.status_code == status, answer.text
    body = answer.json() if answer.content else None
    if status < 400:
        spec.check(str(answer.request.method), template, status, body)
    else:
        assert str(status) in spec.responses(str(answer.request.method), template)
    return body


def test_a_checker_that_finds_nothing_would_be_noticed(vibes: Spec, marketo: Spec) -> None:
    """Wrong types, missing fields and undeclared statuses are found."""
    with pytest.raises(jsonschema.ValidationError):
        vibes.check("GET", f"{SPEC_DB}/persons", 200, {"person_key": 7})
    with pytest.raises(AssertionError, match="does not declare"):
        vibes.check("GET", f"{SPEC_DB}/persons", 500, {})
    with pytest.raises(jsonschema.ValidationError):
        marketo.check(
            "GET",
            f"{BULK}/{{exportId}}/status.json",
            200,
            {"requestId": "1", "success": True, "result": [{}]},
        )


def test_acquisition_campaigns_and_participants(caller: Caller, vibes: Spec) -> None:
    """List, get, search, and each outcome of adding somebody."""
    hold(
        vibes,
        f"{ROOT}/campaigns/acquisition",
        caller.vibes("GET", "/companies/acme/campaigns/acquisition"),
        200,
    )
    hold(vibes, SPEC_NEWS, caller.vibes("GET", NEWS), 200)
    hold(vibes, SPEC_NEWS, caller.vibes("GET", f"{NEWS}X"), 404)
    template = f"{SPEC_NEWS}/participants"
    for status in (201, 200):
        hold(vibes, template, caller.ask(THIRD, external_person_id="7"), status)
    hold(vibes, template, caller.ask(PERSON), 409)
    hold(vibes, template, caller.ask(OTHER), 422)
    hold(vibes, template, caller.ask("555"), 400)
    hold(vibes, template, caller.vibes("GET", f"{NEWS}/participants", params={"mdn": THIRD}), 200)
    hold(vibes, template, caller.vibes("GET", f"{NEWS}/participants", params={"mdn": "555"}), 400)


def test_subscription_lists(caller: Caller, vibes: Spec) -> None:
    """Lists, one list, its campaigns, a lookup."""
    lists, template = f"{DB}/subscription_lists", f"{SPEC_DB}/subscription_lists"
    hold(vibes, f"{template}/", caller.vibes("GET", f"{lists}/"), 200)
    hold(vibes, f"{template}/{{subscription_list_id}}", caller.vibes("GET", f"{lists}/1201"), 200)
    hold(vibes, f"{template}/{{subscription_list_id}}", caller.vibes("GET", f"{lists}/9"), 404)
    campaigns = caller.vibes("GET", f"{lists}/1201/acquisition_campaigns/")
    hold(vibes, f"{template}/{{subscription_list_id}}/acquisition_campaigns/", campaigns, 200)
    subscribers = f"{template}/{{subscription_list_id}}/subscribers"
    for phone, status in ((PERSON, 200), (OTHER, 404)):
        found = caller.vibes("GET", f"{lists}/1201/subscribers", params={"mdn": phone})
        hold(vibes, subscribers, found, status)


def test_persons_and_their_subscriptions(caller: Caller, vibes: Spec) -> None:
    """Create, find, update, subscriptions, leaving."""
    template, number = f"{SPEC_DB}/persons", "+12025550199"
    body = {"mobile_phone": {"mdn": number}, "external_person_id": "p1"}
    person = hold(vibes, f"{template}/", caller.vibes("POST", f"{DB}/persons/", json=body), 201)
    hold(vibes, f"{template}/", caller.vibes("POST", f"{DB}/persons/", json=body), 200)
    other = body | {"external_person_id": "p2"}
    hold(vibes, f"{template}/", caller.vibes("POST", f"{DB}/persons/", json=other), 409)
    hold(vibes, template, caller.vibes("GET", f"{DB}/persons", params={"mdn": number}), 200)
    for value, status in (("555", 400), ("+12025550198", 404)):
        hold(vibes, template, caller.vibes("GET", f"{DB}/persons", params={"mdn": value}), status)
    by_key, external = f"{template}/{{person_key}}", f"{template}/external/{{external_person_id}}"
    for shape, url in ((by_key, person["url"]), (external, f"{DB}/persons/external/p1")):
        hold(vibes, shape, caller.vibes("GET", url), 200)
        hold(vibes, shape, caller.vibes("GET", f"{url}x"), 404)
        hold(vibes, shape, caller.vibes("PUT", url, json={"custom_fields": {"first_name": "Ada"}}), 200)
        caller.load(subscriptions=[{"phone": number, "list_id": "1203"}])
        hold(vibes, f"{shape}/subscriptions", caller.vibes("GET", f"{url}/subscriptions"), 200)
        one = f"{shape}/subscriptions/{{subscription_list_id}}"
        hold(vibes, one, caller.vibes("GET", f"{url}/subscriptions/1203"), 200)
        hold(vibes, one, caller.vibes("DELETE", f"{url}/subscriptions/1203"), 204)
        hold(vibes, one, caller.vibes("DELETE", f"{url}/subscriptions/1203"), 404)


def test_events_and_their_campaigns(caller: Caller, vibes: Spec) -> None:
    """Create, list, get, change, cancel, and an event; source codes."""
    campaigns, template = f"{DB}/event_triggered_messages", f"{SPEC_DB}/event_triggered_messages"
    created = hold(vibes, template, caller.vibes("POST", campaigns, json=campaign_body()), 202)
    hold(vibes, template, caller.vibes("GET", campaigns), 200)
    one, url = f"{template}/{{event_triggered_message_id}}", created["targeting"]["url"]
    hold(vibes, one, caller.vibes("GET", url), 200)
    hold(vibes, one, caller.vibes("GET", f"{url}9"), 404)
    hold(vibes, one, caller.vibes("PUT", url, json={"name": "Other"}), 200)
    hold(vibes, one, caller.vibes("DELETE", url), 200)
    hold(vibes, one, caller.vibes("PUT", url, json={"name": "Late"}), 422)
    hold(vibes, f"{ROOT}/events", caller.send(), 202)
    hold(vibes, f"{ROOT}/sourcecodes", caller.vibes("GET", "/companies/acme/sourcecodes"), 200)


@pytest.mark.parametrize("callback_type", sorted(SCOPES))
def test_callback_registrations(caller: Caller, vibes: Spec, callback_type: str) -> None:
    """Register, list, get, change, remove, and a test event, for each type that the sandbox sends."""
    config, url = f"{ROOT}/config", "http://127.0.0.1:9/hear"
    dates = {"start_date": "2026-01-01", "end_date": "2126-01-01"}
    registered = hold(vibes, f"{config}/callbacks/", caller.register(callback_type, url, **dates), 201)
    # The specification declares a body for 200 only; 201 answers with the same object.
    vibes.check("POST", f"{config}/callbacks/", 200, registered)
    hold(vibes, f"{config}/callbacks/", caller.vibes("GET", CALLBACKS), 200)
    one, at = f"{config}/callbacks/{{callback_id}}", registered["url"]
    hold(vibes, one, caller.vibes("GET", at), 200)
    hold(vibes, one, caller.vibes("PUT", at, json={"destination": {"url": f"{url}/2"}}), 200)
    test = f"{config}/callback_events/test"
    if callback_type != "unmatched_message_received":
        scope = {"participant": {"acquisition_campaign": {"api_key": "NEWS1201"}}}
        scope |= {"subscription": {"subscription_list": {"id": "1201"}}}
        body = {"callback_type": callback_type} | scope
        fired = hold(vibes, test, caller.vibes("POST", test.format(company_key="acme"), json=body), 201)
        vibes.check("POST", test, 200, fired)
    hold(vibes, one, caller.vibes("DELETE", at), 200)
    hold(vibes, one, caller.vibes("GET", at), 404)
    hold(vibes, one, caller.vibes("DELETE", at), 404)


def test_identity_and_lead_fields(caller: Caller, marketo: Spec) -> None:
    """The token, both descriptions, leads by id and by filter."""
    query = "grant_type=client_credentials&client_id=sandbox-client&client_secret=sandbox-secret"
    for method in ("GET", "POST"):
        answer = requests.request(method, f"{caller.sandbox.url}/identity/oauth/token?{query}", timeout=5)
        hold(marketo, "/identity/oauth/token", answer, 200)
    for name in ("describe", "describe2"):
        path = f"/rest/v1/leads/{name}.json"
        hold(marketo, path, caller.marketo("GET", path), 200)
    found = caller.marketo("GET", "/rest/v1/leads.json?filterType=id&filterValues=100001,100002")
    hold(marketo, "/rest/v1/leads.json", found, 200)
    hold(marketo, "/rest/v1/lead/{leadId}.json", caller.marketo("GET", "/rest/v1/lead/100001.json"), 200)
    hold(marketo, "/rest/v1/lead/{leadId}.json", caller.marketo("GET", "/rest/v1/lead/1.json"), 200)


@pytest.mark.parametrize("kind", ["smart", "static"])
def test_list_assets(caller: Caller, marketo: Spec, kind: str) -> None:
    """Browse, by id, by name, and no hit."""
    base, list_id = "/rest/asset/v1", {"smart": 1001, "static": 5001}[kind]
    name = {"smart": "Nobody", "static": "Nobody (static)"}[kind]
    hold(marketo, f"{base}/{kind}Lists.json", caller.marketo("GET", f"{base}/{kind}Lists.json"), 200)
    for one in (list_id, 9):
        found = caller.marketo("GET", f"{base}/{kind}List/{one}.json")
        hold(marketo, f"{base}/{kind}List/{{id}}.json", found, 200)
    by_name = caller.marketo("GET", f"{base}/{kind}List/byName.json", params={"name": name})
    assert hold(marketo, f"{base}/{kind}List/byName.json", by_name, 200)["result"]


def test_lists_of_the_lead_database(caller: Caller, marketo: Spec) -> None:
    """Lists, one list, its members by both paths, adding and removing."""
    lists = "/rest/v1/lists"
    hold(marketo, f"{lists}.json", caller.marketo("GET", f"{lists}.json"), 200)
    hold(marketo, f"{lists}/{{listId}}.json", caller.marketo("GET", f"{lists}/5001.json"), 200)
    for path in (f"{lists}/{{listId}}/leads.json", "/rest/v1/list/{listId}/leads.json"):
        hold(marketo, path, caller.marketo("GET", path.replace("{listId}", "5001") + "?batchSize=5"), 200)
    for method in ("DELETE", "POST"):
        changed = caller.marketo(method, f"{lists}/5001/leads.json?id=100001&id=1")
        hold(marketo, f"{lists}/{{listId}}/leads.json", changed, 200)


def test_bulk_export(caller: Caller, marketo: Spec) -> None:
    """Create, enqueue, status, cancel, list, and an error in the envelope."""
    body = {"fields": ["id", "mobilePhone"], "filter": {"smartListId": 1001}}
    jobs = []
    for _ in range(2):
        created = hold(
            marketo, f"{BULK}/create.json", caller.marketo("POST", f"{BULK}/create.json", json=body), 200
        )
        jobs.append(f"{BULK}/{created['result'][0]['exportId']}")
    for action, job in (("cancel", jobs[0]), ("enqueue", jobs[1]), ("enqueue", jobs[1])):
        hold(
            marketo, f"{BULK}/{{exportId}}/{action}.json", caller.marketo("POST", f"{job}/{action}.json"), 200
        )
    status = hold(
        marketo, f"{BULK}/{{exportId}}/status.json", caller.marketo("GET", f"{jobs[1]}/status.json"), 200
    )
    assert status["result"][0]["status"] == "Completed"
    hold(marketo, f"{BULK}.json", caller.marketo("GET", f"{BULK}.json"), 200)
    file = caller.marketo("GET", f"{jobs[1]}/file.json")
    marketo.check("GET", f"{BULK}/{{exportId}}/file.json", 200, file.text)
