"""Airflow and the sandbox as processes of their own, on loopback, in a folder that can be thrown away."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from airflow_sms_flow.sandbox import accounts

#: Opens the address that the sandbox calls back. It guards nothing but made-up people on loopback.
CALLBACK_SECRET = "sandbox-callback-secret"
_HEALTHY_WITHIN_SECONDS = 180


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connections(sandbox_url: str) -> dict[str, dict[str, Any]]:
    """The two Airflow connections that lead to the sandbox."""
    return {
        "marketo_default": {
            "conn_type": "marketo",
            "host": sandbox_url,
            "login": accounts.MARKETO_CLIENT_ID,
            "password": accounts.MARKETO_CLIENT_SECRET,
        },
        "vibes_default": {
            "conn_type": "vibes",
            "host": sandbox_url,
            "login": accounts.VIBES_LOGIN,
            "password": accounts.VIBES_PASSWORD,
            "extra": {
                "company_key": accounts.COMPANY_KEY,
                "source_code": accounts.SOURCE_CODE,
                "callback_secrets": CALLBACK_SECRET,
            },
        },
    }


def airflow_environment(
    home: Path, dags: Path, sandbox_url: str, port: int, *, schedules: bool = False
) -> dict[str, str]:
    """The environment of a throw-away Airflow: loopback only, everybody an admin, no example DAGs.

    Without `schedules` only what somebody triggers runs. With them a DAG begins, once it is unpaused, with
    the dry run of its last interval, and every other run waits for that one.
    """
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__EXPOSE_CONFIG": "True",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        # Airflow's own SQLite waits five seconds for a lock, which a busy laptop can exceed.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(schedules),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__SMS_FLOW__LISTS": json.dumps({one.list_id: one.name for one in accounts.LISTS}),
        # The sandbox is quicker than Marketo, and its opt-in window is half a minute.
        "AIRFLOW__SMS_FLOW__MARKETO_POLL_SECONDS": "2",
        "AIRFLOW__SMS_FLOW__OPT_IN_POLL_SECONDS": "10",
    }
    for conn_id, connection in connections(sandbox_url).items():
        settings[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(connection)
    ours = dict(os.environ)
    # Without .pyc files every Airflow process starts three times slower.
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    # `airflow standalone` starts `airflow` from the PATH: it must be the one of this very environment.
    ours["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{ours.get('PATH', '')}"
    return ours | settings


@contextmanager
def running(
    command: list[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own; at the end everything in that session is ended, too."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = _start(command, environment, output)
        try:
            yield process
        finally:
            _end_session(process.pid)
            process.wait()


def _start(command: list[str], environment: Mapping[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _end_session(session: int) -> None:
    """`airflow standalone` does not end its children when it ends: ask them all, then insist."""
    for name, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        for process in _in_session(session):
            with _already_gone():
                process.send_signal(name)
        deadline = time.monotonic() + patience
        while _in_session(session) and time.monotonic() < deadline:
            time.sleep(0.2)


def _in_session(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with _already_gone():
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextmanager
def _already_gone() -> Iterator[None]:
    with suppress(ProcessLookupError, PermissionError, psutil.Error):
        yield


class AirflowApi:
    """The few calls of Airflow's REST API that a demo needs."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._session = requests.Session()
        # Airflow's own SQLite may be locked for longer than a call is waited for.
        again = Retry(connect=0, read=3, other=0, allowed_methods=("GET", "PATCH"))
        self._session.mount("http://", HTTPAdapter(max_retries=again))

    def wait_until_healthy(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Return when scheduler, triggerer and DAG processor all beat; raises RuntimeError naming the log."""
        deadline = time.monotonic() + _HEALTHY_WITHIN_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"Airflow ended by itself; its last words are in {log}")
            if self.is_healthy():
                self._log_in()
                return
            time.sleep(1)
        raise RuntimeError(f"Airflow was not healthy within {_HEALTHY_WITHIN_SECONDS} seconds; see {log}")

    def is_healthy(self) -> bool:
        try:
            health = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
        except (requests.RequestException, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all(health.get(part, {}).get("status") == "healthy" for part in parts)

    def _log_in(self) -> None:
        """Before 3.3 even an all-admins Airflow wants a token."""
        answer = self._session.get(f"{self.url}/auth/token", timeout=30)
        if answer.ok:
            self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def wait_for_dag(self, dag_id: str) -> None:
        """Return when the DAG processor has read the file; then let its runs start."""
        deadline = time.monotonic() + 120
        while self._session.get(f"{self.url}/api/v2/dags/{dag_id}", timeout=30).status_code != 200:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Airflow does not see the DAG {dag_id}; is the folder right?")
            time.sleep(1)
        self._call("PATCH", f"/dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Start a run as the Trigger button does; returns its id."""
        answer = self._call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": dict(conf)})
        return str(answer["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """queued, running, success or failed."""
        return str(self._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Task id to state."""
        answer = self._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return {one["task_id"]: one["state"] for one in answer["task_instances"]}

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task pushed."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        value = self._call("GET", path)["value"]
        return json.loads(value) if isinstance(value, str) else value

    def add_connection(self, conn_id: str, connection: Mapping[str, Any]) -> None:
        """Store a connection as the form does."""
        extra = json.dumps(connection.get("extra", {}))
        self._call("POST", "/connections", dict(connection) | {"connection_id": conn_id, "extra": extra})

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = self._session.request(method, f"{self.url}/api/v2{path}", json=body, timeout=60)
        if not answer.ok:
            raise RuntimeError(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()
