"""What several tests of the ledger want."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import Engine

from airflow_sms_flow.ledger import database


@pytest.fixture
def engine(ledger_address: str) -> Iterator[Engine]:
    """For looking under the ledger, and for turning back the clock of rows."""
    made = database.create_ledger_engine(ledger_address)
    yield made
    made.dispose()
