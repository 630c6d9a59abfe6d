"""How close the dispatch comes to the vendor's limit, and that it never passes it, as the server counts.

    python tests/benchmarks/bench_dispatch.py [--quick]

The sandbox runs in a process of its own and answers after 30 ms; senders are processes of their own, too,
put together as the operator does it. A sender that never passes the limit can at most reach
limit / (1 + round trip in seconds): a slot is held during a call and for one second after it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
import requests

from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.sandbox.numbers import us_number
from tests.benchmarks.measuring import (
    SandboxProcess,
    databases,
    every_core_busy,
    fresh_ledger,
    judged,
    sandbox_process,
    show,
    started_quick,
)
from tests.benchmarks.sending import LIST_ID

ROUND_TRIP_SECONDS = 0.03
LIMITS = {"campaign": 300, "lookup": 100}
#: Newcomers to a shared ring start with nothing; after this they have their share.
WARM_UP_SECONDS = 5.0
MAPPED_PEOPLE = 100


@dataclass(frozen=True)
class Run:
    """One constellation, and the share of the bound that it should reach."""

    database: str
    membership: str
    goal: float
    processes: int = 1
    busy: bool = False

    @property
    def name(self) -> str:
        parts = [f"{LIMITS[self.membership]}/s", f'"{self.membership}"', self.database]
        parts += [f"{self.processes} processes"] if self.processes > 1 else []
        return ", ".join([*parts, *(["every core busy"] if self.busy else [])])


RUNS = (
    Run("SQLite", "campaign", 0.95),
    Run("SQLite", "lookup", 0.95),
    Run("PostgreSQL", "campaign", 0.95),
    Run("PostgreSQL", "lookup", 0.95),
    Run("SQLite", "campaign", 0.90, busy=True),
    Run("SQLite", "lookup", 0.90, busy=True),
    Run("PostgreSQL", "campaign", 0.90, busy=True),
    Run("SQLite", "campaign", 0.93, processes=2),
    Run("PostgreSQL", "campaign", 0.93, processes=2),
)


def main() -> None:
    quick = started_quick(__doc__)
    seconds = 1.0 if quick else 60.0
    here = databases()
    runs = [run for run in RUNS if run.database in here and (not quick or run == RUNS[0])]
    print(f"dispatch over {seconds:.0f} s each, round trip {ROUND_TRIP_SECONDS * 1000:.0f} ms")
    ours = max(measure(run, seconds) for run in runs)
    loop = plain_loop(1.0 if quick else 20.0)
    note = f"ours {ours / loop:.1f} times as fast"
    show("naive: requests.post in a for loop, time.sleep(1/300)", f"{loop:.1f}/s", note)
    people = 3 if quick else MAPPED_PEOPLE
    mapped = mapped_tasks(people)
    note = (
        f"ours {ours / mapped:.0f} times as fast; `airflow dags test`, no process per task, {people} people"
    )
    show("naive: one mapped Airflow task per person", f"{mapped:.1f}/s", note)


def measure(run: Run, seconds: float) -> float:
    """Run it, print its lines, return the rate."""
    limit = LIMITS[run.membership]
    bound = limit / (1 + ROUND_TRIP_SECONDS)
    people = round(limit * (seconds + WARM_UP_SECONDS + 3))
    with (
        fresh_ledger(run.database) as ledger,
        sandbox_process(ROUND_TRIP_SECONDS) as sandbox,
        ExitStack() as stack,
    ):
        sandbox.put_on_list([us_number(n) for n in range(people * run.processes)], LIST_ID)
        senders = [
            stack.enter_context(sender(sandbox, ledger, run.membership, n * people, people))
            for n in range(run.processes)
        ]
        stack.enter_context(every_core_busy() if run.busy else nullcontext())
        for one in senders:
            one.tell()
        time.sleep(min(WARM_UP_SECONDS, seconds))
        rate, cpu = observe(sandbox, senders, seconds)
        for one in senders:
            one.tell()
        used = [one.last_words() for one in senders]
        highest, verdict = sandbox.highest(run.membership)
    reached, resident = rate / bound, max(one["peak_mb"] for one in used)
    note = f"{reached:.1%} of the bound {bound:.1f}/s, goal {run.goal:.0%}: {judged(reached, run.goal)}"
    show(run.name, f"{rate:.1f}/s", note)
    show("", f"{highest} in 1 s", f"most in any sliding second: {verdict}")
    note = f"client CPU per send, {cpu * rate / 10:.0f} % of a core; {resident:.0f} MB resident"
    show("", f"{cpu:.2f} ms", note)
    return rate


@dataclass(frozen=True)
class Sender:
    """The other end of `sending`."""

    process: subprocess.Popen[str]
    orders: IO[str]
    words: IO[str]

    def tell(self) -> None:
        """Begin; the second time: end."""
        self.orders.write("\n")
        self.orders.flush()

    def cpu_seconds(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def last_words(self) -> dict[str, float]:
        words: dict[str, float] = json.loads(self.words.readline())
        return words


@contextmanager
def sender(sandbox: SandboxProcess, ledger: str, membership: str, first: int, count: int) -> Iterator[Sender]:
    """A sending process that is ready."""
    command = [sys.executable, "-m", "tests.benchmarks.sending", sandbox.url, ledger, membership]
    command += [str(first), str(count)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield Sender(process, process.stdin, process.stdout)
        finally:
            process.kill()


def observe(sandbox: SandboxProcess, senders: list[Sender], seconds: float) -> tuple[float, float]:
    """Events let in per second as the sandbox counts them, and the senders' CPU milliseconds for each."""
    began, before, cpu = time.monotonic(), sandbox.events(), sum(one.cpu_seconds() for one in senders)
    time.sleep(seconds)
    lasted, events = time.monotonic() - began, sandbox.events() - before
    cpu = sum(one.cpu_seconds() for one in senders) - cpu
    return events / lasted, cpu / max(events, 1) * 1000


def plain_loop(seconds: float) -> float:
    """What people write today; sends per second."""
    with sandbox_process(ROUND_TRIP_SECONDS) as sandbox:
        url = f"{sandbox.url}/companies/{accounts.COMPANY_KEY}/events"
        began, sent = time.monotonic(), 0
        while time.monotonic() < began + seconds:
            post_one(url, us_number(sent))
            time.sleep(1 / LIMITS["campaign"])
            sent += 1
        return sent / (time.monotonic() - began)


def post_one(url: str, phone: str) -> None:
    """One event, with a session of its own, as `requests.post` does it."""
    event = {"event_id": phone, "event_type": "sale", "event_data": {"mdn": phone}}
    auth = (accounts.VIBES_LOGIN, accounts.VIBES_PASSWORD)
    answer = requests.post(url, json=event, auth=auth, headers={"X-API-Version": "2"}, timeout=30)
    answer.raise_for_status()


MAPPED_DAG = """
import time
from airflow.sdk import dag, task
from tests.benchmarks.bench_dispatch import post_one, us_number

@dag(schedule=None)
def one_task_per_person():
    @task
    def send(n):
        post_one("{url}", us_number(n))
        print("SENT AT", time.time())
    send.expand(n=list(range({people})))

one_task_per_person()
"""


def mapped_tasks(people: int) -> float:
    """Sends per second from the first to the last of one mapped task each."""
    with tempfile.TemporaryDirectory() as name, sandbox_process(ROUND_TRIP_SECONDS) as sandbox:
        folder = Path(name)
        (folder / "dags").mkdir()
        url = f"{sandbox.url}/companies/{accounts.COMPANY_KEY}/events"
        (folder / "dags" / "mapped.py").write_text(MAPPED_DAG.format(url=url, people=people))
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment |= {
            "AIRFLOW_HOME": name,
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        airflow(environment, "db", "migrate")
        words = airflow(environment, "dags", "test", "one_task_per_person")
    moments = [float(found) for found in re.findall(r"SENT AT ([\d.]+)", words)]
    return (len(moments) - 1) / (max(moments) - min(moments))


def airflow(environment: dict[str, str], *arguments: str) -> str:
    """One command of Airflow's own; all that it said."""
    command = [sys.executable, "-m", "airflow", *arguments]
    return subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ).stdout


if __name__ == "__main__":
    main()
