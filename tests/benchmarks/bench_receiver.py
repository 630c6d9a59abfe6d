"""How many callbacks a second Airflow's own API server stores durably, and that an outage loses none.

    python tests/benchmarks/bench_receiver.py [--quick]

A real `airflow api-server` with the plugin, its access log and its middleware; a ledger whose commits reach
the disk; callers in this process, so that they share the machine. A callback counts when it was answered 204,
and every one of those is looked for in the ledger afterwards. The goals are for two cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
from sqlalchemy import create_engine, select
from sqlalchemy.engine import make_url

from airflow_sms_flow.demo.local_airflow import free_port
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.ledger.schema import callbacks
from tests import postgres
from tests.benchmarks import measuring
from tests.benchmarks.calling import Tally, call_for, deliver_all
from tests.benchmarks.measuring import judged, show
from tests.plugin.api_server import ApiServer, api_server
from tests.torture.postgres import PostgresServer, postgres_server

GOALS = {"PostgreSQL": 500, "SQLite": 200}
CONNECTIONS = 32


def main() -> None:
    quick = measuring.started_quick(__doc__)
    seconds = 2.0 if quick else 15.0
    for database in measuring.databases():
        print(f"{database}: callbacks stored durably, {CONNECTIONS} requests under way")
        with measuring.fresh_ledger(database) as ledger:
            naive = naive_rate(ledger, seconds)
        for workers in (1,) if quick else (1, 2):
            with measuring.fresh_ledger(database) as ledger:
                rate = receiver_rate(database, ledger, workers, seconds)
            show("", f"{rate / naive:.1f} x", "the naive way's rate")
    if postgres.is_here():
        outage(seconds)


def naive_rate(ledger: str, seconds: float) -> float:
    """A plain FastAPI application, one transaction for each request, without Airflow around it."""
    Ledger.open(ledger).close()
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.benchmarks.naive_receiver:app", "--port", str(port)]
    command += ["--log-level", "warning"]
    environment = os.environ | {"LEDGER": ledger}
    with subprocess.Popen(command, env=environment) as process:
        try:
            _wait_for(f"http://127.0.0.1:{port}/docs")
            warm_up(f"http://127.0.0.1:{port}/callbacks", seconds)
            tally = measure(f"http://127.0.0.1:{port}/callbacks", seconds)
        finally:
            process.terminate()
    return tell("the naive way (no Airflow around it)", tally, seconds, ledger, "")


def receiver_rate(database: str, ledger: str, workers: int, seconds: float) -> float:
    """Ours, in Airflow's API server."""
    with server(ledger, workers) as airflow:
        warm_up(airflow.address, seconds)
        before = airflow.cpu_seconds()
        tally = measure(airflow.address, seconds)
        used = (airflow.cpu_seconds() - before) * 1000 / max(1, len(tally.kept))
    goal = GOALS[database]
    name = f"airflow api-server, {workers} process{'es' if workers > 1 else ''}"
    rate = tell(name, tally, seconds, ledger, f"goal {goal}/s: {judged(len(tally.kept) / seconds, goal)}")
    show(
        "",
        f"{used:.2f} ms",
        "of the API server's CPU for each, Airflow's middleware and the hearing included",
    )
    return rate


def warm_up(address: str, seconds: float) -> None:
    """Afterwards everything is loaded and open."""
    asyncio.run(call_for(address, 0, min(2.0, seconds / 2), CONNECTIONS))


def measure(address: str, seconds: float) -> Tally:
    """So many requests under way for so long."""
    return asyncio.run(call_for(address, 10_000_000, seconds, CONNECTIONS))


def tell(name: str, tally: Tally, seconds: float, ledger: str, note: str) -> float:
    rate = len(tally.kept) / seconds
    missing = tally.kept - stored(ledger)
    show(name, f"{rate:.0f}/s", note)
    answers = f"{tally.latency_ms(0.5):.0f} ms in the middle, {tally.latency_ms(0.99):.0f} ms for 99 of 100"
    show("", f"{len(missing)} lost", f"{answers}; {tally.later} told to come later, {tally.others} others")
    return rate


def outage(seconds: float) -> None:
    """The database is killed and started again while callbacks come in; Vibes repeats what got 503."""
    print("PostgreSQL killed and started again while callbacks come in")
    with postgres_server() as database:
        assert database is not None
        ledger = database.make_database("inbox")
        count, pace = int(seconds * 100), 100.0
        with server(ledger, 1) as airflow:
            tally = asyncio.run(_with_outage(database, airflow.address, count, pace, seconds / 3))
        found = stored(ledger)
    show("callbacks sent, told kept, in the ledger", f"{count}", f"{len(tally.kept)}, {len(found)}")
    lost = set(range(count)) - found
    show("lost", f"{len(lost)}", f"{tally.later} answers were 503; slowest {tally.latency_ms(1.0):.0f} ms")


async def _with_outage(database: PostgresServer, address: str, count: int, pace: float, away: float) -> Tally:
    async def crash_and_start() -> None:
        await asyncio.sleep(away)
        database.crash()
        await asyncio.sleep(away)
        await asyncio.to_thread(database.start_again)

    tally, _ = await asyncio.gather(deliver_all(address, count, pace, 64), crash_and_start())
    return tally


@contextmanager
def server(ledger: str, workers: int) -> Iterator[ApiServer]:
    """A real API server whose ledger is that one."""
    with (
        tempfile.TemporaryDirectory(prefix="sms-flow-bench-") as folder,
        api_server(Path(folder), _ledger_connection(ledger), workers=workers) as airflow,
    ):
        yield airflow


def _ledger_connection(ledger: str) -> Mapping[str, str]:
    url = make_url(ledger)
    if url.get_backend_name() == "sqlite":
        connection = {"conn_type": "sqlite", "host": url.database}
    else:
        connection = {
            "conn_type": "postgres",
            "host": url.host,
            "login": url.username,
            "schema": url.database,
        }
    return {
        "AIRFLOW__SMS_FLOW__LEDGER_CONN_ID": "bench_ledger",
        "AIRFLOW_CONN_BENCH_LEDGER": json.dumps(connection | {"port": url.port}),
    }


def stored(ledger: str) -> set[int]:
    """The callbacks' ids in the ledger."""
    engine = create_engine(ledger)
    with engine.connect() as connection:
        found = {
            int(json.loads(body)["event_id"])
            for body in connection.execute(select(callbacks.c.body)).scalars()
        }
    engine.dispose()
    return found


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(requests.ConnectionError):
            requests.get(url, timeout=5)
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"nobody answers at {url}")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
