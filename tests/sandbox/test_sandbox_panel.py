"""The control panel, the page, and the sandbox as a command."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import requests

from airflow_sms_flow.sandbox import Sandbox, Settings
from airflow_sms_flow.sandbox.record import Window
from tests.sandbox.sandbox_caller import DB, PERSON, Caller

LISTS = f"{DB}/subscription_lists/"


def test_the_page_needs_nothing_from_elsewhere(caller: Caller) -> None:
    """One file; no address of any other host in it."""
    answer = requests.get(caller.sandbox.url + "/", timeout=5)
    assert answer.url.endswith("/_sandbox/")
    assert "text/html" in answer.headers["Content-Type"]
    assert "://" not in answer.text
    assert "innerHTML" not in answer.text


def test_reset_begins_anew(caller: Caller) -> None:
    """Phones, faults, log and clock are as at the start; settings change only where given."""
    caller.ask()
    caller.panel("POST", "faults", json={"kind": "slow", "seconds": 0})
    caller.advance(60)
    settings = caller.panel("POST", "reset", json={"leads": 20, "answer_seconds": 1})["settings"]
    assert (settings["leads"], settings["answer_seconds"], settings["moods"]) == (20, 1.0, False)
    assert caller.panel("GET", "effects")["effects"] == []
    assert caller.panel("GET", "faults")["rules"] == []
    assert caller.panel("GET", "log")["requests"] == []
    assert caller.panel("GET", "clock")["ahead_seconds"] == 0
    assert len(caller.sandbox.state.instance.leads) == 20
    assert caller.panel("POST", "reset", json={"defaults": True, "leads": 0})["settings"]["moods"] is True


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("reset", {"lead": 3}, "lead"),
        ("reset", {"leads": "many"}, "leads"),
        ("settings", {"leads": -1}, "leads"),
        ("settings", {"share_yes": 1.5}, "share_yes"),
        ("settings", {"share_yes": 0.9, "share_no": 0.2}, "share_no"),
        ("settings", {"reused_event_id": "x"}, "reused_event_id"),
        ("settings", {"share_bounced_soft": 0.9, "share_bounced_hard": 0.2}, "share_bounced_hard"),
        ("settings", {"callback_attempts": 0}, "callback_attempts"),
        ("clock", {"advance_seconds": -1}, "advance_seconds"),
        ("clock", {"advance_seconds": "1"}, "advance_seconds"),
        ("clock", [], "object"),
        ("reply", {"phone": "555", "text": "Y"}, "phone"),
        ("reply", {"phone": PERSON}, "text"),
        ("load", {"people": []}, "people"),
        ("load", {"phones": "all"}, "phones"),
        ("load", {"leads": [{"id": 1, "shoe": 2}]}, "shoe"),
        ("load", {"phones": [{"phone": PERSON, "behaviour": "M"}]}, "behaviour"),
        ("load", {"phones": [{"phone": PERSON, "carrier": "M"}]}, "carrier"),
        ("load", {"subscriptions": [{"phone": PERSON, "list_id": "7"}]}, "list_id"),
        ("load", {"blocks": [{"phone": PERSON, "campaign_id": "7"}]}, "campaign_id"),
    ],
)
def test_wrong_input_is_named(caller: Caller, path: str, body: Any, field: str) -> None:
    """400 with the field and what to give instead."""
    answer = requests.post(f"{caller.sandbox.url}/_sandbox/{path}", json=body, timeout=5)
    assert answer.status_code == 400
    assert field in answer.json()["error"]


def test_an_unknown_panel_route_names_its_neighbours(caller: Caller) -> None:
    """So does a path of neither vendor."""
    answer = requests.get(caller.sandbox.url + "/_sandbox/message", timeout=5)
    assert (answer.status_code, "/_sandbox/messages" in answer.text) == (404, True)
    answer = requests.get(caller.sandbox.url + "/api/v1", timeout=5)
    assert (answer.status_code, "/companies/" in answer.text) == (404, True)


def test_the_log_keeps_requests_and_no_secrets(caller: Caller) -> None:
    """Each with route, status and ring; only newer ones when asked; the token call without its query."""
    caller.new_token()
    caller.vibes("GET", LISTS)
    log = caller.panel("GET", "log")["requests"]
    assert [one["status"] for one in log] == [200, 200]
    assert log[0]["query"] == ""
    assert (log[1]["route"], log[1]["ring"]) == (
        "/companies/{company_key}/mobiledb/subscription_lists",
        "vibes acme others",
    )
    assert caller.panel("GET", "log", params={"since": log[0]["n"]})["requests"] == log[1:]
    assert caller.panel("GET", "stats")["total"] == 2


def test_messages_are_found_by_number_and_by_name(caller: Caller) -> None:
    """For the page's search; counts are of everybody."""
    caller.load(phones=[{"phone": PERSON, "name": "Zoë Ångström", "behaviour": "silence"}])
    for number in (PERSON, "+12025550143"):
        caller.ask(number)
    for search, count in (("zoë", 1), ("550143", 1), ("5550", 2), ("nobody", 0)):
        assert caller.panel("GET", "messages", params={"search": search})["found"] == count
    everybody = caller.panel("GET", "messages", params={"limit": 1})
    assert (len(everybody["phones"]), everybody["found"]) == (1, 2)
    assert (everybody["counts"]["question"], everybody["counts"]["waiting"]) == (2, 2)


def test_the_state_shows_lists_people_and_jobs(caller: Caller) -> None:
    """What a test wants to compare with what a flow reports."""
    caller.load(subscriptions=[{"phone": PERSON, "list_id": "1202", "opted_out": True}])
    caller.ask("+12025550143")
    caller.create_campaign()
    state = caller.panel("GET", "state")
    (record,) = state["subscriptions"]
    assert (record["phone"], record["opt_out_reason"]) == (PERSON, "keyword_opt_out")
    assert [one["phone"] for one in state["participants"]] == ["+12025550143"]
    assert [one["event_type"] for one in state["event_triggered_messages"]] == ["promo"]
    assert [one["id"] for one in state["smart_lists"]] == [1001, 1002, 1003, 1004, 1005]


def test_a_window_never_lets_more_in_than_its_limit() -> None:
    """In any sliding second; what is turned away counts for the highest, not for the limit."""
    window = Window(3, 1.0)
    assert [window.arrive(at) for at in (0.0, 0.1, 0.2, 0.3, 0.99, 1.05, 1.06, 1.15)] == [
        *[True] * 3,
        *[False] * 2,
        True,
        False,
        True,
    ]
    assert window.highest == 6


def test_many_requests_come_over_one_connection(caller: Caller) -> None:
    """Keep-alive; bodies with 100-continue; a broken request line does not hurt the others."""
    connection = http.client.HTTPConnection("127.0.0.1", caller.sandbox.port, timeout=5)
    for _ in range(3):
        connection.request("GET", "/_sandbox/clock")
        assert connection.getresponse().read()
    with socket.create_connection(("127.0.0.1", caller.sandbox.port), timeout=5) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        assert b"400" in raw.recv(1000)
    connection.request(
        "POST", "/_sandbox/clock", body=b'{"advance_seconds": 1}', headers={"Expect": "100-continue"}
    )
    assert connection.getresponse().status == 200
    connection.close()


def test_stopping_is_quick_with_connections_open() -> None:
    """Open and hanging connections end at once."""
    sandbox = Sandbox(Settings(leads=0)).start()
    requests.post(f"{sandbox.url}/_sandbox/faults", json={"kind": "timeout_before", "seconds": 60}, timeout=5)
    ended = threading.Event()

    def hang() -> None:
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{sandbox.url}{LISTS}", timeout=30)
        ended.set()

    threading.Thread(target=hang, daemon=True).start()
    time.sleep(0.1)
    started = time.monotonic()
    sandbox.stop()
    assert ended.wait(2)
    assert time.monotonic() - started < 1


def test_the_command_prints_where_it_listens_and_ends_on_ctrl_c() -> None:
    """URL and accounts; exit status 0; a port in use is said plainly."""
    command = [sys.executable, "-m", "airflow_sms_flow.sandbox", "--leads", "10"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split()[-1]
        assert requests.get(f"{url}/_sandbox/settings", timeout=5).json()["leads"] == 10
        again = [*command, "--port", url.rpartition(":")[2]]
        taken = subprocess.run(again, capture_output=True, text=True, timeout=20)
        assert (taken.returncode, "--port" in taken.stderr) == (2, True)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)
        rest = process.stdout.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert process.returncode == 0
    assert "sandbox-password" in rest


def test_a_senseless_setting_is_refused_by_the_command() -> None:
    """The same words as in the panel."""
    command = [sys.executable, "-m", "airflow_sms_flow.sandbox", "--share-yes", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert "share_yes=3.0" in done.stderr
