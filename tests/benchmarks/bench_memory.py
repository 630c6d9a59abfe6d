"""Resident memory of a whole task process with a million recipients. Goal: under 400 MB, Airflow's included.

    python tests/benchmarks/bench_memory.py [--quick]

Each measurement is a process of its own that executes `SendSmsMessageOperator` as Airflow's task runner does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_sms_flow.core.delivery import Campaign, StepName
from airflow_sms_flow.demo.local_airflow import connections
from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.sandbox.numbers import us_number
from tests.benchmarks.audiences import fill_ledger, write_audience
from tests.benchmarks.measuring import judged, sandbox_process, show, started_quick
from tests.benchmarks.one_task import LIST_ID, MESSAGE

GOAL_MB = 400
RESUMED = Campaign(accounts.COMPANY_KEY, "resumed", StepName.SEND, LIST_ID)


def main() -> None:
    quick = started_quick(__doc__)
    people, left, fresh = (3_000, 30, 1_000) if quick else (1_000_000, 1_000, 200_000)
    print("memory of a whole task process at its highest; beside it, before the task began to work")
    with tempfile.TemporaryDirectory() as name, sandbox_process(0.0) as sandbox:
        folder = Path(name)
        environment = environment_of(folder, sandbox.url)
        write_audience(f"{name}/audience.parquet", people)
        fill_ledger(f"sqlite:///{name}/sms_flow/ledger.db", RESUMED, MESSAGE.fingerprint, people - left)
        sandbox.put_on_list([us_number(n) for n in range(people - left, people)], LIST_ID)
        for title, key, kind, size in (
            (f"{people:,} people, all but {left:,} done before", "resumed", "real", people),
            (f"{fresh:,} people, nobody done, answered at once", "fresh", "instant", fresh),
        ):
            if size != people:
                write_audience(f"{name}/part.parquet", size)
            file = "audience" if size == people else "part"
            told = one_task([f"{name}/{file}.parquet", key, kind], environment)
            assert told["report"]["rows"] == size, told
            assert told["report"]["accepted"] == (left if kind == "real" else size), told
            note = f"before {told['before_mb']:.0f} MB; goal {GOAL_MB} MB: "
            note += judged(told["peak_mb"], GOAL_MB, at_least=False)
            show(title, f"{told['peak_mb']:.0f} MB", f"{note}; {told['seconds']:.0f} s")


def environment_of(home: Path, url: str) -> dict[str, str]:
    """An Airflow home of its own, with a connection to the sandbox."""
    return dict(os.environ) | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_VIBES_DEFAULT": json.dumps(connections(url)["vibes_default"]),
    }


def one_task(arguments: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """What `tests.benchmarks.one_task` tells."""
    command = [sys.executable, "-m", "tests.benchmarks.one_task", *arguments]
    done = subprocess.run(command, env=dict(environment), stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    main()
