"""The bell of an asset: rings for news, not for what was taken; a ledger that is away does not kill it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from airflow_sms_flow.core.facts import ChangeKind, Joined
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.triggers._shared import this_process
from airflow_sms_flow.triggers.changes import VibesChangeTrigger

COMPANY, LIST = "acme", "1201"
ANN, BOB, CYD = "+12025550111", "+12025550112", "+12025550113"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """An installation of its own."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    this_process.cache_clear()
    with closing(open_ledger()) as opened:
        yield opened
    this_process.cache_clear()


def join(ledger: Ledger, *phones: str) -> None:
    """These people join the list now."""
    now = datetime.now(UTC)
    ledger.note_membership(COMPANY, LIST, [Joined(LIST, phone, now) for phone in phones], "callback")


def take(ledger: Ledger) -> None:
    """A run takes everything."""
    since = datetime.now(UTC) - timedelta(days=1)
    kind = ChangeKind.SUBSCRIBED
    ledger.take_changes("c", "run", company_key=COMPANY, kind=kind, scope_id=LIST, first_since=since)


def bell() -> AsyncIterator[TriggerEvent]:
    """A bell that looks often; restored from Airflow's database, as the triggerer does."""
    made = VibesChangeTrigger(company_key=COMPANY, kind="subscribed", scope_id=LIST, poll_seconds=0.02)
    _, arguments = made.serialize()
    return VibesChangeTrigger(**arguments).run()


async def ring(rings: AsyncIterator[TriggerEvent], seconds: float = 5.0) -> dict[str, Any]:
    """The next ring; TimeoutError where there is none."""
    event = await asyncio.wait_for(anext(rings), seconds)
    payload: dict[str, Any] = event.payload
    return payload


def test_it_rings_for_whoever_joins_and_once_for_many(ledger: Ledger) -> None:
    """The event names the list and no person."""

    async def listen() -> None:
        rings = bell()
        waiting = asyncio.create_task(ring(rings))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        join(ledger, ANN, BOB)
        event = await waiting
        assert event == {"kind": "subscribed", "scope_id": LIST, "newest": event["newest"]}
        with pytest.raises(TimeoutError):
            await ring(rings, 0.5)

    asyncio.run(listen())


def test_after_a_restart_it_rings_for_what_nobody_took(ledger: Ledger) -> None:
    """And stays silent where everything was taken."""

    async def listen() -> None:
        join(ledger, ANN)
        await ring(bell())
        take(ledger)
        with pytest.raises(TimeoutError):
            await ring(bell(), 0.5)

    asyncio.run(listen())


def test_a_ledger_that_is_away_for_a_while_does_not_kill_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A bell that died would be missed by nobody."""

    async def listen() -> None:
        rings = bell()
        waiting = asyncio.create_task(ring(rings))
        monkeypatch.setenv("AIRFLOW__SMS_FLOW__LEDGER_CONN_ID", "nowhere")
        await asyncio.sleep(0.3)
        monkeypatch.delenv("AIRFLOW__SMS_FLOW__LEDGER_CONN_ID")
        join(ledger, CYD)
        assert (await waiting)["scope_id"] == LIST

    asyncio.run(listen())


def test_no_error_of_any_kind_kills_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow's own database may be down while a connection is read; the error's text stays untold."""

    def down(*_: object) -> int:
        raise OSError(f"{ANN} could not be written to password@host")

    async def listen() -> None:
        rings = bell()
        waiting = asyncio.create_task(ring(rings))
        with monkeypatch.context() as broken:
            broken.setattr(Ledger, "latest_change", down)
            await asyncio.sleep(0.3)
        assert not waiting.done()
        join(ledger, CYD)
        assert (await waiting)["scope_id"] == LIST

    asyncio.run(listen())
    assert "could not look: OSError" in caplog.text
    assert "password" not in caplog.text


def test_a_bell_that_is_cancelled_ends(ledger: Ledger) -> None:
    """The triggerer moves it elsewhere, or nobody listens any more."""

    async def cancel() -> None:
        waiting = asyncio.create_task(ring(bell()))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(cancel())


def test_a_ledger_that_was_deleted_is_waited_for_and_not_made_anew(ledger: Ledger, tmp_path: Path) -> None:
    """An empty one in its place would be taken for it by everybody."""
    file, aside = tmp_path / "sms_flow" / "ledger.db", tmp_path / "aside.db"

    async def listen() -> None:
        rings = bell()
        waiting = asyncio.create_task(ring(rings))
        await asyncio.sleep(0.2)
        file.rename(aside)
        await asyncio.sleep(0.3)
        assert not file.exists()
        aside.rename(file)
        with closing(open_ledger()) as opened:
            join(opened, ANN)
        assert (await waiting)["scope_id"] == LIST

    asyncio.run(listen())
