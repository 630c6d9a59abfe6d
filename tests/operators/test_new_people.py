"""Everybody who is new since the last run, each exactly once, whatever happens to the runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from sqlalchemy import select, update

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.facts import Joined, Left
from airflow_sms_flow.hooks.ledger import ledger_address, open_ledger
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.ledger.database import create_ledger_engine
from airflow_sms_flow.ledger.schema import changes, takes
from airflow_sms_flow.operators import (
    NewBouncesOperator,
    NewRepliesOperator,
    NewSubscribersOperator,
    NewUnsubscribersOperator,
)
from tests.operators.world import ANN, BOB, CYD, NEWS, Run, World, send

COMPANY = "acme"
FIRST, SECOND = Run(run_id="first"), Run(run_id="second")


@pytest.fixture
def ledger(world: World) -> Iterator[Ledger]:
    """The one that the operators use."""
    with closing(open_ledger()) as opened:
        yield opened


def join(world: World, ledger: Ledger, *phones: str) -> None:
    """At Vibes, which calls back."""
    world.join(*phones)
    now = datetime.now(UTC)
    ledger.note_membership(COMPANY, NEWS, [Joined(NEWS, phone, now) for phone in phones], "callback")


def new(world: World, run: Run = FIRST, **more: Any) -> dict[str, Any]:
    """What the task hands on."""
    operator = NewSubscribersOperator(**({"task_id": "new", "list_id": NEWS} | more))
    reference: dict[str, Any] = world.run(operator, run)
    world.pushed["audience"] = reference
    return reference


def phones(world: World) -> list[str]:
    """The people of the last audience."""
    return [row["phone"] for row in world.rows("audience")]


def test_each_run_takes_whom_no_run_took_before(world: World, ledger: Ledger) -> None:
    """And again the same when it is retried or cleared."""
    join(world, ledger, ANN)
    assert new(world)["funnel"] == {"extracted": 1, "kept": 1}
    join(world, ledger, BOB)
    new(world, FIRST.again())
    assert phones(world) == [ANN]
    new(world, SECOND)
    assert phones(world) == [BOB]


def test_two_cursors_have_everybody_each(world: World, ledger: Ledger) -> None:
    """A welcome and a survey do not take people from each other; two tasks of one cursor do."""
    join(world, ledger, ANN)
    new(world)
    assert new(world, SECOND, cursor="survey")["rows"] == 1
    assert new(world, SECOND, task_id="other", cursor="survey")["rows"] == 0


def test_a_usual_cursor_that_is_too_long_asks_for_another(world: World) -> None:
    """Airflow's ids may be longer than the ledger's names; PostgreSQL would refuse them as if it was ill."""
    with pytest.raises(AirflowFailException, match="cursor"):
        new(world, task_id="t" * 240)
    assert new(world, task_id="t" * 240, cursor="short")["rows"] == 0


def test_the_audience_can_be_sent_to_as_it_is(world: World, ledger: Ledger) -> None:
    """Prepared: E.164, each number once."""
    join(world, ledger, ANN, BOB)
    report = world.run(send(audience=new(world), campaign_key="once:welcome"))
    assert report["accepted"] == 2


def test_a_dry_run_leaves_people_for_the_first_run_that_is_not(world: World, ledger: Ledger) -> None:
    """It shows how many there are, and hands nobody on."""
    join(world, ledger, ANN)
    dry = new(world, dry_run="true")
    assert (dry["rows"], dry["funnel"]["dry_run"]) == (0, 1)
    assert new(world, SECOND)["rows"] == 1


def days_pass(world: World, days: int) -> None:
    """Everything that the ledger noted, and every note of a first run, is that much older."""
    by = timedelta(days=days)
    engine = create_ledger_engine(ledger_address())
    with engine.begin() as connection:
        for id_, noted_at in connection.execute(select(changes.c.id, changes.c.noted_at)).all():
            connection.execute(update(changes).where(changes.c.id == id_).values(noted_at=noted_at - by))
    engine.dispose()
    for note in notes(world):
        note.write_text((datetime.fromisoformat(note.read_text()) - by).isoformat())


def notes(world: World) -> list[Path]:
    """What dry runs leave."""
    return list((world.folder / "home").rglob(".cursors/**/*.txt"))


def test_whom_a_dry_run_showed_days_ago_the_first_real_run_takes(world: World, ledger: Ledger) -> None:
    """Also who came in between, and nobody from before the time that the first dry run looked back to."""
    join(world, ledger, ANN)
    days_pass(world, 2)
    join(world, ledger, BOB)
    assert new(world, dry_run=True)["funnel"]["dry_run"] == 1
    days_pass(world, 3)
    join(world, ledger, CYD)
    assert new(world, SECOND, dry_run=True)["funnel"]["dry_run"] == 2
    assert new(world, SECOND.again())["rows"] == 2
    assert phones(world) == [BOB, CYD]


def test_dry_runs_of_one_cursor_say_nothing_about_another(world: World, ledger: Ledger) -> None:
    """Each begins with its own first run; how far it looks back may change meanwhile."""
    new(world, dry_run=True, look_back=timedelta(hours=1))
    join(world, ledger, ANN)
    days_pass(world, 3)
    assert new(world, cursor="another")["rows"] == 0
    assert new(world, SECOND, look_back=timedelta(0))["rows"] == 1


def test_a_real_run_leaves_no_note_and_a_dry_one_no_row(world: World, ledger: Ledger) -> None:
    """The ledger holds real cursors alone."""
    for cursor, dry_run in (("one", True), ("two", False)):
        new(world, cursor=cursor, dry_run=dry_run)
    assert [note.stem for note in notes(world)] == ["one"]
    engine = create_ledger_engine(ledger_address())
    with engine.connect() as connection:
        assert connection.execute(select(takes.c.name)).scalars().all() == ["two"]
    engine.dispose()


def test_a_note_that_somebody_spoilt_is_told_of(world: World, ledger: Ledger) -> None:
    """File and remedy; nobody is taken from a wrong moment on."""
    new(world, dry_run=True)
    notes(world)[0].write_text("soon")
    with pytest.raises(AirflowFailException, match=r"\.cursors.*\.txt holds no time.*delete the file"):
        new(world)


def test_a_backfill_takes_nobody(world: World, ledger: Ledger) -> None:
    """New has no meaning in the past; the next run still finds them."""
    join(world, ledger, ANN)
    assert new(world, Run(run_type="backfill", run_id="backfill"))["rows"] == 0
    assert new(world, SECOND)["rows"] == 1


def test_a_new_cursor_does_not_greet_last_years_people(world: World, ledger: Ledger) -> None:
    """It looks back a day, or as far as it is told."""
    join(world, ledger, ANN)
    assert new(world, look_back=timedelta(0))["rows"] == 0
    assert new(world, SECOND, cursor="another")["rows"] == 1


def test_who_left_is_a_list_of_its_own(world: World, ledger: Ledger) -> None:
    """With Vibes' reason."""
    join(world, ledger, ANN, BOB)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    ledger.note_membership(COMPANY, NEWS, [Left(NEWS, ANN, soon, "disconnect")], "callback")
    reference = world.run(NewUnsubscribersOperator(task_id="gone", list_id=NEWS))
    world.pushed["audience"] = reference
    assert [(row["phone"], row["why"]) for row in world.rows("audience")] == [(ANN, "disconnect")]


def test_bounces_and_replies_have_their_own_tape(world: World, ledger: Ledger) -> None:
    """Nobody bounced, nobody wrote: empty audiences, not errors."""
    join(world, ledger, CYD)
    assert world.run(NewBouncesOperator(task_id="bounces", list_id=NEWS))["rows"] == 0
    assert world.run(NewRepliesOperator(task_id="replies", source_code="52623"))["rows"] == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"list_id": ""}, "list_id"),
        ({"cursor": " "}, "cursor"),
        ({"look_back": timedelta(days=-1)}, "look_back"),
        ({"on_backfill": "send"}, "must be one of: skip, take"),
        ({"dry_run": "perhaps"}, "must be true or false"),
    ],
)
def test_what_cannot_work_is_refused_while_the_dag_is_parsed(wrong: dict[str, Any], told: str) -> None:
    """Field, value, remedy."""
    with pytest.raises(InvalidInput, match=told):
        NewSubscribersOperator(**({"task_id": "new", "list_id": NEWS} | wrong))


def test_what_a_template_turned_into_is_checked_before_anybody_is_taken(world: World, ledger: Ledger) -> None:
    """The people are still there for the run that is right."""
    join(world, ledger, ANN)
    with pytest.raises(AirflowFailException, match="list_id"):
        world.run(NewSubscribersOperator(task_id="new", list_id="{{ params.none }}"), params={"none": " "})
    assert new(world, SECOND)["rows"] == 1
