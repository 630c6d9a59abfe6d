"""Which text of ours a row without our id is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.past_sends import NoMatch, PastSend, match

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def at(hours: float) -> datetime:
    """So many hours after noon."""
    return NOON + timedelta(hours=hours)


def sent(event_id: str, *hours: float, is_final: bool = False) -> PastSend:
    """Requests for it left then."""
    return PastSend(event_id, tuple(at(one) for one in hours), is_final)


@pytest.mark.parametrize(
    ("hours", "matches"), [(-0.04, False), (-0.03, True), (0, True), (24, True), (24.1, False)]
)
def test_a_row_may_be_a_day_later_than_the_request(hours: float, matches: bool) -> None:
    """Or two minutes earlier, since clocks differ."""
    one = sent("a", 0)
    assert match([at(hours)], [one]) == [one if matches else NoMatch.UNKNOWN]


def test_any_request_of_a_text_counts() -> None:
    """It was tried again."""
    one = sent("a", -100, 0)
    assert match([at(1)], [one]) == [one]


def test_two_texts_that_fit_are_ambiguous() -> None:
    """Also where all is known of one of them: the row may be about that."""
    for is_final in (False, True):
        assert match([at(2)], [sent("a", 0, is_final=is_final), sent("b", 1)]) == [NoMatch.AMBIGUOUS]


def test_two_rows_that_fit_one_text_are_ambiguous() -> None:
    """One of them is somebody else's."""
    assert match([at(1), at(2)], [sent("a", 0)]) == [NoMatch.AMBIGUOUS] * 2


def test_a_row_that_fits_only_the_first_of_two_is_its() -> None:
    """The other row may be about either."""
    first, second = sent("a", 0), sent("b", 5)
    assert match([at(0.1), at(5.1)], [first, second]) == [first, NoMatch.AMBIGUOUS]


hours = st.floats(-60, 60)


@given(st.lists(hours, max_size=6), st.lists(hours, max_size=6))
def test_nothing_is_matched_twice(rows: list[float], requests: list[float]) -> None:
    """Whatever comes in, each row gets an answer and each text at most one row."""
    found = match([at(one) for one in rows], [sent(str(n), one) for n, one in enumerate(requests)])
    matched = [one.event_id for one in found if isinstance(one, PastSend)]
    assert len(found) == len(rows)
    assert len(matched) == len(set(matched))
