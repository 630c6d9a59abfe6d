"""One extraction in a process of its own: by our operator, or by curl and pyarrow.

    python -m tests.benchmarks.one_extract ours|curl ADDRESS FOLDER

Tells in JSON how many rows it wrote, the seconds it took (wall and CPU), and its resident memory before and
at its highest. Airflow's settings come from the environment.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace
from typing import Any

from tests.benchmarks.measuring import peak_mb


def main() -> None:
    way, address, folder = sys.argv[1:]
    work = make_operator() if way == "ours" else make_peer(f"{address}/file", folder)
    before, began, cpu = peak_mb(), time.monotonic(), _cpu_seconds()
    rows = work()
    told = {"rows": rows, "seconds": time.monotonic() - began, "cpu": _cpu_seconds() - cpu}
    print(json.dumps(told | {"before_mb": before, "peak_mb": peak_mb()}), flush=True)


def make_operator() -> Any:
    """As Airflow's task runner would execute it."""
    import airflow.sdk.execution_time.task_runner  # Airflow's own share of a task's memory

    from airflow_sms_flow.operators import ExtractSmartListOperator
    from tests.benchmarks.leads import COLUMNS

    operator = ExtractSmartListOperator(task_id="extract", smart_list=1, fields=COLUMNS, poll_interval=0.05)
    operator.dag = airflow.sdk.DAG("speed", schedule=None)
    ti = SimpleNamespace(dag_id="speed", run_id="run", task_id="extract", map_index=-1, max_tries=0)
    context: Any = {"ti": ti}
    return lambda: operator.execute(context)["rows"]


def make_peer(address: str, folder: str) -> Any:
    """What one would type instead: no checksum, no count, types by guess, all rows in memory."""
    import pyarrow.parquet as pq
    from pyarrow import csv

    def work() -> int:
        if shutil.which("curl"):
            subprocess.run(["curl", "-sS", "-o", f"{folder}/peer.csv", address], check=True)
        else:
            with urllib.request.urlopen(address) as response, open(f"{folder}/peer.csv", "wb") as file:
                shutil.copyfileobj(response, file, 1024 * 1024)
        table = csv.read_csv(f"{folder}/peer.csv")
        pq.write_table(table, f"{folder}/peer.parquet", compression="zstd")
        return int(table.num_rows)

    return work


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
