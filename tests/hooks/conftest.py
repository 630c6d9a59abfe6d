"""Airflow connections as people make them, without a metadata database."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

GiveConnection = Callable[..., None]


@pytest.fixture
def give_connection(monkeypatch: pytest.MonkeyPatch) -> GiveConnection:
    """Call it with a connection id and fields: hooks find that connection, as workers and triggerer would."""

    def give(conn_id: str, **fields: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return give
