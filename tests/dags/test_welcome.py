"""The welcome, run by Airflow: everybody who joined, however they joined, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_sms_flow.core.facts import Joined
from airflow_sms_flow.ledger import Ledger
from tests.dags.dag_process import DagProcess
from tests.sandbox.sandbox_caller import Caller

pytestmark = pytest.mark.airflow

COMPANY, LIST = "acme", "1201"
ANN, BOB = "+12025550111", "+12025550112"


@pytest.fixture
def ledger(airflow: DagProcess, shared: Path) -> Iterator[Ledger]:
    """The one that the DAG finds."""
    with closing(Ledger.open(f"sqlite:///{shared}/ledger/ledger.db")) as opened:
        yield opened


def join(caller: Caller, ledger: Ledger, phone: str) -> None:
    """At Vibes, which calls back."""
    caller.load(subscriptions=[{"phone": phone, "list_id": LIST}])
    ledger.note_membership(COMPANY, LIST, [Joined(LIST, phone, datetime.now(UTC))], "callback")


def welcomed(caller: Caller) -> list[str]:
    """Whose phone got the text."""
    events = caller.effects("text_delivered")
    return sorted(one["phone"] for one in events if one["text_kind"] == "event")


def test_whoever_joins_is_welcomed_once(airflow: DagProcess, caller: Caller, ledger: Ledger) -> None:
    """A dry run takes nobody away; then each run greets those who are new, and nobody again."""
    join(caller, ledger, ANN)
    dry = airflow.run("sms_welcome")
    assert dry["state"] == "success"
    assert welcomed(caller) == []
    assert airflow.run("sms_welcome", dry_run=False)["state"] == "success"
    assert welcomed(caller) == [ANN]
    join(caller, ledger, BOB)
    assert airflow.run("sms_welcome", dry_run=False)["state"] == "success"
    assert airflow.run("sms_welcome", dry_run=False)["state"] == "success"
    assert welcomed(caller) == [ANN, BOB]
