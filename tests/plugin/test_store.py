"""Group commit: what was told "kept" is on disk, what is not was told "later"."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_sms_flow.core.errors import ConfigError
from airflow_sms_flow.ledger.inbox import RawCallback
from airflow_sms_flow.plugin import store as store_module
from airflow_sms_flow.plugin.store import Store
from tests.plugin.inboxes import MemoryInbox


def callback(key: object, body: bytes = b"{}") -> RawCallback:
    return RawCallback("acme", datetime.now(UTC), "203.0.113.7", {}, body, str(key))


@pytest.fixture
def inbox() -> MemoryInbox:
    return MemoryInbox()


@pytest.fixture
def kept() -> threading.Event:
    return threading.Event()


@pytest.fixture
def store(inbox: MemoryInbox, kept: threading.Event) -> Iterator[Store]:
    store = Store(lambda: inbox, kept.set)
    store.start()
    yield store
    store.close()


def together(*waiting: Coroutine[Any, Any, bool]) -> list[bool]:
    async def gather() -> list[bool]:
        return await asyncio.gather(*waiting)

    return asyncio.run(gather())


def test_many_requests_share_a_transaction(store: Store, inbox: MemoryInbox, kept: threading.Event) -> None:
    """While one commit is under way, the next batch gathers; the listener hears of it."""
    inbox.seconds = 0.02
    assert together(*(store.keep(callback(n)) for n in range(600))) == [True] * 600
    assert len(inbox.rows) == 600
    assert len(inbox.transactions) < 20
    assert kept.is_set()


def test_a_duplicate_is_kept_as_well(store: Store, inbox: MemoryInbox) -> None:
    """Vibes delivers at least once; the inbox has it already, which is all that matters."""
    assert together(store.keep(callback(1)), store.keep(callback(1))) == [True, True]
    assert len(inbox.rows) == 1


def test_a_store_that_is_down_says_later_at_once_and_recovers_by_itself(
    store: Store, inbox: MemoryInbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is told once a minute, and its end."""
    caplog.set_level("INFO")
    inbox.down = True
    began = time.monotonic()
    assert together(*(store.keep(callback(n)) for n in range(50))) == [False] * 50
    assert time.monotonic() - began < 1.0
    inbox.down = False
    assert together(*(store.keep(callback(n)) for n in range(50))) == [True] * 50
    assert caplog.text.count("connection refused") == 1
    assert caplog.text.count("stored again") == 1


def test_an_inbox_that_cannot_be_opened_is_tried_again(inbox: MemoryInbox) -> None:
    """The API server may start before the ledger's database does."""
    tries: list[int] = []

    def open_inbox() -> MemoryInbox:
        tries.append(1)
        if len(tries) <= 2:  # at the start, and for the first callback
            raise ConfigError("no such connection")
        return inbox

    store = Store(open_inbox, lambda: None)
    store.start()
    assert together(store.keep(callback(1))) == [False]
    assert together(store.keep(callback(1))) == [True]
    store.close()


def test_a_slow_store_says_later_within_vibes_patience(
    store: Store, inbox: MemoryInbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The row may be stored after that: the repeat is recognised. The log tells of it."""
    monkeypatch.setattr(store_module, "_PATIENCE_SECONDS", 0.1)
    inbox.seconds = 0.4
    assert together(store.keep(callback(1))) == [False]
    store.close()
    assert list(inbox.rows) == ["1"]
    assert "longer than 0.1 seconds" in caplog.text


@pytest.mark.parametrize(("limit", "value"), [("_MAX_WAITING", 10), ("_MAX_WAITING_BYTES", 1_000)])
def test_what_waits_is_bounded(
    store: Store, inbox: MemoryInbox, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    """In number and in bytes: a database that hangs does not fill the API server's memory."""
    monkeypatch.setattr(store_module, limit, value)
    inbox.seconds = 0.05
    answers = together(*(store.keep(callback(n, b"x" * 100)) for n in range(100)))
    assert 1 <= sum(answers) <= 30
    assert len(inbox.rows) == sum(answers)
    assert together(store.keep(callback("later"))) == [True]


def test_a_row_that_no_database_takes_does_not_take_others_down(
    store: Store, inbox: MemoryInbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch is tried row by row; only the bad row is told "later"."""
    inbox.refuses = lambda row: row.dedupe_key == "bad"
    inbox.seconds = 0.02
    rows = [*(callback(n) for n in range(10)), callback("bad"), *(callback(n) for n in range(10, 20))]
    answers = together(*(store.keep(row) for row in rows))
    assert answers == [True] * 10 + [False] + [True] * 10
    assert "phone number" not in caplog.text


def test_closing_writes_what_waits(inbox: MemoryInbox) -> None:
    """An API server that is told to stop loses nothing that it has taken in."""
    inbox.seconds = 0.1
    store = Store(lambda: inbox, lambda: None)
    store.start()

    async def keep_and_close() -> list[bool]:
        waiting = [asyncio.create_task(store.keep(callback(n))) for n in range(5)]
        await asyncio.sleep(0)
        await asyncio.to_thread(store.close)
        assert await store.keep(callback("after the end")) is False
        return await asyncio.gather(*waiting)

    assert asyncio.run(keep_and_close()) == [True] * 5


def test_a_request_that_was_given_up_does_not_stop_the_writer(store: Store, inbox: MemoryInbox) -> None:
    """Its caller hung up, and its event loop may be gone."""
    inbox.seconds = 0.1

    async def give_up() -> None:
        task = asyncio.create_task(store.keep(callback(1)))
        await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(give_up())
    assert together(store.keep(callback(2))) == [True]
