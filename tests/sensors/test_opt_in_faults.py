"""What goes wrong decides nobody, names what to change, and shows no number."""

from __future__ import annotations

import json
import logging
from contextlib import closing
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_sms_flow import storage
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.hooks.ledger import open_ledger
from tests.sensors.opt_in_world import ANN, DAY, DEE, HOUR, World, counts, look, numbers_in


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 500}, {"status": 503, "body": "html"}])
def test_passing_faults_cost_nobody_their_place(world: World, fault: dict[str, Any]) -> None:
    """A third of all lookups fails; everybody ends where they would have."""
    audience = world.ask(ann="Y", bob="N", cyd="silence", dee="Y")
    world.fault("status", vendor="vibes", path="*[ct]s", share=0.3, **fault)  # subscribers, participants
    got = world.wait(world.sensor(audience, timeout=3 * DAY), deferrals=100)
    assert (got["rows"], got["confirmed"], got["pending"]) == (4, 2, 0)
    assert set(world.people("confirmed")) == {ANN, DEE}


def test_an_outage_decides_nobody(world: World) -> None:
    """Also after the expiry: the wait goes on until Vibes answers."""
    audience = world.ask(ann="Y", bob="silence")
    sensor = world.sensor(audience, timeout=3 * DAY)
    assert world.start(sensor) is None
    world.fault("reset_before", vendor="vibes")
    world.advance(DAY + 61)
    assert look(world, sensor) is None
    world.later[2 * DAY] = world.all_well
    assert world.resume(sensor, world.fire()) == counts(confirmed=1, expired=1)
    assert 2 * DAY < world.ahead.total_seconds() < 2 * DAY + 8 * HOUR


def test_an_outage_is_noticed_before_everybody_was_tried(world: World) -> None:
    """Ten thousand time-outs would hold the worker for a day."""
    audience = world.pending(world.asked_long_ago(400))
    world.advance(HOUR + 61)
    world.fault("status", path="*/subscribers", status=500)
    assert world.start(world.sensor(audience)) is None
    assert len(world.lookups()) <= 2 * (50 + 24)


def test_a_number_that_vibes_refuses_expires_like_silence(world: World) -> None:
    """Nothing else would ever end its wait."""
    sensor = world.sensor(world.ask(ann="silence"))
    assert world.start(sensor) is None
    world.fault("status", path="*/subscribers", status=400)
    world.advance(HOUR)
    assert look(world, sensor) is None
    world.advance(DAY)
    assert look(world, sensor) == counts(expired=1)


@pytest.mark.parametrize("status", [401, 403])
def test_an_account_that_may_not_read_fails_at_once(world: World, status: int) -> None:
    """No retry can help; the text says what to change."""
    audience = world.ask(ann="Y")
    world.advance(HOUR)
    world.fault("status", path="*/subscribers", status=status)
    with pytest.raises(AirflowFailException, match="check"):
        world.start(world.sensor(audience))
    event = {"status": "ready", "deadline": "2030-01-01T00:00:00+00:00"}
    with pytest.raises(AirflowFailException, match="check"):
        world.resume(world.sensor(audience), event)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"acquisition_campaign_id": "OFFR1202"}, "NEWS1201"),
        ({"acquisition_campaign_id": "NOSUCH"}, "NOSUCH"),
        ({"list_id": "999"}, "list_id='999'"),
        ({"vibes_conn_id": "nowhere"}, "'nowhere'"),
    ],
)
def test_what_does_not_fit_together_fails_before_anybody_is_looked_up(
    world: World, parameters: dict[str, str], text: str
) -> None:
    """A wrong list would look like "nobody confirmed"."""
    audience = world.ask(ann="Y")
    with pytest.raises(AirflowFailException, match=text):
        world.start(world.sensor(audience, **parameters))
    assert not world.lookups()


def test_a_wrong_list_is_refused_at_every_try_and_never_believed(world: World) -> None:
    """Nothing is written before the check: else a Yes to this campaign would count as joining that list."""
    audience = world.ask(ann="Y")
    world.calls_back(ANN, "CONFIRMED")
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="not an acquisition campaign of list 1202"):
            world.start(world.sensor(audience, list_id="1202"))
    with closing(open_ledger()) as ledger:
        ledger.hear_all()
        assert ledger.members("acme", "1202", [ANN]) == {}
        assert ledger.list_of("acme", "NEWS1201") is None
    assert world.start(world.sensor(audience)) == counts(confirmed=1)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"list_id": None}, "list_id"),
        ({"list_id": ""}, "list_id"),
        ({"acquisition_campaign_id": " "}, "acquisition_campaign_id"),
        ({"min_confirmed": 0}, "min_confirmed"),
        ({"min_confirmed": 1.5}, "min_confirmed"),
        ({"min_confirmed": "most"}, "min_confirmed"),
        ({"min_confirmed": True}, "min_confirmed"),
        ({"wait_for": "most"}, "wait_for"),
        ({"wait_for": None}, "wait_for"),
        ({"wait_for": "first", "min_confirmed": 2}, "min_confirmed=2: contradicts wait_for='first'"),
        ({"wait_for": "first", "min_confirmed": 0.5}, "min_confirmed"),
        ({"deferrable": "maybe"}, "deferrable"),
    ],
)
def test_wrong_parameters_are_refused_while_the_dag_is_parsed(
    world: World, parameters: dict[str, Any], field: str
) -> None:
    """Where they can be known there."""
    with pytest.raises(InvalidInput, match=field):
        world.sensor("anything", **parameters)


def test_what_templates_give_is_checked_when_the_task_starts(world: World) -> None:
    """A form's empty field is as wrong as a missing parameter."""
    templates = {
        "list_id": "{{ params.list }}",
        "min_confirmed": "{{ params.least }}",
        "wait_for": "{{ params.of }}",
    }
    for params, field in [
        ({"list": "", "least": None, "of": "all"}, "list_id"),
        ({"list": "1201", "least": None, "of": "some"}, "wait_for"),
        ({"list": "1201", "least": "2", "of": "first"}, "contradicts"),
    ]:
        sensor = world.sensor(world.ask(ann="Y"), **templates)
        sensor.render_template_fields({"params": params})  # type: ignore[typeddict-item]
        with pytest.raises(AirflowFailException, match=field):
            world.start(sensor)


def test_only_a_pending_audience_is_taken(world: World) -> None:
    """The error names the file, the column, and what to pass instead."""
    plain = pa.table({"id": [1], "phone": [ANN]})
    text = pa.table({"id": [1], "phone": [ANN], "expire_date": ["tomorrow"]})
    for number, table in enumerate((plain, text)):
        path = world.file(table, f"wrong_{number}")
        with pytest.raises(AirflowFailException, match=f"{path}.*expire_date.*Subscribe pushed"):
            world.start(world.sensor(path))
    raw = str(world.folder / "raw.parquet")
    storage.write_parquet(raw, storage.read_batches(world.ask(ann="Y")))
    with pytest.raises(AirflowFailException, match="not prepared"):
        world.start(world.sensor(raw))


# -- what leaks ----------------------------------------------------------------------------------------------


def test_no_number_in_logs_events_arguments_or_xcoms(
    world: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """With every fault that echoes the request, at DEBUG."""
    caplog.set_level(logging.DEBUG)
    audience = world.ask(ann="Y", bob="N", cyd="silence", dee="Y")
    world.fault("status", vendor="vibes", path="*[ct]s", share=0.2, status=422, body="echo")
    world.fault("status", vendor="vibes", path="*[ct]s", share=0.2, status=500, body="echo")
    world.fault("reset_before", vendor="vibes", path="*[ct]s", share=0.1)
    counted = world.wait(world.sensor(audience, timeout=3 * DAY), deferrals=100)
    assert "could not be looked up" in caplog.text + capfd.readouterr().out
    captured = capfd.readouterr()
    kept = [counted, world.pushed, world.events, [one.kwargs for one in world.deferrals]]
    assert not numbers_in(caplog.text + captured.out + captured.err + json.dumps(kept))


def test_no_number_in_what_is_raised(world: World) -> None:
    """Not even beneath it, where a chain would show it."""
    audience = world.ask(ann="Y")
    world.advance(HOUR)
    world.fault("status", path="*/subscribers", status=401, body="echo")
    with pytest.raises(AirflowFailException) as raised:
        world.start(world.sensor(audience))
    assert raised.value.__suppress_context__
    assert not numbers_in(str(raised.value))
