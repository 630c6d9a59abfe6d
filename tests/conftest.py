"""Ledgers for every test that wants one: on SQLite, and on a real PostgreSQL where its programs are found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_sms_flow.ledger import Ledger
from tests import postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a throw-away server on loopback, without a database name."""
    if not postgres.is_here():
        pytest.skip(postgres.MISSING)
    with postgres.running_server() as address:
        yield address


@pytest.fixture
def sqlite_address(tmp_path: Path) -> str:
    """An empty place for a SQLite ledger."""
    return f"sqlite:///{tmp_path}/ledger/ledger.db"


@pytest.fixture
def postgres_address(postgres_server: str) -> Iterator[str]:
    """An empty database of its own."""
    with postgres.fresh_database(postgres_server) as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_address(request: pytest.FixtureRequest) -> str:
    """Where a fresh ledger may be, on both databases in turn."""
    name = "sqlite_address" if request.param == "sqlite" else "postgres_address"
    address: str = request.getfixturevalue(name)
    return address


@pytest.fixture
def ledger(ledger_address: str) -> Iterator[Ledger]:
    """A fresh ledger, on both databases in turn."""
    opened = Ledger.open(ledger_address)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_ledger(sqlite_address: str) -> Iterator[Ledger]:
    """A fresh SQLite ledger, where the database makes no difference."""
    opened = Ledger.open(sqlite_address)
    yield opened
    opened.close()
