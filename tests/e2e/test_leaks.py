"""Nobody's number, name, e-mail or text, and no secret, in anything that Airflow writes."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import requests

from airflow_sms_flow.core.phone import mask_phone
from airflow_sms_flow.demo.local_airflow import connections
from airflow_sms_flow.sandbox.numbers import NANP_STYLES, us_number
from tests.e2e.real_airflow import LOGIN, RealAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(400)]

FIRST_INDEX, PEOPLE = 5_000, 48
MEMBERS, INVITED, FEW = range(30), range(30, 45), range(45, 48)
TEXT = "Quillwort offer for {{lead.First Name}}"
#: How JSON and addresses write what sets digits apart.
ESCAPES = re.compile(r"(?:\\+u[0-9a-f]{4}|%[0-9a-f]{2})+", re.IGNORECASE)
NOTHING = re.compile(r"(?!)")
#: Ten digits or more, however they are set apart.
DIGITS = re.compile(r"\d(?:[\s().+\-\u2011\u00a0\u3000]{0,3}\d){9,}")


def number(n: int) -> str:
    return us_number(FIRST_INDEX + n)


def lead(n: int) -> dict[str, Any]:
    """Names and addresses that stand nowhere else, and a number as people write it."""
    area, exchange, line = number(n)[2:5], number(n)[5:8], number(n)[8:]
    return {
        "id": 9000 + n,
        "firstName": f"Zyxwulf{n}",
        "lastName": f"Quaxenby{n}",
        "email": f"zq{n}@vixmail.example",
        "mobilePhone": NANP_STYLES[n % len(NANP_STYLES)](area, exchange, line),
        "country": "US",
    }


def fill(airflow: RealAirflow) -> None:
    """People on list 1201 and 1202, and people to be invited: some answer, some do not, some cannot."""
    lists = {"Leaky members": MEMBERS, "Leaky invited": INVITED, "Leaky few": FEW}
    airflow.panel.load(
        leads=[lead(n) for n in range(PEOPLE)],
        smart_lists=[
            {"id": 900 + place, "name": name, "lead_ids": [9000 + n for n in people]}
            for place, (name, people) in enumerate(lists.items())
        ],
        phones=[
            {"phone": number(n), "behaviour": "silence" if n % 5 == 0 else "N" if n % 5 == 1 else "Y"}
            for n in INVITED
        ],
        subscriptions=[
            {"phone": number(n), "list_id": list_id} for n in (*MEMBERS, *FEW) for list_id in ("1201", "1202")
        ],
    )


MARKETO = [
    {"kind": "status", "vendor": "marketo", "status": 500, "body": "echo", "path": "/bulk/*", "count": 1},
    {"kind": "reset_after", "vendor": "marketo", "path": "*/file.json", "count": 1},
    {"kind": "reset_before", "vendor": "marketo", "path": "/rest/*", "count": 1},
]
OPT_INS = [
    {"kind": "timeout_before", "path": "*/persons", "count": 1, "seconds": 35},
    {"kind": "status", "path": "*/persons", "status": 400, "body": "echo", "count": 1},
    {"kind": "status", "path": "*/persons", "status": 500, "body": "echo", "count": 3},
    {"kind": "reset_after", "method": "POST", "path": "*/participants", "count": 2},
    {"kind": "garbage", "method": "POST", "path": "*/participants", "count": 1},
    {"kind": "status", "method": "POST", "path": "*/participants", "status": 422, "body": "echo", "count": 1},
    {"kind": "garbage", "method": "GET", "path": "*/participants", "count": 1},
]
#: For so few people that it is no outage, which a task would sit out.
STORM = [{"kind": "status", "path": "*/events", "status": 503, "body": "echo"}]
SENDS = [
    {"kind": "reset_after", "path": "*/events", "count": 2},
    {"kind": "garbage", "path": "*/events", "count": 1},
    {"kind": "timeout_after", "path": "*/events", "count": 1, "seconds": 2},
    {"kind": "status", "path": "*/events", "status": 422, "body": "echo", "count": 2},
    {"kind": "status", "path": "*/events", "status": 500, "body": "echo", "effect": True, "count": 2},
    {"kind": "status", "path": "*/subscribers", "status": 500, "body": "echo", "count": 4},
    {"kind": "status", "path": "*/subscribers", "status": 400, "body": "echo", "count": 1},
]
DENIED = [{"kind": "status", "vendor": "vibes", "path": "*/1202/subscribers", "status": 401, "body": "echo"}]


def run_everything(airflow: RealAirflow) -> str:
    """All three DAGs, through every fault; returns what the triggers were given meanwhile."""
    rest, live = airflow.rest, {"dry_run": False}
    few, members = live | {"smart_list": "Leaky few"}, live | {"smart_list": "Leaky members"}
    airflow.panel.faults(*MARKETO, *OPT_INS, *STORM)
    opt_in = rest.trigger("sms_opt_in", live | {"smart_list": "Leaky invited"})
    storm = rest.trigger("sms_campaign", few | {"message": TEXT})
    assert airflow.wait("sms_campaign", storm, task_id="send") == "up_for_retry"
    rest.give_up("sms_campaign", storm)
    assert airflow.wait("sms_opt_in", opt_in, task_id="subscribe") == "success"
    triggers = triggers_of_waiting_tasks(airflow)

    every_fault_struck(airflow)
    airflow.panel.faults(*SENDS)
    sends = rest.trigger("sms_campaign", members | {"message": TEXT})
    assert airflow.wait("sms_campaign", sends) == "success"
    assert rest.xcom("sms_campaign", sends, "send")["in_doubt"] >= 1

    every_fault_struck(airflow)
    airflow.panel.faults(*DENIED)
    denied = rest.trigger("sms_opt_out", members | {"list_id": "1202"})
    assert airflow.wait("sms_opt_out", denied) == "failed"

    every_fault_struck(airflow)
    airflow.panel.faults()
    opt_out = rest.trigger("sms_opt_out", members | {"list_id": "1202"})
    assert airflow.wait("sms_opt_out", opt_out) == "success"
    assert airflow.wait("sms_opt_in", opt_in) == "success"
    assert rest.xcom("sms_opt_in", opt_in, "wait")["expired"] >= 1
    assert rest.xcom("sms_opt_in", opt_in, "welcome")["rows"] >= 5
    return triggers


def every_fault_struck(airflow: RealAirflow) -> None:
    """A fault that never happened proves nothing."""
    rules = airflow.panel.call("GET", "faults")["rules"]
    assert [rule for rule in rules if not rule["struck"]] == []


def triggers_of_waiting_tasks(airflow: RealAirflow) -> str:
    """What Airflow stores of a deferred task; it is gone once the task goes on."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = "\n".join(database_texts(airflow.home / "airflow.db", ["trigger"]))
        if "VibesOptInTrigger" in found:
            return found
        time.sleep(0.2)
    raise AssertionError("no task was deferred")


def database_texts(path: Path, tables: list[str]) -> Iterator[str]:
    """Every value of these tables (none: of all) that may hold text."""
    with closing(sqlite3.connect(path, timeout=30)) as database:
        known = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        for table in tables or known:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, str | bytes):
                        text = value if isinstance(value, str) else value.decode("utf-8", "replace")
                        yield f"{table}: {text}"


def places(airflow: RealAirflow, triggers: str) -> Iterator[tuple[str, str]]:
    """Everything that Airflow wrote: its name, and its text."""
    logs = [path for path in sorted((airflow.home / "logs").rglob("*")) if path.is_file()]
    assert len(logs) > 15
    for path in [*logs, airflow.output]:
        yield str(path), path.read_text(errors="replace")
    yield "triggers", triggers
    yield "database", "\n".join(database_texts(airflow.home / "airflow.db", []))


def leaks(text: str, numbers: frozenset[str], words: re.Pattern[str]) -> Iterator[str]:
    """What of the people's data stands in a text, with a little of what stands around it."""
    text = ESCAPES.sub(" ", text)
    for found in DIGITS.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        if any(digits[i : i + 10] in numbers for i in range(len(digits) - 9)):
            yield text[max(0, found.start() - 150) : found.end() + 50]
    for found in words.finditer(text):
        yield text[max(0, found.start() - 150) : found.end() + 50]


def secrets(airflow: RealAirflow) -> list[str]:
    """Passwords, and the access token that Marketo gives this client, as they are and as they travel."""
    import base64

    made = connections(airflow.panel.url)
    query = {
        "grant_type": "client_credentials",
        "client_id": made["marketo_default"]["login"],
        "client_secret": made["marketo_default"]["password"],
    }
    answer = requests.get(f"{airflow.panel.url}/identity/oauth/token", params=query, timeout=10)
    basic = base64.b64encode(":".join(LOGIN).encode()).decode()
    return [made["marketo_default"]["password"], LOGIN[1], str(answer.json()["access_token"]), basic]


def test_a_leak_would_be_found() -> None:
    """In every spelling, also as JSON and as addresses write it."""
    number_0 = number(0)
    numbers = frozenset([number_0[2:]])
    for write in NANP_STYLES:
        shown = write(number_0[2:5], number_0[5:8], number_0[8:])
        for text in (shown, json.dumps(f"x {shown} y"), f"?mdn={quote(shown)}&", quote_plus(shown)):
            assert list(leaks(text, numbers, NOTHING)), text
    assert not list(leaks(f"2026-11-22 {mask_phone(number_0)} 202-555-01", numbers, NOTHING))


def test_nothing_of_anybody_is_found_in_what_airflow_wrote(airflow: RealAirflow) -> None:
    """Task logs at DEBUG, Airflow's own output, and every table of its database."""
    fill(airflow)
    triggers = run_everything(airflow)
    numbers = frozenset(number(n)[2:] for n in range(PEOPLE))
    personal = [r"zyxwulf\d", r"quaxenby\d", r"vixmail", r"quillwort offer for zyx", r"welcome zyx"]
    hidden = "|".join([*personal, *map(re.escape, secrets(airflow))])
    words = re.compile(hidden, re.IGNORECASE)
    found = [(name, leak) for name, text in places(airflow, triggers) for leak in leaks(text, numbers, words)]
    assert found == []


def test_the_message_stands_in_no_xcom(airflow: RealAirflow) -> None:
    """Only in the run's configuration, where its author typed it (and from there in Airflow's own DEBUG)."""
    found = list(database_texts(airflow.home / "airflow.db", ["xcom"]))
    assert found
    assert not [text for text in found if "Quillwort" in text]
