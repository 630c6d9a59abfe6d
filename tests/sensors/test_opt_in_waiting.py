"""The sensor waits as Airflow's sensors do, though it is deferred."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_sms_flow.core.errors import Stopped
from airflow_sms_flow.sensors import VibesOptInSensor
from tests.sandbox.sandbox_caller import wait_until
from tests.sensors.opt_in_world import ANN, HOUR, World, counts, look


def test_the_deferral_ends_at_the_timeout_however_often_it_is_renewed(world: World) -> None:
    """Each deferral gets what is left of the whole."""
    sensor = world.sensor(world.ask(ann="silence", bob="N"), timeout=20 * HOUR)
    assert world.start(sensor) is None
    for _ in range(2):
        world.advance(HOUR)
        assert look(world, sensor) is None
    with pytest.raises(AirflowSensorTimeout):
        world.resume(sensor, world.fire())
    assert world.ahead.total_seconds() == pytest.approx(20 * HOUR, abs=30)
    left = [one.timeout for one in world.deferrals]
    assert left == sorted(left, reverse=True)
    assert left[0] - left[2] == pytest.approx(timedelta(hours=2), abs=timedelta(seconds=30))
    assert len({one.kwargs["deadline"] for one in world.deferrals}) == 1


def test_what_was_found_until_the_timeout_still_counts(world: World) -> None:
    """Somebody looked after them in time, though nobody woke the sensor."""
    sensor = world.sensor(world.ask(ann="Y"), timeout=2 * HOUR, poke_interval=HOUR / 4)
    assert world.start(sensor) is None
    assert world.fire()["confirmed"] == 1
    world.advance(2 * HOUR)
    assert look(world, sensor) == counts(confirmed=1)


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
    waiting = world.sensor(audience, deferrable=False, mode="reschedule", poke_interval=60)
    context = world.context()
    context["ti"].get_first_reschedule_date = lambda _: None
    with pytest.raises(AirflowRescheduleException):
        waiting.execute(context)
    world.advance(HOUR)
    assert world.start(world.sensor(audience, deferrable=False, poke_interval=60)) == counts(confirmed=1)
    assert world.people("confirmed") == [ANN]


def test_a_killed_task_stops_asking(world: World) -> None:
    """No further request leaves."""
    sensor = world.sensor(world.pending(world.asked_long_ago(150)))
    world.fault("slow", path="*/participants", seconds=0.3)

    def kill() -> None:
        wait_until(lambda: bool(world.lookups()))
        sensor.on_kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(Stopped):
        world.start(sensor)
    killer.join()
    asked = len(world.lookups())
    time.sleep(0.4)
    assert 0 < asked == len(world.lookups()) < 50


def test_the_default_timeout_is_a_day_and_two_hours() -> None:
    """Airflow's week would leave a task that waits for an outage for a week."""
    sensor = VibesOptInSensor(task_id="wait", audience="a", list_id="1", acquisition_campaign_id="1")
    assert sensor.timeout == timedelta(hours=26).total_seconds()
