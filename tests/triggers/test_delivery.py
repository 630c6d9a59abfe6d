"""The delivery sensor's trigger: it reads the ledger, and wakes the sensor when that is worthwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from airflow_sms_flow.core.errors import ConfigError, LedgerError
from airflow_sms_flow.triggers import SmsDeliveryTrigger
from tests.ledger.callbacks import DELIVERED
from tests.sensors.delivery_world import HOUR, KEY, PHONES, Deliveries
from tests.sensors.test_delivery import world

__all__ = ["world"]  # a fixture

SERIALISED = {
    "company_key": "acme",
    "campaign_key": "summer",
    "list_id": "1201",
    "min_final": 0.95,
    "poll_interval_seconds": 10.0,
    "until": "2026-03-02T18:00:00+00:00",
    "deadline": "2026-03-09T12:00:00+00:00",
}


def test_it_is_rebuilt_from_keys_and_times() -> None:
    """Its arguments stand in Airflow's database: they are pinned here, so that a running wait survives an
    upgrade, and none of them is a person."""
    path, kwargs = SmsDeliveryTrigger(**SERIALISED).serialize()  # type: ignore[arg-type]  # as Airflow does it
    assert path == "airflow_sms_flow.triggers.delivery.SmsDeliveryTrigger"
    assert kwargs == SERIALISED


def test_the_event_holds_counts_and_times_only(world: Deliveries) -> None:
    """Airflow writes it to the log as it is."""
    world.accepted(*PHONES)
    assert world.start(world.sensor(**KEY)) is None
    world.later = {60: lambda: world.tell(DELIVERED, *PHONES)}
    times = {name: world.deferrals[0].kwargs[name] for name in ("until", "deadline")}
    assert world.fire() == {"status": "ready", **times, "messages": 20, "final": 20}


def test_looks_grow_apart_up_to_five_minutes(world: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fires within ten seconds of the deferral; six hours take some eighty looks."""
    world.accepted(*PHONES)
    assert world.start(world.sensor(**KEY)) is None
    pauses: list[float] = []
    advance = world.advance
    monkeypatch.setattr(world, "advance", lambda seconds: (pauses.append(seconds), advance(seconds)))
    world.fire()
    assert pauses[0] >= 10
    grown = pauses[1:-1]
    assert grown == sorted(grown)
    assert grown[0] == 10
    assert grown[-1] == 300
    assert len(pauses) < 90
    assert world.ahead.total_seconds() == pytest.approx(6 * HOUR, abs=20)


def test_a_restarted_trigger_goes_on(world: Deliveries) -> None:
    """The triggerer was restarted, or two of them run it: its ends stand in its arguments."""
    world.accepted(*PHONES)
    assert world.start(world.sensor(**KEY, wait_at_most=HOUR)) is None

    def stop() -> None:
        raise KeyError("restart")

    world.later = {1000: stop}
    with pytest.raises(KeyError):
        world.fire()
    assert world.fire()["final"] == 0
    assert world.ahead.total_seconds() == pytest.approx(HOUR, abs=20)


def test_a_ledger_that_does_not_answer_is_waited_for(
    world: Deliveries, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """That costs no worker; then it goes on as if nothing had been."""
    world.accepted(*PHONES)
    assert world.start(world.sensor(**KEY)) is None
    trigger = world.trigger()
    answers = [LedgerError("down"), LedgerError("down")]
    report = trigger._report

    def failing(ledger: object) -> object:
        if answers:
            raise answers.pop()
        world.tell(DELIVERED, *PHONES)
        world.ledger.hear_all()
        return report(world.ledger)

    monkeypatch.setattr(trigger, "_report", failing)
    event = asyncio.run(anext(trigger.run()))
    assert event.payload["final"] == 20
    assert capfd.readouterr().out.count("waited for") == 2


def test_what_keeps_it_from_looking_makes_the_sensor_look(
    world: Deliveries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It can say what is wrong."""
    world.accepted(*PHONES)
    assert world.start(world.sensor(**KEY)) is None
    trigger = world.trigger()

    def wrong(ledger: object) -> object:
        raise ConfigError("the ledger moved")

    monkeypatch.setattr(trigger, "_report", wrong)
    assert asyncio.run(anext(trigger.run())).payload["status"] == "ready"
    assert world.ahead.total_seconds() < 60
