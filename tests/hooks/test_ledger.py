"""From the settings to the ledger's database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_sms_flow.core.errors import ConfigError, InvalidInput
from airflow_sms_flow.hooks.ledger import ledger_address, open_ledger
from tests.hooks.conftest import GiveConnection

POSTGRES: dict[str, Any] = {
    "conn_type": "postgres",
    "host": "db.example.com",
    "port": 5433,
    "schema": "campaigns",
    "login": "sms",
    "password": "p@ss/w:rd",
}


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__LEDGER_CONN_ID", "")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")


def test_by_default_the_ledger_is_a_file_in_airflow_home(tmp_path: Path) -> None:
    """It is made, with its folder, at its first use, and nobody else may read it."""
    open_ledger().close()
    file = tmp_path / "sms_flow" / "ledger.db"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_postgres_connection_becomes_an_address(
    give_connection: GiveConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every field arrives as it was filled in, also odd passwords; printing the address hides those."""
    give_connection("ledger_db", **POSTGRES, extra={"sslmode": "require", "cursor": "dictcursor", "x": None})
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__LEDGER_CONN_ID", "ledger_db")
    address = ledger_address()
    assert address.drivername == "postgresql+psycopg"
    assert (address.host, address.port, address.database) == ("db.example.com", 5433, "campaigns")
    assert (address.username, address.password) == ("sms", "p@ss/w:rd")
    assert dict(address.query) == {"sslmode": "require"}
    assert "p@ss" not in str(address)


def test_a_sqlite_connection_needs_an_absolute_path(
    give_connection: GiveConnection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A relative path would be another ledger in every folder that a worker starts in."""
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__LEDGER_CONN_ID", "file_ledger")
    give_connection("file_ledger", conn_type="sqlite", host=str(tmp_path / "other.db"))
    assert ledger_address().database == str(tmp_path / "other.db")
    give_connection("file_ledger", conn_type="sqlite", host="other.db")
    with pytest.raises(InvalidInput, match="the absolute path of the SQLite file"):
        ledger_address()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"conn_type": "mysql"}, "conn_type"),
        ({"extra": {"sslmod": "require"}}, "extra"),
        ({"extra": {"iam": True}}, "iam"),
    ],
)
def test_a_connection_that_cannot_hold_a_ledger_is_refused(
    give_connection: GiveConnection, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], field: str
) -> None:
    """Before anything is sent, with connection, field and remedy."""
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__LEDGER_CONN_ID", "ledger_db")
    give_connection("ledger_db", **POSTGRES | change)
    with pytest.raises(InvalidInput) as caught:
        open_ledger()
    assert caught.value.field == f"connection 'ledger_db', {field}"


def test_a_file_is_refused_where_tasks_run_elsewhere(
    give_connection: GiveConnection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whether the file comes from the default or from a connection; and nothing is created."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__STORAGE", "s3://bucket/sms")
    with pytest.raises(ConfigError, match="ledger_conn_id"):
        open_ledger()
    monkeypatch.setenv("AIRFLOW__SMS_FLOW__LEDGER_CONN_ID", "file_ledger")
    give_connection("file_ledger", conn_type="sqlite", host=str(tmp_path / "other.db"))
    with pytest.raises(ConfigError, match="ledger_conn_id"):
        open_ledger()
    assert not list(tmp_path.rglob("*.db"))
