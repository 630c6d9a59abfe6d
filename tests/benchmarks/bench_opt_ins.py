"""A thousand opt-in waits in one triggerer: memory, processor time, and whether its loop stays free.

    python tests/benchmarks/bench_opt_ins.py [--quick]

Each wait has an audience of its own, of a hundred people; callbacks told of all of them, so that Vibes is not
called. Every second one of the people answers. The ledger is SQLite, as on a laptop.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from tests.benchmarks.measuring import peak_mb, show, started_quick

PEOPLE = 100
#: A minute after the start, when everybody has read their file, the measuring begins.
WAITS, SETTLE_SECONDS, SECONDS = 1_000, 75, 120
QUICK_WAITS, QUICK_SETTLE_SECONDS, QUICK_SECONDS = 20, 3, 3
END = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=23, minutes=59)


def phones_of(wait: int) -> list[str]:
    """Numbers of this wait alone."""
    return [f"+1202{5_000_000 + wait * PEOPLE + n}" for n in range(PEOPLE)]


def prepare(folder: str, waits: int) -> None:
    """The audiences, and a ledger that has heard of all the questions."""
    from airflow_sms_flow import storage
    from airflow_sms_flow.core.opt_in import OptIn
    from airflow_sms_flow.hooks.ledger import open_ledger

    asked_at = datetime.now(UTC)
    with closing(open_ledger()) as ledger:
        for wait in range(waits):
            phones = phones_of(wait)
            table = pa.table(
                {
                    "id": range(PEOPLE),
                    "phone": phones,
                    "expire_date": pa.array([END] * PEOPLE, pa.timestamp("us", "UTC")),
                }
            )
            storage.write_parquet(f"{folder}/{wait}.parquet", [table])
            asked = {phone: OptIn(END, asked_at=asked_at) for phone in phones}
            ledger.store_opt_ins("acme", "NEWS1201", "1201", asked)


def answer_now_and_then(over: threading.Event, waits: int) -> None:
    """Somebody says yes every second, as a callback would tell it."""
    from airflow_sms_flow.core.opt_in import OptIn, OptInState
    from airflow_sms_flow.hooks.ledger import open_ledger

    with closing(open_ledger()) as ledger:
        n = 0
        while not over.wait(1.0):
            yes = OptIn(END, OptInState.CONFIRMED, answered_at=datetime.now(UTC))
            ledger.store_opt_ins("acme", "NEWS1201", "1201", {phones_of(n % waits)[n // waits]: yes})
            n += 1


async def watch(folder: str, waits: int, settle: float, seconds: float) -> tuple[float, list[float], int]:
    """Processor seconds, how much later than asked the loop came back, and the most threads at once."""
    from airflow_sms_flow.triggers import VibesOptInTrigger

    def trigger(wait: int) -> VibesOptInTrigger:
        return VibesOptInTrigger(
            audience_path=f"{folder}/{wait}.parquet",
            list_id="1201",
            acquisition_campaign_id="NEWS1201",
            vibes_conn_id="vibes_default",
            poll_interval_seconds=60.0,
            deadline=(END + timedelta(hours=2)).isoformat(),
        )

    async def first_event(one: VibesOptInTrigger) -> object:
        return await anext(one.run())

    waiting = [asyncio.create_task(first_event(trigger(wait))) for wait in range(waits)]
    await asyncio.sleep(settle)
    began, late, threads = time.process_time(), [], 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.monotonic()
        await asyncio.sleep(0.01)
        late.append(time.monotonic() - before - 0.01)
        threads = max(threads, threading.active_count())
    used = time.process_time() - began
    failed = [task for task in waiting if task.done()]
    assert not failed, failed[0]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return used, sorted(late), threads


def main() -> None:
    quick = started_quick(__doc__)
    waits = QUICK_WAITS if quick else WAITS
    settle, seconds = (QUICK_SETTLE_SECONDS, QUICK_SECONDS) if quick else (SETTLE_SECONDS, SECONDS)
    with tempfile.TemporaryDirectory() as home:
        connection = {"conn_type": "vibes", "host": "http://127.0.0.1:9", "login": "u", "password": "p"}
        os.environ["AIRFLOW_HOME"] = home
        os.environ["AIRFLOW_CONN_VIBES_DEFAULT"] = json.dumps(connection | {"extra": {"company_key": "acme"}})
        folder = str(Path(home) / "audiences")
        prepare(folder, waits)
        before, over = peak_mb(), threading.Event()
        answers = threading.Thread(target=answer_now_and_then, args=(over, waits))
        answers.start()
        try:
            used, late, threads = asyncio.run(watch(folder, waits, settle, seconds))
        finally:
            over.set()
            answers.join()
    print(f"{waits:,} waits of {PEOPLE} people each, a look a minute, over {seconds} s")
    show("memory above the process without them", f"{peak_mb() - before:.0f} MB")
    show("processor time a minute", f"{used / seconds * 60:.1f} s")
    show(
        "loop late, 99 of 100",
        f"{late[len(late) * 99 // 100] * 1000:.0f} ms",
        f"worst {late[-1] * 1000:.0f} ms",
    )
    show("threads at once, all told", f"{threads}")


if __name__ == "__main__":
    main()
