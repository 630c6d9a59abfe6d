"""A triggerer holds hundreds of waits: they share what is dear, and none holds up the loop."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from airflow_sms_flow.core.errors import LedgerError
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.sensors import VibesOptInSensor
from airflow_sms_flow.triggers import VibesOptInTrigger
from airflow_sms_flow.triggers._shared import LOOKS_AT_ONCE, this_process
from airflow_sms_flow.waiting.looking import steady
from tests.sensors.conftest import real_world, world
from tests.sensors.opt_in_world import HOUR, World, counts

__all__ = ["real_world", "world"]  # fixtures

END = datetime(2026, 3, 2, 12, tzinfo=UTC)


def trigger(audience: str, **parameters: Any) -> VibesOptInTrigger:
    """One that begins to look at once, on the clock on the wall."""
    usual = {"list_id": "1201", "acquisition_campaign_id": "NEWS1201", "vibes_conn_id": "vibes_default"}
    usual |= {"poll_interval_seconds": 1.0, "deadline": "2099-01-01T00:00:00+00:00"}
    made = VibesOptInTrigger(audience_path=audience, **(usual | parameters))
    made.first_wait_seconds = 0.0  # type: ignore[misc]  # on this one alone
    return made


async def first_event(one: VibesOptInTrigger) -> Any:
    return await anext(one.run())


def test_two_hundred_waits_share_threads_and_connections_and_leave_the_loop_free(world: World) -> None:
    """Each looks about once a second here; in life once a minute."""
    audience = world.ask(ann="silence", bob="silence", cyd="silence")

    async def watch() -> tuple[int, float, int]:
        waiting = [asyncio.create_task(first_event(trigger(audience))) for _ in range(200)]
        threads, pauses, end = 0, [], time.monotonic() + 4.0
        while time.monotonic() < end:
            began = time.monotonic()
            await asyncio.sleep(0.02)
            pauses.append(time.monotonic() - began)
            threads = max(threads, threading.active_count())
        done = sum(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return threads, sorted(pauses)[len(pauses) * 9 // 10], done

    before = threading.active_count()
    threads, usual_pause, done = asyncio.run(watch())
    assert done == 0
    assert threads - before <= LOOKS_AT_ONCE + 40
    assert usual_pause < 0.25
    # Each of the three was looked at by one of the two hundred, if at all.
    assert len(world.lookups()) <= 3 * 3


def test_a_cancelled_wait_gives_up_its_turn_for_the_rate_limit_at_once(world: World) -> None:
    """Vibes' slots are all taken by others, for as long as they like."""
    audience = world.pending(world.asked_long_ago(5))
    shared = this_process()

    async def cancel_while_it_waits() -> float:
        with shared.ledger() as ledger, shared.line("vibes_default", ledger) as line:
            line.client.rings.calls.resize(0)
            waiting = asyncio.create_task(first_event(trigger(audience)))
            await asyncio.sleep(1.5)
            assert not waiting.done()
            assert not world.lookups()
            began = time.monotonic()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            took = time.monotonic() - began
            await asyncio.to_thread(time.sleep, 1.0)
            line.client.rings.calls.resize(100)
            await asyncio.to_thread(time.sleep, 0.5)
            return took

    assert asyncio.run(cancel_while_it_waits()) < 0.2
    assert not world.lookups()


def test_a_ledger_that_does_not_answer_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that failed for a database's restart would need somebody to clear it."""
    sensor = world.sensor(world.ask(ann="Y"), poke_interval=HOUR)
    assert world.start(sensor) is None
    with closing(open_ledger()) as ledger, ledger._engine.begin() as connection:
        connection.execute(text("ALTER TABLE sms_flow_opt_ins RENAME TO away"))

    def repair() -> None:
        with closing(open_ledger()) as ledger, ledger._engine.begin() as connection:
            connection.execute(text("ALTER TABLE away RENAME TO sms_flow_opt_ins"))

    world.later[3 * HOUR] = repair
    assert world.fire()["confirmed"] == 1
    assert 3 * HOUR < world.ahead.total_seconds() < 9 * HOUR


def test_a_ledger_that_stays_away_makes_the_sensor_say_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ten minutes; the sensor fails with the ledger's own words."""
    sensor = world.sensor(world.ask(ann="Y"), poke_interval=HOUR)
    assert world.start(sensor) is None
    monkeypatch.setattr(VibesOptInTrigger, "ledger_patience_seconds", 0.0)
    with closing(open_ledger()) as ledger, ledger._engine.begin() as connection:
        connection.execute(text("ALTER TABLE sms_flow_opt_ins RENAME TO away"))
    event = world.fire()
    with pytest.raises(LedgerError, match="opt_ins"):
        world.resume(sensor, event)


def test_a_clock_that_is_set_back_delays_looks_and_loses_none(world: World) -> None:
    """By ten hours, twenty minutes into the wait. Bob's window is over at Vibes alone: no yes came in it."""
    sensor = world.sensor(world.ask(ann="Y", bob="silence"), poke_interval=HOUR, timeout=90 * HOUR)
    assert world.start(sensor) is None

    def set_back() -> None:
        world.skew = timedelta(hours=-10)

    world.later[HOUR / 3] = set_back
    assert world.resume(sensor, world.fire()) == counts(confirmed=1, declined=1)


def test_the_time_that_decides_is_the_ledgers(world: World) -> None:
    """Where machines share a database, no clock of a worker or a triggerer expires anybody."""
    with closing(open_ledger()) as ledger:
        ledger.now = lambda: END  # type: ignore[method-assign]  # a database whose clock is its own
        assert trigger("anything").now(ledger) == END
        sensor = VibesOptInSensor(task_id="wait", audience="a", list_id="1", acquisition_campaign_id="1")
        assert sensor.now(ledger) == END


def test_a_look_measures_its_own_time_evenly() -> None:
    """Two looks half a minute apart are just that, whatever is done to the clock between them."""
    now = steady(END)
    first = now()
    time.sleep(0.05)
    assert timedelta(seconds=0.04) < now() - first < timedelta(seconds=1)
    assert first - END < timedelta(seconds=1)
