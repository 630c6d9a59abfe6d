"""The wait ends when everybody is decided, and says of each person what became of them."""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import closing
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_sms_flow import storage
from airflow_sms_flow.core.errors import InvalidInput, Stopped
from airflow_sms_flow.core.opt_in import OptIn, OptInState
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.sensors import VibesOptInSensor
from tests.sensors.opt_in_world import ANN, BOB, CYD, DAY, DEE, HOUR, World, counts, numbers_in


def look(world: World, sensor: VibesOptInSensor) -> dict[str, int] | None:
    """Wake the sensor as the trigger would, without a trigger."""
    deadline = world.deferrals[-1].kwargs["deadline"]
    return world.resume(sensor, {"status": "ready", "deadline": deadline, "open": 0})


def known(*phones: str) -> dict[str, OptIn]:
    with closing(open_ledger()) as ledger:
        return ledger.opt_ins("acme", "NEWS1201", phones)


# -- what becomes of people --------------------------------------------------------------------------------


def test_each_person_ends_as_confirmed_declined_or_expired(real_world: World) -> None:
    """Y, N and silence, over a whole day; the worker is called five times."""
    world = real_world
    audience = world.ask(ann="Y", bob="N", cyd="silence")
    assert world.wait(world.sensor(audience)) == counts(confirmed=1, declined=1, expired=1)
    people = {state: world.people(state) for state in world.pushed}
    assert people == {"confirmed": [ANN], "declined": [BOB], "expired": [CYD], "pending": []}
    assert len(world.deferrals) == 3


def test_the_wait_ends_a_minute_after_the_last_expiry_whatever_the_interval(world: World) -> None:
    """Not a whole poll interval later."""
    audience = world.ask(ann="silence", bob="N")
    (last,) = {row["expire_date"] for batch in storage.read_batches(audience) for row in batch.to_pylist()}
    world.wait(world.sensor(audience, poke_interval=5 * HOUR))
    assert timedelta(seconds=60) < world.now() - last < timedelta(seconds=75)


def test_the_wait_ends_early_when_everybody_has_answered(world: World) -> None:
    """A poll, a second look for the decline, no day of waiting."""
    world.wait(world.sensor(world.ask(ann="Y", bob="N"), poke_interval=600))
    assert world.ahead.total_seconds() < HOUR + 600 + 60


def test_a_decline_takes_two_looks_half_a_minute_apart(world: World) -> None:
    """Between pending and on the list, who just confirmed is for a moment neither."""
    sensor = world.sensor(world.ask(ann="N"))
    assert world.start(sensor) is None
    world.advance(HOUR + 1)
    assert look(world, sensor) is None
    world.advance(28)
    assert look(world, sensor) is None
    world.advance(2)
    assert look(world, sensor) == counts(declined=1)


def test_an_expiry_takes_a_look_later_than_a_minute_after_it(world: World) -> None:
    """The vendor's clock is not ours, and a late Y may just be on its way."""
    sensor = world.sensor(world.ask(ann="silence"))
    assert world.start(sensor) is None
    world.advance(DAY + 57)
    assert look(world, sensor) is None
    world.advance(4)
    assert look(world, sensor) == counts(expired=1)


def test_who_joined_by_another_way_is_confirmed_at_once(world: World) -> None:
    """On the list is on the list, also while Vibes still shows the question as pending."""
    audience = world.ask(ann="silence")
    world.caller.load(subscriptions=[{"phone": ANN, "list_id": "1201"}])
    assert world.start(world.sensor(audience)) == counts(confirmed=1)


def test_an_empty_audience_succeeds_at_once_without_a_request(world: World) -> None:
    """Nobody was asked: a dry run, a skipped backfill, or nobody new."""
    assert world.start(world.sensor(world.pending({}))) == counts()
    assert [world.pushed[state]["rows"] for state in ("confirmed", "declined", "expired", "pending")] == [
        0
    ] * 4
    assert not world.caller.panel("GET", "log")["requests"]


def test_what_is_pushed_is_a_prepared_audience(world: World) -> None:
    """The next task sends to it; every column passes through, the end of the wait does not."""
    audience = world.ask(ann="Y", bob="silence")
    world.advance(HOUR)
    world.start(world.sensor(audience, min_confirmed=1))
    info = storage.check_prepared(world.pushed["confirmed"]["path"])
    assert (info.rows, info.columns) == (1, ("id", "phone", "firstName"))
    assert world.rows("confirmed") == [{"id": 1, "phone": ANN, "firstName": "Zoë"}]
    assert "expire_date" in storage.check_prepared(world.pushed["pending"]["path"]).columns


@pytest.mark.parametrize("enough", [2, 0.5, "2", "0.5"])
def test_enough_confirmations_end_the_wait_early(world: World, enough: Any) -> None:
    """As a number of people or a share; those still open are pending."""
    audience = world.ask(ann="Y", bob="Y", cyd="silence", dee="silence")
    assert world.wait(world.sensor(audience, min_confirmed=enough)) == counts(confirmed=2, pending=2)
    assert world.people("pending") == [CYD, DEE]
    assert world.ahead.total_seconds() < 7 * HOUR


def test_too_few_confirmations_wait_for_everybody(world: World) -> None:
    """`min_confirmed` shortens the wait; it is no condition of success."""
    assert world.wait(world.sensor(world.ask(ann="Y", bob="N"), min_confirmed=2)) == counts(
        confirmed=1, declined=1
    )


# -- what the ledger knows ---------------------------------------------------------------------------------


def test_a_cleared_task_asks_nothing_about_those_who_are_decided(world: World) -> None:
    """The ledger knows; the audiences are written again for everybody."""
    audience = world.ask(ann="Y", bob="silence")
    world.advance(HOUR)
    assert world.start(world.sensor(audience)) is None
    before = len(world.lookups(ANN))
    world.advance(DAY)
    assert world.start(world.sensor(audience)) == counts(confirmed=1, expired=1)
    assert len(world.lookups(ANN)) == before
    assert world.people("confirmed") == [ANN]


def test_who_is_asked_again_is_waited_for_again(world: World) -> None:
    """What became of an older question says nothing about the new one, and cannot undo it."""
    old = world.ask(ann="silence")
    world.advance(DAY + 61)
    assert world.start(world.sensor(old)) == counts(expired=1)
    again = world.pending({ANN: world.caller.ask(ANN).json()["expire_date"]}, "again")
    assert world.start(world.sensor(again)) is None
    asked_again = known(ANN)
    assert world.start(world.sensor(old)) == counts(expired=1)
    assert known(ANN) == asked_again
    assert asked_again[ANN].state is OptInState.PENDING


def test_without_an_expire_date_people_have_a_day_from_the_first_look(world: World) -> None:
    """Whichever try looks later."""
    world.ask(ann="silence")
    world.advance(HOUR)
    audience = world.pending({ANN: None})
    assert world.start(world.sensor(audience)) is None
    world.advance(DAY)
    assert world.start(world.sensor(audience)) is None
    world.advance(61)
    assert world.start(world.sensor(audience)) == counts(expired=1)


# -- waiting as Airflow does it ------------------------------------------------------------------------------


def test_the_deferral_ends_at_the_timeout_however_often_it_is_renewed(world: World) -> None:
    """Each deferral gets what is left of the whole."""
    sensor = world.sensor(world.ask(ann="silence", bob="N"), timeout=20 * HOUR)
    with pytest.raises(AirflowSensorTimeout):
        world.wait(sensor)
    assert world.ahead.total_seconds() == pytest.approx(20 * HOUR, abs=30)
    left = [one.timeout for one in world.deferrals]
    assert len(left) > 1
    assert left == sorted(left, reverse=True)
    assert len({one.kwargs["deadline"] for one in world.deferrals}) == 1


def test_the_last_look_at_the_timeout_still_counts(world: World) -> None:
    """Who confirmed meanwhile is confirmed."""
    sensor = world.sensor(world.ask(ann="Y"), timeout=2 * HOUR)
    assert world.wait(sensor) == counts(confirmed=1)


def test_past_the_timeout_soft_fail_skips(world: World) -> None:
    """In the sensor's own reckoning and in Airflow's."""
    sensor = world.sensor(world.ask(ann="silence"), timeout=HOUR, soft_fail=True)
    with pytest.raises(AirflowSkipException):
        world.wait(sensor)
    with pytest.raises(AirflowSkipException):
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, world.context())
    with pytest.raises(AirflowSkipException):
        world.start(world.sensor(world.ask(bob="silence"), timeout=0, soft_fail=True))


def test_airflows_own_timeout_of_the_deferral_is_a_sensor_timeout(world: World) -> None:
    """It fails without retries, as every sensor does."""
    sensor = world.sensor(world.ask(ann="silence"))
    with pytest.raises(AirflowSensorTimeout):
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, world.context())


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        "ready",
        {"status": "success", "deadline": "2026-03-01T00:00:00+00:00"},
        {"status": "ready"},
        {"status": "ready", "deadline": "soon"},
        {"status": "ready", "deadline": "2026-03-01T00:00:00"},
    ],
)
def test_an_event_that_is_not_the_triggers_is_no_success(world: World, event: Any) -> None:
    """Also where everybody is decided."""
    audience = world.ask(ann="Y")
    world.advance(HOUR)
    with pytest.raises(AirflowException, match="same version"):
        world.resume(world.sensor(audience), event)
    assert not world.pushed


def test_without_deferring_the_sensor_pokes(world: World) -> None:
    """In the worker, or giving it free between two pokes."""
    audience = world.ask(ann="Y")
    waiting = world.sensor(audience, deferrable=False, mode="reschedule")
    context = world.context()
    context["ti"].get_first_reschedule_date = lambda _: None
    with pytest.raises(AirflowRescheduleException):
        waiting.execute(context)
    world.advance(HOUR)
    assert world.start(world.sensor(audience, deferrable=False)) == counts(confirmed=1)
    assert world.people("confirmed") == [ANN]


def test_a_killed_task_stops_asking(world: World) -> None:
    """No further request leaves."""
    everybody = {f"+1202555{n:04d}": "2030-01-01T00:00:00+00:00" for n in range(100, 200)}
    sensor = world.sensor(world.pending(everybody))
    world.fault("slow", path="*/subscribers", seconds=0.2)
    threading.Timer(0.5, sensor.on_kill).start()
    with pytest.raises(Stopped):
        world.start(sensor)
    asked = len(world.lookups())
    time.sleep(0.4)
    assert asked == len(world.lookups()) < 150


# -- what goes wrong -----------------------------------------------------------------------------------------


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
    for _ in range(2):
        assert look(world, sensor) is None
        assert world.fire()["open"] == 2
    world.all_well()
    assert look(world, sensor) == counts(confirmed=1, expired=1)


def test_an_outage_is_noticed_before_everybody_was_tried(world: World) -> None:
    """Ten thousand time-outs would hold the worker for a day."""
    everybody = {f"+1202555{n:04d}": "2030-01-01T00:00:00+00:00" for n in range(100, 200)}
    everybody |= {f"+1202556{n:04d}": "2030-01-01T00:00:00+00:00" for n in range(100, 200)}
    world.fault("status", path="*/subscribers", status=500)
    assert world.start(world.sensor(world.pending(everybody))) is None
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
    sensor = world.sensor(world.ask(ann="Y"), list_id="{{ params.list }}", min_confirmed="{{ params.least }}")
    sensor.render_template_fields({"params": {"list": "", "least": None}})  # type: ignore[typeddict-item]
    with pytest.raises(AirflowFailException, match="list_id"):
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
    world.fault("status", path="*/subscribers", status=401, body="echo")
    with pytest.raises(AirflowFailException) as raised:
        world.start(world.sensor(audience))
    assert raised.value.__suppress_context__
    assert not numbers_in(str(raised.value))


def test_the_default_timeout_is_a_day_and_two_hours() -> None:
    """Airflow's week would leave a task that waits for an outage for a week."""
    sensor = VibesOptInSensor(task_id="wait", audience="a", list_id="1", acquisition_campaign_id="1")
    assert sensor.timeout == timedelta(hours=26).total_seconds()
