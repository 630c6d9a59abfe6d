"""`python -m airflow_sms_flow.demo [run|ui]`: see the package's docstring."""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests

from airflow_sms_flow.demo import account
from airflow_sms_flow.demo.local_airflow import (
    AirflowApi,
    airflow_environment,
    connections,
    free_port,
    running,
)
from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.storage import task_folder

_RUN_WITHIN_SECONDS = 420


@dataclass(frozen=True)
class Places:
    """Where a demo lives. Everything but the DAGs is made anew."""

    folder: Path
    dags: Path
    leads: int

    @property
    def home(self) -> Path:
        """AIRFLOW_HOME."""
        return self.folder / "airflow"

    def files_of(self, run: Run) -> Path:
        """Where a run's tasks keep their files."""
        root = str(self.home / "sms_flow" / "files")
        return Path(task_folder(root, run.dag_id, run.run_id, "task")).parent


@dataclass
class Run:
    """One run under way, and what of it was told already."""

    dag_id: str
    run_id: str
    told: dict[str, str | None] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when every run succeeded."""
    parser = argparse.ArgumentParser(prog="python -m airflow_sms_flow.demo", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("run", "ui"), default="run")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="made anew (default: %(default)s)")
    parser.add_argument("--dags", type=Path, default=Path("dags"), help="(default: %(default)s)")
    parser.add_argument("--leads", type=int, default=3000, help="people in Marketo (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="of Airflow's UI (default: %(default)s)")
    parser.add_argument("--sandbox-port", type=int, default=8049, help="(default: %(default)s)")
    given = parser.parse_args(arguments)
    if not (given.dags / "sms_campaign.py").is_file():
        parser.error(
            f"--dags {given.dags}: no sms_campaign.py there; start this in a clone, or name its folder"
        )
    places = Places(given.folder.resolve(), given.dags.resolve(), given.leads)
    shutil.rmtree(places.home, ignore_errors=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if given.what == "ui":
            return _ui(places, given.port, given.sandbox_port)
        return _demo(places)
    except (RuntimeError, requests.RequestException) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _demo(places: Places) -> int:
    began = time.monotonic()
    print(f"A sandbox with {places.leads:,} leads and an empty Airflow start; this takes half a minute ...")
    with _everything(places, free_port(), free_port()) as (api, sandbox_url):
        for dag_id in ("sms_opt_in", "sms_campaign", "sms_opt_out"):
            api.wait_for_dag(dag_id)
        live = {"dry_run": False}
        opt_in = Run("sms_opt_in", api.trigger("sms_opt_in", live))
        campaign = Run("sms_campaign", api.trigger("sms_campaign", live))
        good = _watch(api, campaign, opt_in)
        opt_out = Run("sms_opt_out", api.trigger("sms_opt_out", live))
        good = _watch(api, opt_out) and good
        _tell(api, sandbox_url, places, opt_in, campaign, opt_out)
    print(f"\n{time.monotonic() - began:.0f} seconds, start of Airflow included.", "Next: make ui")
    return 0 if good else 1


def _ui(places: Places, port: int, sandbox_port: int) -> int:
    print("Airflow and the sandbox start; this takes half a minute ...")
    with _everything(places, port, sandbox_port, schedules=True) as (api, sandbox_url):
        for conn_id, connection in connections(sandbox_url).items():
            api.add_connection(conn_id, connection)
        print(f"\n  Airflow's UI:                {api.url}")
        print(f"  the phones, and the panel:   {sandbox_url}/_sandbox/")
        print("\nOpen sms_campaign, press Trigger, untick 'Dry run'. Ctrl-C ends everything.")
        while True:
            time.sleep(3600)


@contextmanager
def _everything(
    places: Places, port: int, sandbox_port: int, *, schedules: bool = False
) -> Iterator[tuple[AirflowApi, str]]:
    sandbox_url = f"http://127.0.0.1:{sandbox_port}"
    environment = airflow_environment(places.home, places.dags, sandbox_url, port, schedules=schedules)
    sandbox = [sys.executable, "-m", "airflow_sms_flow.sandbox", "--port", str(sandbox_port)]
    sandbox += ["--leads", str(places.leads), "--opt-in-window", "30"]
    airflow = [sys.executable, "-m", "airflow", "standalone"]
    log = places.folder / "airflow.log"
    with ExitStack() as stack:
        stack.enter_context(running(sandbox, environment, places.folder / "sandbox.log"))
        process = stack.enter_context(running(airflow, environment, log))
        api = AirflowApi(port)
        api.wait_until_healthy(process, log)
        _have_vibes_call_back(environment)
        yield api, sandbox_url


def _have_vibes_call_back(environment: Mapping[str, str]) -> None:
    """As the README tells people to: so a No is heard, which Vibes shows to nobody who asks."""
    command = [sys.executable, "-m", "airflow_sms_flow", "callbacks", "register"]
    for one in accounts.LISTS:
        command += ["--list", one.list_id, "--campaign", one.acquisition_id]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"Vibes could not be made to call back:\n{done.stderr or done.stdout}")
    print("Vibes, which is the sandbox here, calls this Airflow back.")


def _watch(api: AirflowApi, *runs: Run) -> bool:
    """Tell each task that ends, until every run has ended; whether all succeeded."""
    deadline = time.monotonic() + _RUN_WITHIN_SECONDS
    states: dict[str, str] = {}
    while len(states) < len(runs):
        if time.monotonic() > deadline:
            raise RuntimeError(f"no end after {_RUN_WITHIN_SECONDS} seconds; the task logs say why")
        for run in runs:
            _tell_tasks(api, run)
            state = api.run_state(run.dag_id, run.run_id)
            if state in ("success", "failed"):
                states[run.dag_id] = state
        time.sleep(1)
    return set(states.values()) == {"success"}


def _tell_tasks(api: AirflowApi, run: Run) -> None:
    for task_id, state in api.task_states(run.dag_id, run.run_id).items():
        if run.told.get(task_id) == state:
            continue
        run.told[task_id] = state
        if state in ("success", "failed", "upstream_failed", "deferred", "up_for_retry"):
            waits = "waits for answers, without a worker" if state == "deferred" else state
            print(f"  {run.dag_id:<14} {task_id:<12} {waits}")


def _tell(
    api: AirflowApi, sandbox_url: str, places: Places, opt_in: Run, campaign: Run, opt_out: Run
) -> None:
    def pushed(run: Run, task_id: str) -> dict[str, int]:
        found: dict[str, int] = api.xcom(run.dag_id, run.run_id, task_id)
        return found

    asked, answers = pushed(opt_in, "subscribe"), pushed(opt_in, "wait")
    parts = {
        "sms_campaign: Send SMS Message": [
            *account.funnel_lines(api.xcom(campaign.dag_id, campaign.run_id, "prepare")["funnel"]),
            *account.report_lines(pushed(campaign, "send"), "sent"),
        ],
        "sms_opt_in: Subscribe to Vibes List": [
            *account.funnel_lines(api.xcom(opt_in.dag_id, opt_in.run_id, "prepare")["funnel"]),
            *account.report_lines(asked, "asked"),
            *account.answer_lines(answers),
            *account.report_lines(pushed(opt_in, "welcome"), "welcomed"),
        ],
        "sms_opt_out: Unsubscribe from Vibes List": account.report_lines(
            pushed(opt_out, "unsubscribe"), "taken off the list"
        ),
        "Some of the phones": account.conversation_lines(sandbox_url, 2),
        "As the vendors counted": account.proof_lines(sandbox_url),
        "The files": account.file_lines([places.files_of(run) for run in (campaign, opt_in, opt_out)]),
        "And": [f"  the ledger: {places.home / 'sms_flow' / 'ledger.db'}", f"  all logs:   {places.folder}"],
    }
    for title, lines in parts.items():
        print(f"\n{title}")
        print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
