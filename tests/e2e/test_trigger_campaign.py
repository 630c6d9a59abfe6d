"""A trigger campaign through a real Airflow: somebody joins, the bell rings, the DAG runs and finds them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from airflow_sms_flow.core.facts import Joined
from airflow_sms_flow.ledger import Ledger
from tests.e2e.conftest import SETTINGS, WORLD
from tests.e2e.real_airflow import RealAirflow, real_airflow

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(400)]

DAG, LIST, ANN = "sms_welcome", "1201", "+12025550171"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAirflow]:
    """With schedules: a run that an asset starts is one of them."""
    settings = SETTINGS | {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "True"}
    with real_airflow(tmp_path_factory.mktemp("bell"), settings) as made:
        made.panel.call("POST", "reset", WORLD)
        yield made


def test_somebody_who_joins_starts_the_dag(airflow: RealAirflow) -> None:
    """The example DAG as it is: a dry run, which counts her and leaves her for the first run that is not."""
    with closing(Ledger.open(f"sqlite:///{airflow.home}/sms_flow/ledger.db")) as ledger:
        ledger.note_membership("acme", LIST, [Joined(LIST, ANN, datetime.now(UTC))], "callback")
    deadline = time.monotonic() + 120
    while not (runs := airflow.rest.runs(DAG, "asset_triggered")):
        assert time.monotonic() < deadline, "the bell rang for nobody"
        time.sleep(1)
    run_id = str(runs[0]["dag_run_id"])
    assert airflow.wait(DAG, run_id) == "success"
    funnel = airflow.rest.xcom(DAG, run_id, "new")["funnel"]
    assert funnel == {"extracted": 1, "kept": 0, "dry_run": 1}
    assert ANN not in airflow.task_logs(DAG, run_id, "new")
