"""Send SMS Message: the message, the audience and what else an author may give, right and wrong."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_sms_flow import SmsMessage, storage
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.rules import AudienceRules
from tests.operators.world import ANN, World, send

# -- the message's forms -----------------------------------------------------------------------------


def test_a_message_may_lie_in_a_file_beside_the_dag(world: World, tmp_path: Path) -> None:
    """A .sms file keeps Marketo's tokens, for it is not run through Jinja."""
    world.join(ANN)
    (tmp_path / "summer.sms").write_text("Hi {{lead.First Name:default=there}}\n")
    operator = send(audience=world.audience(ANN, firstName=["Ann"]), message="summer.sms")
    operator.dag = DAG("sms", schedule=None, template_searchpath=str(tmp_path))
    world.run(operator)
    assert world.texts(ANN) == ["Hi Ann"]


def test_a_message_file_that_is_not_there_is_named(world: World) -> None:
    """Before anything is sent."""
    with pytest.raises(AirflowFailException, match=r"message='summer.sms': no such file"):
        world.run(send(audience=world.audience(ANN), message="summer.sms"))


def test_a_plain_text_is_a_template_of_airflow(world: World) -> None:
    """`ds` and `params` work in it."""
    world.join(ANN)
    world.run(send(audience=world.audience(ANN), message="Only {{ params.day }}!"), params={"day": "today"})
    assert world.texts(ANN) == ["Only today!"]


def test_a_param_may_hold_marketos_tokens(world: World) -> None:
    """What a form brings in is not evaluated a second time by Jinja, but its tokens are rendered."""
    world.join(ANN)
    operator = send(audience=world.audience(ANN, firstName=["Ann"]), message="{{ params.text }}")
    world.run(operator, params={"text": "Hi {{lead.firstName}}"})
    assert world.texts(ANN) == ["Hi Ann"]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"message": "Hi {{lead.First Name}}"}, "message"),
        ({"message": "Hi {{ my.offer }}"}, "message"),
        ({"message": "  "}, "message"),
        ({"message": None}, "message"),
        ({"list_id": ""}, "list_id"),
        ({"list_id": None}, "list_id"),
        ({"campaign_key": " x"}, "campaign_key"),
        ({"campaign_key": "once:"}, "campaign_key"),
        ({"on_backfill": "maybe"}, "on_backfill"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"on_in_doubt": "drop"}, "on_in_doubt"),
        ({"membership": "none"}, "membership"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_what_is_wrong_in_the_dag_file_is_refused_there(parameters: dict[str, Any], field: str) -> None:
    """At parse, by field."""
    with pytest.raises(InvalidInput) as caught:
        send(audience="a.parquet", **parameters)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("parameters", "params", "words"),
    [
        ({"list_id": "{{ params.x }}"}, {"x": None}, "list_id='None'"),
        ({"message": "{{ params.x }}"}, {"x": ""}, "message=''"),
        ({"message": "{{ params.x }}"}, {"x": "{{lead.Favourite Colour}}"}, "Favourite Colour"),
        ({"message": SmsMessage("{{lead.First Nam}}")}, {}, "did you mean"),
        ({"campaign_key": "{{ params.x }}"}, {"x": ""}, "campaign_key"),
        ({"campaign_key": "{{ params.x }}"}, {"x": None}, "campaign_key='None'.*leave campaign_key out"),
        ({"campaign_key": "once:{{ params.x }}"}, {"x": None}, "campaign_key='once:None'"),
        ({"on_backfill": "{{ params.x }}"}, {"x": "never"}, "on_backfill='never'"),
        ({"vibes_conn_id": "nowhere"}, {}, "nowhere"),
        ({"list_id": "9999"}, {}, "list_id='9999'"),
    ],
)
def test_what_is_wrong_in_a_form_fails_at_once_before_anybody_is_texted(
    world: World, parameters: dict[str, Any], params: dict[str, Any], words: str
) -> None:
    """Field, value, remedy; without a retry, which could not help."""
    world.join(ANN)
    with pytest.raises(AirflowFailException, match=words):
        world.run(send(audience=world.audience(ANN, firstName=["Ann"]), **parameters), params=params)
    assert world.caller.effects("event_accepted") == []


# -- the audience ------------------------------------------------------------------------------------


def _prepared(table: pa.Table, world: World) -> str:
    return world.file(table, metadata={storage.PREPARED_KEY: AudienceRules().to_json()})


@pytest.mark.parametrize(
    ("columns", "prepared", "words"),
    [
        ({"id": [1], "phone": [ANN]}, False, "was not prepared"),
        ({"id": [1, 2], "phone": [ANN, ANN]}, True, "1 repeat a number"),
        ({"id": [1], "phone": ["202-555-0111"]}, True, "1 rows lack an id or a number in E.164"),
        ({"id": [1, 2], "phone": [ANN, None]}, True, "1 rows lack"),
        ({"id": [1]}, True, "has no column phone"),
        ({"phone": [ANN]}, True, "has no column id"),
    ],
)
def test_an_audience_that_must_not_be_texted_is_refused_before_any_request(
    world: World, columns: dict[str, Iterable[object]], prepared: bool, words: str
) -> None:
    """And no word of what stands in it."""
    before = len(world.requests())
    table = pa.table(dict(columns))
    path = _prepared(table, world) if prepared else world.file(table)
    with pytest.raises(AirflowFailException, match=words) as caught:
        world.run(send(audience=path))
    assert "0111" not in str(caught.value)
    assert len(world.requests()) == before


@pytest.mark.parametrize("audience", ["/nowhere/audience.parquet", "", {"rows": 1}, "{'path': 'x'}", None])
def test_an_audience_that_is_none_is_named(world: World, audience: object) -> None:
    """A missing file, an empty XCom, a reference that Jinja turned into text."""
    with pytest.raises(AirflowFailException, match="audience="):
        world.run(send(audience=audience))


def test_an_empty_audience_is_a_success(world: World) -> None:
    """Nobody to text is no fault."""
    empty = pa.table({"id": pa.array([], pa.int64()), "phone": pa.array([], pa.string())})
    report = world.run(send(audience=_prepared(empty, world)))
    assert (report["rows"], report["accepted"]) == (0, 0)
    assert world.rows() == []


def test_the_reference_that_a_task_pushed_is_an_audience(world: World) -> None:
    """`prepare.output` resolves to it."""
    world.join(ANN)
    assert world.run(send(audience={"path": world.audience(ANN), "rows": 1, "funnel": {}}))["accepted"] == 1
