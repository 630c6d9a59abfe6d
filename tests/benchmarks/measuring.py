"""What the measuring programs share: aligned lines, a sandbox, ledgers, and a busy machine."""

from __future__ import annotations

import argparse
import logging
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests import postgres


def started_quick(description: str | None) -> bool:
    """Whether the program was started with `--quick`: a few seconds, numbers that mean little. Only what
    is measured shall be seen, so that log lines of less than a warning are dropped."""
    logging.disable(logging.INFO)
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only see that everything still runs")
    return bool(parser.parse_args().quick)


def show(name: str, figure: str, note: str = "") -> None:
    """One line: what, how much, and how that compares."""
    print(f"  {name:<52}{figure:>14}   {note}".rstrip(), flush=True)


def spread(values: Sequence[float], unit: str, digits: int = 2) -> str:
    """The range of repeated measurements, for a note."""
    if len(values) < 2:
        return "once"
    return f"{min(values):.{digits}f} to {max(values):.{digits}f} {unit} in {len(values)} rounds"


def median(values: Sequence[float]) -> float:
    """The middle of repeated measurements."""
    return statistics.median(values)


def judged(value: float, goal: float, *, at_least: bool = True) -> str:
    """Whether a goal was met, in words."""
    return "met" if (value >= goal if at_least else value <= goal) else "NOT met"


def peak_mb() -> float:
    """The highest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held when it started us
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class SandboxProcess:
    """A sandbox in a process of its own, as a vendor would be, and its control panel."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self.process = process
        self._session = requests.Session()

    def panel(self, method: str, path: str, **more: Any) -> Any:
        """A call to the control panel that must succeed."""
        answer = self._session.request(method, f"{self.url}/_sandbox/{path}", timeout=120, **more)
        answer.raise_for_status()
        return answer.json()

    def put_on_list(self, phones: Sequence[str], list_id: str) -> None:
        """These numbers are subscribed from now on."""
        self.panel("POST", "load", json={"subscriptions": [{"phone": p, "list_id": list_id} for p in phones]})

    def events(self) -> int:
        """How many events were let in so far."""
        ring = self._rings().get("vibes acme events", {"arrived": 0, "turned_away": 0})
        return int(ring["arrived"] - ring["turned_away"])

    def highest(self, membership: str) -> tuple[int, str]:
        """The most calls in any sliding second under the limit that binds; a verdict on all limits."""
        rings = self._rings()
        above = [name for name, ring in rings.items() if ring["highest_in_any_window"] > ring["limit"]]
        ring = rings[f"vibes acme {'events' if membership == 'campaign' else 'others'}"]
        verdict = f"ABOVE THE LIMIT: {', '.join(above)}" if above else f"never above {ring['limit']}"
        return int(ring["highest_in_any_window"]), verdict

    def _rings(self) -> dict[str, dict[str, Any]]:
        rings: dict[str, dict[str, Any]] = self.panel("GET", "stats")["rings"]
        return rings


@contextmanager
def sandbox_process(latency_seconds: float) -> Iterator[SandboxProcess]:
    """Empty, on a free port, with as much delay as a network would add."""
    command = [sys.executable, "-m", "airflow_sms_flow.sandbox", "--port", "0", "--leads", "0"]
    command += ["--latency-seconds", str(latency_seconds), "--campaign-start-seconds", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            address = re.search(r"http://\S+", greeting)
            assert address, f"the sandbox did not start: {greeting}"
            yield SandboxProcess(address[0], process)
        finally:
            process.terminate()


@contextmanager
def fresh_ledger(database: str) -> Iterator[str]:
    """The address of an empty ledger in one of `databases()`; PostgreSQL with fsync, as in production."""
    if database == "SQLite":
        with tempfile.TemporaryDirectory(prefix="sms-flow-bench-") as folder:
            yield f"sqlite:///{folder}/ledger.db"
    else:
        with postgres.running_server(durable=True) as server, postgres.fresh_database(server) as address:
            yield address


def databases() -> list[str]:
    """Those that this machine can start; says which one it cannot."""
    if postgres.is_here():
        return ["SQLite", "PostgreSQL"]
    print(f"  PostgreSQL left out: {postgres.MISSING}")
    return ["SQLite"]


@contextmanager
def every_core_busy() -> Iterator[None]:
    """One process per core that does nothing but spin."""
    spin = [sys.executable, "-c", "while True: pass"]
    hogs = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
