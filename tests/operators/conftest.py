"""One sandbox for all tests of the flow steps, emptied before each; an Airflow home for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_sms_flow.sandbox import Sandbox, Settings
from tests.operators.world import World, airflow_connections
from tests.sandbox.sandbox_caller import Caller

SETTINGS = {
    "leads": 0,
    "moods": True,
    "share_landline": 0.0,
    "event_delay_seconds": 0.0,
    "campaign_start_seconds": 0.0,
    "opt_in_window_seconds": 3600.0,
    # Nobody answers by themselves.
    "share_yes": 0.0,
    "share_no": 0.0,
}


@pytest.fixture(scope="session")
def flow_sandbox() -> Iterator[Sandbox]:
    with Sandbox(Settings().changed(SETTINGS)) as running:
        yield running


@pytest.fixture
def empty_world(flow_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """Nobody anywhere, no campaign, an empty ledger."""
    caller = Caller(flow_sandbox)
    caller.panel("POST", "reset", json={"defaults": True, **SETTINGS})
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    for name, connection in airflow_connections(flow_sandbox.url).items():
        monkeypatch.setenv(name, connection)
    return World(caller, tmp_path)


@pytest.fixture
def world(empty_world: World) -> World:
    """An account in which our campaign for list 1201 stands already."""
    empty_world.make_our_campaign()
    return empty_world
