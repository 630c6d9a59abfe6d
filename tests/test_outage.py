"""A vendor that is plainly down is left alone, but for a probe now and then."""

from __future__ import annotations

import threading

import pytest

from airflow_sms_flow.core.errors import Stopped, Unavailable
from airflow_sms_flow.outage import OutageRules, OutageWatch

RULES = OutageRules(last_answers=10, at_least=4, failing_share=0.5, budget_seconds=100.0)
GO_ON = threading.Event()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def watch_after(clock: Clock, *failed: bool) -> OutageWatch:
    watch = OutageWatch(RULES, clock)
    for one in failed:
        watch.tell(failed=one)
    return watch


def is_held(watch: OutageWatch) -> bool:
    halt = threading.Event()
    halt.set()
    try:
        watch.wait_for_turn(halt)
    except Stopped:
        return True
    return False


def test_a_few_failures_among_many_answers_hold_nobody() -> None:
    """One in three is a bad day, no outage."""
    assert not is_held(watch_after(Clock(), *[True, False, False] * 5))


def test_half_of_the_last_answers_failing_holds_everybody() -> None:
    """Nobody else is claimed while the vendor is down."""
    assert is_held(watch_after(Clock(), True, True, True, False))


def test_one_probe_is_let_through_and_then_later_ones_more_seldom() -> None:
    """After one second, then two, then four."""
    clock = Clock()
    watch = watch_after(clock, True, True, True, True)
    probes = []
    for clock.now in [n / 2 for n in range(1, 20)]:
        if not is_held(watch):
            probes.append(clock.now)
            watch.tell(failed=True)
    assert probes == [1.0, 3.0, 7.0]


def test_a_good_probe_ends_the_outage() -> None:
    """Everybody goes on, and old failures are forgotten."""
    clock = Clock()
    watch = watch_after(clock, True, True, True, True)
    clock.now = 1.0
    watch.wait_for_turn(GO_ON)
    watch.tell(failed=False)
    watch.tell(failed=True)
    assert not is_held(watch)


def test_a_probe_that_came_to_no_call_is_the_next_ones() -> None:
    """At once, and the later ones come as if it had not been: the vendor was not asked."""
    clock = Clock()
    watch = watch_after(clock, True, True, True, True)
    clock.now = 1.0
    for _ in range(3):
        with watch.turn(GO_ON):
            assert is_held(watch)
    with watch.turn(GO_ON) as turn:
        turn.tell(failed=True)
    clock.now = 2.5
    assert is_held(watch)
    clock.now = 3.0
    assert not is_held(watch)


def test_a_turn_that_was_no_probe_gives_none_away() -> None:
    """It began while all was well and came to nothing."""
    clock = Clock()
    watch = watch_after(clock, True, True, True)
    with watch.turn(GO_ON):
        watch.tell(failed=True)
    assert is_held(watch)


def test_past_the_budget_the_try_gives_up() -> None:
    """Airflow's next try goes on from the ledger."""
    clock = Clock()
    watch = watch_after(clock, True, True, True, True)
    clock.now = 101.0
    with pytest.raises(Unavailable, match="101 seconds"):
        watch.wait_for_turn(GO_ON)
