"""Extracting a day's quota, 500 MB. Goals: under 300 MB of memory in all, half as fast as curl + pyarrow.csv.

    python tests/benchmarks/bench_extract.py [--quick] [--megabytes 100 250 500]

Every measurement is a process of its own, against a server in another one. The largest file is extracted
twice in both ways, in turn, and the better of each counts. CPU time is disturbed less by a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.leads import write_export
from tests.benchmarks.measuring import judged, show

GOAL_MB, GOAL_RATIO = 300, 0.5
SIZES = [100.0, 250.0, 500.0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only see that everything still runs")
    parser.add_argument(
        "--megabytes", type=float, nargs="+", default=SIZES, metavar="N", help="sizes of files"
    )
    options = parser.parse_args()
    sizes = [1.0, 2.0] if options.quick else sorted(options.megabytes)
    print("a whole extraction, from the first request to Parquet; memory of the whole task process")
    with tempfile.TemporaryDirectory(prefix="sms-flow-bench-") as folder:
        for megabytes in sizes:
            rows = write_export(Path(folder) / "export.csv", megabytes)
            with export_server(Path(folder) / "export.csv", rows) as address:
                measure(megabytes, rows, address, folder, rounds=2 if megabytes == sizes[-1] else 1)


def measure(megabytes: float, rows: int, address: str, folder: str, rounds: int) -> None:
    """Both ways in turn; the better round of each."""
    told: dict[str, list[dict[str, Any]]] = {"ours": [], "curl": []}
    for _ in range(rounds):
        for way, rounds_told in told.items():
            rounds_told.append(one_extract(way, address, folder))
            assert rounds_told[-1]["rows"] == rows, rounds_told
    ours, peer = (min(some, key=lambda one: float(one["seconds"])) for some in told.values())
    cpu_ours, cpu_peer = (min(one["cpu"] for one in some) for some in told.values())
    highest = max(one["peak_mb"] for one in told["ours"])
    ratio = peer["seconds"] / ours["seconds"]
    print(f"  {megabytes:.0f} MB, {rows:,} people; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    note = f"goal {GOAL_MB} MB: {judged(highest, GOAL_MB, at_least=False)}; before {ours['before_mb']:.0f} MB"
    show("  memory of the task", f"{highest:.0f} MB", f"{note}; curl + pyarrow {peer['peak_mb']:.0f} MB")
    note = f"goal {GOAL_RATIO} times: {judged(ratio, GOAL_RATIO)}"
    note += f"; {ours['seconds']:.2f} s, {peer['seconds']:.2f} s"
    show("  speed, by the clock, against curl + pyarrow", f"{ratio:.2f} times", note)
    show("  speed, by CPU time", f"{cpu_peer / cpu_ours:.2f} times", f"{cpu_ours:.2f} s, {cpu_peer:.2f} s")


def one_extract(way: str, address: str, folder: str) -> dict[str, Any]:
    """What `tests.benchmarks.one_extract` tells."""
    connection = {"conn_type": "marketo", "host": address, "login": "a", "password": "b"}
    environment = os.environ | {
        "AIRFLOW_HOME": folder,
        "AIRFLOW_CONN_MARKETO_DEFAULT": json.dumps(connection),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "tests.benchmarks.one_extract", way, address, folder]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@contextmanager
def export_server(file: Path, rows: int) -> Iterator[str]:
    """The address of a server with this file, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.export_server", str(file), str(rows)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
