"""Subscribe to Vibes List: asks each number once, nobody who left, and says what came of each."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_sms_flow import storage
from airflow_sms_flow.core.backoff import Backoff
from airflow_sms_flow.core.errors import InvalidInput, Unfinished
from airflow_sms_flow.courier import Plan
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.ledger import RawCallback
from airflow_sms_flow.operators import NewRepliesOperator, SubscribeToVibesListOperator
from airflow_sms_flow.steps.step import Step
from airflow_sms_flow.steps.subscribe import SubscribeStep
from tests.operators.world import ANN, BOB, CYD, DEE, MONDAY, NEWS, RECEIPTS, Run, World, adds_up
from tests.sandbox.sandbox_caller import DB

EVE, FAY = "+12025550115", "+12025550116"
TUESDAY = Run("scheduled", "scheduled__tuesday", MONDAY + timedelta(days=1))


class QuickSubscribe(SubscribeToVibesListOperator):
    """Gives up on a passing fault after two attempts, and knows that this Vibes is never later than its
    answer, so that a test need not wait."""

    def plan(self, *args: Any) -> Plan:
        """See `FlowStepOperator.plan`."""
        return replace(super().plan(*args), backoff=Backoff(attempts=2, first_wait_seconds=0.01))

    def make_step(self, *args: Any) -> Step:
        """See `FlowStepOperator.make_step`."""
        step = super().make_step(*args)
        assert isinstance(step, SubscribeStep)
        return replace(step, late_effect_seconds=0.1)


def subscribe(**parameters: Any) -> SubscribeToVibesListOperator:
    """The operator with the usual parameters."""
    usual = {"task_id": "subscribe", "list_id": NEWS, "acquisition_campaign_id": "NEWS1201", "concurrency": 4}
    kind = parameters.pop("kind", SubscribeToVibesListOperator)
    made: SubscribeToVibesListOperator = kind(**(usual | parameters))
    return made


def phones(world: World, key: str) -> list[str]:
    return [row["phone"] for row in world.rows(key)]


def test_everybody_ends_in_one_place_with_a_reason(empty_world: World) -> None:
    """Asked, already there, left before, landline, said No before, known under another number."""
    world = empty_world
    world.join(BOB)
    world.caller.load(
        subscriptions=[{"phone": CYD, "list_id": NEWS, "opted_out": True}],
        phones=[{"phone": DEE, "carrier": "landline"}],
        blocks=[{"phone": EVE, "campaign_id": "NEWS1201"}],
        persons=[{"phone": "+12025550199", "external_person_id": "6"}],
    )
    people = (ANN, BOB, CYD, DEE, EVE, FAY)
    report = world.run(subscribe(audience=world.audience(*people, firstName=list("ABCDEF"))))
    assert adds_up(report)
    assert (report["rows"], report["accepted"], report["already"]) == (6, 1, 1)
    assert report["refused"] == {"opted_out": 1, "carrier": 1, "confirmation_block": 1, "id_conflict": 1}
    assert [phones(world, key) for key in ("pending", "subscribed", "already")] == [[ANN], [], [BOB]]
    assert [world.questions(phone) for phone in people] == [1, 0, 0, 0, 0, 0]


def test_the_pending_go_on_with_their_expiry_and_all_their_columns(empty_world: World) -> None:
    """In UTC, as Vibes says it; the file counts as prepared, so that it may be sent to later."""
    empty_world.run(subscribe(audience=empty_world.audience(ANN, firstName=["Ann"])))
    (ann,) = empty_world.rows("pending")
    assert (ann["id"], ann["phone"], ann["firstName"]) == (1, ANN, "Ann")
    assert ann["expire_date"].utcoffset() == timedelta(0)
    asked = empty_world.caller.effects("opt_in_asked")[0]
    assert abs(ann["expire_date"] - datetime.fromisoformat(asked["expire_date"])) < timedelta(seconds=1)
    assert storage.check_prepared(empty_world.pushed["pending"]["path"]).rows == 1
    assert set(empty_world.pushed) == {"results", "pending", "subscribed", "already"}


def test_whom_marketo_does_not_know_keeps_the_id_that_vibes_has(empty_world: World) -> None:
    """Made-up numbers stay here: the same one stands for somebody else in the next run."""
    world = empty_world
    world.caller.load(persons=[{"phone": ANN, "external_person_id": "42"}])
    for run, person in ((Run(), ANN), (TUESDAY, BOB), (TUESDAY.again(), CYD)):
        world.run(subscribe(audience=writers(world, person)), run)
        assert phones(world, "pending") == [person]
    sent = [external_id(world, phone) for phone in (ANN, BOB, CYD)]
    assert sent == ["42", None, None]


def writers(world: World, phone: str) -> dict[str, Any]:
    """What `NewRepliesOperator` hands on when somebody has written to the code."""
    body = {
        "event_id": f"CB-{phone}",
        "callback_type": "unmatched_message_received",
        "participant": {"mdn": phone},
        "source_code": {"code": "52623"},
    }
    with closing(open_ledger()) as ledger:
        data = json.dumps(body).encode()
        ledger.store_callbacks([RawCallback("acme", datetime.now(UTC), "", {}, data, f"CB-{phone}")])
    replies = NewRepliesOperator(task_id="replies", source_code="52623")
    reference: dict[str, Any] = world.run(replies, Run(run_id=f"wrote__{phone}"))
    return reference


def external_id(world: World, phone: str) -> str | None:
    """What Vibes takes for this person's Marketo id."""
    found = world.caller.vibes("GET", f"{DB}/persons", params={"mdn": phone}).json()
    person = found[0] if isinstance(found, list) else found
    known: str | None = person.get("external_person_id")
    return known


def test_nobody_counts_as_subscribed_before_they_confirm(empty_world: World) -> None:
    """Asking is not joining."""
    empty_world.run(subscribe(audience=empty_world.audience(ANN)))
    assert empty_world.caller.effects("subscribed") == []
    assert empty_world.rows("subscribed") == []


def test_a_campaign_that_asks_nothing_subscribes_at_once(empty_world: World) -> None:
    """Those go to `subscribed`, and nobody waits for them."""
    operator = subscribe(
        audience=empty_world.audience(ANN), list_id=RECEIPTS, acquisition_campaign_id="RCPT1203"
    )
    assert empty_world.run(operator)["accepted"] == 1
    assert (phones(empty_world, "subscribed"), phones(empty_world, "pending")) == ([ANN], [])


def test_each_number_is_asked_once_ever_whichever_run_asks(empty_world: World) -> None:
    """Silence is an answer; a later run finds the question under `once:<acquisition campaign>`."""
    world = empty_world
    audience = world.audience(ANN)
    report = world.run(subscribe(audience=audience))
    assert report["campaign_key"] == "once:NEWS1201"
    world.caller.advance(2 * 3600)
    assert world.caller.effects("opt_in_expired")
    report = world.run(subscribe(audience=audience, task_id="other"), TUESDAY)
    assert (report["already"], report["attempted"]) == (1, 0)
    assert world.questions(ANN) == 1


def test_a_cleared_task_pushes_the_whole_audience_again(empty_world: World) -> None:
    """What is pushed is what the ledger knows, so the sensor after it loses nobody."""
    world = empty_world
    world.join(BOB)
    audience = world.audience(ANN, BOB)
    world.run(subscribe(audience=audience))
    first = [world.rows(key) for key in ("pending", "already")]
    report = world.run(subscribe(audience=audience), Run().again())
    assert (report["accepted"], report["already"], report["attempted"]) == (0, 2, 0)
    assert [world.rows(key) for key in ("pending", "already")] == first
    assert first[0][0]["expire_date"] is not None


def test_a_question_may_be_repeated_after_the_time_given(empty_world: World) -> None:
    """`ask_again_after` counts from the last time we asked."""
    world = empty_world
    audience = world.audience(ANN)
    world.run(subscribe(audience=audience))
    world.caller.advance(2 * 3600)
    operator = subscribe(audience=audience, ask_again_after=timedelta(days=30))
    assert world.run(operator, TUESDAY)["already"] == 1
    _age_ledger(world, timedelta(days=31))
    assert world.run(subscribe(audience=audience), TUESDAY.again())["attempted"] == 0
    report = world.run(subscribe(audience=audience, ask_again_after=timedelta(days=30)), TUESDAY.again())
    assert (report["accepted"], phones(world, "pending")) == (1, [ANN])
    assert world.questions(ANN) == 2


def _age_ledger(world: World, by: timedelta) -> None:
    """Everything in the ledger happened that much longer ago."""
    from sqlalchemy import create_engine, update

    from airflow_sms_flow.ledger.schema import deliveries

    engine = create_engine(f"sqlite:///{world.folder}/home/sms_flow/ledger.db")
    with engine.begin() as connection:
        connection.execute(update(deliveries).values(updated_at=datetime.now(UTC) - by))
    engine.dispose()


def test_who_left_is_asked_only_where_the_author_says_so(empty_world: World) -> None:
    """An opt-out stands until its owner, or the author on purpose, undoes it."""
    world = empty_world
    world.caller.load(subscriptions=[{"phone": ANN, "list_id": NEWS, "opted_out": True}])
    audience = world.audience(ANN)
    assert world.run(subscribe(audience=audience))["refused"] == {"opted_out": 1}
    assert world.questions(ANN) == 0
    assert world.run(subscribe(audience=audience, opted_out="ask"), Run().again())["accepted"] == 1
    assert world.questions(ANN) == 1


def test_the_newest_record_counts(empty_world: World) -> None:
    """Who left and came back is on the list."""
    world = empty_world
    world.caller.load(
        subscriptions=[
            {"phone": ANN, "list_id": NEWS, "opted_out": True},
            {"phone": ANN, "list_id": NEWS},
            {"phone": BOB, "list_id": NEWS},
        ]
    )
    world.caller.panel("POST", "reply", json={"phone": BOB, "text": "STOP"})
    report = world.run(subscribe(audience=world.audience(ANN, BOB)))
    assert (report["already"], report["refused"]) == (1, {"opted_out": 1})


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"acquisition_campaign_id": "OFFR1202"}, "OFFR1202.*own campaigns are: NEWS1201"),
        ({"acquisition_campaign_id": "NONE"}, "NONE.*own campaigns are: NEWS1201"),
        ({"list_id": "9999"}, "list_id='9999'"),
    ],
)
def test_list_and_campaign_must_belong_together(
    empty_world: World, parameters: dict[str, Any], words: str, dry_run: bool
) -> None:
    """Otherwise people would join another list than they were asked about; the error names the right ones."""
    with pytest.raises(AirflowFailException, match=words):
        empty_world.run(subscribe(audience=empty_world.audience(ANN), dry_run=dry_run, **parameters))
    assert empty_world.caller.effects("opt_in_asked") == []


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"acquisition_campaign_id": ""}, "acquisition_campaign_id"),
        ({"acquisition_campaign_id": None}, "acquisition_campaign_id"),
        ({"opted_out": "maybe"}, "opted_out"),
        ({"ask_again_after": timedelta(hours=1)}, "ask_again_after"),
        ({"list_id": " "}, "list_id"),
    ],
)
def test_what_is_wrong_in_the_dag_file_is_refused_there(parameters: dict[str, Any], field: str) -> None:
    """At parse, by field."""
    with pytest.raises(InvalidInput) as caught:
        subscribe(audience="a.parquet", **parameters)
    assert caught.value.field == field


def test_a_form_without_a_campaign_fails_at_once(empty_world: World) -> None:
    """Jinja writes an empty Param as "None"."""
    operator = subscribe(audience=empty_world.audience(ANN), acquisition_campaign_id="{{ params.x }}")
    with pytest.raises(AirflowFailException, match="acquisition_campaign_id='None'"):
        empty_world.run(operator, params={"x": None})


@pytest.mark.parametrize(
    ("parameters", "run", "reason"),
    [({"dry_run": True}, Run(), "dry_run"), ({}, Run(run_type="backfill"), "backfill")],
)
def test_a_dry_run_and_a_skipped_backfill_ask_nobody_and_push_empty_audiences(
    empty_world: World, parameters: dict[str, Any], run: Run, reason: str
) -> None:
    """Every key is pushed, so that the tasks after it have something to read."""
    report = empty_world.run(subscribe(audience=empty_world.audience(ANN, BOB), **parameters), run)
    assert (report["skipped"], report["campaign_key"]) == ({reason: 2}, "once:NEWS1201")
    assert {key: empty_world.pushed[key]["rows"] for key in ("pending", "subscribed", "already")} == {
        "pending": 0,
        "subscribed": 0,
        "already": 0,
    }
    assert "expire_date" in storage.read_schema(empty_world.pushed["pending"]["path"]).names
    assert not empty_world.requests("POST")


def test_an_unprepared_audience_is_refused(empty_world: World) -> None:
    """Vibes must not ask numbers that nobody checked."""
    import pyarrow as pa

    raw = empty_world.file(pa.table({"id": [1], "mobilePhone": [ANN]}))
    with pytest.raises(AirflowFailException, match="was not prepared"):
        empty_world.run(subscribe(audience=raw))


def test_a_lost_answer_is_looked_up_before_anybody_is_asked_again(empty_world: World) -> None:
    """Vibes knows whether the question went out: one text, and the person is pending."""
    world = empty_world
    world.fault("reset_after", method="POST", path="*/participants", count=1)
    report = world.run(subscribe(audience=world.audience(ANN), kind=QuickSubscribe))
    assert (report["accepted"], report["in_doubt"], phones(world, "pending")) == (1, 0, [ANN])
    assert world.rows("pending")[0]["expire_date"] is not None
    assert world.questions(ANN) == 1
    assert len(world.requests("POST", "/participants")) == 1


def test_whoever_was_asked_in_the_word_of_a_person_is_waited_for(empty_world: World) -> None:
    """The question went out, and Vibes could not say so in time: settled as sent, its answer still counts."""
    world = empty_world
    world.fault("reset_after", method="POST", path="*/participants", count=1)
    world.fault("status", method="GET", path="*/participants", status=503)
    audience = world.audience(ANN)
    with pytest.raises(Unfinished, match="1 of 1 people"):
        world.run(subscribe(audience=audience, kind=QuickSubscribe))
    assert (world.pushed["return_value"]["in_doubt"], phones(world, "pending")) == (1, [])
    world.all_well()
    with closing(open_ledger()) as ledger:
        assert ledger.settle_in_doubt("once:NEWS1201", sent=True, by="kim") == 1
    report = world.run(subscribe(audience=audience), Run().again())
    assert (report["already"], report["attempted"], phones(world, "pending")) == (1, 0, [ANN])
    assert world.rows("pending")[0]["expire_date"] > datetime.now(UTC)
    assert world.questions(ANN) == 1


def test_a_question_that_never_left_is_asked_after_all(empty_world: World) -> None:
    """Neither pending nor on the list: then it did not happen."""
    world = empty_world
    world.fault("reset_before", method="POST", path="*/participants", count=1)
    report = world.run(subscribe(audience=world.audience(ANN), kind=QuickSubscribe))
    assert (report["accepted"], world.questions(ANN)) == (1, 1)


def test_a_storm_leaves_people_open_and_the_next_try_completes(empty_world: World) -> None:
    """The task fails for Airflow to retry; what it pushed meanwhile is the truth so far."""
    world = empty_world
    world.fault("status", method="POST", path="*/participants", status=503)
    audience = world.audience(ANN, BOB)
    with pytest.raises(Unfinished, match="2 of 2"):
        world.run(subscribe(audience=audience, kind=QuickSubscribe))
    assert world.rows("pending") == []
    world.all_well()
    assert world.run(subscribe(audience=audience), Run().again())["accepted"] == 2
    assert (world.questions(ANN), world.questions(BOB)) == (1, 1)


def test_xcoms_carry_no_number_and_no_name(empty_world: World) -> None:
    """Paths and counts only."""
    report = empty_world.run(subscribe(audience=empty_world.audience(ANN, firstName=["Wilhelmina"])))
    assert not re.search("2025550|Wilhelmina", json.dumps([report, empty_world.pushed]))
