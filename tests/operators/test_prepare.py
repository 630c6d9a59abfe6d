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
        "extracted": 4, "kept": 1, "filtered": 0, "suppressed": 1, "no_phone": 1, "invalid_phone": 0,
        "suppressed_number": 0, "denied": 0, "not_allowed": 0, "duplicate": 1, "holdout": 0,
    }  # fmt: skip
    assert [(row["id"], row["phone"]) for row in rows(audience["path"])] == [(3, "+12025550132")]
    rejected = rows(pushed["rejected"]["path"])
    assert {row["id"]: row["reason"] for row in rejected} == {
        1: "suppressed", 2: "no_phone", 4: "duplicate",
    }  # fmt: skip
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
    leads: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty audience is a success that says so, and the next task finds its columns."""
    empty = leads + ".empty"
    storage.write_parquet(empty, [], schema=LEADS.schema)
    audience, pushed = prepare(empty)
    assert (audience["rows"], pushed["rejected"]["rows"]) == (0, 0)
    assert "nobody will be texted" in caplog.text
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
        ("suppress", ""),
        ("where", [("country", "==", "US")]),
        ("where", "country = US"),
        ("allow_list", 5),
        ("deny_list", {"column": "phone"}),
        ("holdout", 10),
        ("holdout", "a tenth"),
        ("max_recipients", 0),
        ("max_recipients", "50,000"),
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


def test_an_empty_field_does_not_switch_off_the_blocklist(leads: str) -> None:
    """Who cleared it in a form meant no such thing; who writes () into the DAG file does."""
    for cleared in ("", " , "):
        operator = PrepareAudienceOperator(task_id="p", audience=leads, suppress="{{ params.suppress }}")
        operator.render_template_fields({"params": {"suppress": cleared}})  # type: ignore[typeddict-item]  # no more is read
        with pytest.raises(AirflowFailException, match=r"suppress=.*nobody would be held back"):
            operator.execute({})  # type: ignore[typeddict-item]  # as above
    assert prepared_ids(leads)[1] is None


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


def test_one_wrong_rule_is_refused_at_parse_although_another_is_rendered_later() -> None:
    """A template hides nothing but itself."""
    with pytest.raises(InvalidInput, match="holdout=10"):
        PrepareAudienceOperator(task_id="p", audience="x", default_region="{{ params.region }}", holdout=10)


def prepared_ids(audience: Any, **rules: Any) -> dict[int, str | None]:
    """Each lead's reason, None where kept."""
    kept, pushed = prepare(audience, suppress=(), **rules)
    found: dict[int, str | None] = {row["id"]: None for row in rows(kept["path"])}
    return found | {row["id"]: row["reason"] for row in rows(pushed["rejected"]["path"])}


def test_the_further_rules_come_as_a_form_gives_them(leads: str, tmp_path: Path) -> None:
    """All as text; the numbers in files of any kind; empty fields are no rules."""
    (tmp_path / "dnc.txt").write_text("(202) 555-0133\n")
    (tmp_path / "testers.csv").write_text("name,cell\nAnn,202-555-0133\n")
    assert prepared_ids(leads, deny_list=str(tmp_path / "dnc.txt"))[1] == "denied"
    allowed = {"path": str(tmp_path / "testers.csv"), "column": "cell"}
    assert prepared_ids(leads, allow_list=allowed) == {
        1: None, 2: "no_phone", 3: "not_allowed", 4: "not_allowed",
    }  # fmt: skip
    assert prepared_ids(leads, where='[["country", "is missing"]]')[3] == "filtered"
    empty = dict.fromkeys(["where", "holdout", "holdout_name"], "None")
    assert prepared_ids(leads, **empty, max_recipients="2")[1] is None


def test_a_campaign_may_leave_out_those_of_another(leads: str) -> None:
    """An audience that a task pushed is a list of numbers, too."""
    earlier, _ = prepare(leads, suppress=())
    assert set(prepared_ids(leads, deny_list=earlier).values()) == {"denied", "no_phone"}


def test_a_deny_list_that_cannot_be_read_lets_nobody_through(leads: str, tmp_path: Path) -> None:
    """Not there, no numbers, a number of which nobody knows the country."""
    path = tmp_path / "dnc.txt"
    with pytest.raises(AirflowFailException, match=r"deny_list=.*no such file"):
        prepare(leads, deny_list=str(path))
    path.write_text("020 7946 0000\n")
    with pytest.raises(AirflowFailException, match=r"deny_list=.*country code") as caught:
        prepare(leads, deny_list=str(path))
    assert "7946" not in str(caught.value)


@pytest.mark.parametrize("rule", ["allow_list", "deny_list"])
@pytest.mark.parametrize("empty", [None, "", "None"])
def test_a_list_that_is_named_must_be_there(leads: str, rule: str, empty: str | None) -> None:
    """A task that pushed nothing, or an empty Param, would let everybody through."""
    operator = PrepareAudienceOperator(
        task_id="p", audience=leads, suppress=(), **{rule: "{{ params.list }}"}
    )
    operator.render_template_fields({"params": {"list": empty}})  # type: ignore[typeddict-item]  # as above
    if empty is None:
        setattr(operator, rule, None)  # as another task's output renders
    with pytest.raises(AirflowFailException, match=rule):
        operator.execute({})  # type: ignore[typeddict-item]  # as above


def test_a_holdout_is_told_in_the_funnel_and_in_the_rules(leads: str) -> None:
    """Nobody texted is lost: those who are held out stand among the rejected."""
    audience, pushed = prepare(leads, suppress=(), holdout="0.9999", holdout_name="spring")
    assert audience["funnel"]["holdout"] == 2
    assert {row["reason"] for row in rows(pushed["rejected"]["path"])} == {"no_phone", "duplicate", "holdout"}
    rules = storage.check_prepared(audience["path"]).rules
    assert (rules["holdout"], rules["holdout_name"]) == (0.9999, "spring")


def test_more_people_than_allowed_are_handed_to_nobody(leads: str, tmp_path: Path) -> None:
    """No file, no reference: the run stops here."""
    with pytest.raises(AirflowFailException, match="you allowed 1, so nobody is texted"):
        prepare(leads, suppress=(), max_recipients=1)
    assert list((tmp_path / "files").rglob("*.parquet")) == []


def test_shards_are_a_list_to_map_over_with_the_funnel_beside(leads: str) -> None:
    """Empty shards, too; one shard is a list of one. The number may come from a form, as text."""
    whole, _ = prepare(leads)
    for shards in (3, "3", 1):
        audiences, pushed = prepare(leads, shards=shards)
        assert len(audiences) == int(shards)
        assert pushed["funnel"] == whole["funnel"]
        assert sum(audience["rows"] for audience in audiences) == whole["rows"]  # type: ignore[index]  # a list
        kept = [row for audience in audiences for row in rows(audience["path"])]  # type: ignore[index]  # a list
        assert kept == rows(whole["path"])
        for audience in audiences:
            storage.check_prepared(audience["path"])  # type: ignore[index]  # a list
    assert isinstance(prepare(leads, shards="None")[0], dict)


@pytest.mark.parametrize("shards", [0, -1, 101, 1.5, True, "many"])
def test_an_impossible_number_of_shards_is_refused_when_the_dag_is_parsed(shards: Any) -> None:
    """From 1 to 100."""
    with pytest.raises(InvalidInput, match="from 1 to 100") as caught:
        PrepareAudienceOperator(task_id="prepare", audience="x", shards=shards)
    assert caught.value.field == "shards"


def test_several_extractions_are_prepared_as_one(leads: str, tmp_path: Path) -> None:
    """A number in two of them is a duplicate; one that is suppressed in one of them is in all."""
    other = str(tmp_path / "other.parquet")
    numbers = ["+12025550132", "+12025550133", "+12025550134"]
    more = pa.table({"id": [11, 12, 13], "mobilePhone": numbers, "blackListed": [None, None, True]})
    storage.write_parquet(other, [more])
    both = [{"path": leads, "rows": 4}, {"path": other, "rows": 3}]
    audience, pushed = prepare(both, suppress="blackListed")
    reasons = {row["id"]: row["reason"] for row in rows(pushed["rejected"]["path"])}
    assert reasons == {
        1: "suppressed", 2: "no_phone", 4: "duplicate", 11: "duplicate", 12: "suppressed_number",
        13: "suppressed",
    }  # fmt: skip
    assert audience["funnel"]["extracted"] == 7
    with pytest.raises(AirflowFailException, match="named twice"):
        prepare([leads, leads])
