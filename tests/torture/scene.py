"""A sandbox as a process of its own, a ledger, an audience; tries that are started, killed and resumed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import func, select

from airflow_sms_flow.core.delivery import DeliveryState, StepName
from airflow_sms_flow.demo.local_airflow import free_port, running
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.ledger.database import create_ledger_engine, reading
from airflow_sms_flow.ledger.schema import claimers, deliveries
from tests.torture import crowd, faults
from tests.torture.crowd import DUE, EFFECT, Person
from tests.torture.worker import Order

ROOT = Path(__file__).parents[2]
#: What may end a try for a passing reason; the next one goes on.
PASSING = ("Unavailable", "OutcomeUnknown", "LedgerError")
_TRY_SECONDS = 300

SETTINGS = {
    "leads": 0,
    "share_landline": 0.0,
    "event_delay_seconds": 0.02,
    "campaign_start_seconds": 0.1,
    # So that a kill finds requests under way, whose effect comes when their sender is dead already.
    "latency_seconds": 0.03,
    "opt_in_window_seconds": 86_400.0,
    # Nobody answers by themselves: a second question would find the first one pending, and show in the log.
    "share_yes": 0.0,
    "share_no": 0.0,
    # A second event with the same id becomes a second text, so that mistakes show.
    "reused_event_id": "deliver",
}


@dataclass
class Vendor:
    """The sandbox's control panel."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)

    def panel(self, method: str, path: str, **more: Any) -> Any:
        """One call to it."""
        answer = self.session.request(method, f"{self.url}/_sandbox/{path}", timeout=60, **more)
        answer.raise_for_status()
        return answer.json()

    def begin(self, step: StepName, people: list[Person], fault_kind: str) -> None:
        """A new world, in which only these people live."""
        self.panel("POST", "reset", json={"defaults": True, **SETTINGS})
        self.panel("POST", "load", json={"subscriptions": crowd.subscriptions(people)})
        self.panel("POST", "faults", json={"rules": faults.rules(fault_kind)})

    def effects(self, kind: str, since: int = 0) -> list[dict[str, Any]]:
        """What happened to people."""
        found: list[dict[str, Any]] = self.panel("GET", f"effects?kind={kind}&since={since}")["effects"]
        return found


@contextmanager
def vendor_process(folder: Path) -> Iterator[Vendor]:
    """Both vendors as a process of their own, which survives every sender."""
    port = free_port()
    command = [sys.executable, "-m", "airflow_sms_flow.sandbox", "--port", str(port), "--leads", "0"]
    vendor = Vendor(f"http://127.0.0.1:{port}")
    with running(command, worker_environment(), folder / "sandbox.log") as process:
        deadline = time.monotonic() + 30
        while True:
            try:
                vendor.panel("GET", "clock")
                break
            except requests.ConnectionError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield vendor


def worker_environment() -> dict[str, str]:
    """Ours, with the tests importable."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL: whether people were still due, and how many claims it left without an answer."""

    mid_send: bool
    claimed: int


@dataclass
class Try:
    """One process that makes one try."""

    process: subprocess.Popen[str]
    number: int

    def wait(self) -> dict[str, Any]:
        """What it says at its end: `error`, `said`, `report`."""
        output, errors = self.process.communicate(timeout=_TRY_SECONDS)
        lines = output.splitlines()
        if not lines:
            raise AssertionError(f"the try crashed ({self.process.returncode}):\n{errors[-3000:]}")
        told: dict[str, Any] = json.loads(lines[-1])
        return told

    def kill(self) -> None:
        """SIGKILL, and not a moment's notice."""
        self.process.kill()
        self.process.communicate()


class Scene:
    """One audience of one step, from its first try to its last."""

    def __init__(
        self, vendor: Vendor, ledger_address: str, folder: Path, step: StepName, count: int, fault_kind: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.vendor, self.step = vendor, step
        self.people = crowd.crowd(step, count)
        self.due = {one.phone for one in self.people if one.stands == DUE[step]}
        self.order = Order(
            ledger_address,
            vendor.url,
            step.value,
            str(folder / "audience.parquet"),
            str(folder / "results.parquet"),
        )
        crowd.write_audience(self.people, Path(self.order.audience))
        self.kills: list[Kill] = []
        self.tries = 0
        self.said: list[str] = []
        self._errors = (folder / "errors.log").open("w")
        self._effects_from = 0
        self._reached = 0
        vendor.begin(step, self.people, fault_kind)

    # -- tries ---------------------------------------------------------------------------------------------

    def start(self) -> Try:
        """A try in a process of its own."""
        self.tries += 1
        order = asdict(self.order) | {"number": self.tries}
        command = [sys.executable, "-m", "tests.torture.worker", json.dumps(order)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=worker_environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        return Try(process, self.tries)

    def besiege(self, chance: random.Random, kills: int) -> None:
        """Kill try after try, at random moments, mostly while it sends."""
        for left in range(kills, 0, -1):
            attempt = self.start()
            still_due = len(self.due) - self.reached()
            target = self.reached() + chance.randint(1, max(1, 2 * still_due // (left + 1)))
            at = time.monotonic() + chance.uniform(0.2, 2.0) if chance.random() < 0.2 else None
            while attempt.process.poll() is None and (
                self.reached() < target if at is None else time.monotonic() < at
            ):
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.03))
            ended_before = attempt.process.poll() is not None
            attempt.kill()
            mid_send = not ended_before and self.reached() < len(self.due)
            self.kills.append(Kill(mid_send, self.claimed_by(attempt.process.pid)))

    def finish(self, most: int = 12) -> dict[str, Any]:
        """Try until nobody is left open, as Airflow's retries do; the last report."""
        for _ in range(most):
            told = self.start().wait()
            self.note(told)
            if told["error"] is None and told["report"]["failed"] == 0 and self._nothing_left(told["report"]):
                report: dict[str, Any] = told["report"]
                return report
        raise AssertionError(f"not done after {most} undisturbed tries: {self.said[-3:]}")

    def note(self, told: Mapping[str, Any]) -> None:
        """Errors that no retry mends end everything."""
        if told["error"] is not None:
            self.said.append(f"{told['error']}: {told['said']}")
            if told["error"] not in PASSING:
                raise AssertionError(f"a try ended for good: {self.said[-1]}")

    def _nothing_left(self, report: Mapping[str, Any]) -> bool:
        """Send holds what is in doubt; the other steps look and repeat until there is no doubt."""
        return self.step is StepName.SEND or report["in_doubt"] == 0

    # -- looking -------------------------------------------------------------------------------------------

    def reached(self) -> int:
        """How many effects there have been so far; twice counts as two."""
        effects = self.vendor.panel("GET", f"effects?since={self._effects_from}")["effects"]
        self._effects_from += len(effects)
        self._reached += sum(one["kind"] == EFFECT[self.step] for one in effects)
        return self._reached

    def wait_for(self, effects: int, seconds: float = 60.0) -> None:
        """Until there have been so many."""
        deadline = time.monotonic() + seconds
        while self.reached() < effects:
            if time.monotonic() > deadline:
                raise AssertionError(f"only {self.reached()} of {effects} effects after {seconds} seconds")
            time.sleep(0.01)

    @contextmanager
    def ledger(self, busy_seconds: float = 30.0) -> Iterator[Ledger]:
        """To look into it."""
        opened = Ledger.open(self.order.ledger, busy_seconds=busy_seconds)
        try:
            yield opened
        finally:
            opened.close()

    def claimed_by(self, pid: int) -> int:
        """Claims without an answer of one process; none where it never came to have a ledger."""
        Ledger.open(self.order.ledger).close()
        engine = create_ledger_engine(self.order.ledger)
        query = (
            select(func.count())
            .select_from(deliveries.join(claimers, claimers.c.id == deliveries.c.claimer_id))
            .where(claimers.c.process.like(f"%:{pid}"), deliveries.c.state == DeliveryState.CLAIMED.value)
        )
        with reading(engine, "counting claims") as connection:
            found: int = connection.execute(query).scalar_one()
        engine.dispose()
        return found
