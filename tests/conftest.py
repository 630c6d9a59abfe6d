"""What every test run begins with; ledgers on SQLite, and on a real PostgreSQL where it is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from airflow_sms_flow.ledger import Ledger
from tests import postgres
from tests.torture.seeds import FRESH_SEED


def pytest_configure() -> None:
    """The same for every process of a run: also the fresh seed, for they must all collect the same tests."""
    os.environ["TORTURE_SEED"] = str(FRESH_SEED)
    # How long one example took says nothing on a machine that has other things to do.
    settings.register_profile("without deadline", deadline=None)
    settings.load_profile("without deadline")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the tests, those that wait for a whole Airflow begin first."""
    if hasattr(config, "workerinput"):
        waiting = ("tests/e2e/", "tests/torture/test_airflow_kills.py")
        items.sort(key=lambda item: not item.nodeid.startswith(waiting))


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
