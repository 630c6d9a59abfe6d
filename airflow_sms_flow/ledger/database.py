"""How the ledger reaches its database: SQLite by default, PostgreSQL in production; nothing else works."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event, func, select, text
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from airflow_sms_flow.core.errors import ConfigError, InvalidInput, LedgerError
from airflow_sms_flow.ledger.schema import SCHEMA_REVISION, VERSION_TABLE

#: How long one transaction waits for another's lock before the sending stops.
BUSY_SECONDS = 30.0
#: Sets our engines' log lines apart from those of other users of SQLAlchemy in this process.
_LOGGING_NAME = "sms_flow"
#: Any number, the same in every process: the PostgreSQL advisory lock under which the schema changes.
_UPGRADE_LOCK = 7_370_001


def create_ledger_engine(address: str | URL, busy_seconds: float = BUSY_SECONDS) -> Engine:
    """An engine with the durability that "a send survives power loss" asks for.

    Raises `InvalidInput` for a database of another kind.
    """
    url = make_url(address)
    match url.get_backend_name():
        case "sqlite":
            return _sqlite_engine(url, busy_seconds)
        case "postgresql":
            return _postgres_engine(url, busy_seconds)
        case kind:
            raise InvalidInput("ledger", kind, "the ledger lives in SQLite or PostgreSQL")


def _silent_engine(url: URL, **options: Any) -> Engine:
    """One that never logs a phone number, whatever level somebody sets for SQLAlchemy's loggers: statements
    come without their parameters, and the rows that it tells at DEBUG, to a logger of our own, are held back.
    """
    logging.getLogger(f"sqlalchemy.engine.Engine.{_LOGGING_NAME}").addFilter(_is_no_row)
    return create_engine(url, hide_parameters=True, logging_name=_LOGGING_NAME, **options)


def _is_no_row(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def _postgres_engine(url: URL, busy_seconds: float) -> Engine:
    # The ping survives a server that was restarted between two transactions.
    engine = _silent_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.execute(f"SET lock_timeout = {round(busy_seconds * 1000)}")
        # A process that is suspended in a transaction, or a machine that is gone, would keep its locks for
        # hours; so the server ends its session before anybody who waits for them gives up.
        connection.execute(f"SET idle_in_transaction_session_timeout = {round(busy_seconds * 500)}")
        connection.commit()

    return engine


def _sqlite_engine(url: URL, busy_seconds: float) -> Engine:
    path = Path(url.database) if url.database and url.database != ":memory:" else None
    if path is not None:
        _create_private_file(path)
    identity = _identity(path)
    engine = _silent_engine(url, connect_args={"timeout": busy_seconds, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # The driver's own transaction guessing would begin too late: we say BEGIN IMMEDIATE ourselves.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A reader that becomes a writer half-way can fail with "database is locked"; a writer from the
        # start only waits.
        writes = connection.get_execution_options().get("sms_flow_writes", True)
        if _identity(path) != identity:
            # SQLite would go on writing into the deleted file, and the next task would find an empty one.
            raise LedgerError(
                f"the ledger {path} was deleted or replaced while it was in use: nothing more is sent. "
                f"Put it back before the next try, or people may be reached twice"
            )
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Which file lies at this path now; None for none."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found is not None else None


def _create_private_file(path: Path) -> None:
    """0600 in a 0700 folder: the ledger holds phone numbers. SQLite's side files copy these rights.

    A file that is there is not opened: to close it again would drop every lock that this process has on it
    (POSIX), and the next process to leave the ledger would delete the log that we are writing to. So a new
    one is made under another name, and linked to its own.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _link_empty_file(path)
        if not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(
            f"the ledger {path} cannot be opened ({error.strerror}): make its folder writable for the "
            f"user that runs tasks, or name a PostgreSQL connection in [sms_flow] ledger_conn_id"
        ) from None


def _link_empty_file(path: Path) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".ledger_")  # 0600
    os.close(descriptor)
    try:
        with suppress(FileExistsError):  # somebody else was quicker
            os.link(name, path)
    finally:
        os.unlink(name)


@contextmanager
def translated_errors(doing: str) -> Iterator[None]:
    """Database errors as `LedgerError`. The driver's text may hold parameters, so only its kind is told."""
    try:
        yield
    except SQLAlchemyError as error:
        # SQLite's and PostgreSQL's own first lines name locks, disks and tables, never values.
        cause = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()[0]
        told = cause if not any(character in cause for character in "+'\"=()") else type(error).__name__
        raise LedgerError(
            f"the ledger failed while {doing}: {told}. Nothing more is sent until it answers; "
            f"check the database that [sms_flow] ledger_conn_id names (or the SQLite file and its disk)"
        ) from None


@contextmanager
def reading(engine: Engine, doing: str) -> Iterator[Connection]:
    """A read-only transaction: sees one moment, blocks nobody."""
    with (
        translated_errors(doing),
        engine.connect().execution_options(sms_flow_writes=False) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def writing(engine: Engine, doing: str) -> Iterator[Connection]:
    """A transaction that is on disk once this block is left."""
    with translated_errors(doing), engine.begin() as connection:
        yield connection


def now(connection: Connection) -> datetime:
    """The time that leases are measured by: the database's own, where several machines share it."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return found.astimezone(UTC)


def upgrade(engine: Engine) -> None:
    """Bring the schema to `SCHEMA_REVISION`; eight tasks that start together do it once.

    Raises `LedgerError` for a ledger that newer code has written: upgrade this package there.
    """
    with reading(engine, "reading its version") as connection:
        if _revision(connection) == SCHEMA_REVISION:
            return
    with writing(engine, "changing its tables") as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        _run_migrations(connection)


def _revision(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, VERSION_TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return found


def _run_migrations(connection: Connection, revision: str = "head") -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError:
        raise LedgerError(
            f"the ledger's schema is {_revision(connection)!r}, which this version of airflow-sms-flow "
            f"(schema {SCHEMA_REVISION!r}) does not know: upgrade the package on this machine"
        ) from None
