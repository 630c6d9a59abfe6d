"""The ledger's own copy of a list: corrected by what is newer, left alone where it knows better."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.facts import ChangeKind, Joined, Left
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.operators import SyncSubscribersOperator
from airflow_sms_flow.sandbox.numbers import us_number
from tests.operators.world import ANN, BOB, CYD, NEWS, World

COMPANY = "acme"
NOW = datetime.now(UTC)


@pytest.fixture
def ledger(empty_world: World) -> Iterator[Ledger]:
    """The one that the operator uses."""
    with closing(open_ledger()) as opened:
        yield opened


def extract(world: World, *phones: str, days_old: int = 0) -> str:
    """A file of that day with these people on the list."""
    moment = NOW - timedelta(days=days_old)
    path = world.folder / f"current_subscribers_{COMPANY}_{moment:%Y%m%d}.tsv"
    rows = [f"{phone}\t{NEWS}" for phone in phones]
    path.write_text("\n".join(["mdn_e164_format\tsubscription_list_id", *rows]) + "\n")
    return str(path)


def sync(world: World, path: str, **more: Any) -> dict[str, Any]:
    """One run."""
    more = {"max_age": timedelta(days=3)} | more
    operator = SyncSubscribersOperator(task_id="sync", list_id=NEWS, extract=path, **more)
    report: dict[str, Any] = world.run(operator)
    return report


def on_list(ledger: Ledger) -> list[str]:
    """The copy."""
    return list(ledger.subscribers(COMPANY, NEWS))


def test_the_first_sync_rings_no_bell(empty_world: World, ledger: Ledger) -> None:
    """A million people who have been there for years are not new."""
    report = sync(empty_world, extract(empty_world, ANN, BOB))
    assert (report["members"], report["joined"], report["left"], report["is_first"]) == (2, 2, 0, True)
    assert on_list(ledger) == [ANN, BOB]
    assert ledger.latest_change(COMPANY, ChangeKind.SUBSCRIBED, NEWS) == 0


def test_what_callbacks_missed_is_found_and_rings(empty_world: World, ledger: Ledger) -> None:
    """One joined and one left without a word; both are news."""
    sync(empty_world, extract(empty_world, ANN, BOB, days_old=1))
    report = sync(empty_world, extract(empty_world, ANN, CYD))
    assert (report["joined"], report["left"], report["newer"], report["is_first"]) == (1, 1, 0, False)
    assert on_list(ledger) == [ANN, CYD]
    assert ledger.latest_change(COMPANY, ChangeKind.SUBSCRIBED, NEWS) > 0
    assert ledger.latest_change(COMPANY, ChangeKind.UNSUBSCRIBED, NEWS) > 0


def test_what_happened_after_the_file_stands(empty_world: World, ledger: Ledger) -> None:
    """The file still has who left this minute, and lacks who joined this minute."""
    sync(empty_world, extract(empty_world, ANN, BOB, days_old=1))
    ledger.note_membership(COMPANY, NEWS, [Left(NEWS, ANN, NOW), Joined(NEWS, CYD, NOW)], "callback")
    report = sync(empty_world, extract(empty_world, ANN, BOB))
    assert (report["joined"], report["left"], report["newer"]) == (0, 0, 2)
    assert on_list(ledger) == [BOB, CYD]


def test_the_same_file_again_changes_nothing(empty_world: World, ledger: Ledger) -> None:
    """A retry, a cleared task."""
    path = extract(empty_world, ANN)
    sync(empty_world, path)
    again = sync(empty_world, path)
    assert (again["joined"], again["left"], again["newer"]) == (0, 0, 0)


def test_an_older_file_is_refused(empty_world: World, ledger: Ledger) -> None:
    """It would bring people back who have left between the two."""
    old = extract(empty_world, ANN, BOB, days_old=1)
    sync(empty_world, extract(empty_world, ANN))
    with pytest.raises(AirflowFailException, match="give a newer one"):
        sync(empty_world, old)


def test_half_a_file_unsubscribes_nobody(empty_world: World, ledger: Ledger) -> None:
    """A file that was cut short looks like a mass exodus; a person says which it is."""
    everybody = [us_number(n) for n in range(400)]
    sync(empty_world, extract(empty_world, *everybody, days_old=1))
    half = extract(empty_world, *everybody[:200])
    with pytest.raises(AirflowFailException, match="is the file whole"):
        sync(empty_world, half)
    assert len(on_list(ledger)) == 400
    assert sync(empty_world, half, max_left_share=0.5)["left"] == 200


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"extract": ""}, "extract"),
        ({"list_id": " "}, "list_id"),
        ({"max_age": timedelta(0)}, "max_age"),
        ({"max_left_share": 20}, "a share from 0 to 1"),
    ],
)
def test_what_cannot_work_is_refused_while_the_dag_is_parsed(wrong: dict[str, Any], told: str) -> None:
    """Field, value, remedy."""
    with pytest.raises(InvalidInput, match=told):
        SyncSubscribersOperator(task_id="sync", **({"list_id": NEWS, "extract": "out"} | wrong))
