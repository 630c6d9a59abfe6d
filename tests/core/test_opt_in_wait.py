"""Which question a state is about, when to look again, and what is enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.opt_in import OptIn, OptInState
from airflow_sms_flow.core.opt_in_wait import LookPlan, needed_to_go_on, standing

END = datetime(2026, 3, 2, 12, tzinfo=UTC)
ASKED = END - timedelta(hours=24)
PLAN = LookPlan(60.0)
DAY = timedelta(days=1)


@pytest.mark.parametrize("state", OptInState)
def test_a_state_of_the_same_question_counts(state: OptInState) -> None:
    """Callbacks show its end to the minute only."""
    stored = OptIn(END.replace(second=0) - timedelta(seconds=59), state)
    assert standing(stored, END, ASKED) == stored


@pytest.mark.parametrize("state", OptInState)
def test_a_state_of_an_older_question_says_nothing(state: OptInState) -> None:
    """They were asked anew."""
    assert standing(OptIn(END - DAY, state), END, ASKED) == OptIn(END)


def test_a_newer_question_ends_the_older_one() -> None:
    """Who had said yes would not have been asked again; who says yes to the newer one is on the list."""
    after = END + timedelta(seconds=61)
    assert standing(OptIn(END + DAY), END, after).state is OptInState.EXPIRED
    assert standing(OptIn(END + DAY, OptInState.DECLINED), END, after).state is OptInState.EXPIRED
    assert standing(OptIn(END + DAY, OptInState.CONFIRMED), END, after).state is OptInState.CONFIRMED
    assert standing(OptIn(END + DAY), END, END) == OptIn(END + DAY)


def test_the_first_look_comes_after_the_interval_or_at_once_where_it_is_late() -> None:
    """Right after the question there is nothing to see; a cleared task wants to know."""
    just_asked = PLAN.first(OptIn(END), ASKED, 0.5)
    assert just_asked.at == ASKED + timedelta(seconds=60)
    assert PLAN.first(OptIn(END), ASKED + timedelta(minutes=11), 0.5).at == ASKED + timedelta(minutes=11)
    assert PLAN.first(OptIn(END), END + DAY, 0.5).at == END + DAY


@given(st.floats(1, 4 * 3600), st.floats(0, 1, exclude_max=True), st.booleans(), st.integers(0, 86_400))
def test_looks_grow_apart_and_the_last_one_is_never_late(
    seconds: float, chance: float, told: bool, since: int
) -> None:
    """A second after the minute that follows the end, at the latest; never in the past."""
    at = ASKED + timedelta(seconds=since)
    look = PLAN.after(OptIn(END), at, seconds, chance, told=told)
    assert at < look.at <= END + timedelta(seconds=61)
    assert look.seconds == (6 * 3600 if told else min(2 * seconds, 3600))


def test_an_interval_above_an_hour_stays_as_it_is() -> None:
    """Who asks for two hours gets two hours."""
    plan = LookPlan(7200.0)
    assert plan.after(OptIn(END), ASKED, 7200.0, 0.5, told=False).at == ASKED + timedelta(hours=2)


def test_somebody_absent_is_looked_at_again_after_half_a_minute() -> None:
    """Or at the very end, where that comes before a decline could be told."""
    absent = OptIn(END, absent_since=ASKED)
    assert PLAN.second(absent) == ASKED + timedelta(seconds=31)
    late = OptIn(END, absent_since=END - timedelta(seconds=5))
    assert PLAN.second(late) == END + timedelta(seconds=61)
    assert PLAN.second(OptIn(END)) is None


@pytest.mark.parametrize(
    ("wait_for", "least", "needed"),
    [
        ("all", None, None),
        ("all", 3, 3),
        ("all", "0.5", 5),
        ("first", None, 1),
        ("first", 1, 1),
        ("first", "1", 1),
    ],
)
def test_what_is_enough(wait_for: str, least: object, needed: int | None) -> None:
    """Of ten people."""
    assert needed_to_go_on(wait_for, least, 10) == needed


@pytest.mark.parametrize(
    ("wait_for", "least", "field"),
    [
        ("first", 2, "min_confirmed"),
        ("first", 1.0, "min_confirmed"),
        ("first", "0.1", "min_confirmed"),
        ("First", None, "wait_for"),
        ("", None, "wait_for"),
        (1, None, "wait_for"),
        ("all", 0, "min_confirmed"),
    ],
)
def test_what_contradicts_itself_is_refused(wait_for: object, least: object, field: str) -> None:
    """Whichever of the two was meant, the other would be broken without a word."""
    with pytest.raises(InvalidInput, match=field):
        needed_to_go_on(wait_for, least, 10)
