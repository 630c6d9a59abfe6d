"""What the three steps share at Airflow's side: errors, keys, tries, parameters as templates."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, Param
from sqlalchemy import create_engine, select

from airflow_sms_flow import SmsMessage
from airflow_sms_flow.core.errors import InvalidInput, QuotaExhausted
from airflow_sms_flow.ledger.schema import claimers
from airflow_sms_flow.operators import (
    PrepareAudienceOperator,
    SendSmsMessageOperator,
    SubscribeToVibesListOperator,
    UnsubscribeFromVibesListOperator,
)
from tests.operators.world import ANN, BOB, MONDAY, NEWS, Run, World, send

STEPS = (SendSmsMessageOperator, SubscribeToVibesListOperator, UnsubscribeFromVibesListOperator)


@pytest.mark.parametrize("step", STEPS)
def test_everything_an_author_may_want_to_fill_is_a_template_field(step: Any) -> None:
    """From params, ds or XCom."""
    common = {"audience", "list_id", "campaign_key", "on_backfill", "dry_run", "vibes_conn_id"}
    own = {
        SendSmsMessageOperator: {"message", "event_type", "membership", "extract", "on_in_doubt"},
        SubscribeToVibesListOperator: {"acquisition_campaign_id", "opted_out"},
        UnsubscribeFromVibesListOperator: {"phone_fields", "default_region", "country_field"},
    }
    assert set(step.template_fields) == common | own[step]


def test_a_missing_list_is_named_at_parse() -> None:
    """Airflow itself says which argument is missing."""
    with pytest.raises(TypeError, match="list_id"):
        SendSmsMessageOperator(task_id="send", audience="a.parquet", message="x")


def test_a_dags_params_fill_the_step(world: World) -> None:
    """`dag.param` brings a Param's value as it is, tokens included, numbers as numbers."""
    world.join(ANN)
    params = {
        "list": Param(1201),
        "text": Param("Hi {{lead.firstName}}"),
        "key": Param(None),
        "dry": Param(False),
    }
    with DAG("with_params", schedule=None, params=params) as dag:
        operator = SendSmsMessageOperator(
            task_id="send",
            audience=world.audience(ANN, firstName=["Ann"]),
            list_id=dag.param("list"),
            message=dag.param("text"),
            campaign_key=dag.param("key"),
            dry_run=dag.param("dry"),
        )
    values = {"list": 1201, "text": "Hi {{lead.firstName}}", "key": None, "dry": False}
    report = world.run(operator, params=values)
    assert report["campaign_key"] == f"with_params/send/{MONDAY.isoformat()}"
    assert world.texts(ANN) == ["Hi Ann"]


def test_steps_chain_by_their_outputs() -> None:
    """`prepare.output` and `subscribe.output["pending"]` make the dependency, too."""
    with DAG("chain", schedule=None):
        prepare = PrepareAudienceOperator(task_id="prepare", audience="leads.parquet")
        ask = SubscribeToVibesListOperator(
            task_id="ask", audience=prepare.output, list_id=NEWS, acquisition_campaign_id="NEWS1201"
        )
        text = send(task_id="text", audience=ask.output["already"])
    assert prepare.downstream_task_ids == {"ask"}
    assert text.upstream_task_ids == {"ask"}


def test_an_operator_can_be_copied_and_kept_in_a_dag() -> None:
    """Airflow copies operators before it renders them; nothing of a run may be in them."""
    with DAG("copied", schedule=None) as dag:
        send(audience="a.parquet", message=SmsMessage("Hi {{lead.firstName}}"))
    copied = copy.deepcopy(dag.get_task("send"))
    assert copied.message.text == "Hi {{lead.firstName}}"
    from airflow.serialization.serialized_objects import DagSerialization

    serialised = json.dumps(DagSerialization.to_dict(dag), default=str)
    assert "lead.firstName" not in serialised


def test_a_killed_operator_that_never_ran_is_no_error() -> None:
    """`on_kill` may come before `execute`."""
    operator = send(audience="a.parquet")
    operator.on_kill()
    assert not operator.is_stopped()


def test_the_history_knows_which_try_it_was(world: World) -> None:
    """Task with map index, run and number of the try."""
    world.join(ANN)
    audience = world.audience(ANN)
    for run in (Run(map_index=0), Run(try_number=2)):
        world.run(send(audience=audience), run)
    engine = create_engine(f"sqlite:///{world.folder}/home/sms_flow/ledger.db")
    with engine.connect() as connection:
        query = select(claimers.c.owner, claimers.c.run_id, claimers.c.try_number).order_by(
            claimers.c.started_at
        )
        found = [tuple(row) for row in connection.execute(query)]
    engine.dispose()
    assert found == [("sms/send[0]", "scheduled__monday", 1), ("sms/send", "scheduled__monday", 2)]


def test_mapped_tasks_share_a_key_but_no_files(world: World) -> None:
    """map_index is no part of what makes a message the same; who maps over messages gives a key each."""
    world.join(ANN, BOB)
    audience = world.audience(ANN, BOB)
    world.run(send(audience=audience), Run(map_index=0))
    first = world.pushed["results"]["path"]
    report = world.run(send(audience=audience), Run(map_index=1))
    assert report["already"] == 2
    assert world.pushed["results"]["path"] != first


def test_steps_can_be_mapped() -> None:
    """`partial().expand()` takes the same parameters."""
    with DAG("mapped", schedule=None):
        mapped = SendSmsMessageOperator.partial(
            task_id="send", list_id=NEWS, audience="a.parquet"
        ).expand_kwargs([{"message": "a", "campaign_key": "k/a"}, {"message": "b", "campaign_key": "k/b"}])
    assert mapped.operator_class is SendSmsMessageOperator


def test_lists_have_keys_of_their_own(world: World) -> None:
    """The same campaign key on another list is another message."""
    world.join(ANN)
    world.join(ANN, list_id="1202")
    audience = world.audience(ANN)
    world.run(send(audience=audience, campaign_key="spring"))
    assert world.run(send(audience=audience, campaign_key="spring", list_id="1202"))["accepted"] == 1


def test_a_local_ledger_under_a_distributed_executor_is_refused_before_the_first_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each machine would have an empty one, and everybody would be texted again."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    before = len(world.requests())
    with pytest.raises(AirflowFailException, match=r"ledger_conn_id.*storage"):
        world.run(send(audience=world.audience(ANN)))
    assert len(world.requests()) == before


def test_a_ledger_that_went_missing_between_two_tries_stops_the_second(world: World) -> None:
    """An empty one in its place knows of nobody who was texted."""
    world.join(ANN)
    audience = world.audience(ANN)
    world.run(send(audience=audience))
    for file in (world.folder / "home" / "sms_flow").glob("ledger.db*"):
        file.unlink()
    with pytest.raises(AirflowFailException, match="another ledger"):
        world.run(send(audience=audience), Run().again())
    assert world.texts(ANN) == ["Sale!"]


def test_errors_that_a_repeat_cannot_mend_hide_what_lies_beneath(world: World) -> None:
    """The chain could quote a request."""
    with pytest.raises(AirflowFailException) as caught:
        world.run(send(audience=world.audience(ANN), list_id="9999"))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_used_up_quota_waits_for_the_vendor_on_new_airflows() -> None:
    """The policy reaches every step; one of the author's own replaces it."""
    pytest.importorskip("airflow.sdk.definitions.retry_policy")
    from datetime import UTC, datetime

    operator: Any = send(audience="a.parquet")
    error = QuotaExhausted("used up", datetime.now(UTC) + timedelta(hours=2))
    delay = operator.retry_policy.evaluate(error, 1, 3).retry_delay
    assert timedelta(hours=1.9) < delay <= timedelta(hours=2)


def test_an_unknown_argument_is_an_error() -> None:
    """A typing mistake in a guard must not be swallowed."""
    with pytest.raises(TypeError, match="on_backfil"):
        send(audience="a.parquet", on_backfil="send")


def test_the_error_names_field_value_and_remedy() -> None:
    """So that whoever reads it knows what to type instead."""
    with pytest.raises(InvalidInput, match=r"on_backfill='maybe': must be one of: skip, send"):
        send(audience="a.parquet", on_backfill="maybe")
