"""Send without a call per person: by the vendor's daily file, and by the ledger's own copy of the list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.facts import Left
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.operators import SyncSubscribersOperator, UnsubscribeFromVibesListOperator
from tests.operators.world import ANN, BOB, CYD, NEWS, World, adds_up, send

COMPANY = "acme"


@pytest.fixture
def ledger(world: World) -> Iterator[Ledger]:
    """The one that the operators use."""
    with closing(open_ledger()) as opened:
        yield opened


def extract(world: World, *, days_old: int = 0) -> str:
    """What Vibes delivers: the list as it is now, under the date of so many days ago."""
    folder = world.folder / "out"
    folder.mkdir(exist_ok=True)
    wish = {"extract": "current_subscribers", "folder": str(folder)}
    made = Path(world.caller.panel("POST", "extracts", json=wish)["path"])
    day = datetime.now(UTC) - timedelta(days=days_old)
    return str(made.rename(folder / f"current_subscribers_{COMPANY}_{day:%Y-%m-%d}.txt"))


def leave(ledger: Ledger, phone: str, at: datetime) -> None:
    """A callback told that somebody left."""
    ledger.note_membership(COMPANY, NEWS, [Left(NEWS, phone, at, "keyword_opt_out")], "callback")


def by_extract(world: World, path: str, **more: Any) -> dict[str, Any]:
    """One send to Ann, Bob and Cyd, by the file."""
    audience = world.audience(ANN, BOB, CYD)
    operator = send(audience=audience, membership="extract", extract=path, **more)
    report: dict[str, Any] = world.run(operator)
    return report


def test_the_file_decides_and_nobody_is_looked_up(world: World) -> None:
    """Who is in it is texted, who is not is refused; not one call per person."""
    world.join(ANN, BOB)
    path = extract(world)
    before = len(world.requests("GET", "/subscribers"))
    report = by_extract(world, path)
    assert (report["accepted"], report["refused"]) == (2, {"not_subscribed": 1})
    assert adds_up(report)
    assert len(world.requests("GET", "/subscribers")) == before


def test_an_opt_out_that_the_ledger_knows_beats_the_older_file(world: World, ledger: Ledger) -> None:
    """The file still has her; she has left since."""
    world.join(ANN, BOB)
    path = extract(world)
    leave(ledger, ANN, datetime.now(UTC))
    assert by_extract(world, path)["refused"] == {"not_subscribed": 2}
    assert world.texts(ANN) == []


def test_our_own_unsubscribe_beats_the_older_file(world: World) -> None:
    """Whatever the callbacks do."""
    world.join(ANN, BOB)
    path = extract(world)
    audience = world.audience(ANN, name="leaving")
    world.run(UnsubscribeFromVibesListOperator(task_id="off", audience=audience, list_id=NEWS))
    assert by_extract(world, path)["accepted"] == 1
    assert world.texts(ANN) == []


def test_an_opt_out_older_than_the_file_does_not_hold_back_who_came_back(
    world: World, ledger: Ledger
) -> None:
    """The file is the newer word."""
    world.join(ANN)
    leave(ledger, ANN, datetime.now(UTC) - timedelta(days=30))
    assert by_extract(world, extract(world))["accepted"] == 1


def test_a_file_that_is_too_old_is_refused_before_anything_is_sent(world: World) -> None:
    """With its age, and what to do."""
    world.join(ANN)
    path = extract(world, days_old=4)
    with pytest.raises(AirflowFailException, match="fetch a newer one"):
        by_extract(world, path)
    assert world.requests("POST", "/events") == []
    assert by_extract(world, path, membership_max_age=timedelta(days=6))["accepted"] == 1


def test_a_dry_run_reads_the_file_too(world: World) -> None:
    """A wrong path shows before the day of the campaign."""
    with pytest.raises(AirflowFailException, match="no such file or folder"):
        by_extract(world, str(world.folder / "nowhere"), dry_run=True)
    assert by_extract(world, extract(world), dry_run=True)["skipped"] == {"dry_run": 3}


def test_the_mirror_wants_a_sync_and_then_follows_what_callbacks_tell(world: World, ledger: Ledger) -> None:
    """Callbacks alone do not know who was there before them."""
    world.join(ANN, BOB)
    operator = {"audience": world.audience(ANN, BOB, CYD), "membership": "mirror"}
    for dry_run in (True, False):
        with pytest.raises(AirflowFailException, match="run SyncSubscribersOperator"):
            world.run(send(**operator, dry_run=dry_run))
    synced = world.run(SyncSubscribersOperator(task_id="sync", list_id=NEWS, extract=extract(world)))
    assert (synced["members"], synced["joined"], synced["is_first"]) == (2, 2, True)
    leave(ledger, BOB, datetime.now(UTC))
    report = world.run(send(**operator))
    assert (report["accepted"], report["refused"]) == (1, {"not_subscribed": 2})
    assert world.texts(BOB) == []


def test_many_lookups_are_announced_with_the_time_they_take(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """And with what would be quicker."""
    monkeypatch.setattr("airflow_sms_flow.operators.send._MANY_LOOKUPS", 2)
    world.run(send(audience=world.audience(ANN, BOB, CYD), dry_run=True))
    said = capfd.readouterr().out
    assert "Looking up 3 people at 100 a second" in said
    assert "membership='extract'" in said


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"membership": "guess"}, "must be one of: lookup, extract, mirror, campaign"),
        ({"membership": "extract"}, "needs the file"),
        ({"membership_max_age": timedelta(0)}, "membership_max_age"),
        ({"membership_max_age": 36}, "membership_max_age"),
    ],
)
def test_what_cannot_work_is_refused_while_the_dag_is_parsed(wrong: dict[str, Any], told: str) -> None:
    """Field, value, remedy."""
    with pytest.raises(InvalidInput, match=told):
        send(audience="a.parquet", **wrong)


def test_the_path_is_a_template(world: World, tmp_path: Path) -> None:
    """A file a day: `{{ ds }}` in its name."""
    world.join(ANN)
    path = extract(world)
    template = path.replace(f"{datetime.now(UTC):%Y-%m-%d}", "{{ params.day }}")
    operator = send(audience=world.audience(ANN), membership="extract", extract=template)
    assert world.run(operator, params={"day": f"{datetime.now(UTC):%Y-%m-%d}"})["accepted"] == 1
