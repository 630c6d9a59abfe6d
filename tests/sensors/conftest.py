"""A sandbox in which people answer after an hour and have a day to; an Airflow home for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from airflow_sms_flow.core.backoff import Backoff
from airflow_sms_flow.sandbox import Sandbox, Settings
from tests.operators.world import airflow_connections
from tests.sandbox.sandbox_caller import Caller
from tests.sensors.opt_in_world import DAY, HOUR, World

SETTINGS = {
    "leads": 0,
    "moods": False,
    "share_landline": 0.0,
    "opt_in_window_seconds": DAY,
    "answer_seconds": HOUR,
}


@pytest.fixture
def real_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    """Nothing is left out but the time of day."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__STORAGE", str(tmp_path / "files"))
    with Sandbox(Settings().changed(SETTINGS)) as sandbox:
        for name, connection in airflow_connections(sandbox.url).items():
            monkeypatch.setenv(name, connection)
        yield World(Caller(sandbox), tmp_path)


@pytest.fixture
def world(real_world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same in a hurry: a poll right after another does not wait a second for its share of the rate
    limit, a passing fault is met with two attempts, and the inbox is looked into at every look."""
    monkeypatch.setattr("airflow_sms_flow.rings.shared_rings", lambda *_: nullcontext())
    hasty = Backoff(attempts=2, first_wait_seconds=0.01)
    monkeypatch.setattr("airflow_sms_flow.waiting.looking._BACKOFF", hasty)
    monkeypatch.setattr("airflow_sms_flow.triggers._shared._HEAR_EVERY_SECONDS", 0.0)
    return real_world
