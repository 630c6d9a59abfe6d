"""A real Airflow against a sandbox, both processes of their own on loopback, and what a test asks of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from airflow_sms_flow.demo.local_airflow import AirflowApi, airflow_environment, free_port, running

DAGS = Path(__file__).parents[2] / "dags"
LOGIN = ("sandbox-user", "sandbox-password")


class Rest(AirflowApi):
    """A few more calls of Airflow's REST API."""

    def runs(self, dag_id: str, run_type: str) -> list[dict[str, Any]]:
        """The runs of a DAG, of one type."""
        answer = self._call("GET", f"/dags/{dag_id}/dagRuns?limit=1000&run_type={run_type}")
        found: list[dict[str, Any]] = answer["dag_runs"]
        return found

    def clear(self, dag_id: str, run_id: str, task_ids: Sequence[str]) -> None:
        """What the button "Clear" does."""
        body = {"dag_run_id": run_id, "task_ids": list(task_ids), "dry_run": False, "only_failed": False}
        self._call("POST", f"/dags/{dag_id}/clearTaskInstances", body)

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        """What the switch beside a DAG's name does."""
        self._call("PATCH", f"/dags/{dag_id}", {"is_paused": paused})

    def give_up(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed, so that it waits for no retry and makes room for the next."""
        self._call("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", {"state": "failed"})

    def tries(self, dag_id: str, run_id: str, task_id: str) -> int:
        """How often a task began."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        return int(self._call("GET", path)["try_number"])

    def end_backfills(self, dag_id: str) -> None:
        """Airflow calls a backfill running for a while after its last run; meanwhile it refuses the next."""
        for backfill in self._call("GET", f"/backfills?dag_id={dag_id}")["backfills"]:
            with suppress(RuntimeError):  # ended by itself
                self._call("PUT", f"/backfills/{backfill['id']}/cancel")


@dataclass(frozen=True)
class Panel:
    """The sandbox's control panel."""

    url: str

    def call(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """A call that must succeed."""
        answer = requests.request(method, f"{self.url}/_sandbox/{path}", json=body, params=query, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def texts(self, phone: str) -> list[str]:
        """Our texts on a phone."""
        found = self.call("GET", "messages", phone=phone)["phones"]
        return [text["text"] for one in found for text in one["texts"] if text["kind"] == "event"]

    def effects(self, kind: str) -> list[dict[str, Any]]:
        """What happened, of one kind."""
        found: list[dict[str, Any]] = self.call("GET", "effects", kind=kind)["effects"]
        return found

    def load(self, **what: Any) -> None:
        """Put people, leads and lists into the sandbox."""
        self.call("POST", "load", what)

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """These, and no others, from now on."""
        self.call("POST", "faults", {"rules": list(rules)})

    def audience(self, smart_list: str, list_id: int, *phones: str) -> None:
        """A smart list of people who have these numbers and are on list 1201."""
        leads = [{"id": list_id * 100 + n, "mobilePhone": phone} for n, phone in enumerate(phones)]
        ids = [lead["id"] for lead in leads]
        self.load(
            leads=leads,
            smart_lists=[{"id": list_id, "name": smart_list, "lead_ids": ids}],
            subscriptions=[{"phone": phone, "list_id": "1201"} for phone in phones],
        )


@dataclass(frozen=True)
class RealAirflow:
    """Both processes, up and healthy."""

    rest: Rest
    panel: Panel
    home: Path
    output: Path
    environment: Mapping[str, str]

    def command(self, *words: str) -> str:
        """Run `airflow …`; returns what it printed."""
        command = [sys.executable, "-m", "airflow", *words]
        done = subprocess.run(
            command, env=dict(self.environment), capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout + done.stderr

    def wait(self, dag_id: str, run_id: str, *, task_id: str = "", seconds: float = 240) -> str:
        """Wait until a run (or one task of it) has come to rest; returns its state."""
        at_rest = ("success", "failed", "upstream_failed", "skipped", "up_for_retry")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if task_id:
                state = self.rest.task_states(dag_id, run_id).get(task_id) or ""
            else:
                state = self.rest.run_state(dag_id, run_id)
            if state in at_rest:
                return state
            time.sleep(0.5)
        raise AssertionError(f"{dag_id} {run_id} {task_id} is {state} after {seconds} seconds")

    def task_logs(self, dag_id: str, run_id: str, task_id: str) -> str:
        """The logs of all tries of a task."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "".join(path.read_text() for path in sorted(folder.rglob("*.log")))


@contextmanager
def real_airflow(folder: Path, settings: Mapping[str, str]) -> Iterator[RealAirflow]:
    """Start both, wait until they are well; everything is ended afterwards."""
    port, sandbox_port = free_port(), free_port()
    url = f"http://127.0.0.1:{sandbox_port}"
    home, output = folder / "airflow", folder / "airflow.log"
    environment = airflow_environment(home, DAGS, url, port) | dict(settings)
    # Airflow's own SQLite gives up after five seconds, too soon on a busy machine.
    environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{home}/airflow.db?timeout=60"
    sandbox = [sys.executable, "-m", "airflow_sms_flow.sandbox", "--port", str(sandbox_port), "--leads", "0"]
    airflow = [sys.executable, "-m", "airflow", "standalone"]
    rest = Rest(port)
    with ExitStack() as stack:
        stack.enter_context(running(sandbox, environment, folder / "sandbox.log"))
        process = stack.enter_context(running(airflow, environment, output))
        rest.wait_until_healthy(process, output)
        for path in DAGS.glob("*.py"):
            rest.wait_for_dag(path.stem)
        yield RealAirflow(rest, Panel(url), home, output, environment)
