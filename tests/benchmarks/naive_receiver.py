"""A receiver as people write it first: each request is a transaction of its own. For comparison only.

LEDGER=postgresql+psycopg://… uvicorn tests.benchmarks.naive_receiver:app
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Body, FastAPI

from airflow_sms_flow.ledger import database
from airflow_sms_flow.ledger.schema import callbacks

app = FastAPI()
_engine = database.create_ledger_engine(os.environ["LEDGER"])


@app.post("/callbacks", status_code=204)
def take_in(callback: Annotated[dict[str, Any], Body()]) -> None:
    """One synchronous INSERT and COMMIT, in a thread of FastAPI's pool."""
    with _engine.begin() as connection:
        connection.execute(
            callbacks.insert().values(
                dedupe_key=str(callback["event_id"]),
                company_key="acme",
                received_at=datetime.now(UTC),
                source="",
                headers="{}",
                body=json.dumps(callback).encode(),
            )
        )
