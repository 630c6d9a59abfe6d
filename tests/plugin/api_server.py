"""A real `airflow api-server` with the plugin, in processes of its own on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from airflow_sms_flow.demo.local_airflow import airflow_environment, free_port, running
from airflow_sms_flow.hooks.callbacks import CALLBACK_PATH

SECRETS = ("the-newest-secret-0123456789", "the-oldest-secret-0123456789")
CONNECTION = {
    "conn_type": "vibes",
    "host": "http://127.0.0.1:9",
    "login": "robot",
    "password": "robot-password",
    "extra": {"company_key": "acme", "callback_secrets": " ".join(SECRETS)},
}
_START_SECONDS = 120


@dataclass(frozen=True)
class ApiServer:
    """It is up; `log` is all that its processes print."""

    url: str
    home: Path
    log: Path
    pid: int

    @property
    def address(self) -> str:
        """Where Vibes would call back."""
        return f"{self.url}{CALLBACK_PATH}/{SECRETS[0]}"

    def cpu_seconds(self) -> float:
        """What all of its processes have used so far."""
        parent = psutil.Process(self.pid)
        times = [one.cpu_times() for one in (parent, *parent.children(recursive=True))]
        return sum(float(one.user + one.system) for one in times)


@contextmanager
def api_server(
    folder: Path,
    settings: Mapping[str, str],
    *,
    workers: int = 1,
    stored: bool = False,
    arguments: Sequence[str] = (),
) -> Iterator[ApiServer]:
    """With an Airflow database of its own. `stored`: the Vibes connection lies there, not in the
    environment."""
    port = free_port()
    environment = airflow_environment(folder, folder / "dags", "http://127.0.0.1:9", port)
    environment["AIRFLOW_CONN_VIBES_DEFAULT"] = json.dumps(CONNECTION)
    environment |= settings
    airflow = [sys.executable, "-m", "airflow"]
    if stored:
        del environment["AIRFLOW_CONN_VIBES_DEFAULT"]
    _run([*airflow, "db", "migrate"], environment)
    if stored:
        _run(
            [*airflow, "connections", "add", "vibes_default", "--conn-json", json.dumps(CONNECTION)],
            environment,
        )
    log = folder / "api-server.log"
    command = [*airflow, "api-server", "--workers", str(workers), *arguments]
    with running(command, environment, log) as process:
        server = ApiServer(f"http://127.0.0.1:{port}", folder, log, process.pid)
        _wait_for(server, process)
        yield server


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, env=dict(environment), capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _wait_for(server: ApiServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with suppress(requests.ConnectionError):
            if requests.get(f"{server.url}/api/v2/version", timeout=10).ok:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the API server did not start: {server.log.read_text()[-3000:]}")
        time.sleep(0.2)
