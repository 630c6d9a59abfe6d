"""A million recipients against a list of a million, by the vendor's daily file. Goal: 15 s and 1,500 MB.

    python tests/benchmarks/bench_membership.py [--quick]

Each measurement is a process of its own that reads the extract, then the audience, and asks for each person.
Beside it the join that people write with pandas; a call per person would take `people / 100` seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.sandbox.numbers import us_number
from tests.benchmarks.audiences import write_audience
from tests.benchmarks.measuring import judged, peak_mb, show, spread, started_quick

GOAL_SECONDS, GOAL_MB = 15, 1_500
COMPANY, LIST_ID = accounts.COMPANY_KEY, accounts.LISTS[0].list_id
_HEADER = "mdn person_id external_person_id carrier_code mdn_e164_format country_code subscription_list_id"


def main() -> None:
    quick = started_quick(__doc__)
    people, rounds = (3_000, 1) if quick else (1_000_000, 3)
    print(f"{people:,} recipients, {people:,} people on the list, half of them the same")
    with tempfile.TemporaryDirectory() as folder:
        write_audience(f"{folder}/audience.parquet", people)
        extract = write_extract(Path(folder), range(people // 2, people + people // 2))
        ours = [measured("ours", folder, extract, people) for _ in range(rounds)]
        naive = [measured("naive", folder, extract, people) for _ in range(rounds)]
    for title, told in (('membership="extract"', ours), ("pandas: read_csv and merge", naive)):
        seconds, memory = [one["seconds"] for one in told], max(one["peak_mb"] for one in told)
        show(title, f"{min(seconds):.1f} s", f"{spread(seconds, 's', 1)}; at most {memory:.0f} MB")
    fastest, memory = min(one["seconds"] for one in ours), max(one["peak_mb"] for one in ours)
    verdict = judged(fastest, GOAL_SECONDS, at_least=False), judged(memory, GOAL_MB, at_least=False)
    show("goal", f"{GOAL_SECONDS} s", f"{verdict[0]}; {GOAL_MB} MB: {verdict[1]}")
    show("a call per person, at 100 a second", f"{people / 100 / 60:.0f} min", "by arithmetic")


def write_extract(folder: Path, numbers: range) -> str:
    """As Vibes writes it, with today's date in its name."""
    path = folder / f"current_subscribers_{COMPANY}_{datetime.now(UTC):%Y-%m-%d}.tsv"
    with path.open("w") as file:
        file.write("\t".join(_HEADER.split()) + "\n")
        for n in numbers:
            phone = us_number(n)
            file.write(f"{phone[2:]}\tkey-of-person-{n:012}\t{n}\t310410\t{phone}\t1\t{LIST_ID}\n")
    return str(path)


def measured(kind: str, folder: str, extract: str, people: int) -> dict[str, float]:
    """What one process of its own tells."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_membership", kind, folder, extract]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    assert told["allowed"] == people // 2, told
    return told


def joined_by_us(folder: str, extract: str) -> int:
    """As `SendSmsMessageOperator` asks for each person."""
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.steps.membership_sources import from_extract
    from airflow_sms_flow.storage import read_batches

    with closing(Ledger.open(f"sqlite:///{folder}/ledger.db")) as ledger:
        members = from_extract(extract, COMPANY, LIST_ID, timedelta(hours=36), ledger)
        allowed = 0
        for batch in read_batches(f"{folder}/audience.parquet", ["id", "phone"], 10_000):
            allowed += sum(members.refusal(phone) is None for phone in batch.column("phone").to_pylist())
    return allowed


def joined_by_pandas(folder: str, extract: str) -> int:
    """Five lines, and everything in memory."""
    import pandas as pd

    leads = pd.read_parquet(f"{folder}/audience.parquet")
    subscribers = pd.read_csv(extract, sep="\t", dtype=str)
    subscribers = subscribers[subscribers["subscription_list_id"] == LIST_ID]
    return len(leads.merge(subscribers, left_on="phone", right_on="mdn_e164_format"))


_KINDS: dict[str, Callable[[str, str], int]] = {"ours": joined_by_us, "naive": joined_by_pandas}


def tell(kind: str, folder: str, extract: str) -> None:
    """The child's part."""
    began = time.monotonic()
    allowed = _KINDS[kind](folder, extract)
    seconds = time.monotonic() - began
    print(json.dumps({"allowed": allowed, "seconds": seconds, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        tell(*sys.argv[1:])
    else:
        main()
