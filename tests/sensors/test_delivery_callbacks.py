"""The whole way: Vibes takes texts, calls back at the plugin's door, and the sensor's wait ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_sms_flow.core.delivery import Campaign, StepName
from airflow_sms_flow.hooks.callbacks import callback_address
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.sandbox import Sandbox, Settings
from tests.callback_door import open_door
from tests.operators.conftest import SETTINGS
from tests.operators.world import NEWS, World, airflow_connections, send
from tests.sandbox.sandbox_caller import Caller
from tests.sensors.delivery_world import PHONES, Deliveries

BOUNCES = {"share_bounced_soft": 0.2, "share_bounced_hard": 0.1, "share_callbacks_duplicated": 0.3}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    """Callbacks come twice and shuffled, a minute after the texts at the latest."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    slow = {"callback_reorder_seconds": 30.0, "receipt_seconds": 10.0}
    with Sandbox(Settings().changed(SETTINGS | BOUNCES | slow)) as sandbox, open_door() as address:
        for name, connection in airflow_connections(sandbox.url, callback_secrets="s" * 32).items():
            monkeypatch.setenv(name, connection)
        monkeypatch.setenv("AIRFLOW__SMS_FLOW__CALLBACK_URL", address)
        caller = Caller(sandbox)
        answer = caller.register("event_processed", callback_address("vibes_default"))
        assert answer.status_code == 201
        made = World(caller, tmp_path)
        made.make_our_campaign()
        yield made


def told(effects: list[dict[str, Any]], kind: str) -> int:
    return sum(one.get("bounce") == kind for one in effects)


def receipts_arrive(caller: Caller) -> None:
    """Each stage comes some time after the one before it, on the sandbox's clock."""
    for _ in range(6):
        caller.advance(60)
        time.sleep(0.2)
    caller.until_settled(30)


def test_the_sensor_returns_what_vibes_did(world: World) -> None:
    """Delivered and bounced as on the phones, each once, and known by callbacks alone."""
    world.join(*PHONES)
    report = world.run(send(audience=world.audience(*PHONES)))
    with closing(open_ledger()) as ledger:
        deliveries = Deliveries(ledger)

        deliveries.later = {60: lambda: receipts_arrive(world.caller)}
        result = deliveries.wait(report=report, min_final=1.0)
        campaign = Campaign("acme", report["campaign_key"], StepName.SEND, NEWS)
        assert ledger.delivery_report(campaign).final == len(PHONES)
    bounced = world.caller.effects("text_bounced")
    assert result["complete"] is True
    assert result["sent"] == len(PHONES)
    assert result["delivered"] == len(PHONES) - len(bounced) == len(world.caller.effects("text_delivered"))
    assert result["bounced_soft"] == told(bounced, "soft")
    assert result["bounced_hard"] == told(bounced, "hard")
    assert 0 < len(bounced) < len(PHONES)
    again = world.run(send(audience=world.audience(*PHONES)))
    assert again["delivery"] == {name: result[name] for name in again["delivery"]}
