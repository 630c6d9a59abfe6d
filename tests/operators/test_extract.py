"""The extraction brings exactly the members of the list, typed, private, and without a word about them."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_sms_flow.core.errors import InvalidInput, QuotaExhausted, Unavailable
from airflow_sms_flow.operators.extract import ExtractSmartListOperator
from airflow_sms_flow.sandbox import Sandbox, Settings
from airflow_sms_flow.storage import display_names, read_batches, read_metadata, read_schema

FAST = {"leads": 200, "export_queued_seconds": 0.0, "export_processing_seconds": 0.0}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Settings(**FAST), port=0) as running:
        yield running


@pytest.fixture(autouse=True)
def airflow_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sandbox: Sandbox) -> None:
    connect(monkeypatch, sandbox)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__STORAGE", str(tmp_path / "files"))


def connect(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    connection = {
        "conn_type": "marketo",
        "host": sandbox.url,
        "login": "sandbox-client",
        "password": "sandbox-secret",
    }
    monkeypatch.setenv("AIRFLOW_CONN_MARKETO_DEFAULT", json.dumps(connection))


def extract(**parameters: Any) -> Any:
    """Run the operator as Airflow would, and give what it returns."""
    ti = SimpleNamespace(dag_id="sms", run_id="manual__1", task_id="extract", map_index=-1)
    operator = ExtractSmartListOperator(task_id="extract", poll_interval=0.05, **parameters)
    return operator.execute({"ti": ti})  # type: ignore[typeddict-item]  # a test needs no more of the context


def test_the_members_of_the_list_come_typed_with_their_display_names(tmp_path: Path) -> None:
    """Needed fields are always there; ids are numbers, booleans booleans; tokens find their columns."""
    ref = extract(smart_list="Summer offer audience", fields=["firstName"])
    schema = read_schema(ref["path"])
    assert schema.names == ["id", "mobilePhone", "country", "blackListed", "marketingSuspended", "firstName"]
    assert [str(schema.field(name).type) for name in ("id", "mobilePhone", "blackListed")] == [
        "int64",
        "string",
        "bool",
    ]
    rows = [row for batch in read_batches(ref["path"]) for row in batch.to_pylist()]
    assert ref["rows"] == len(rows) == len({row["id"] for row in rows}) > 100
    assert display_names(read_metadata(ref["path"]))["First Name"] == "firstName"
    assert ref == {"path": f"{tmp_path}/files/sms/manual__1/extract/leads.parquet", "rows": len(rows)}


def test_the_raw_export_does_not_outlive_the_task() -> None:
    """One file is left, for its owner alone."""
    path = extract(smart_list=1001, fields="firstName, lastName")["path"]
    assert os.listdir(os.path.dirname(path)) == ["leads.parquet"]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_an_empty_list_is_a_success_that_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody to text is no fault."""
    ref = extract(smart_list=1004)
    assert ref["rows"] == 0
    assert "the list is empty" in "".join(capfd.readouterr())
    assert "mobilePhone" in read_schema(ref["path"]).names


def test_nobodys_data_is_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Not even at DEBUG, neither by Airflow's logger nor by any library's."""
    with caplog.at_level(logging.DEBUG):
        ref = extract(smart_list=1001, fields=["firstName", "lastName", "email"])
    values = {
        value
        for batch in read_batches(ref["path"], ["mobilePhone", "email"])
        for row in batch.to_pylist()
        for value in row.values()
        if value and len(value) > 6
    }
    said = caplog.text + "".join(capfd.readouterr())
    assert values
    assert "Extracted" in said
    assert not [value for value in values if value in said]


def test_the_static_list_is_taken_where_smart_lists_cannot_be_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Code 1035: the fallback if one was given, else an error that names it, which no retry would mend."""
    with Sandbox(Settings(**FAST, smart_list_filter_available=False), port=0) as limited:
        connect(monkeypatch, limited)
        assert extract(smart_list=1001, static_list=5001)["rows"] == extract(static_list=5001)["rows"] > 0
        with pytest.raises(AirflowFailException, match="static_list"):
            extract(smart_list=1001)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"smart_list": "Sumer offer"}, ["smart_list='Sumer offer'", "exact name"]),
        ({"smart_list": 1001, "fields": ["frstName"]}, ["fields=", "frstName", "firstName"]),
        ({"smart_list": 1001, "static_list": "none such"}, ["static_list='none such'"]),
        ({"smart_list": "{{ params.x }}", "marketo_conn_id": "nowhere"}, ["nowhere"]),
    ],
)
def test_what_marketo_does_not_know_fails_at_once_by_name(
    parameters: dict[str, Any], words: list[str]
) -> None:
    """Field, value, remedy; and no retry, which could not help."""
    with pytest.raises(AirflowFailException) as caught:
        extract(**parameters)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({}, "smart_list"),
        ({"smart_list": ""}, "smart_list"),
        ({"smart_list": "None"}, "smart_list"),
        ({"smart_list": 1, "fields": [5]}, "fields"),
        ({"smart_list": 1, "poll_interval": 0}, "poll_interval"),
    ],
)
def test_what_is_wrong_in_the_dag_file_is_refused_there(parameters: dict[str, Any], field: str) -> None:
    """At parse, before anything runs."""
    with pytest.raises(InvalidInput) as caught:
        ExtractSmartListOperator(task_id="extract", **parameters)
    assert caught.value.field == field


def test_a_list_named_by_a_form_is_checked_once_it_is_rendered() -> None:
    """Jinja writes an empty Param as "" or "None": that is no list, either."""
    operator = ExtractSmartListOperator(task_id="extract", smart_list="{{ params.smart_list }}")
    operator.render_template_fields({"params": {"smart_list": None}})  # type: ignore[typeddict-item]  # as above
    with pytest.raises(AirflowFailException, match="smart_list='None'"):
        operator.execute({})  # type: ignore[typeddict-item]  # as above


def test_what_a_repeat_may_mend_is_left_to_airflows_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage is no reason to give up for good."""
    operator = ExtractSmartListOperator(task_id="extract", smart_list=1)

    def fail(context: object) -> None:
        raise Unavailable("Marketo is away")

    monkeypatch.setattr(operator, "run", fail)
    with pytest.raises(Unavailable):
        operator.execute({})  # type: ignore[typeddict-item]  # as above


def test_a_used_up_quota_is_retried_when_the_vendor_counts_anew() -> None:
    """On Airflow 3.3 and later: the policy waits until `retry_at`, and leaves other failures alone."""
    pytest.importorskip("airflow.sdk.definitions.retry_policy")
    from datetime import UTC, datetime, timedelta

    policy: Any = ExtractSmartListOperator(task_id="extract", smart_list=1).retry_policy
    error = QuotaExhausted("500 MB are used up", datetime.now(UTC) + timedelta(hours=5))
    decision = policy.evaluate(error, 1, 3)
    assert timedelta(hours=4.9) < decision.retry_delay <= timedelta(hours=5)
    assert policy.evaluate(ValueError(), 1, 3).retry_delay is None
    assert ExtractSmartListOperator(task_id="x", smart_list=1, retry_policy=policy).retry_policy is policy
