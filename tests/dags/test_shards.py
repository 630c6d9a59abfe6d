"""A campaign in shards, run by Airflow: nobody twice, nobody lost, and a red run when a shard failed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.dags.dag_process import DagProcess
from tests.sandbox.sandbox_caller import Caller

pytestmark = pytest.mark.airflow

DAG = "sms_campaign_sharded"
DAY = "2026-03-02T17:00:00+00:00"


def texts(caller: Caller) -> Counter[str]:
    """How many of our texts each phone got."""
    delivered = caller.effects("text_delivered")
    return Counter(one["phone"] for one in delivered if one["text_kind"] == "event")


def report_of(answer: dict[str, Any]) -> dict[str, Any]:
    """What the last task pushed, whether it succeeded or not."""
    report: dict[str, Any] = answer["xcoms"]["report"]["return_value"]
    funnel = report["funnel"]
    reasons = sum(count for name, count in funnel.items() if name not in ("extracted", "kept"))
    assert funnel["extracted"] == funnel["kept"] + reasons
    counts = sum(report[name] for name in ("accepted", "already", "in_doubt", "failed", "unreported"))
    counts += sum(report["refused"].values()) + sum(report["skipped"].values())
    assert report["rows"] == funnel["kept"] == counts
    return report


def test_the_shards_together_text_what_one_task_would_text(airflow: DagProcess, caller: Caller) -> None:
    """One key for all of them: the same day, with another number of shards, texts nobody again."""
    first = airflow.run(DAG, DAY, dry_run=False, shards=3)
    assert first["state"] == "success"
    report = report_of(first)
    sent = texts(caller)
    assert report["accepted"] == len(sent) > 50
    assert max(sent.values()) == 1
    assert (report["shards"], report["shards_unreported"], report["unreported"]) == (3, 0, 0)
    assert report["campaign_key"].startswith(f"{DAG}/send/")
    assert sorted(task for task in first["tasks"] if task.startswith("send")) == [
        "send[0]", "send[1]", "send[2]",
    ]  # fmt: skip
    again = airflow.run(DAG, DAY, dry_run=False, shards=5)
    assert report_of(again)["already"] == report["accepted"]
    assert texts(caller) == sent
    alone = airflow.run("sms_campaign", DAY)
    assert alone["xcoms"]["summary"]["return_value"]["funnel"] == report["funnel"]


def test_when_a_shard_fails_everybody_is_accounted_for_and_the_run_is_red(
    airflow: DagProcess, caller: Caller
) -> None:
    """Its people are unreported, the others are texted; run again, it texts those who are left."""
    fault = {
        "kind": "status",
        "status": 403,
        "method": "GET",
        "path": "*/subscription_lists/1201",
        "count": 1,
    }
    caller.panel("POST", "faults", json=fault)
    first = airflow.run(DAG, DAY, dry_run=False, shards=4)
    assert first["state"] == "failed"
    assert Counter(first["tasks"].values()) == {"success": 5, "failed": 2}
    assert first["tasks"]["report"] == "failed"
    report = report_of(first)
    shards = first["xcoms"]["prepare"]["return_value"]
    (lost,) = (number for number in range(4) if first["tasks"][f"send[{number}]"] == "failed")
    assert (report["shards_unreported"], report["unreported"]) == (1, shards[lost]["rows"])
    assert report["accepted"] == len(texts(caller)) > 50
    again = airflow.run(DAG, DAY, dry_run=False, shards=4)
    assert again["state"] == "success"
    rest = report_of(again)
    assert rest["already"] == report["accepted"]
    assert rest["accepted"] > 0
    assert set(texts(caller).values()) == {1}
    assert len(texts(caller)) == rest["already"] + rest["accepted"]


def test_pieces_prepared_side_by_side_are_one_audience(airflow: DagProcess, caller: Caller) -> None:
    """Two smart lists that overlap: a person in both gets one text, and nobody gets one who would get none if
    the lists were texted one by one."""
    lists = ["Summer offer audience", "Invite to Store news"]
    merged = airflow.run("sms_campaign_merged", DAY, dry_run=False, smart_lists=lists, shards=2)
    assert merged["state"] == "success"
    report, sent = report_of(merged), texts(caller)
    pieces = [merged["xcoms"][f"prepare[{number}]"]["return_value"] for number in range(2)]
    assert report["funnel"]["extracted"] == sum(piece["funnel"]["extracted"] for piece in pieces)
    assert max(piece["rows"] for piece in pieces) <= report["rows"] < sum(piece["rows"] for piece in pieces)
    assert report["accepted"] == len(sent) > 50
    assert max(sent.values()) == 1
    for name in lists:
        alone = airflow.run("sms_campaign", DAY, dry_run=False, smart_list=name, campaign="one by one")
        assert alone["state"] == "success"
    assert {phone for phone, count in texts(caller).items() if count > 1} == set(sent)


def test_a_piece_that_fails_stops_the_campaign(airflow: DagProcess, caller: Caller) -> None:
    """It may hold people who are suppressed: nobody is texted, and the run is red."""
    form = {"smart_lists": ["Summer offer audience", "No such list"], "dry_run": False}
    answer = airflow.run("sms_campaign_merged", DAY, **form)
    assert answer["state"] == "failed"
    assert (answer["tasks"]["extract[0]"], answer["tasks"]["extract[1]"]) == ("success", "failed")
    assert texts(caller) == Counter()


def test_without_a_click_nobody_is_texted(airflow: DagProcess, caller: Caller) -> None:
    """The schedule alone is dry, in each shard."""
    answer = airflow.run(DAG)
    assert answer["state"] == "success"
    report = report_of(answer)
    assert report["skipped"] == {"dry_run": report["rows"]}
    assert texts(caller) == Counter()
