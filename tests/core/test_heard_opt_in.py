"""What callbacks add to an opt-in, in any order; and how polls are folded in."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.heard_opt_in import (
    after_answer,
    after_join,
    after_question,
    after_stored_poll,
    is_about,
)
from airflow_sms_flow.core.opt_in import OptIn, OptInState

T = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PENDING, CONFIRMED = OptInState.PENDING, OptInState.CONFIRMED
DECLINED, EXPIRED = OptInState.DECLINED, OptInState.EXPIRED


@dataclass(frozen=True)
class Said:
    """A question (`yes` None) or an answer, to the question of day `day`."""

    day: int
    minutes: int
    yes: bool | None
    dated: bool  #: whether the answer names its question's `expire_date`

    def fold(self, known: OptIn | None) -> OptIn:
        asked_at = T + self.day * 3 * DAY
        if self.yes is None:
            return after_question(known, at=asked_at, expire_at=asked_at + DAY)
        at = asked_at + timedelta(minutes=self.minutes)
        return after_answer(
            known, confirmed=self.yes, at=at, expire_at=asked_at + DAY if self.dated else None
        )


SAID = st.builds(
    Said, st.integers(0, 2), st.integers(1, 3), st.sampled_from([None, True, False]), st.booleans()
)


def _fold(order: list[Said]) -> OptIn | None:
    known: OptIn | None = None
    for said in order:
        known = said.fold(known)
    return known


@given(st.lists(SAID, min_size=1, max_size=6), st.integers(0, 1000))
def test_the_order_of_arrival_does_not_matter(said: list[Said], seed: int) -> None:
    """Nor do repeats: questions and answers of three days come to the same state."""
    shuffled = [*said, *said]
    random.Random(seed).shuffle(shuffled)
    assert _fold(said) == _fold(shuffled)


@given(st.lists(SAID, min_size=1, max_size=6))
def test_the_newest_answer_to_the_newest_question_counts(said: list[Said]) -> None:
    """A No beats a Yes of the same instant; without an answer since, the question is open."""
    answers = [(one.day, one.minutes, one.yes is False) for one in said if one.yes is not None]
    asked = max((one.day for one in said if one.yes is None), default=0)
    found = _fold(said)
    assert found is not None
    if not answers or max(answers)[0] < asked:
        assert (found.state, found.answered_at) == (PENDING, None)
    else:
        assert found.state is (DECLINED if max(answers)[2] else CONFIRMED)


def test_who_joined_the_list_has_confirmed() -> None:
    """But for a join from before the question."""
    asked = after_question(None, at=T, expire_at=T + DAY)
    assert after_join(asked, at=T - DAY, stands=True) == asked
    for stands in (True, False):
        assert after_join(asked, at=T + timedelta(hours=1), stands=stands).state is CONFIRMED


def test_where_nobody_told_when_it_was_asked_a_join_must_stand_and_be_of_its_day() -> None:
    """It may be older than the question: who left since was asked anew."""
    polled = OptIn(T + DAY)
    assert after_join(polled, at=T, stands=True).state is CONFIRMED
    assert after_join(polled, at=T, stands=False) == polled
    assert after_join(polled, at=T - timedelta(seconds=1), stands=True) == polled


@pytest.mark.parametrize("polled", [PENDING, CONFIRMED, DECLINED, EXPIRED])
def test_an_answer_that_was_heard_beats_what_a_poll_saw(polled: OptInState) -> None:
    """Whichever is stored first: a poll only infers."""
    seen = OptIn(T + DAY, polled)
    heard_first = after_stored_poll(
        after_answer(None, confirmed=False, at=T + timedelta(hours=1), expire_at=T + DAY), seen
    )
    poll_first = after_answer(seen, confirmed=False, at=T + timedelta(hours=1), expire_at=T + DAY)
    assert heard_first == poll_first
    assert heard_first.state is DECLINED


def test_a_poll_about_a_newer_question_opens_it_again() -> None:
    """The answer to the question of last week says nothing about it; nor does that answer told once more."""
    answered = after_answer(None, confirmed=False, at=T, expire_at=T + DAY)
    again = OptIn(T + 8 * DAY)
    known = after_stored_poll(answered, again)
    assert known == again
    assert after_answer(known, confirmed=False, at=T, expire_at=T + DAY) == again
    assert after_question(known, at=T, expire_at=T + DAY) == again
    assert after_stored_poll(again, OptIn(T + DAY, CONFIRMED)) == again


def test_a_decided_question_is_not_opened_by_a_second_sensor() -> None:
    """Two sensors over the same people: one decides, the other stores what it saw before."""
    decided = OptIn(T + DAY, EXPIRED)
    assert after_stored_poll(decided, OptIn(T + DAY)) == decided
    assert after_stored_poll(OptIn(T + DAY), decided) == decided


def test_seconds_do_not_make_another_question() -> None:
    """Vibes writes `expire_date` with and without them."""
    polled = OptIn(T + DAY + timedelta(seconds=41))
    assert is_about(polled, T + DAY)
    assert not is_about(polled, T + DAY + timedelta(hours=1))
    heard = after_answer(polled, confirmed=True, at=T + timedelta(minutes=5), expire_at=T + DAY)
    assert (heard.state, heard.expire_at) == (CONFIRMED, polled.expire_at)


def test_an_answer_without_a_date_is_about_the_question_open_then() -> None:
    """It stands with its own time until the question is heard of."""
    answered = after_answer(None, confirmed=True, at=T + timedelta(hours=2))
    assert is_about(answered, T + DAY)
    assert not is_about(answered, T + 9 * DAY)
    assert not is_about(answered, T + timedelta(hours=1))
    assert after_stored_poll(answered, OptIn(T + DAY)) == OptIn(
        T + DAY, CONFIRMED, answered_at=T + timedelta(hours=2)
    )
