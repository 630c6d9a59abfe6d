"""The same scene with a real Airflow in it: tries that a scheduler starts, killed like the others."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from sqlalchemy import select

from airflow_sms_flow.demo.local_airflow import AirflowApi, airflow_environment, free_port, running
from airflow_sms_flow.ledger.database import create_ledger_engine, reading
from airflow_sms_flow.ledger.schema import claimers
from tests.torture import crowd
from tests.torture.scene import ROOT, Kill, Scene

DAG_ID, TASK_ID = "torture", "send"
_WAIT_SECONDS = 120.0


def ledger_in(home: Path) -> str:
    """Where an Airflow without a ledger connection keeps it."""
    return f"sqlite:///{home}/sms_flow/ledger.db"


@dataclass
class AirflowTask:
    """The one task of the one DAG, in one run."""

    scene: Scene
    api: AirflowApi
    session: int  #: of every process that this Airflow started
    run_id: str = ""

    def begin(self) -> None:
        """Trigger the run."""
        with self.scene.ledger():
            pass  # an empty one, to look into before the first try makes it
        self.api.wait_for_dag(DAG_ID)
        self.run_id = self.api.trigger(DAG_ID, {})

    def sending_process(self, other_than: int = 0) -> psutil.Process:
        """The task's own process, once it has a place in the ledger."""
        engine = create_ledger_engine(self.scene.order.ledger)
        query = select(claimers.c.process).order_by(claimers.c.started_at.desc()).limit(1)
        deadline = time.monotonic() + _WAIT_SECONDS
        try:
            while time.monotonic() < deadline:
                with reading(engine, "looking for the sender") as connection:
                    found = connection.execute(query).scalar()
                pid = int(found.rpartition(":")[2]) if found else 0
                if pid and pid != other_than and psutil.pid_exists(pid):
                    assert os.getsid(pid) == self.session, "not a process of this Airflow"
                    return psutil.Process(pid)
                time.sleep(0.05)
        finally:
            engine.dispose()
        raise AssertionError(f"no try of the task began to send; it is {self.state()}")

    def kill(self, effects: int, other_than: int = 0) -> int:
        """SIGKILL the task's process after so many more effects; its pid."""
        process = self.sending_process(other_than)
        self.scene.wait_for(self.scene.reached() + effects)
        process.kill()
        psutil.wait_procs([process], timeout=10)
        mid_send = self.scene.reached() < len(self.scene.due)
        self.scene.kills.append(Kill(mid_send, self.scene.claimed_by(process.pid)))
        return process.pid

    def mark_failed(self) -> None:
        """As the button in the UI does: Airflow then asks the process to stop."""
        path = f"/dags/{DAG_ID}/dagRuns/{self.run_id}/taskInstances/{TASK_ID}"
        self.api._call("PATCH", path, {"new_state": "failed"})

    def clear(self) -> None:
        """As the button in the UI does: the task runs again. First the run has to end, too: a scheduler that
        is just about to end it would leave the cleared task in a run that is over."""
        self._wait_for("the run", lambda: self.api.run_state(DAG_ID, self.run_id), "failed", "success")
        self.api._call(
            "POST",
            f"/dags/{DAG_ID}/clearTaskInstances",
            {"dry_run": False, "task_ids": [TASK_ID], "dag_run_id": self.run_id, "only_failed": False},
        )

    def state(self) -> str | None:
        """Of the task."""
        return self.api.task_states(DAG_ID, self.run_id).get(TASK_ID)

    def wait_until(self, *states: str) -> None:
        """Until it is in one of these."""
        self._wait_for("the task", self.state, *states)

    def _wait_for(self, what: str, state_of: Callable[[], str | None], *states: str) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while (state := state_of()) not in states:
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} is {state}, not {' or '.join(states)}")
            time.sleep(0.2)

    def report(self) -> dict[str, Any]:
        """What it pushed at its end."""
        found: dict[str, Any] = self.api.xcom(DAG_ID, self.run_id, TASK_ID)
        return found

    def results(self) -> list[dict[str, Any]]:
        """The file behind the reference that it pushed."""
        reference = self.api.xcom(DAG_ID, self.run_id, TASK_ID, "results")
        rows: list[dict[str, Any]] = pq.read_table(reference["path"]).to_pylist()
        return rows


@contextmanager
def airflow_task(scene: Scene, home: Path) -> Iterator[AirflowTask]:
    """A whole Airflow for one scene."""
    port = free_port()
    environment = airflow_environment(home, Path(__file__).with_name("dags"), scene.vendor.url, port)
    environment |= {
        "PYTHONPATH": str(ROOT),
        "TORTURE_AUDIENCE": scene.order.audience,
        "TORTURE_LIST": crowd.LIST_ID,
        "TORTURE_MESSAGE": crowd.MESSAGE.text,
        "TORTURE_CAMPAIGN_KEY": crowd.CAMPAIGN_KEY,
        "TORTURE_CONCURRENCY": str(crowd.CONCURRENCY),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    }
    log = home / "airflow.log"
    with running([sys.executable, "-m", "airflow", "standalone"], environment, log) as process:
        api = AirflowApi(port)
        api.wait_until_healthy(process, log)
        yield AirflowTask(scene, api, process.pid)
