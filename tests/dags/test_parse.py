"""The example DAGs as Airflow reads them: no errors, safe by default, with forms that people understand."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import AssetOrTimeSchedule
from airflow.serialization.serialized_objects import DagSerialization
from jsonschema import ValidationError, validate

from tests.dags.dag_process import DAGS

LISTS = '{"1201": "Store news", "1202": "Weekly offers"}'
IDS = (
    "sms_campaign",
    "sms_campaign_merged",
    "sms_campaign_sharded",
    "sms_from_warehouse",
    "sms_opt_in",
    "sms_opt_out",
)


def read_dags() -> dict[str, Any]:
    bag = DagBag(str(DAGS))
    assert bag.import_errors == {}
    return dict(bag.dags)


@pytest.fixture
def dags(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """All of them, with two lists configured."""
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__LISTS", LISTS)
    return read_dags()


def test_every_file_is_a_dag_that_imports(dags: dict[str, Any]) -> None:
    """One DAG a file, named alike."""
    assert sorted(dags) == sorted(path.stem for path in DAGS.glob("*.py"))
    assert set(IDS) <= set(dags)


@pytest.mark.parametrize("dag_id", IDS)
def test_a_dag_runs_in_daytime_once_at_a_time_and_never_catches_up(dags: dict[str, Any], dag_id: str) -> None:
    """Nobody is texted at night, and unpausing a DAG does not text for a month gone by."""
    dag = dags[dag_id]
    timetable = dag.timetable
    zone = ZoneInfo(getattr(timetable.timezone, "name", str(timetable.timezone)))
    minute, hour, *rest = timetable.expression.split()
    assert zone.key in ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles")
    assert 9 <= int(hour) + int(minute) / 60 < 18
    assert rest == ["*", "*", "*"]
    assert dag.catchup is False
    assert dag.max_active_runs == 1
    assert dag.doc_md.strip().startswith("###")
    assert dag.tags == {"sms"}


@pytest.mark.parametrize("dag_id", IDS)
def test_a_form_is_dry_until_somebody_unticks_it(dags: dict[str, Any], dag_id: str) -> None:
    """And a backfill is skipped until somebody chooses otherwise."""
    params = dags[dag_id].params
    assert params["dry_run"] is True
    assert params.get_param("dry_run").schema["type"] == "boolean"
    assert params["on_backfill"] == "skip"
    assert params.get_param("on_backfill").schema["enum"] == ["skip", "send"]


@pytest.mark.parametrize("dag_id", IDS)
def test_each_field_of_a_form_has_a_title_and_its_default_is_valid(dags: dict[str, Any], dag_id: str) -> None:
    """The scheduled run uses the defaults as they are."""
    params = dags[dag_id].params
    for name in params:
        param = params.get_param(name)
        assert param.schema["title"], name
        validate(param.value, param.schema)


@pytest.mark.parametrize(
    ("dag_id", "names"),
    [
        ("sms_campaign", {"smart_list", "list_id", "message", "campaign", "dry_run", "on_backfill"}),
        ("sms_campaign_merged", {"smart_lists", "list_id", "message", "shards", "dry_run", "on_backfill"}),
        ("sms_campaign_sharded", {"smart_list", "list_id", "message", "shards", "dry_run", "on_backfill"}),
        ("sms_from_warehouse", {"list_id", "max_recipients", "dry_run", "on_backfill"}),
        ("sms_opt_in", {"smart_list", "list_id", "acquisition_campaign_id", "dry_run", "on_backfill"}),
        ("sms_opt_out", {"smart_list", "list_id", "campaign", "dry_run", "on_backfill"}),
    ],
)
def test_a_form_asks_what_its_flow_needs(dags: dict[str, Any], dag_id: str, names: set[str]) -> None:
    """Neither more nor less."""
    assert set(dags[dag_id].params) == names


@pytest.mark.parametrize("dag_id", IDS)
def test_the_form_offers_the_configured_lists_and_no_other(dags: dict[str, Any], dag_id: str) -> None:
    """Names beside ids; Airflow's API checks the choice."""
    schema = dags[dag_id].params.get_param("list_id").schema
    assert schema["enum"] == ["1201", "1202"]
    assert schema["values_display"]["1201"] == "Store news (1201)"
    with pytest.raises(ValidationError):
        validate("1203", schema)


def test_a_dag_is_stored_alike_however_often_it_is_parsed(dags: dict[str, Any]) -> None:
    """Airflow makes a new version of a DAG whose stored form differs: of one that names places in memory, at
    each parse."""
    for dag_id, dag in dags.items():
        stored = json.dumps(DagSerialization.to_dict(dag), default=str)
        assert " object at 0x" not in stored, dag_id


def test_without_configured_lists_the_dags_still_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """The field is free text then."""
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__LISTS", "")
    dags = read_dags()
    assert all("enum" not in dags[dag_id].params.get_param("list_id").schema for dag_id in IDS)


def test_a_mistake_in_the_configured_lists_is_shown_by_every_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an import error that names the option."""
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__LISTS", "Store news")
    errors = DagBag(str(DAGS)).import_errors
    assert {Path(file).stem for file in errors} == set(IDS)
    assert all("[sms_flow] lists" in error for error in errors.values())


def test_the_tasks_stand_in_the_order_of_the_flow(dags: dict[str, Any]) -> None:
    """Extract, prepare, act, wait, welcome."""
    orders = {dag_id: [task.task_id for task in dags[dag_id].topological_sort()] for dag_id in IDS}
    assert orders["sms_campaign"] == ["extract", "prepare", "send", "summary"]
    assert orders["sms_campaign_sharded"] == ["extract", "prepare", "send", "report"]
    merged = ["smart_lists", "extract", "prepare", "merge", "send", "report"]
    assert orders["sms_campaign_merged"] == merged
    assert orders["sms_from_warehouse"] == ["extract", "prepare", "send", "summary"]
    assert orders["sms_opt_in"] == ["extract", "prepare", "subscribe", "wait", "welcome", "summary"]
    assert orders["sms_opt_out"] == ["extract", "unsubscribe"]


def test_the_sending_tasks_run_in_the_configured_pool_or_in_one_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tasks of a pool that does not exist would wait for ever."""
    for configured, pool in (("", "default_pool"), ("sms", "sms")):
        monkeypatch.setenv("AIRFLOW__SMS_FLOW__POOL", configured)
        assert read_dags()["sms_campaign_sharded"].get_task("send").pool == pool


def test_the_welcome_is_sent_once_ever(dags: dict[str, Any]) -> None:
    """Whichever run asked."""
    assert dags["sms_opt_in"].get_task("welcome").campaign_key == "once:welcome"
    assert dags["sms_welcome"].get_task("welcome").campaign_key == "once:welcome"


def test_the_welcome_listens_for_new_subscribers_with_a_timer_beside(dags: dict[str, Any]) -> None:
    """The bell may ring late or be folded: the timer finds whom it missed. Dry until somebody unticks it."""
    dag = dags["sms_welcome"]
    assert isinstance(dag.timetable, AssetOrTimeSchedule)
    assets = [asset.uri for asset in dag.timetable.asset_condition.objects]
    assert assets == ["vibes://acme/list/1201/subscribed"]
    assert dag.params["dry_run"] is True
    assert (dag.catchup, dag.max_active_runs, dag.tags) == (False, 1, {"sms"})
    assert [task.task_id for task in dag.topological_sort()] == ["new", "welcome"]


def test_the_dags_use_only_what_authors_are_offered() -> None:
    """An author copies them: nothing private, nothing from inside the package."""
    offered = {"assets", "operators", "params", "sensors"}
    for path in DAGS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("airflow_sms_flow"):
                parts = str(node.module).split(".")
                assert len(parts) == 1 or (len(parts) == 2 and parts[1] in offered), node.module
