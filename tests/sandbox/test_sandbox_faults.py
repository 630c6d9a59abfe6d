"""What goes wrong on request, with and without its effect."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from tests.sandbox.sandbox_caller import DB, EVENTS, NEWS, PERSON, Caller, wait_until

EXPORT = "/bulk/v1/leads/export"
ANY_EVENT = {"vendor": "vibes", "method": "POST", "path": "/companies/*/events"}


def strike(caller: Caller, kind: str, **rule: Any) -> None:
    caller.panel("POST", "faults", json={"kind": kind, "count": 1, **rule})


@pytest.mark.parametrize(("kind", "effects"), [("reset_before", 0), ("reset_after", 1)])
def test_a_connection_is_reset_without_or_with_the_effect(caller: Caller, kind: str, effects: int) -> None:
    """A client cannot tell the two apart; the record can. Only the next request is hit."""
    strike(caller, kind, **ANY_EVENT)
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        caller.send()
    assert len(caller.effects("event_accepted")) == effects
    assert caller.send().status_code == 202


@pytest.mark.parametrize(("kind", "effects"), [("timeout_before", 0), ("timeout_after", 1)])
def test_an_answer_does_not_come_without_or_with_the_effect(caller: Caller, kind: str, effects: int) -> None:
    """The client's own patience ends first."""
    strike(caller, kind, seconds=30, **ANY_EVENT)
    url, body = caller.sandbox.url + EVENTS, {"event_type": "promo", "event_data": {"mdn": PERSON}}
    headers = {"X-API-Version": "2"}
    with pytest.raises(requests.ReadTimeout):
        requests.post(url, json=body, headers=headers, auth=("sandbox-user", "sandbox-password"), timeout=0.3)
    assert len(caller.effects("event_accepted")) == effects


@pytest.mark.parametrize(("kind", "content"), [("empty", b""), ("garbage", None)])
def test_a_good_status_with_a_body_nobody_can_read(caller: Caller, kind: str, content: bytes | None) -> None:
    """It happened, and the answer does not say so."""
    strike(caller, kind, **ANY_EVENT)
    answer = caller.send()
    assert answer.status_code == 202
    with pytest.raises(ValueError):
        answer.json()
    assert content is None or answer.content == content
    assert len(caller.effects("event_accepted")) == 1


def test_statuses_come_with_the_vendors_envelope_or_as_html(caller: Caller) -> None:
    """500, 502, 503 and 429, without effect unless asked for."""
    strike(caller, "status", status=503, **ANY_EVENT)
    assert caller.send().json()["errors"][0]["code"] == 503
    strike(caller, "status", status=502, body="html", **ANY_EVENT)
    assert "<html>" in caller.send().text
    assert caller.effects("event_accepted") == []
    strike(caller, "status", status=500, effect=True, **ANY_EVENT)
    assert caller.send().status_code == 500
    assert len(caller.effects("event_accepted")) == 1
    strike(caller, "status", status=500, vendor="marketo", path="/rest/*")
    answer = caller.marketo("GET", "/rest/v1/leads/describe.json")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (500, "500")


def test_a_refusal_can_echo_what_was_sent(caller: Caller) -> None:
    """Vendors do put the number and the name into their errors; nothing of it may reach a log."""
    strike(caller, "status", status=422, body="echo", path="/companies/acme/campaigns/*")
    text = caller.ask(custom_fields={"first_name": "Ada"}).text
    assert PERSON in text
    assert "Ada" in text
    strike(caller, "status", status=400, body="echo", path="/companies/acme/mobiledb/*")
    assert "%2B12025550132" in caller.vibes("GET", f"{DB}/persons", params={"mdn": PERSON}).text


def test_a_share_is_drawn_from_the_seed(make_caller: Any) -> None:
    """The same seed strikes the same requests."""
    runs = []
    for _ in range(2):
        caller = make_caller()
        caller.panel("POST", "faults", json={"kind": "status", "share": 0.3, **ANY_EVENT})
        runs.append([caller.send().status_code for _ in range(60)])
    assert runs[0] == runs[1]
    assert 8 <= runs[0].count(500) <= 30


def test_slowness_adds_to_whatever_else_strikes(caller: Caller) -> None:
    """A slow server can fail as well."""
    rules = [{"kind": "slow", "seconds": 0.2}, {"kind": "status", "status": 502}]
    caller.panel("POST", "faults", json={"rules": rules})
    started = time.monotonic()
    assert caller.vibes("GET", f"{DB}/subscription_lists/").status_code == 502
    assert time.monotonic() - started >= 0.2
    assert [one["struck"] for one in caller.panel("GET", "faults")["rules"]] == [1, 1]
    caller.panel("DELETE", "faults")
    assert caller.vibes("GET", f"{DB}/subscription_lists/").status_code == 200


@pytest.fixture
def exported(make_caller: Any) -> Caller:
    """A smart list that can be exported in no time."""
    caller: Caller = make_caller(export_queued_seconds=0, export_processing_seconds=0)
    leads = [{"id": number, "firstName": "x" * 100} for number in range(1, 101)]
    caller.load(leads=leads, smart_lists=[{"id": 9, "name": "Given", "lead_ids": list(range(1, 101))}])
    return caller


def export(caller: Caller) -> str:
    body = {"fields": ["id", "firstName"], "filter": {"smartListId": 9}}
    export_id = caller.marketo("POST", f"{EXPORT}/create.json", json=body).json()["result"][0]["exportId"]
    caller.marketo("POST", f"{EXPORT}/{export_id}/enqueue.json")
    return f"{EXPORT}/{export_id}"


def test_a_download_breaks_off_and_is_resumed(exported: Caller) -> None:
    """The head promises more than comes; a range brings the rest."""
    path = export(exported)
    strike(exported, "cut", path="*/file.json", bytes=1000)
    with exported.marketo("GET", f"{path}/file.json", stream=True) as answer:
        start = answer.raw.read(1000)
        with pytest.raises(Exception, match="more expected"):
            answer.raw.read(100_000)
    rest = exported.marketo("GET", f"{path}/file.json", headers={"Range": "bytes=1000-"}).content
    assert start + rest == exported.marketo("GET", f"{path}/file.json").content


def test_exports_fail_get_lost_and_lie(exported: Caller) -> None:
    """A job ends as Failed; a Completed job's file is gone; a checksum is that of another file."""
    strike(exported, "export_failed")
    failed = exported.marketo("GET", f"{export(exported)}/status.json").json()["result"][0]
    assert failed["status"] == "Failed"
    assert "errorMsg" in failed
    path = export(exported)
    strike(exported, "wrong_checksum", path="*/status.json")
    seen = [exported.marketo("GET", f"{path}/status.json").json()["result"][0] for _ in range(2)]
    assert seen[0]["fileChecksum"] != seen[1]["fileChecksum"]
    strike(exported, "lost_job", path="*/file.json", count=2)
    answers = [exported.marketo("GET", f"{path}/file.json") for _ in range(3)]
    assert [one.status_code for one in answers] == [404, 404, 200]
    assert answers[0].headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"kind": "explode"}, "kind"),
        ({"kind": "status", "share": 2}, "share"),
        ({"kind": "status", "status": "500"}, "status"),
        ({"kind": "status", "count": -1}, "count"),
        ({"kind": "status", "colour": "red"}, "colour"),
        ({"kind": "status", "body": "poem"}, "body"),
        ({}, "kind"),
    ],
)
def test_a_senseless_rule_is_refused(caller: Caller, rule: dict[str, Any], field: str) -> None:
    """The panel names the field and what to give instead, and keeps the rules it has."""
    caller.panel("POST", "faults", json={"kind": "slow", "seconds": 0})
    for body in (rule, {"rules": [rule]}):
        answer = requests.post(f"{caller.sandbox.url}/_sandbox/faults", json=body, timeout=5)
        if body == {}:
            continue
        assert answer.status_code == 400
        assert field in answer.json()["error"]
    assert len(caller.panel("GET", "faults")["rules"]) == 1


def test_faults_are_in_the_log(caller: Caller) -> None:
    """The log tells the fault and the status that was not seen by the client."""
    strike(caller, "reset_after", **ANY_EVENT)
    with pytest.raises(requests.ConnectionError):
        caller.send(event_id="E1")
    wait_until(lambda: bool(caller.panel("GET", "log")["requests"]))
    (entry,) = caller.panel("GET", "log")["requests"]
    assert (entry["fault"], entry["status"], entry["event_id"]) == ("reset_after", 202, "E1")


def test_the_panel_itself_never_fails(caller: Caller) -> None:
    """Rules for everything do not reach the control panel."""
    caller.panel("POST", "faults", json={"kind": "reset_before"})
    assert caller.panel("GET", "clock")["ahead_seconds"] == 0
    with pytest.raises(requests.ConnectionError):
        caller.vibes("GET", NEWS)
