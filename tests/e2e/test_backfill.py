"""Backfills and cleared tasks through a real Airflow: nothing by default, once per interval, never twice."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.e2e.real_airflow import RealAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(400)]

ANN, BOB, CYD = "+12025550161", "+12025550162", "+12025550163"
DAG = "sms_campaign"


def backfill(airflow: RealAirflow, days: tuple[str, str], *options: str, **conf: Any) -> list[str]:
    """`airflow backfill create` over some days, to its end; returns the runs."""
    given = {"smart_list": "Backfill people", "dry_run": False} | conf
    # A date alone is its midnight in UTC, which would leave out the run at eleven of the last day.
    span = ["--from-date", days[0], "--to-date", f"{days[1]}T23:59"]
    words = [*span, "--dag-run-conf", json.dumps(given), *options]
    create_backfill(airflow, *words)
    found = [
        run for run in airflow.rest.runs(DAG, "backfill") if days[0] <= run["logical_date"][:10] <= days[1]
    ]
    runs = [str(run["dag_run_id"]) for run in found]
    assert len(runs) == 3
    time.sleep(1)  # a run that is done over is "success" until the scheduler has looked at it
    assert {airflow.wait(DAG, run_id) for run_id in runs} == {"success"}
    return runs


def create_backfill(airflow: RealAirflow, *words: str) -> None:
    """The command, again where Airflow's own SQLite was locked just then: the file does not let a
    transaction that has read become one that writes while another writes, whatever the time-out.

    Meanwhile the scheduler is to leave the DAG alone: what it writes locks the file, and it dies where it has
    begun the runs of a backfill that Airflow then takes back because it was locked out."""
    airflow.rest.pause(DAG)
    try:
        repeat_while_locked(airflow, *words)
    finally:
        airflow.rest.pause(DAG, paused=False)


def repeat_while_locked(airflow: RealAirflow, *words: str) -> None:
    for attempt in range(5):
        airflow.rest.end_backfills(DAG)
        try:
            airflow.command("backfill", "create", "--dag-id", DAG, "--max-active-runs", "3", *words)
        except AssertionError as error:
            if "database is locked" not in str(error) or attempt == 4:
                raise
            time.sleep(2)
        else:
            return


def reports(airflow: RealAirflow, runs: list[str]) -> list[dict[str, Any]]:
    return [airflow.rest.xcom(DAG, run_id, "send") for run_id in runs]


def test_a_backfill_sends_nothing_by_default_and_says_so(airflow: RealAirflow) -> None:
    """Three days, nobody texted; each task's log and report say why."""
    airflow.panel.audience("Backfill people", 21, ANN, BOB)
    runs = backfill(airflow, ("2026-01-05", "2026-01-07"))
    assert airflow.panel.effects("event_accepted") == []
    for run_id, report in zip(runs, reports(airflow, runs), strict=True):
        assert report["skipped"] == {"backfill": 2}
        log = airflow.task_logs(DAG, run_id, "send")
        assert "This is a backfill and on_backfill is 'skip': nobody is reached" in log


def test_a_backfill_that_may_send_sends_once_per_interval_and_a_repeat_nothing(airflow: RealAirflow) -> None:
    """Three intervals are three texts; doing them all over again is none."""
    airflow.panel.audience("Backfill people", 21, ANN, BOB)
    days, conf = ("2026-01-12", "2026-01-14"), {"on_backfill": "send", "message": "Backfilled"}
    runs = backfill(airflow, days, **conf)
    assert [report["accepted"] for report in reports(airflow, runs)] == [2, 2, 2]
    assert "not as of the interval" in airflow.task_logs(DAG, runs[0], "send")
    assert airflow.panel.texts(ANN) == airflow.panel.texts(BOB) == ["Backfilled"] * 3
    again = backfill(airflow, days, "--reprocess-behavior", "completed", **conf)
    assert sorted(again) == sorted(runs)
    assert [airflow.rest.tries(DAG, run_id, "send") for run_id in runs] == [2, 2, 2]
    assert [report["already"] for report in reports(airflow, runs)] == [2, 2, 2]
    assert airflow.panel.texts(ANN) == airflow.panel.texts(BOB) == ["Backfilled"] * 3


def test_a_cleared_task_sends_nothing_twice(airflow: RealAirflow) -> None:
    """And what it pushes still describes everybody."""
    airflow.panel.audience("Cleared people", 22, CYD)
    run_id = airflow.rest.trigger(
        DAG, {"smart_list": "Cleared people", "message": "Clear?", "dry_run": False}
    )
    assert airflow.wait(DAG, run_id) == "success"
    first = airflow.rest.xcom(DAG, run_id, "send", "results")
    airflow.rest.clear(DAG, run_id, ["send", "summary"])
    time.sleep(1)
    assert airflow.wait(DAG, run_id) == "success"
    assert airflow.rest.tries(DAG, run_id, "send") == 2
    assert airflow.panel.texts(CYD) == ["Clear?"]
    report = airflow.rest.xcom(DAG, run_id, "send")
    assert (report["accepted"], report["already"], report["attempted"]) == (0, 1, 0)
    assert airflow.rest.xcom(DAG, run_id, "send", "results") == first
