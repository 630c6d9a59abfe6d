"""The example DAGs, run by Airflow against the sandbox: what happened to people is what counts."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from airflow_sms_flow.sandbox import accounts
from tests.dags.conftest import Both
from tests.dags.dag_process import DagProcess
from tests.sandbox.sandbox_caller import Caller

pytestmark = pytest.mark.airflow


def on_list(caller: Caller, list_id: str = "1201") -> set[str]:
    """Who is on the list now."""
    records = caller.panel("GET", "state")["subscriptions"]
    return {one["phone"] for one in records if one["list_id"] == list_id and one["opt_out_date"] is None}


def texts(caller: Caller) -> Counter[tuple[str, str]]:
    """Our texts as they reached people: (phone, text), with how often."""
    return Counter((one["phone"], one["text"]) for one in events(caller))


def events(caller: Caller) -> list[dict[str, Any]]:
    return [one for one in caller.effects("text_delivered") if one["text_kind"] == "event"]


def changed_anything(caller: Caller) -> list[str]:
    """Requests to Vibes that were not reading ones."""
    log = caller.panel("GET", "log")["requests"]
    return [one["path"] for one in log if one["vendor"] == "vibes" and one["method"] != "GET"]


@pytest.mark.parametrize(
    "dag_id",
    ["sms_campaign", "sms_campaign_merged", "sms_campaign_sharded", "sms_opt_in", "sms_opt_out"],
)
def test_a_run_with_the_defaults_is_dry(airflow: DagProcess, caller: Caller, dag_id: str) -> None:
    """The schedule alone texts nobody: every task succeeds, and only reads."""
    answer = airflow.run(dag_id)
    assert answer["state"] == "success"
    assert set(answer["tasks"].values()) == {"success"}
    assert changed_anything(caller) == []
    assert caller.effects("event_accepted") == caller.effects("opt_in_asked") == []


def test_a_campaign_texts_members_of_the_list_once_and_accounts_for_everybody(
    airflow: DagProcess, caller: Caller
) -> None:
    """Nobody off the list, nobody twice, also when the same interval runs again."""
    members = on_list(caller)
    day = "2026-03-02T16:00:00+00:00"
    first = airflow.run("sms_campaign", day, dry_run=False)
    assert first["state"] == "success"
    sent = texts(caller)
    assert {phone for phone, _ in sent} <= members
    assert max(sent.values()) == 1
    assert max(Counter(phone for phone, _ in sent.elements()).values()) == 1
    summary = first["xcoms"]["summary"]["return_value"]
    assert summary["sent"] == len(sent) > 50
    funnel, report = summary["funnel"], summary["report"]
    reasons = sum(number for name, number in funnel.items() if name not in ("extracted", "kept"))
    assert funnel["extracted"] == funnel["kept"] + reasons
    assert report["rows"] == funnel["kept"] == report["accepted"] + sum(report["refused"].values())
    again = airflow.run("sms_campaign", day, dry_run=False)
    assert again["xcoms"]["send"]["return_value"]["already"] == len(sent)
    assert texts(caller) == sent


def test_a_campaign_texts_what_the_form_says(airflow: DagProcess, caller: Caller) -> None:
    """Smart list, list, message with tokens, and a campaign key that holds over runs."""
    form = {
        "smart_list": accounts.SMART_LISTS[accounts.SMART_LIST_ONE],
        "list_id": "1202",
        "message": "Dear {{lead.First Name:default=you}}",
        "campaign": "spring/1",
        "dry_run": False,
    }
    for _ in range(2):
        assert airflow.run("sms_campaign", **form)["state"] == "success"
    (delivered,) = events(caller)
    assert delivered["text"].startswith("Dear ")
    assert delivered["list_id"] == "1202"


def test_a_campaign_for_nobody_succeeds(airflow: DagProcess, caller: Caller) -> None:
    """An empty smart list is no fault."""
    answer = airflow.run("sms_campaign", smart_list="Nobody", dry_run=False)
    assert answer["state"] == "success"
    assert answer["xcoms"]["summary"]["return_value"]["sent"] == 0


@pytest.mark.parametrize(
    "wrong", [{"smart_list": "Sumer offer"}, {"list_id": "9999"}, {"message": "Hi {{lead.Shoe Size}}"}]
)
def test_a_wrong_form_fails_before_anybody_is_texted(
    airflow: DagProcess, caller: Caller, wrong: dict[str, str]
) -> None:
    """At once, without using the retries; nothing after it runs."""
    answer = airflow.run("sms_campaign", dry_run=False, **wrong)
    assert answer["state"] == "failed"
    assert Counter(answer["tasks"].values())["failed"] == 1
    assert caller.effects("event_accepted") == []


def test_leaving_customers_are_taken_off_and_nobody_else(airflow: DagProcess, caller: Caller) -> None:
    """Blocklisted ones, too; who shares a number with them leaves as well."""
    before = on_list(caller)
    answer = airflow.run("sms_opt_out", dry_run=False)
    assert answer["state"] == "success"
    gone = before - on_list(caller)
    report = answer["xcoms"]["unsubscribe"]["return_value"]
    assert gone
    assert gone == {one["phone"] for one in caller.effects("unsubscribed")}
    assert report["accepted"] >= len(gone)
    assert report["failed"] == report["in_doubt"] == 0
    assert texts(caller) == Counter()


def test_two_opt_in_runs_at_once_ask_and_welcome_everybody_once(two_airflows: Both, caller: Caller) -> None:
    """Two runs overlap, on two machines: one question, and one welcome for each who confirmed."""
    before = on_list(caller)
    for process in two_airflows:
        process.start("sms_opt_in", dry_run=False)
    answers = [process.finish() for process in two_airflows]
    assert [answer["state"] for answer in answers] == ["success", "success"]
    asked = Counter(one["phone"] for one in caller.effects("opt_in_asked"))
    welcomed = Counter(one["phone"] for one in events(caller))
    confirmed = on_list(caller) - before
    assert len(asked) > 10
    assert max(asked.values()) == 1
    assert confirmed <= set(asked)
    assert set(welcomed) == confirmed
    assert max(welcomed.values()) == 1
    for answer in answers:
        counts = answer["xcoms"]["wait"]["return_value"]
        assert counts["confirmed"] == len(confirmed)
        assert counts["rows"] == len(asked)
    # A third run, later: everybody was asked and welcomed.
    third = two_airflows[0].run("sms_opt_in", dry_run=False)
    assert third["state"] == "success"
    assert Counter(one["phone"] for one in caller.effects("opt_in_asked")) == asked
    assert Counter(one["phone"] for one in events(caller)) == welcomed


def test_xcoms_and_logs_of_all_these_runs_hold_nobodys_data(two_airflows: Both, caller: Caller) -> None:
    """Numbers in any spelling; the sandbox's people all have an exchange 555."""
    answer = two_airflows[0].run("sms_campaign", dry_run=False)
    pushed = json.dumps(answer["xcoms"])
    number = re.compile(r"(?<!\d)[2-9]\d\d\D{0,3}555\D{0,3}\d{4}(?!\d)")
    assert not number.search(pushed)
    for process in two_airflows:
        assert not number.search(process.log.read_text())
