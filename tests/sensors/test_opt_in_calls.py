"""What a wait costs: the calls that reach Vibes are counted there."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException

from tests.sensors.opt_in_world import ANN, BOB, CYD, DAY, DEE, HOUR, World, counts, participation

THOUSAND = 1_000


def thousand(world: World) -> dict[str, str]:
    """A thousand people who are asked now, silent all of them, and their `expire_date`."""
    phones = [f"+1202{5550100 + n}" for n in range(THOUSAND)]
    world.caller.load(phones=[{"phone": phone, "behaviour": "silence"} for phone in phones])
    world.caller.panel("POST", "settings", json={"vibes_others_per_second": 10_000})
    ends = {phone: world.caller.ask(phone).json()["expire_date"] for phone in phones}
    world.caller.panel("POST", "settings", json={"vibes_others_per_second": 100})
    return ends


def calls(world: World) -> list[datetime]:
    """When each reading call was made, those that check list and campaign included."""
    return [
        datetime.fromisoformat(one["at"])
        for one in world.caller.panel("GET", "log")["requests"]
        if one["vendor"] == "vibes" and one["method"] == "GET"
    ]


def test_a_thousand_answers_by_callback_cost_a_handful_of_calls(world: World) -> None:
    """None is made about anybody: the checks of list and campaign are all."""
    asked = thousand(world)
    at = world.now()
    world.inbox(participation(phone, "PENDING", at, end) for phone, end in asked.items())
    sensor = world.sensor(world.pending(asked), poke_interval=60)
    assert world.start(sensor) is None
    for part in range(4):
        answers = list(asked)[part::4]
        status = "REJECTED" if part == 3 else "CONFIRMED"
        bodies = [participation(phone, status, at) for phone in answers]
        world.later[(part + 1) * 1800.0] = lambda bodies=bodies: world.inbox(bodies)  # type: ignore[misc]  # bound now
    assert world.resume(sensor, world.fire()) == counts(confirmed=750, declined=250)
    assert 4 * 1800 < world.ahead.total_seconds() < 4 * 1800 + 120
    assert not world.lookups()
    assert len(calls(world)) < 10


def test_a_thousand_silent_people_cost_at_most_the_budget(world: World) -> None:
    """Without callbacks: a hundred calls a minute while people may answer, and then one for each person."""
    asked = thousand(world)
    before = len(calls(world))
    sensor = world.sensor(world.pending(asked), poke_interval=60)
    assert world.start(sensor) is None
    world.later[HOUR / 2] = stop
    with pytest.raises(StopHere):
        world.fire()
    waited = calls(world)[before:]
    a_minute = Counter(int((moment - waited[0]).total_seconds() // 60) for moment in waited)
    # Two sliding minutes may share one on the clock.
    assert max(a_minute.values()) <= 100
    assert 500 < len(waited) <= 30 * 100
    world.advance(DAY - HOUR / 2 + 61)
    over = len(world.lookups())
    assert world.resume(sensor, world.fire()) == counts(expired=THOUSAND)
    assert len(world.lookups()) == over + THOUSAND


class StopHere(Exception):
    """The triggerer is stopped."""


def stop() -> None:
    raise StopHere


def test_several_sensors_over_the_same_people_share_their_looks(world: World) -> None:
    """The ledger knows who looked when."""
    audience = world.ask(ann="silence", bob="silence", cyd="silence", dee="silence")
    alone = world.sensor(audience, poke_interval=HOUR)
    assert world.start(alone) is None
    world.advance(1.2 * HOUR)
    for _ in range(5):
        assert world.start(world.sensor(audience, poke_interval=HOUR)) is None
    assert len(world.lookups()) == 4


def test_looks_become_rare(world: World) -> None:
    """One minute, two, four, … to an hour: some thirty a day, not fourteen hundred."""
    sensor = world.sensor(world.ask(ann="silence"), poke_interval=60)
    assert world.start(sensor) is None
    assert world.fire()["expired"] == 1
    assert 25 < len(world.lookups()) < 40


def test_where_callbacks_come_the_looks_are_rarer_still(world: World) -> None:
    """Every six hours, for what a lost callback would have told: Dee's yes is found so."""
    world.caller.panel("POST", "settings", json={"answer_seconds": 5 * HOUR})
    audience = world.ask(ann="silence", bob="silence", cyd="silence", dee="Y")
    for phone in (ANN, BOB, CYD, DEE):
        world.calls_back(phone, "PENDING")
    assert world.start(world.sensor(audience, poke_interval=60)) is None
    world.later[HOUR] = lambda: world.calls_back(ANN, "CONFIRMED")
    world.later[8 * HOUR] = stop
    with pytest.raises(StopHere):
        world.fire()
    assert not world.lookups(ANN)
    assert 1 <= len(world.lookups(BOB)) <= 3
    assert 2 <= len(world.lookups(DEE)) <= 3


def test_what_callbacks_told_needs_no_look(world: World) -> None:
    """Also where they came before the sensor began, and before anybody knew whom it would wait for."""
    audience = world.ask(ann="silence", bob="silence", cyd="silence")
    world.calls_back(ANN, "CONFIRMED")
    world.calls_back(BOB, "REJECTED")
    world.calls_back(CYD, "CONFIRMED")
    assert world.start(world.sensor(audience)) == counts(confirmed=2, declined=1)
    assert not world.lookups()


def test_pokes_in_workers_of_their_own_check_list_and_campaign_once(world: World) -> None:
    """Rescheduled each minute for a day, a sensor would ask three thousand times for what does not change."""
    audience = world.ask(ann="silence")
    made = []
    for _ in range(4):
        sensor = world.sensor(audience, deferrable=False, mode="reschedule", poke_interval=HOUR)
        before, context = len(calls(world)), world.context()
        context["ti"].get_first_reschedule_date = lambda _: None
        with pytest.raises(AirflowRescheduleException):
            sensor.execute(context)
        made.append(len(calls(world)) - before)
        world.advance(60)
    assert 2 <= made[0] <= 3
    assert made[1:] == [0, 0, 0]
