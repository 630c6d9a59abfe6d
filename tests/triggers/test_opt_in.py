"""The trigger reads, beside everybody else in the triggerer, and wakes the sensor when that is worthwhile."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_sms_flow.core.opt_in import OptIn
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.hooks.vibes import VibesHook
from airflow_sms_flow.triggers import VibesOptInTrigger
from tests.sensors.conftest import real_world, world
from tests.sensors.opt_in_world import ANN, BOB, CYD, DAY, HOUR, World, counts, numbers_in

__all__ = ["real_world", "world"]  # fixtures

SERIALISED = {
    "audience_path": "s3://bucket/sms/run/subscribe/pending.parquet",
    "list_id": "1201",
    "acquisition_campaign_id": "NEWS1201",
    "vibes_conn_id": "vibes_default",
    "poll_interval_seconds": 60.0,
    "deadline": "2026-03-02T18:00:00+00:00",
    "needed": 5,
}


class Restart(Exception):
    """What ends a trigger in the middle."""


def stop() -> None:
    raise Restart


def everything_known() -> dict[str, OptIn]:
    with closing(open_ledger()) as ledger:
        return ledger.opt_ins("acme", "NEWS1201", [ANN, BOB, CYD])


def test_it_is_rebuilt_from_path_ids_and_times() -> None:
    """Its arguments stand in Airflow's database: they are pinned here, so that a running wait survives an
    upgrade, and none of them is a person."""
    path, kwargs = VibesOptInTrigger(**SERIALISED).serialize()  # type: ignore[arg-type]  # as Airflow does it
    assert path == "airflow_sms_flow.triggers.opt_in.VibesOptInTrigger"
    assert kwargs == SERIALISED


def test_the_event_holds_counts_only(world: World) -> None:
    """Airflow writes it to the log as it is."""
    assert world.start(world.sensor(world.ask(ann="Y", bob="N", cyd="silence"))) is None
    event = world.fire()
    deadline = world.deferrals[-1].kwargs["deadline"]
    seen = {"open": 0, "confirmed": 1, "declined": 1, "expired": 1}
    assert event == {"status": "ready", "deadline": deadline, **seen}
    assert not numbers_in(str([event, world.deferrals]))


def test_what_it_finds_stands_in_the_ledger(world: World) -> None:
    """The sensor that it wakes needs no call to Vibes."""
    sensor = world.sensor(world.ask(ann="Y", bob="N", cyd="silence"))
    assert world.start(sensor) is None
    event = world.fire()
    assert sorted(known.state.value for known in everything_known().values()) == [
        "confirmed",
        "declined",
        "expired",
    ]
    asked = len(world.caller.panel("GET", "log")["requests"])
    assert world.resume(sensor, event) == counts(confirmed=1, declined=1, expired=1)
    assert len(world.caller.panel("GET", "log")["requests"]) == asked


def test_a_restarted_trigger_goes_on(world: World) -> None:
    """Half a day of it, then another one from the same arguments: nobody is looked at twice for that."""
    sensor = world.sensor(world.ask(ann="Y", bob="N", cyd="silence"), poke_interval=2 * HOUR)
    assert world.start(sensor) is None
    world.later[DAY / 2] = stop
    with pytest.raises(Restart):
        world.fire()
    asked = len(world.lookups(ANN)), len(world.lookups(BOB))
    assert world.resume(sensor, world.fire()) == counts(confirmed=1, declined=1, expired=1)
    assert (len(world.lookups(ANN)), len(world.lookups(BOB))) == asked


def test_nothing_fires_within_ten_seconds_of_the_deferral(world: World) -> None:
    """Airflow fails a task now and then whose trigger is too quick; also where the poll interval is short."""
    assert world.start(world.sensor(world.ask(ann="Y"), poke_interval=1)) is None
    world.advance(HOUR)
    began = world.now()
    assert world.fire()["confirmed"] == 1
    assert 10 <= (world.now() - began).total_seconds() < 15


def test_it_asks_only_about_those_who_are_open(world: World) -> None:
    """The ledger knows the others, and so does it after its own first look."""
    audience = world.ask(ann="Y", bob="Y", cyd="silence")
    world.advance(HOUR)
    assert world.start(world.sensor(audience)) is None
    before = len(world.lookups(ANN)), len(world.lookups(CYD))
    world.fire()
    assert len(world.lookups(ANN)) == before[0] == 2
    assert before[1] + 3 <= len(world.lookups(CYD)) <= before[1] + 6


def test_enough_confirmations_wake_the_sensor(world: World) -> None:
    """Those that the ledger knows count, too."""
    audience = world.ask(ann="Y", bob="silence", cyd="silence")
    world.advance(HOUR)
    assert world.start(world.sensor(audience, min_confirmed=2, poke_interval=HOUR)) is None  # Ann, that is
    world.calls_back(BOB, "CONFIRMED")
    asked = len(world.lookups())
    assert world.fire()["confirmed"] == 2
    assert len(world.lookups()) == asked
    assert world.ahead.total_seconds() < HOUR + 60


def test_the_deadline_wakes_the_sensor(world: World) -> None:
    """`dag.test()` ignores the time-out of a deferral, and Airflow looks only now and then."""
    assert world.start(world.sensor(world.ask(ann="silence"), timeout=2.5 * HOUR)) is None
    assert world.fire()["open"] == 1
    assert world.ahead.total_seconds() == pytest.approx(2.5 * HOUR, abs=2)


def test_what_keeps_it_from_looking_makes_the_sensor_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interval, so that the sensor does not spin; it can say what is wrong."""
    assert world.start(world.sensor(world.ask(ann="Y"))) is None
    monkeypatch.delenv("AIRFLOW_CONN_VIBES_DEFAULT")
    monkeypatch.setenv("AIRFLOW_CONN_VIBES_DEFAULT", '{"conn_type": "vibes"}')
    assert world.fire()["status"] == "ready"
    assert 6 * HOUR <= world.ahead.total_seconds() < 7 * HOUR


def test_refused_credentials_make_the_sensor_look(world: World) -> None:
    """They were changed while it waited."""
    sensor = world.sensor(world.ask(ann="silence"))
    assert world.start(sensor) is None
    world.fault("status", path="*/participants", status=401)
    event = world.fire()
    assert world.ahead.total_seconds() < DAY
    with pytest.raises(AirflowFailException, match="check"):
        world.resume(sensor, event)


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyError])
def test_a_strangers_error_makes_the_sensor_look_as_well(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    error: type[Exception],
) -> None:
    """Storage, or Airflow's own database, was away for a moment: the wait goes on, with the sensor's help."""
    sensor = world.sensor(world.ask(ann="Y"), poke_interval=HOUR, soft_fail=True)
    assert world.start(sensor) is None

    def away(self: object) -> str:
        raise error(f"{ANN} at password@host")

    with monkeypatch.context() as broken:
        broken.setattr(VibesHook, "company_key", property(away))
        event = world.fire()
    assert HOUR <= world.ahead.total_seconds() < 2 * HOUR
    got = world.resume(sensor, event) or world.resume(sensor, world.fire())  # she may not be due yet
    assert got == counts(confirmed=1)
    told = caplog.text + capfd.readouterr().out
    assert f"this trigger cannot: {error.__name__}" in told
    assert "password" not in told


async def first_event(trigger: VibesOptInTrigger) -> Any:
    return await anext(trigger.run())


def in_real_time(world: World, audience: str) -> VibesOptInTrigger:
    """A trigger that begins to poll at once, on the clock on the wall."""
    trigger = VibesOptInTrigger(
        audience_path=audience,
        list_id="1201",
        acquisition_campaign_id="NEWS1201",
        vibes_conn_id="vibes_default",
        poll_interval_seconds=1.0,
        deadline="2099-01-01T00:00:00+00:00",
    )
    trigger.first_wait_seconds = 0.0  # type: ignore[misc]  # on this one alone
    return trigger


def test_a_cancelled_trigger_stops_asking(world: World) -> None:
    """Somebody marks the task as failed, or the triggerer moves it: the thread of the poll ends, too."""
    trigger = in_real_time(world, world.pending(world.asked_long_ago(200)))
    world.fault("slow", path="*/participants", seconds=0.2)

    async def cancel_in_the_middle() -> float:
        waiting = asyncio.create_task(first_event(trigger))
        while not world.lookups():
            await asyncio.sleep(0.05)
        waiting.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return time.monotonic() - began

    assert asyncio.run(cancel_in_the_middle()) < 0.2
    asked = len(world.lookups())
    time.sleep(0.4)
    assert asked == len(world.lookups()) < 200


def test_the_triggerers_loop_goes_on_during_a_poll(world: World) -> None:
    """Hundreds of triggers share it."""
    trigger = in_real_time(world, world.pending(world.asked_long_ago(50)))
    world.fault("slow", path="*/participants", seconds=0.3)

    async def longest_pause() -> float:
        waiting = asyncio.create_task(first_event(trigger))
        pauses, end = [0.0], time.monotonic() + 2.0
        while time.monotonic() < end:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            pauses.append(time.monotonic() - began)
        assert not waiting.done()
        waiting.cancel()
        return max(pauses)

    assert asyncio.run(longest_pause()) < 0.25
    assert world.lookups()
