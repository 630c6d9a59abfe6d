"""Preparing an audience. Goals: 12 times the plain script; five million leads in less than 1.2 GB.

    python tests/benchmarks/bench_prepare.py [--quick]

Every measurement is a process of its own, see `one_prepare`, from Parquet to Parquet. Ours is measured first,
between and last, and the best round of each way counts; CPU time is disturbed less by a busy machine. All
ways must keep the same people. Polars and DuckDB take part where they are installed (the extra "bench").
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import Any

from tests.benchmarks.made_up_leads import write_leads
from tests.benchmarks.measuring import judged, show, started_quick

TITLES = {
    "ours": "PrepareAudienceOperator",
    "plain": "the script that people write, phones one by one",
    "pandas": "that script with our phones, and the rejected",
    "polars": "Polars with our phones, and the rejected",
    "duckdb": "DuckDB with our phones, and the rejected",
}
GOAL_RATIO, GOAL_MB = 12, 1_200

Told = dict[str, list[dict[str, Any]]]


def main() -> None:
    quick = started_quick(__doc__)
    small, large = (2_000, 10_000) if quick else (1_000_000, 5_000_000)
    peers = [name for name in ("pandas", "polars", "duckdb") if find_spec(name)]
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"leads of 12 columns to audience and rejected; memory of the whole process; {load}")
    with tempfile.TemporaryDirectory(prefix="sms-flow-bench-") as folder:
        few = measured(["ours", "plain", "ours", *peers, "ours"], small, folder)
        cpu, clock = (best(few, "plain", what) / best(few, "ours", what) for what in ("cpu", "seconds"))
        note = f"goal {GOAL_RATIO} times: {judged(cpu, GOAL_RATIO)}; {clock:.1f} times by the clock"
        show("  against the script, in CPU time", f"{cpu:.1f} times", note)
        many = measured(["ours", *peers, "ours"], large, folder)
        highest = max(one["peak_mb"] for one in many["ours"])
        show(
            "  memory", f"{highest:.0f} MB", f"goal {GOAL_MB} MB: {judged(highest, GOAL_MB, at_least=False)}"
        )
        growth = best(many, "ours", "cpu") / best(few, "ours", "cpu")
        show(f"  CPU time for {large // small} times the rows", f"{growth:.1f} times")


def measured(ways: list[str], rows: int, folder: str) -> Told:
    """What each of the ways told, a line for each."""
    print(f"  {rows:,} leads")
    leads = f"{folder}/leads.parquet"
    write_leads(leads, rows)
    told: Told = {}
    for way in ways:
        told.setdefault(way, []).append(one_prepare(way, leads, folder))
    assert len({one["digest"] for some in told.values() for one in some}) == 1, "the ways do not agree"
    for way, some in told.items():
        note = f"CPU {best(told, way, 'cpu'):.2f} s, {max(one['peak_mb'] for one in some):.0f} MB"
        if way != "ours":
            ratio = best(told, way, "cpu") / best(told, "ours", "cpu")
            note += f"; ours in CPU time {ratio:.2f} times as fast"
        show(f"    {TITLES[way]}", f"{best(told, way, 'seconds'):.2f} s", note)
    return told


def best(told: Told, way: str, what: str) -> float:
    """The best round."""
    return float(min(one[what] for one in told[way]))


def one_prepare(way: str, leads: str, folder: str) -> dict[str, Any]:
    """What `tests.benchmarks.one_prepare` tells."""
    environment = os.environ | {"AIRFLOW_HOME": folder, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "tests.benchmarks.one_prepare", way, leads, folder]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    main()
