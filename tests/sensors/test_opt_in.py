"""The wait ends when everybody is decided, and says of each person what became of them."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from airflow_sms_flow import storage
from airflow_sms_flow.core.facts import ChangeKind
from airflow_sms_flow.core.opt_in import OptIn, OptInState
from airflow_sms_flow.hooks.ledger import open_ledger
from tests.sensors.opt_in_world import ANN, BOB, CYD, DAY, DEE, HOUR, World, counts, look


def known(*phones: str) -> dict[str, OptIn]:
    with closing(open_ledger()) as ledger:
        return ledger.opt_ins("acme", "NEWS1201", phones)


# -- what becomes of people --------------------------------------------------------------------------------


def test_each_person_ends_as_confirmed_declined_or_expired(real_world: World) -> None:
    """Y, N and silence, over a whole day; the worker is called twice."""
    world = real_world
    audience = world.ask(ann="Y", bob="N", cyd="silence")
    assert world.wait(world.sensor(audience)) == counts(confirmed=1, declined=1, expired=1)
    people = {state: world.people(state) for state in world.pushed}
    assert people == {"confirmed": [ANN], "declined": [BOB], "expired": [CYD], "pending": []}
    assert len(world.deferrals) == 1


def test_the_wait_ends_a_minute_after_the_last_expiry_whatever_the_interval(world: World) -> None:
    """Not a whole poll interval later."""
    audience = world.ask(ann="silence", bob="N")
    (last,) = {row["expire_date"] for batch in storage.read_batches(audience) for row in batch.to_pylist()}
    world.wait(world.sensor(audience, poke_interval=5 * HOUR))
    assert timedelta(seconds=60) < world.now() - last < timedelta(seconds=75)


def test_the_wait_ends_early_when_everybody_has_answered(world: World) -> None:
    """Looks after ten, thirty and seventy minutes, a second look for the decline, no day of waiting."""
    world.wait(world.sensor(world.ask(ann="Y", bob="N"), poke_interval=600))
    assert world.ahead.total_seconds() < 1.1 * 4200 + 60


def test_a_decline_takes_two_looks_half_a_minute_apart(world: World) -> None:
    """Between pending and on the list, who just confirmed is for a moment neither."""
    audience = world.ask(ann="N")
    world.advance(HOUR + 1)
    sensor = world.sensor(audience)
    assert world.start(sensor) is None
    world.advance(28)
    assert look(world, sensor) is None
    world.advance(4)
    assert look(world, sensor) == counts(declined=1)


def test_an_expiry_takes_a_look_later_than_a_minute_after_it(world: World) -> None:
    """The vendor's clock is not ours, and a late Y may just be on its way."""
    sensor = world.sensor(world.ask(ann="silence"))
    assert world.start(sensor) is None
    world.advance(DAY + 57)
    assert look(world, sensor) is None
    world.advance(4)
    assert look(world, sensor) == counts(expired=1)


def test_who_joined_by_another_way_is_confirmed_in_the_end(world: World) -> None:
    """On the list is on the list, though Vibes showed the question as pending; a callback tells it sooner."""
    audience = world.ask(ann="silence")
    world.caller.load(subscriptions=[{"phone": ANN, "list_id": "1201"}])
    assert world.wait(world.sensor(audience)) == counts(confirmed=1)


def test_a_confirmation_that_only_a_look_found_is_news_of_a_new_member(world: World) -> None:
    """Whose callback was lost is welcomed all the same."""
    audience = world.ask(ann="Y")
    world.wait(world.sensor(audience))
    with closing(open_ledger()) as ledger:
        assert ledger.latest_change("acme", ChangeKind.SUBSCRIBED, "1201") > 0
        assert list(ledger.subscribers("acme", "1201")) == [ANN]


def test_an_empty_audience_succeeds_at_once_without_a_request(world: World) -> None:
    """Nobody was asked: a dry run, a skipped backfill, or nobody new."""
    assert world.start(world.sensor(world.pending({}))) == counts()
    assert [world.pushed[state]["rows"] for state in ("confirmed", "declined", "expired", "pending")] == [
        0
    ] * 4
    assert not world.caller.panel("GET", "log")["requests"]


def test_what_is_pushed_is_a_prepared_audience(world: World) -> None:
    """The next task sends to it; every column passes through, the end of the wait does not."""
    audience = world.ask(ann="Y", bob="silence")
    world.advance(HOUR)
    world.start(world.sensor(audience, min_confirmed=1))
    info = storage.check_prepared(world.pushed["confirmed"]["path"])
    assert (info.rows, info.columns) == (1, ("id", "phone", "firstName"))
    assert world.rows("confirmed") == [{"id": 1, "phone": ANN, "firstName": "Zoë"}]
    assert "expire_date" in storage.check_prepared(world.pushed["pending"]["path"]).columns


@pytest.mark.parametrize("enough", [2, 0.5, "2", "0.5"])
def test_enough_confirmations_end_the_wait_early(world: World, enough: Any) -> None:
    """As a number of people or a share; those still open are pending."""
    audience = world.ask(ann="Y", bob="Y", cyd="silence", dee="silence")
    assert world.wait(world.sensor(audience, min_confirmed=enough)) == counts(confirmed=2, pending=2)
    assert world.people("pending") == [CYD, DEE]
    assert world.ahead.total_seconds() < 7 * HOUR


def test_the_first_confirmation_may_be_enough(world: World) -> None:
    """`wait_for="first"`, which is the same as one person; nobody's yes waits for everybody."""
    audience = world.ask(ann="Y", bob="silence", cyd="N")
    assert world.wait(world.sensor(audience, wait_for="first", min_confirmed="1"))["confirmed"] == 1
    assert world.ahead.total_seconds() < 7 * HOUR
    nobody = world.ask(bob="silence", dee="N")
    assert world.wait(world.sensor(nobody, wait_for="first")) == counts(declined=1, expired=1)


def test_too_few_confirmations_wait_for_everybody(world: World) -> None:
    """`min_confirmed` shortens the wait; it is no condition of success."""
    assert world.wait(world.sensor(world.ask(ann="Y", bob="N"), min_confirmed=2)) == counts(
        confirmed=1, declined=1
    )


# -- what the ledger knows ---------------------------------------------------------------------------------


def test_a_cleared_task_asks_nothing_about_those_who_are_decided(world: World) -> None:
    """The ledger knows; the audiences are written again for everybody."""
    audience = world.ask(ann="Y", bob="silence")
    world.advance(HOUR)
    assert world.start(world.sensor(audience)) is None
    before = len(world.lookups(ANN))
    world.advance(DAY)
    assert world.start(world.sensor(audience)) == counts(confirmed=1, expired=1)
    assert len(world.lookups(ANN)) == before
    assert world.people("confirmed") == [ANN]


def test_who_is_asked_again_is_waited_for_again(world: World) -> None:
    """What became of an older question says nothing about the new one, and cannot undo it."""
    old = world.ask(ann="silence")
    world.advance(DAY + 61)
    assert world.start(world.sensor(old)) == counts(expired=1)
    again = world.pending({ANN: world.caller.ask(ANN).json()["expire_date"]}, "again")
    assert world.start(world.sensor(again)) is None
    asked_again = known(ANN)
    assert world.start(world.sensor(old)) == counts(expired=1)
    assert known(ANN) == asked_again
    assert asked_again[ANN].state is OptInState.PENDING


def test_without_an_expire_date_people_have_a_day_from_the_first_look(world: World) -> None:
    """Whichever try looks later."""
    world.ask(ann="silence")
    world.advance(HOUR)
    audience = world.pending({ANN: None})
    assert world.start(world.sensor(audience)) is None
    world.advance(DAY)
    assert world.start(world.sensor(audience)) is None
    world.advance(61)
    assert world.start(world.sensor(audience)) == counts(expired=1)


def test_without_an_expire_date_the_answer_to_an_old_question_decides_nothing(world: World) -> None:
    """They were asked again, long after the old question was over."""
    old = world.ask(ann="silence", bob="Y")
    world.advance(DAY + 61)
    assert world.start(world.sensor(old)) == counts(confirmed=1, expired=1)
    world.advance(DAY)
    again = world.pending({ANN: None, BOB: None}, "again")
    assert world.start(world.sensor(again)) is None
    assert {one.state for one in known(ANN, BOB).values()} == {OptInState.PENDING}
