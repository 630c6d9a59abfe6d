"""What our imports add to the parse of a DAG file. Goal: at most 0.05 s on top of `airflow.sdk`.

    python tests/benchmarks/bench_imports.py [--quick]

Every round starts three processes, one after the other, so that a busy machine disturbs all three alike.
Each first imports `airflow.sdk`, then times one of: our operators and sensors as they are; the same after the
libraries that they use, as if those stood at the top of our modules; two operators of Airflow's own. It only
prints: a slow machine is not a failure.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from tests.benchmarks.measuring import started_quick

GOAL_SECONDS = 0.05
ROUNDS = 15
AIRFLOW = "import airflow.sdk"
OURS = "import airflow_sms_flow.operators, airflow_sms_flow.sensors"
HEAVY = "import numpy, pandas, pyarrow, phonenumbers, requests, sqlalchemy"
VARIANTS = {
    "operators and sensors": OURS,
    "the same, heavy libraries at the top": f"{HEAVY}; {OURS}",
    "Airflow's own Bash and Python operators": (
        "import airflow.providers.standard.operators.bash, airflow.providers.standard.operators.python"
    ),
}


def seconds_to_import(statement: str, home: str) -> tuple[float, float]:
    """(Airflow's part, the statement's part on top), measured inside one fresh process."""
    program = (
        f"import time; a = time.perf_counter()\n{AIRFLOW}\nb = time.perf_counter()\n{statement}\n"
        "print(b - a, time.perf_counter() - b)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"AIRFLOW_HOME": home},
        capture_output=True,
        text=True,
        check=True,
    )
    base, added = done.stdout.split()[-2:]
    return float(base), float(added)


def show(name: str, seconds: list[float]) -> None:
    median, low, high = statistics.median(seconds), min(seconds), max(seconds)
    print(f"{name:<52}{median * 1000:8.1f} ms   ({low * 1000:.1f} to {high * 1000:.1f})")


def main() -> None:
    rounds = 1 if started_quick(__doc__) else ROUNDS
    base: list[float] = []
    added: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as home:
        for statement in VARIANTS.values():  # the first run writes .pyc files and is not counted
            seconds_to_import(statement, home)
        for _ in range(rounds):
            for name, statement in VARIANTS.items():
                airflow_seconds, statement_seconds = seconds_to_import(statement, home)
                base.append(airflow_seconds)
                added[name].append(statement_seconds)
    print(f"imports, {rounds} rounds: median (lowest to highest)")
    show("airflow.sdk", base)
    for name, seconds in added.items():
        show(f"+ {name}", seconds)
    ours, heavy, _ = (statistics.median(seconds) for seconds in added.values())
    print(f"heavy libraries at the top would cost {heavy / ours:.1f} times as much")
    print(f"goal: at most {GOAL_SECONDS * 1000:.0f} ms: {'met' if ours <= GOAL_SECONDS else 'NOT met'}")


if __name__ == "__main__":
    main()
