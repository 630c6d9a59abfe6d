"""The preparation as a task: two files, one funnel, and nothing about anybody in the log."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_sms_flow import storage
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.operators.prepare import PrepareAudienceOperator

LEADS = pa.table(
    {
        "id": [4, 3, 2, 1],
        "mobilePhone": ["202-555-0132", "(202) 555-0132", None, "202-555-0133"],
        "phone": ["ext. 1", None, None, None],
        "country": pa.array([None, "US", None, None]),
        "blackListed": [False, None, None, True],
        "marketingSuspended": pa.array([None] * 4, pa.bool_()),
    }
)
NAMES = {storage.DISPLAY_NAMES_KEY: '{"Phone Number": "phone", "Mobile Phone Number": "mobilePhone"}'}


@pytest.fixture(autouse=True)
def storage_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__STORAGE", str(tmp_path / "files"))


@pytest.fixture
def leads(tmp_path: Path) -> str:
    path = str(tmp_path / "leads.parquet")
    storage.write_parquet(path, [LEADS], metadata=NAMES)
    return path


def prepare(audience: Any, **rules: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the operator as Airflow would; what it returns, and what it pushes."""
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(
        dag_id="sms",
        run_id="r",
        task_id="prepare",
        map_index=-1,
        xcom_push=lambda key, value: pushed.update({key: value}),
    )
    operator = PrepareAudienceOperator(task_id="prepare", audience=audience, **rules)
    return operator.execute({"ti": ti}), pushed  # type: ignore[typeddict-item]  # a test needs no more of it


def rows(path: str) -> list[dict[str, Any]]:
    return [row for batch in storage.read_batches(path) for row in batch.to_pylist()]


def test_everybody_is_in_one_of_two_files_and_the_funnel_says_which(leads: str) -> None:
    """The reference carries the funnel; the rejected carry their reasons."""
    audience, pushed = prepare({"path": leads, "rows": 4})
    assert audience["funnel"] == {
        "extracted": 4, "kept": 1, "suppressed": 1, "no_phone": 1, "invalid_phone": 0, "suppressed_number": 0,
        "duplicate": 1,
    }  # fmt: skip
    assert [(row["id"], row["phone"]) for row in rows(audience["path"])] == [(3, "+12025550132")]
    rejected = rows(pushed["rejected"]["path"])
    assert [(row["id"], row["reason"]) for row in rejected] == [
        (1, "suppressed"),
        (2, "no_phone"),
        (4, "duplicate"),
    ]
    assert pushed["rejected"]["rows"] == 3


def test_the_audience_may_be_sent_to_and_the_rejected_may_not(leads: str) -> None:
    """Only the audience carries the rules; display names follow the renamed column."""
    audience, pushed = prepare(leads, keep="country", suppress="blackListed")
    info = storage.check_prepared(audience["path"])
    assert (info.rules["keep"], info.rules["suppress"]) == ("country", ["blackListed"])
    assert info.display_names == {
        "Phone Number": "phone_raw", "phone": "phone_raw", "Mobile Phone Number": "mobilePhone",
    }  # fmt: skip
    with pytest.raises(InvalidInput, match="not prepared"):
        storage.check_prepared(pushed["rejected"]["path"])


def test_columns_keep_their_types_also_where_nobody_is_left(
    leads: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """An empty audience is a success that says so, and the next task finds its columns."""
    empty = leads + ".empty"
    storage.write_parquet(empty, [], schema=LEADS.schema)
    audience, pushed = prepare(empty)
    assert (audience["rows"], pushed["rejected"]["rows"]) == (0, 0)
    assert "nobody will be texted" in "".join(capfd.readouterr())
    full, _ = prepare(leads)
    for path in (audience["path"], full["path"]):
        schema = storage.read_schema(path)
        assert schema.field("blackListed").type == pa.bool_()
        assert schema.field("phone").type == pa.string()
        assert schema.field("phone_raw").type == pa.string()
        assert schema.field("id").type == pa.int64()


def test_the_log_has_the_funnel_and_no_number(
    leads: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Counts are for logs, people are not."""
    with caplog.at_level(logging.DEBUG):
        prepare(leads)
    said = caplog.text + "".join(capfd.readouterr())
    assert "duplicate" in said
    assert "5550" not in said
    assert "555-0" not in said


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("default_region", "XX"),
        ("suppress_scope", "all"),
        ("phone_fields", ()),
        ("keep", ""),
        ("suppress", (1,)),
    ],
)
def test_an_impossible_rule_is_refused_when_the_dag_is_parsed(rule: str, value: Any) -> None:
    """Field, value, remedy, before anything runs."""
    with pytest.raises(InvalidInput) as caught:
        PrepareAudienceOperator(task_id="prepare", audience="x", **{rule: value})
    assert caught.value.field == rule


def test_a_rule_that_is_rendered_later_is_checked_then(leads: str) -> None:
    """A form may fill in the region."""
    operator = PrepareAudienceOperator(task_id="p", audience=leads, default_region="{{ params.region }}")
    operator.render_template_fields({"params": {"region": "Texas"}})  # type: ignore[typeddict-item]  # as above
    with pytest.raises(AirflowFailException, match="default_region='Texas'"):
        operator.execute({})  # type: ignore[typeddict-item]  # as above


def test_a_wrong_audience_fails_at_once_by_name(leads: str) -> None:
    """No file, no reference, no column, or one that was prepared before."""
    prepared, _ = prepare(leads)
    for audience, words in [
        (None, "prepare.output"),
        ("nowhere.parquet", "no such file"),
        (prepared, "prepared already"),
    ]:
        with pytest.raises(AirflowFailException, match=words):
            prepare(audience)
    with pytest.raises(AirflowFailException, match="suppress='optedOut'"):
        prepare(leads, suppress=["optedOut"])
