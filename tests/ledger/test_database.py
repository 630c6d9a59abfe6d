"""The database under the ledger: its schema, its durability, its file."""

from __future__ import annotations

import logging
import multiprocessing
import re
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.engine import make_url

from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import ConfigError, InvalidInput, LedgerError
from airflow_sms_flow.core.opt_in import OptIn
from airflow_sms_flow.ledger import Ledger, database
from airflow_sms_flow.ledger.deliveries import Move
from airflow_sms_flow.ledger.schema import SCHEMA_REVISION, VERSION_TABLE, metadata
from tests.ledger.callbacks import ROUTED, answered, event, hear
from tests.ledger.moves import CAMPAIGN, TEXT, A, B, Sender, claim, settle


def test_the_migrations_build_exactly_the_tables_that_the_code_knows(ledger_address: str) -> None:
    """A column added in one place and forgotten in the other would fail in production only."""
    Ledger.open(ledger_address).close()
    engine = database.create_ledger_engine(ledger_address)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        tables = set(inspect(connection).get_table_names())
    engine.dispose()
    assert differences == []
    assert tables == {*metadata.tables, VERSION_TABLE}


def test_a_ledger_of_the_first_schema_is_upgraded_with_its_rows(ledger_address: str) -> None:
    """What was claimed and asked before the upgrade counts after it, and what it says is made use of."""
    engine = database.create_ledger_engine(ledger_address)
    with database.writing(engine, "testing") as connection:
        database._run_migrations(connection, "0001")
        for row in _FIRST_ROWS:  # SQLite keeps times in UTC without their zone
            connection.execute(text(row if engine.name != "sqlite" else row.replace("+00:00", ".000000")))
        identity = connection.execute(text("SELECT id FROM sms_flow_identity")).scalar_one()
    ledger = Ledger.open(ledger_address)
    with engine.connect() as connection:
        assert (
            connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == SCHEMA_REVISION
        )
    engine.dispose()
    assert ledger.identity == identity
    assert ledger.rows(1, [A])[A].state is DeliveryState.IN_DOUBT
    expire_at = datetime(2026, 7, 2, tzinfo=UTC)
    assert ledger.opt_ins("acme", "ACQ1", [A, B]) == {A: OptIn(expire_at)}
    hear(ledger, event(CAMPAIGN.event_id(A), ROUTED, 1), answered(B, 1, yes=True))
    assert ledger.rows(1, [A])[A].state is DeliveryState.ACCEPTED
    assert ledger.members("acme", "1201", [B])[B].subscribed  # the old rows tell which list was asked for
    ledger.close()


_FIRST_ROWS = (
    "INSERT INTO sms_flow_dispatches (id, company_key, campaign_key, step, list_id, created_at) "
    "VALUES (1, 'acme', 'summer', 'send', '1201', '2026-07-01 00:00:00+00:00')",
    "INSERT INTO sms_flow_deliveries (dispatch_id, phone, event_id, fingerprint, state, updated_at) "
    f"VALUES (1, '{A}', '{CAMPAIGN.event_id(A)}', 'f', 'in_doubt', '2026-07-01 00:00:00+00:00')",
    "INSERT INTO sms_flow_opt_ins "
    "(company_key, acquisition_campaign_id, phone, list_id, state, expire_at, updated_at) "
    f"VALUES ('acme', 'ACQ1', '{A}', '1201', 'pending', "
    "'2026-07-02 00:00:00+00:00', '2026-07-01 00:00:00+00:00')",
)


def test_a_ledger_of_newer_code_is_refused(ledger_address: str) -> None:
    """Older code could misread it: the error names the revision and what to upgrade."""
    Ledger.open(ledger_address).close()
    engine = database.create_ledger_engine(ledger_address)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerError, match=r"'9999'.*upgrade the package"):
        Ledger.open(ledger_address)


def test_opening_a_second_time_changes_nothing(ledger: Ledger, ledger_address: str) -> None:
    """Every task opens the ledger; what stands in it stays."""
    first = ledger.dispatch_id(CAMPAIGN)
    again = Ledger.open(ledger_address)
    assert again.dispatch_id(CAMPAIGN) == first
    again.close()


def _open_and_make_a_dispatch(address: str) -> int:
    ledger = Ledger.open(address)
    try:
        return ledger.dispatch_id(CAMPAIGN)
    finally:
        ledger.close()


def test_eight_processes_open_a_fresh_ledger_at_once(ledger_address: str) -> None:
    """Tasks that start together make its tables once, and all find the same ones."""
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        ids = pool.map(_open_and_make_a_dispatch, [ledger_address] * 8, chunksize=1)
    assert len(set(ids)) == 1


def test_eight_threads_open_a_fresh_ledger_at_once(ledger_address: str) -> None:
    """The same within one process, where Alembic keeps state in its modules."""
    barrier = threading.Barrier(8)

    def run() -> int:
        barrier.wait()
        return _open_and_make_a_dispatch(ledger_address)

    with ThreadPoolExecutor(8) as pool:
        ids = {future.result() for future in [pool.submit(run) for _ in range(8)]}
    assert len(ids) == 1


def test_nobody_else_may_read_the_ledger(sqlite_ledger: Ledger, sqlite_address: str) -> None:
    """It holds phone numbers: 0600 in a 0700 folder, the side files of a running transaction too."""
    file = Path(make_url(sqlite_address).database or "")
    sqlite_ledger.dispatch_id(CAMPAIGN)
    files = sorted(file.parent.iterdir())
    assert [one.name for one in files] == ["ledger.db", "ledger.db-shm", "ledger.db-wal"]
    assert {one.stat().st_mode & 0o777 for one in files} == {0o600}
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_commit_on_sqlite_survives_a_power_cut(sqlite_address: str) -> None:
    """WAL with synchronous=FULL; NORMAL, the usual advice, may lose the last commits: people texted twice."""
    engine = database.create_ledger_engine(sqlite_address)
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_opening_the_ledger_twice_in_one_process_harms_no_other(
    sqlite_ledger: Ledger, sqlite_address: str
) -> None:
    """To open and close the file by other means than SQLite would drop this process's locks on it, unseen:
    the next process to leave would delete the log that we write to, and the ledger would be ruined."""
    sqlite_ledger.dispatch_id(CAMPAIGN)
    with closing(Ledger.open(sqlite_address)):
        pass
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_open_and_close, (sqlite_address,))
    path = Path(str(make_url(sqlite_address).database))
    assert path.with_name(f"{path.name}-wal").exists(), "the log that we write to was deleted"
    for number in range(50):
        sqlite_ledger.dispatch_id(replace(CAMPAIGN, campaign_key=f"key {number}"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM sms_flow_dispatches").fetchone() == (51,)


def _open_and_close(address: str) -> bool:
    Ledger.open(address).close()
    return True


def test_a_ledger_that_may_not_be_written_is_told_with_its_remedy(tmp_path: Path) -> None:
    """Found at the opening, not at the first claim."""
    path = tmp_path / "ledger.db"
    path.mkdir()
    with pytest.raises(ConfigError, match=r"ledger\.db.*\[sms_flow\] ledger_conn_id"):
        Ledger.open(f"sqlite:///{path}")


def test_a_folder_that_cannot_be_made_is_told_with_its_remedy(tmp_path: Path) -> None:
    """Before anything is sent, naming the setting that helps."""
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match="ledger_conn_id"):
        Ledger.open(f"sqlite:///{tmp_path}/file/ledger.db")


def test_a_database_of_another_kind_is_refused() -> None:
    """Locks and upserts are written for two databases only."""
    with pytest.raises(InvalidInput, match="SQLite or PostgreSQL"):
        Ledger.open("mysql://somewhere/ledger")


def test_a_locked_ledger_fails_after_its_busy_time(sqlite_ledger: Ledger, sqlite_address: str) -> None:
    """The error says what it was doing, why it failed, and that nothing more is sent."""
    impatient = Ledger.open(sqlite_address, busy_seconds=0.1)
    engine = database.create_ledger_engine(sqlite_address)
    told = r"opening a dispatch: database is locked\. Nothing more is sent"
    with engine.begin(), pytest.raises(LedgerError, match=told):  # begins by taking the one write lock
        impatient.dispatch_id(CAMPAIGN)
    impatient.dispatch_id(CAMPAIGN)
    engine.dispose()
    impatient.close()


def test_a_locked_table_on_postgresql_fails_after_the_same_time(postgres_address: str) -> None:
    """A forgotten session with a lock must not hang every campaign."""
    Ledger.open(postgres_address).close()
    impatient = Ledger.open(postgres_address, busy_seconds=0.1)
    engine = database.create_ledger_engine(postgres_address)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE sms_flow_dispatches"))
        with pytest.raises(LedgerError, match="opening a dispatch: canceling statement due to lock timeout"):
            impatient.dispatch_id(CAMPAIGN)
    engine.dispose()
    impatient.close()


@pytest.mark.parametrize("replace", [False, True])
def test_a_ledger_that_vanished_while_in_use_is_noticed(
    sqlite_ledger: Ledger, sqlite_address: str, replace: bool
) -> None:
    """SQLite itself would go on writing into the deleted file, and the next task would start from nothing."""
    file = Path(make_url(sqlite_address).database or "")
    sqlite_ledger.dispatch_id(CAMPAIGN)
    file.rename(file.with_name("old.db"))
    if replace:
        file.touch()
    with pytest.raises(LedgerError, match="deleted or replaced while it was in use"):
        sqlite_ledger.dispatch_id(CAMPAIGN)


def test_errors_of_the_database_show_no_numbers(sqlite_address: str) -> None:
    """Drivers print parameters; only the kind of such an error is told."""
    engine = database.create_ledger_engine(sqlite_address)
    with pytest.raises(LedgerError) as caught, database.writing(engine, "testing") as connection:
        connection.exec_driver_sql("SELECT 1 FROM nowhere WHERE phone = '+12025550132'")
    engine.dispose()
    assert "no such table: nowhere" in str(caught.value)
    assert "2025550132" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_logging_of_sql_shows_no_numbers(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    """Airflow's `[logging] namespace_levels` may turn it on: it tells statements, no parameters, no rows."""
    with caplog.at_level(level, logger="sqlalchemy.engine"):
        sender = Sender(ledger)
        sender.write(claim(A, "1"), settle(A, DeliveryState.ACCEPTED, "1"))
        sender.write(Move(B, DeliveryState.REFUSED, "looked", "not_subscribed"))
        assert (len(ledger.history(A)), len(ledger.known(sender.dispatch_id, TEXT))) == (2, 2)
        assert ledger.rows(sender.dispatch_id, [A, B]).keys() == {A, B}
    assert "INSERT INTO sms_flow_deliveries" in caplog.text
    assert not re.search("2025550132|2025550143", caplog.text)


def test_the_schema_revision_is_the_newest_migration() -> None:
    """Otherwise every opening would run Alembic again."""
    versions = Path(database.__file__).with_name("migrations") / "versions"
    newest = sorted(file.stem.split("_")[0] for file in versions.glob("[0-9]*.py"))[-1]
    assert newest == SCHEMA_REVISION
