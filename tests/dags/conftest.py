"""A sandbox, and processes that run the example DAGs against it: started once, emptied for each test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from airflow_sms_flow.sandbox import Sandbox, Settings
from tests.dags.dag_process import DagProcess, dag_process
from tests.operators.world import airflow_connections
from tests.sandbox.sandbox_caller import Caller

Both = tuple[DagProcess, DagProcess]

SETTINGS = {
    "leads": 300,
    # Who stays silent is waited for during a minute after their window.
    "share_yes": 1.0,
    "share_no": 0.0,
    "share_landline": 0.05,
    "answer_seconds": 0.5,
    "opt_in_window_seconds": 3.0,
    "event_delay_seconds": 0.0,
    "campaign_start_seconds": 0.2,
    "export_queued_seconds": 0.1,
    "export_processing_seconds": 0.1,
}


@pytest.fixture(scope="session")
def dag_sandbox() -> Iterator[Sandbox]:
    with Sandbox(Settings().changed(SETTINGS)) as running:
        yield running


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the two Airflows share: the ledger and the files."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def two_processes(
    dag_sandbox: Sandbox, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    """Two Airflows, as on two machines."""
    environment = airflow_connections(dag_sandbox.url) | {
        "AIRFLOW_CONN_LEDGER": json.dumps({"conn_type": "sqlite", "host": f"{shared}/ledger/ledger.db"}),
        "AIRFLOW_CONN_WAREHOUSE": json.dumps({"conn_type": "sqlite", "host": f"{shared}/warehouse.db"}),
        "AIRFLOW__SMS_FLOW__LEDGER_CONN_ID": "ledger",
        "AIRFLOW__SMS_FLOW__STORAGE": f"{shared}/files",
        "AIRFLOW__SMS_FLOW__MARKETO_POLL_SECONDS": "0.1",
        "AIRFLOW__SMS_FLOW__OPT_IN_POLL_SECONDS": "1",
    }
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(dag_process(tmp_path_factory.mktemp(name), environment))
            for name in ("one", "other")
        )
        yield one, other


@pytest.fixture
def caller(dag_sandbox: Sandbox) -> Caller:
    """The sandbox as it was at the start: the same 300 people."""
    caller = Caller(dag_sandbox)
    caller.panel("POST", "reset", json={"defaults": True, **SETTINGS})
    return caller


@pytest.fixture
def two_airflows(caller: Caller, shared: Path, two_processes: Both) -> Both:
    """Both, over an empty ledger and no files."""
    for name in ("ledger", "files"):
        shutil.rmtree(shared / name, ignore_errors=True)
    return two_processes


@pytest.fixture
def airflow(two_airflows: Both) -> DagProcess:
    """One of the two."""
    return two_airflows[0]
