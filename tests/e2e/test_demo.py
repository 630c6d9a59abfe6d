"""`make demo` and `make ui`, run as the Makefile runs them, in a folder that is thrown away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from airflow_sms_flow.demo.local_airflow import free_port

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


def demo_command(folder: Path, *arguments: str) -> list[str]:
    dags = str(ROOT / "dags")
    return [
        sys.executable,
        "-m",
        "airflow_sms_flow.demo",
        *arguments,
        "--folder",
        str(folder),
        "--dags",
        dags,
    ]


def number_after(words: str, account: str) -> int:
    found = re.search(rf"^ *{re.escape(words)} +(-?[\d,]+)$", account, re.MULTILINE)
    assert found, f"{words!r} is not in the account:\n{account}"
    return int(found[1].replace(",", ""))


def test_the_demo_runs_three_campaigns_and_accounts_for_everybody(tmp_path: Path) -> None:
    """One command shows it all: who was texted, asked and taken off, and that nobody got a text twice."""
    ran = subprocess.run(
        demo_command(tmp_path / "demo", "run", "--leads", "600"), capture_output=True, text=True
    )
    account = ran.stdout
    assert ran.returncode == 0, account + ran.stderr
    assert number_after("sent", account) > 0
    assert number_after("said yes", account) > 0
    assert number_after("said no", account) > 0, "callbacks tell it"
    assert number_after("did not say yes in time", account) > 0
    assert number_after("welcomed", account) == number_after("said yes", account)
    assert number_after("taken off the list", account) > 0
    assert number_after("the same text twice to one phone", account) == 0
    assert not re.search(r"\+\d{9,}", account), "an unmasked number in the account"
    assert (tmp_path / "demo" / "airflow" / "sms_flow" / "ledger.db").is_file()


def heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_the_ui_starts_tells_where_it_is_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    """Airflow with every example DAG and no import error, two connections, and no process left behind."""
    port, sandbox_port = free_port(), free_port()
    command = demo_command(tmp_path / "ui", "ui", "--port", str(port), "--sandbox-port", str(sandbox_port))
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        # A shell lets its background jobs ignore Ctrl-C, and their children inherit that.
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=heed_ctrl_c,
    ) as process:
        try:
            assert process.stdout is not None
            told = ""
            while "Ctrl-C" not in told:
                line = process.stdout.readline()
                assert line, f"it ended early: {told}"
                told += line
            api = f"http://127.0.0.1:{port}/api/v2"
            assert f"http://127.0.0.1:{port}" in told
            connections = requests.get(f"{api}/connections", timeout=30).json()["connections"]
            assert {one["connection_id"] for one in connections} == {"marketo_default", "vibes_default"}
            deadline = time.monotonic() + 60
            shown = len(list((ROOT / "dags").glob("*.py")))
            while requests.get(f"{api}/dags", timeout=30).json()["total_entries"] < shown:
                assert time.monotonic() < deadline, "the example DAGs do not show"
                time.sleep(1)
            assert requests.get(f"{api}/importErrors", timeout=30).json()["total_entries"] == 0
            assert requests.get(f"http://127.0.0.1:{sandbox_port}/_sandbox/", timeout=30).ok
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/api/v2/version", timeout=5)
