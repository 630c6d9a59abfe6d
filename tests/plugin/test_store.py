"""Group commit: what was told "kept" is on disk, what is not was told "later"."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from airflow_sms_flow.core.errors import ConfigError
from airflow_sms_flow.hooks.ledger import LedgerOpener, open_ledger
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.ledger.inbox import RawCallback
from airflow_sms_flow.plugin import store as store_module
from airflow_sms_flow.plugin.store import Store
from tests.plugin.inboxes import MemoryInbox
from tests.postgres import fresh_database


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


def test_an_inbox_that_has_gone_bad_is_replaced_by_a_new_one(inbox: MemoryInbox) -> None:
    """A password was changed, at the database and in Airflow: that must not take a restart."""
    bad = MemoryInbox()
    inboxes = [bad, inbox]
    store = Store(lambda: inboxes.pop(0), lambda: None)
    store.start()
    assert together(store.keep(callback(1))) == [True]
    bad.down = True
    assert together(store.keep(callback(2))) == [False]
    assert together(store.keep(callback(2)), store.keep(callback(3))) == [True, True]
    store.close()
    assert bad.closed == 1
    assert (inbox.closed, list(inbox.rows)) == (0, ["2", "3"])


@pytest.fixture
def real_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    """As the API server begins it, in an installation of its own."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    store = Store(LedgerOpener(), lambda: None)
    store.start()
    yield store
    store.close()


def keep(store: Store, key: str, within: float = 20.0) -> bool:
    """Whether a callback is taken, at the latest when Vibes has repeated it for so long."""
    deadline = time.monotonic() + within
    while not (kept := together(store.keep(callback(key)))[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return kept


def test_a_ledger_that_was_restored_is_written_to(real_store: Store, tmp_path: Path) -> None:
    """Another file lies at its place now: what comes in lands in that one."""
    file = tmp_path / "sms_flow" / "ledger.db"
    assert keep(real_store, "before")
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as copy:
        source.backup(copy)
    backup.replace(file)
    assert keep(real_store, "after")
    with closing(open_ledger()) as ledger:
        assert ledger.unheard_callbacks() == 2


def test_a_ledger_that_was_deleted_is_waited_for_and_not_made_anew(
    real_store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What an empty one took in would be lost when the right one is put back."""
    file, aside = tmp_path / "sms_flow" / "ledger.db", tmp_path / "aside.db"
    assert keep(real_store, "before")
    file.rename(aside)
    assert not keep(real_store, "meanwhile", within=0.5)
    assert not file.exists()
    assert "put it back" in caplog.text.lower()
    aside.rename(file)
    assert keep(real_store, "meanwhile")


def test_a_ledger_that_has_moved_is_found_by_its_connection(
    monkeypatch: pytest.MonkeyPatch, real_store: Store, postgres_server: str, tmp_path: Path
) -> None:
    """From the file to PostgreSQL, and on to another database."""
    address = make_url(postgres_server)
    assert keep(real_store, "in the file")
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__LEDGER_CONN_ID", "ledger_db")
    (tmp_path / "sms_flow" / "ledger.db").rename(tmp_path / "moved.db")
    for number in range(2):
        with fresh_database(postgres_server) as database:
            connection = {"conn_type": "postgres", "host": address.host, "port": address.port, "login": "sms"}
            connection["schema"] = make_url(database).database
            monkeypatch.setenv("AIRFLOW_CONN_LEDGER_DB", json.dumps(connection))
            assert keep(real_store, f"in database {number}")
            with closing(Ledger.open(database)) as ledger:
                assert ledger.unheard_callbacks() == 1


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
