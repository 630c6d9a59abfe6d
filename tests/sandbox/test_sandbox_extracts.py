"""Vibes' stand-in: the Current Subscriber, Message and Subscription Extracts."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sandbox.conftest import MakeCaller
from tests.sandbox.sandbox_caller import OTHER, PERSON, THIRD, Caller

CURRENT = "mdn person_id external_person_id carrier_code mdn_e164_format country_code subscription_list_id"
Rows = list[dict[str, str]]


def write(caller: Caller, folder: Path, extract: str, **more: Any) -> tuple[dict[str, Any], Rows]:
    """Have a file written: what the panel says of it, and its rows."""
    body = {"extract": extract, "folder": str(folder), **more}
    told = caller.panel("POST", "extracts", json=body)
    return told, read(Path(told["path"]).read_text(encoding="utf-8"))


def read(text: str) -> Rows:
    """TSV with a header row; doubled quotes within quotes, as the vendor writes messages."""
    return list(csv.DictReader(StringIO(text, newline=""), delimiter="\t"))


@pytest.fixture
def members(caller: Caller) -> Caller:
    """PERSON on two lists, OTHER has left, THIRD has joined."""
    caller.load(
        subscriptions=[
            {"phone": PERSON, "list_id": "1201", "external_person_id": "42"},
            {"phone": PERSON, "list_id": "1202"},
            {"phone": OTHER, "list_id": "1201", "opted_out": True},
            {"phone": THIRD, "list_id": "1201"},
        ]
    )
    return caller


def test_current_subscribers_are_one_row_per_person_and_list(members: Caller, tmp_path: Path) -> None:
    """person_id is the person_key, mdn has no country code; who has left is not there."""
    told, rows = write(members, tmp_path, "current_subscribers")
    assert list(rows[0]) == CURRENT.split()
    found = [(one["mdn_e164_format"], one["subscription_list_id"]) for one in rows]
    assert found == [(PERSON, "1201"), (PERSON, "1202"), (THIRD, "1201")]
    assert told["rows"] == len(rows)
    first = rows[0]
    assert (first["mdn"], first["country_code"], first["external_person_id"]) == ("2025550132", "1", "42")
    person = members.vibes("GET", "/companies/acme/mobiledb/persons", params={"mdn": PERSON}).json()
    assert first["person_id"] == person["person_key"]
    assert rows[2]["external_person_id"] == ""
    assert re.fullmatch(r"current_subscribers_acme_\d{4}-\d\d-\d\d\.txt", Path(told["path"]).name)
    assert [one.name for one in tmp_path.iterdir()] == [Path(told["path"]).name]


def test_an_extract_is_of_a_moment(members: Caller, tmp_path: Path) -> None:
    """Who joined later is not yet there, who left later is still there; its date stands in the name."""
    before = datetime.now(UTC)
    members.advance(86_400)
    members.panel("POST", "reply", json={"phone": THIRD, "text": "STOP"})
    members.load(subscriptions=[{"phone": OTHER, "list_id": "1201"}])
    told, then = write(members, tmp_path, "current_subscribers", as_of=before.isoformat(), list_id="1201")
    assert [one["mdn_e164_format"] for one in then] == [PERSON, THIRD]
    assert Path(told["path"]).name == f"current_subscribers_acme_{before:%Y-%m-%d}.txt"
    told, now = write(members, tmp_path, "current_subscribers", list_id="1201")
    assert [one["mdn_e164_format"] for one in now] == [PERSON, OTHER]
    assert f"{before + timedelta(days=1):%Y-%m-%d}" in told["path"]


def test_a_long_list_is_padded_with_made_up_people(members: Caller, tmp_path: Path) -> None:
    """Real members first, then distinct numbers from the beginning of the range."""
    _, rows = write(members, tmp_path, "current_subscribers", list_id="1201", rows=30_000)
    numbers = [one["mdn_e164_format"] for one in rows]
    assert numbers[:2] == [PERSON, THIRD]
    assert len(set(numbers)) == len(numbers) == 30_000
    assert {one["subscription_list_id"] for one in rows} == {"1201"}
    assert (rows[2]["mdn_e164_format"], rows[2]["external_person_id"]) == ("+12015550100", "1")


def test_messages_are_listed_with_what_became_of_them(make_caller: MakeCaller, tmp_path: Path) -> None:
    """client_message_id is our event_id; only the message is quoted, and may hold tabs and line breaks."""
    caller = make_caller()
    caller.load(subscriptions=[{"phone": one, "list_id": "1201"} for one in (PERSON, OTHER)])
    caller.create_campaign()
    caller.advance(5)
    text = 'He said "now",\tthen\nleft: é'
    caller.send(event_id="E1", event_data={"mdn": PERSON, "message_body": text})
    caller.advance(1)
    caller.panel("POST", "settings", json={"share_bounced_hard": 1.0})
    caller.send(OTHER, event_id="E2")
    caller.send(THIRD, event_id="E3", event_type="nothing")
    caller.advance(1)
    _, rows = write(caller, tmp_path, "messages")
    assert [one["client_message_id"] for one in rows] == ["E1", "E2", "E3"]
    assert [one["mdn"] for one in rows] == [PERSON, OTHER, THIRD]
    assert rows[0]["message_status"] == "SUCCESS"
    assert rows[1]["message_status"] in ("Number Disconnected", "Unknown Subscriber")
    assert rows[2]["message_status"] == "Route Not Found"
    assert rows[0]["message"] == text
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d -0600", rows[0]["timestamp"])
    assert len({one["message_id"] for one in rows}) == 3


@pytest.mark.parametrize(("share", "fewest", "most"), [(0.0, 0, 0), (0.5, 5, 35), (1.0, 40, 40)])
def test_a_share_of_messages_carries_our_id(
    make_caller: MakeCaller, tmp_path: Path, share: float, fewest: int, most: int
) -> None:
    """The others have none, and must be matched in some other way."""
    caller = make_caller(share_client_message_ids=share)
    caller.load(subscriptions=[{"phone": PERSON, "list_id": "1201"}])
    caller.create_campaign()
    caller.advance(5)
    for one in range(40):
        caller.send(event_id=f"E{one}")
    caller.advance(1)
    _, rows = write(caller, tmp_path, "messages")
    assert len(rows) == 40
    assert fewest <= sum(one["client_message_id"] != "" for one in rows) <= most


def test_subscriptions_are_listed_as_events(members: Caller, tmp_path: Path) -> None:
    """One row for joining, one for leaving, with E.164 and the reason in upper case."""
    _, rows = write(members, tmp_path, "subscriptions", list_id="1201")
    assert [(one["mdn"], one["subscription_event"]) for one in rows] == [
        (PERSON, "OPT_IN"),
        (OTHER, "OPT_IN"),
        (OTHER, "OPT_OUT"),
        (THIRD, "OPT_IN"),
    ]
    assert rows[2]["opt_out_reason"] == "KEYWORD_OPT_OUT"
    assert rows[2]["subscription_list_name"] == "Store news"


def test_an_extract_can_be_downloaded(members: Caller, tmp_path: Path) -> None:
    """The same file, with its name in the header."""
    told, rows = write(members, tmp_path, "current_subscribers", list_id="1202")
    url = f"{members.sandbox.url}/_sandbox/extracts/current_subscribers"
    answer = requests.get(url, params={"list_id": "1202"}, timeout=5)
    assert read(answer.content.decode()) == rows
    assert Path(told["path"]).name in answer.headers["Content-Disposition"]
    assert requests.get(url, params={"rows": "many"}, timeout=5).status_code == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"extract": "wallets"}, "extract"),
        ({"extract": "messages", "folder": "/nowhere/at/all"}, "folder"),
        ({"extract": "messages", "folder": None}, "folder"),
        ({"extract": "messages", "list_id": "7"}, "list_id"),
        ({"extract": "current_subscribers", "rows": 10}, "list_id"),
        ({"extract": "current_subscribers", "rows": -1}, "rows"),
        ({"extract": "messages", "as_of": "yesterday"}, "as_of"),
    ],
)
def test_a_senseless_extract_is_refused(
    caller: Caller, tmp_path: Path, body: dict[str, Any], field: str
) -> None:
    """With the field and what to give."""
    url = f"{caller.sandbox.url}/_sandbox/extracts"
    answer = requests.post(url, json={"folder": str(tmp_path)} | body, timeout=5)
    assert (answer.status_code, field in answer.json()["error"]) == (400, True)
    assert list(tmp_path.iterdir()) == []
