"""The campaign to people of a warehouse, run by Airflow: the query says who, the rules and Vibes who not."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.dags.dag_process import DagProcess
from tests.sandbox.sandbox_caller import Caller

pytestmark = pytest.mark.airflow

MEMBERS = [f"+120255501{number}" for number in range(10, 50)]
STRANGER, NO_TEXTS, MEXICAN, RECENT = "+12025550150", "+12025550151", "+12025550152", "+12025550153"


@pytest.fixture
def warehouse(airflow: DagProcess, caller: Caller, shared: Path) -> None:
    """Forty customers on the list, one who is not, and three whom somebody keeps out."""
    listed = [*MEMBERS, NO_TEXTS, MEXICAN, RECENT]
    caller.load(subscriptions=[{"phone": phone, "list_id": "1201"} for phone in listed])
    customers = [
        (number, phone, "MX" if phone == MEXICAN else "US", "Ann", int(phone == NO_TEXTS),
         "2026-02-01" if phone == RECENT else "2025-02-01")
        for number, phone in enumerate([*listed, STRANGER], start=1)
    ]  # fmt: skip
    path = shared / "warehouse.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        columns = (
            "customer_id INTEGER, cell TEXT, country TEXT, given_name TEXT, no_texts INTEGER, last_order TEXT"
        )
        database.execute(f"CREATE TABLE customers ({columns})")
        database.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)", customers)


def texted(caller: Caller) -> list[str]:
    """Whose text Vibes took; a landline among the sandbox's phones gets none."""
    return [one["phone"] for one in caller.effects("event_accepted")]


@pytest.mark.usefixtures("warehouse")
def test_the_people_of_a_query_are_texted_once_and_accounted_for(airflow: DagProcess, caller: Caller) -> None:
    """Dry by itself; then only members whom no rule keeps out; the same tenth is held back in each run."""
    dry = airflow.run("sms_from_warehouse")
    assert set(dry["tasks"].values()) == {"success"}
    assert texted(caller) == []
    first = airflow.run("sms_from_warehouse", dry_run=False)
    assert first["state"] == "success"
    summary = first["xcoms"]["summary"]["return_value"]
    funnel = summary["funnel"]
    assert (funnel["extracted"], funnel["filtered"], funnel["suppressed"]) == (43, 1, 1)
    assert 0 < funnel["holdout"] < 15
    assert sum(funnel.values()) == 2 * funnel["extracted"]
    sent = Counter(texted(caller))
    assert set(sent) <= set(MEMBERS)
    assert max(sent.values()) == 1
    assert summary["sent"] == len(sent) == 41 - funnel["holdout"] - 1
    assert airflow.run("sms_from_warehouse", dry_run=False)["state"] == "success"
    assert Counter(texted(caller)) == sent


@pytest.mark.usefixtures("warehouse")
def test_a_query_that_finds_too_many_stops_the_run(airflow: DagProcess, caller: Caller) -> None:
    """Nobody is texted, and no retry is used."""
    answer = airflow.run("sms_from_warehouse", dry_run=False, max_recipients=10)
    assert answer["tasks"]["prepare"] == "failed"
    assert texted(caller) == []
