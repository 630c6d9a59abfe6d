"""Senders that are asked to stop, suspended, or lose their ledger while they send."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_sms_flow.core.delivery import StepName
from airflow_sms_flow.core.errors import LedgerError
from tests.torture import faults
from tests.torture.crowd import CONCURRENCY
from tests.torture.postgres import PostgresServer, postgres_server
from tests.torture.scene import Scene, Try, Vendor
from tests.torture.verdict import judge

PEOPLE = 192


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        if running is None:
            pytest.skip("no PostgreSQL programs here: apt-get install postgresql")
        yield running


@pytest.fixture
def scene(vendor: Vendor, tmp_path: Path, sqlite_address: str) -> Scene:
    """A send that is about to begin."""
    return Scene(vendor, sqlite_address, tmp_path, StepName.SEND, PEOPLE, faults.NONE)


def test_a_sender_that_is_told_to_stop_leaves_nothing_in_doubt(scene: Scene) -> None:
    """Airflow's kill signal: requests under way are answered and settled, and the next try does the rest."""
    old = scene.start()
    scene.wait_for(30)
    asked_at = time.monotonic()
    old.process.send_signal(signal.SIGTERM)
    told = old.wait()
    assert told["error"] == "Stopped"
    assert time.monotonic() - asked_at < 5.0, "Airflow would have killed it by now"
    assert scene.claimed_by(old.process.pid) == 0
    assert scene.reached() < len(scene.due), "it was not stopped"
    verdict = judge(scene, scene.finish())
    assert verdict.problems == ()
    assert (verdict.in_doubt, verdict.effects) == (0, verdict.due)


def suspend_between_transactions(scene: Scene, running: Try) -> None:
    """Stop it where it holds no lock of SQLite's: with one, every other try would fail until it is gone."""
    with scene.ledger(busy_seconds=0.2) as ledger:
        while True:
            running.process.send_signal(signal.SIGSTOP)
            try:
                ledger.dispatch_id(scene.order.campaign)
            except LedgerError:
                running.process.send_signal(signal.SIGCONT)
                time.sleep(0.03)
            else:
                return


def test_a_suspended_sender_that_wakes_up_after_its_retry_texts_nobody_twice(scene: Scene) -> None:
    """Airflow lost sight of it and started a retry, which did it all; then the old process goes on."""
    old = scene.start()
    scene.wait_for(30)
    suspend_between_transactions(scene, old)
    report = scene.finish()
    reached = scene.reached()
    assert report["in_doubt"] <= CONCURRENCY
    old.process.send_signal(signal.SIGCONT)
    told = old.wait()
    assert told["error"] == "LedgerError"
    assert "lease of this task ran out" in told["said"]
    # A request may have been just about to leave; its row was in doubt by then, and nobody repeated it.
    assert scene.reached() - reached <= CONCURRENCY
    verdict = judge(scene, scene.finish())
    assert verdict.problems == ()
    assert verdict.twice == 0


@pytest.mark.slow
def test_a_sender_suspended_in_a_transaction_of_postgresql_holds_nobody_up_for_good(
    vendor: Vendor, tmp_path: Path, server: PostgresServer
) -> None:
    """Its locks outlive its lease only until the server gives up on it; then the retry does it all."""
    name = f"suspended_{os.getpid()}"
    scene = Scene(vendor, server.make_database(name), tmp_path, StepName.SEND, PEOPLE, faults.NONE)
    old = scene.start()
    scene.wait_for(30)
    old.process.send_signal(signal.SIGSTOP)
    while not server.is_locked(name):
        old.process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
        old.process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
    assert scene.reached() < len(scene.due), "it was done before it could be suspended"
    report = scene.finish()
    assert report["in_doubt"] <= CONCURRENCY
    old.process.send_signal(signal.SIGCONT)
    assert old.wait()["error"] == "LedgerError"
    verdict = judge(scene, scene.finish())
    assert verdict.problems == ()
    assert verdict.tries <= 4, "tries were used up by waiting"


def test_two_senders_of_one_send_at_once_share_the_people_among_them(scene: Scene) -> None:
    """Airflow took the first for dead and started a second, while both live."""
    scene.order = replace(scene.order, patience_seconds=30.0)
    scene.vendor.panel("POST", "settings", json={"latency_seconds": 0.1})
    senders = [scene.start(), scene.start()]
    told = [one.wait() for one in senders]
    assert [(one["error"], one["said"]) for one in told] == [(None, "")] * 2
    assert all(one["report"]["attempted"] > 0 for one in told)
    verdict = judge(scene, scene.finish())
    assert verdict.problems == ()
    assert (verdict.in_doubt, verdict.effects) == (0, verdict.due)


def test_a_sender_whose_sqlite_ledger_is_deleted_sends_no_more(scene: Scene) -> None:
    """SQLite itself would go on writing into the deleted file, and the next try would find an empty one."""
    running = scene.start()
    scene.wait_for(30)
    for file in Path(scene.order.ledger.removeprefix("sqlite:///")).parent.iterdir():
        file.unlink()
    reached = scene.reached()
    told = running.wait()
    assert told["error"] == "LedgerError"
    assert scene.reached() - reached <= CONCURRENCY
    assert scene.reached() < len(scene.due), "it was too late to prove anything"


def test_a_sender_whose_postgresql_crashes_sends_no_more_and_goes_on_later(
    vendor: Vendor, tmp_path: Path, server: PostgresServer
) -> None:
    """Nothing leaves without a claim on disk; when the database is back, the next try does the rest."""
    address = server.make_database(f"crash_{os.getpid()}")
    scene = Scene(vendor, address, tmp_path, StepName.SEND, PEOPLE, faults.NONE)
    running = scene.start()
    scene.wait_for(30)
    server.crash()
    reached = scene.reached()
    told = running.wait()
    assert told["error"] == "LedgerError"
    assert scene.reached() - reached <= CONCURRENCY
    server.start_again()
    report = scene.finish()
    verdict = judge(scene, report)
    assert verdict.problems == ()
    assert report["in_doubt"] <= CONCURRENCY
