"""Unsubscribe from Vibes List: everybody leaves, blocklisted people most of all."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_sms_flow import storage
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.rules import AudienceRules
from airflow_sms_flow.operators import UnsubscribeFromVibesListOperator
from tests.operators.world import ANN, BOB, CYD, NEWS, Run, World, adds_up


def unsubscribe(**parameters: Any) -> UnsubscribeFromVibesListOperator:
    """The operator with the usual parameters."""
    usual = {"task_id": "unsubscribe", "list_id": NEWS, "concurrency": 4}
    return UnsubscribeFromVibesListOperator(**(usual | parameters))


def raw(world: World, *numbers: str | None, **columns: Any) -> str:
    """A file as the extraction writes it: leads 1, 2, … with numbers as people type them."""
    table = pa.table(
        {
            "id": range(1, len(numbers) + 1),
            "mobilePhone": pa.array(numbers, pa.string()),
            "country": pa.array([None] * len(numbers), pa.string()),
            **columns,
        }
    )
    return world.file(table, "leads")


def left(world: World) -> list[str]:
    return sorted(one["phone"] for one in world.caller.effects("unsubscribed"))


def test_a_raw_audience_is_normalised_and_leaves(empty_world: World) -> None:
    """Straight from the smart list; the report accounts for everybody."""
    world = empty_world
    world.join(ANN, BOB)
    report = world.run(unsubscribe(audience=raw(world, "(202) 555-0111", "202.555.0112", "202-555-0113")))
    assert left(world) == [ANN, BOB]
    assert (report["accepted"], report["already"], report["rows"]) == (2, 1, 3)
    assert [(row["phone"], row["state"], row["reason"]) for row in world.rows()] == [
        (ANN, "accepted", "unsubscribed"),
        (BOB, "accepted", "unsubscribed"),
        (CYD, "already", "not_subscribed"),
    ]


def test_blocklisted_people_are_not_spared(empty_world: World) -> None:
    """Suppression is for sends; these are the ones who must leave."""
    world = empty_world
    world.join(ANN)
    world.run(unsubscribe(audience=raw(world, ANN, blackListed=[True], marketingSuspended=[True])))
    assert left(world) == [ANN]


def test_a_prepared_audience_leaves_by_its_numbers(empty_world: World) -> None:
    """Its `phone` column counts."""
    empty_world.join(ANN)
    empty_world.run(unsubscribe(audience=empty_world.audience(ANN)))
    assert left(empty_world) == [ANN]


@pytest.mark.parametrize("number", ["(202) 555-0111", "12025550111", " +1 202 555 0111"])
def test_a_number_of_a_prepared_audience_that_is_not_in_e164_is_read_like_a_raw_one(
    empty_world: World, number: str
) -> None:
    """Somebody's spreadsheet was at the file: it neither leaves as it stands nor gets into an error."""
    world = empty_world
    world.join(ANN, BOB)
    report = world.run(unsubscribe(audience=world.audience(number, BOB)))
    assert (left(world), report["accepted"]) == ([ANN, BOB], 2)
    assert [row["phone"] for row in world.rows()] == [ANN, BOB]


def test_numbers_of_a_prepared_audience_are_read_in_the_country_of_their_lead(empty_world: World) -> None:
    """As those of a raw one; what is no number there is tried by its Marketo id."""
    world = empty_world
    london = "+442071838750"
    world.join(london)
    audience = world.audience("020 7183 8750", "call me", country=["United Kingdom", None])
    report = world.run(unsubscribe(audience=audience))
    assert (left(world), report["refused"]) == ([london], {"unknown_person": 1})


def test_numbers_that_are_no_text_any_more_are_refused(empty_world: World) -> None:
    """A spreadsheet made whole numbers of them: which digits it lost, nobody can say."""
    world = empty_world
    table = pa.table({"id": [1], "phone": [12025550111]})
    path = world.file(table, metadata={storage.PREPARED_KEY: AudienceRules().to_json()})
    with pytest.raises(AirflowFailException, match="read phone numbers as text") as caught:
        world.run(unsubscribe(audience=path))
    assert "0111" not in str(caught.value)
    assert world.requests("DELETE") == []


def test_marketos_own_phone_column_of_a_raw_file_is_not_taken_for_ours(empty_world: World) -> None:
    """`phone` is a landline field at Marketo; only `phone_fields` are read."""
    world = empty_world
    world.join(ANN, BOB)
    world.run(unsubscribe(audience=raw(world, ANN, phone=[BOB])))
    assert left(world) == [ANN]
    world.run(unsubscribe(audience=raw(world, None, phone=[BOB]), task_id="t2", phone_fields=["phone"]))
    assert left(world) == [ANN, BOB]


def test_leads_that_share_a_number_leave_together(empty_world: World) -> None:
    """One request for the number, and each of them accounted for."""
    world = empty_world
    world.join(ANN)
    report = world.run(unsubscribe(audience=raw(world, ANN, "202-555-0111")))
    assert (report["rows"], report["accepted"], report["attempted"]) == (2, 2, 1)
    assert len(world.requests("DELETE")) == 1


def test_a_lead_without_a_number_is_tried_by_its_marketo_id(empty_world: World) -> None:
    """Vibes keeps it as external person id; where it does not know it, the lead is refused and not "done"."""
    world = empty_world
    world.caller.load(subscriptions=[{"phone": ANN, "list_id": NEWS, "external_person_id": "1"}])
    report = world.run(unsubscribe(audience=raw(world, None, "n/a")))
    assert left(world) == [ANN]
    assert (report["accepted"], report["refused"]) == (1, {"unknown_person": 1})
    assert [row["phone"] for row in world.rows()] == [None, None]


def test_a_repeat_is_harmless(empty_world: World) -> None:
    """The next try finds everything done; a run of its own finds nobody on the list."""
    world = empty_world
    world.join(ANN)
    audience = raw(world, ANN, "202-555-0112")
    world.run(unsubscribe(audience=audience))
    report = world.run(unsubscribe(audience=audience), Run().again())
    assert (report["already"], report["attempted"]) == (2, 0)
    report = world.run(unsubscribe(audience=audience, campaign_key="another"))
    assert (report["already"], report["attempted"]) == (2, 0)
    assert left(world) == [ANN]


def test_a_lost_answer_is_simply_repeated(empty_world: World) -> None:
    """Leaving twice is leaving once."""
    world = empty_world
    world.join(ANN)
    world.fault("reset_after", method="DELETE", count=1)
    report = world.run(unsubscribe(audience=raw(world, ANN)))
    assert adds_up(report)
    assert (report["in_doubt"], report["failed"], left(world)) == (0, 0, [ANN])


def test_a_404_for_somebody_who_is_still_on_the_list_does_not_count(empty_world: World) -> None:
    """It is looked up again before it is believed."""
    world = empty_world
    world.join(ANN)
    world.fault("status", method="DELETE", status=404, count=1)
    report = world.run(unsubscribe(audience=raw(world, ANN)))
    assert (report["accepted"], left(world)) == (1, [ANN])
    assert len(world.requests("DELETE")) == 2


@pytest.mark.parametrize(
    ("table", "missing"),
    [
        ({"id": [1], "phone": [ANN]}, "mobilePhone"),
        ({"mobilePhone": [ANN]}, "id"),
        ({"lead": ["x"]}, "id, mobilePhone"),
    ],
)
def test_a_file_without_the_needed_columns_is_refused(
    empty_world: World, table: dict[str, list[Any]], missing: str
) -> None:
    """Before anything is asked; the columns are named, their content is not."""
    path = empty_world.file(pa.table(table))
    with pytest.raises(AirflowFailException, match=f"has no column {missing}") as caught:
        empty_world.run(unsubscribe(audience=path))
    assert "0111" not in str(caught.value)
    assert empty_world.requests() == []


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"list_id": "9999"}, "list_id='9999'"),
        ({"default_region": "XX"}, "default_region"),
        ({"country_field": "land"}, "land"),
    ],
)
def test_a_wrong_parameter_fails_at_once_by_name(
    empty_world: World, parameters: dict[str, Any], words: str
) -> None:
    """Nobody is taken off by half a rule."""
    world = empty_world
    world.join(ANN)
    with pytest.raises(AirflowFailException, match=words):
        world.run(unsubscribe(audience=raw(world, ANN), **parameters))
    assert left(world) == []


def test_a_missing_list_is_refused_at_parse() -> None:
    """Field, value, remedy."""
    with pytest.raises(InvalidInput, match="list_id"):
        unsubscribe(audience="leads.parquet", list_id="")


@pytest.mark.parametrize(
    ("parameters", "run", "reason"),
    [({"dry_run": True}, Run(), "dry_run"), ({}, Run(run_type="backfill"), "backfill")],
)
def test_a_dry_run_and_a_skipped_backfill_take_nobody_off(
    empty_world: World, parameters: dict[str, Any], run: Run, reason: str
) -> None:
    """Reading calls at most."""
    world = empty_world
    world.join(ANN)
    report = world.run(unsubscribe(audience=raw(world, ANN, None), **parameters), run)
    assert report["skipped"] == {reason: 2}
    assert (left(world), world.requests("DELETE")) == ([], [])


def test_results_of_a_dry_run_never_hold_marketos_own_phone_column(empty_world: World) -> None:
    """`phone` in a results file is an E.164 number or nothing."""
    world = empty_world
    world.run(unsubscribe(audience=raw(world, ANN, phone=["call me"]), dry_run=True))
    assert [row["phone"] for row in world.rows()] in ([None], [ANN])


def test_xcoms_carry_no_number(empty_world: World) -> None:
    """Paths and counts only."""
    report = empty_world.run(unsubscribe(audience=raw(empty_world, ANN)))
    assert "2025550" not in json.dumps([report, empty_world.pushed])


def test_whoever_has_neither_number_nor_marketo_id_is_counted_at_every_try(empty_world: World) -> None:
    """Refused, each of them: there is nobody at Vibes to take off, and no id to take for one."""
    world = empty_world
    nameless = world.file(pa.table({"id": [-1, -2], "mobilePhone": pa.nulls(2, pa.string())}), "leads")
    for run in (Run(), Run().again()):
        report = world.run(unsubscribe(audience=nameless, country_field=None), run)
        assert (report["rows"], report["refused"]) == (2, {"unknown_person": 2})
    assert not world.requests("DELETE")
