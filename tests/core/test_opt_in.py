"""A person is declined or expired only when nothing else can be true; what is decided stays."""

from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.opt_in import (
    OptIn,
    OptInState,
    after_poll,
    confirmations_needed,
    read_min_confirmed,
)

EXPIRE_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ASKED = OptIn(EXPIRE_AT)
Poll = tuple[int, bool, bool]  # seconds from the expiry, pending, subscribed
POLLS = st.lists(st.tuples(st.integers(-400, 200), st.booleans(), st.booleans()), max_size=12)


def fold(*polls: Poll, start: OptIn = ASKED) -> OptIn:
    def step(opt_in: OptIn, poll: Poll) -> OptIn:
        seconds, pending, subscribed = poll
        at = EXPIRE_AT + timedelta(seconds=seconds)
        return after_poll(opt_in, at=at, pending=pending, subscribed=subscribed)

    return reduce(step, polls, start)


PENDING, ABSENT, ON_LIST = (True, False), (False, False), (False, True)


@pytest.mark.parametrize(
    ("polls", "state"),
    [
        ([], "pending"),
        ([(-300, *PENDING), (-200, *ON_LIST)], "confirmed"),
        ([(-300, True, True)], "confirmed"),
        ([(500, *ON_LIST)], "confirmed"),
        ([(-300, *ABSENT)], "pending"),
        ([(-300, *ABSENT), (-271, *ABSENT)], "pending"),
        ([(-300, *ABSENT), (-271, *ABSENT), (-270, *ABSENT)], "declined"),
        ([(-270, *ABSENT), (-300, *ABSENT), (-310, *PENDING), (-241, *ABSENT)], "pending"),
        ([(-300, *ABSENT), (-280, *PENDING), (-260, *ABSENT)], "pending"),
        ([(-300, *ABSENT), (-270, *ON_LIST)], "confirmed"),
        ([(-20, *ABSENT), (20, *ABSENT), (60, *ABSENT)], "pending"),
        ([(60, *PENDING)], "pending"),
        ([(61, *PENDING)], "expired"),
        ([(61, *ABSENT)], "expired"),
    ],
)
def test_polls_add_up_as_the_rules_say(polls: list[Poll], state: str) -> None:
    """Seconds are counted from the expiry; two absences 30 s apart decline, a minute after it expires."""
    assert fold(*polls).state == state


@given(POLLS, POLLS)
def test_a_decision_is_final(before: list[Poll], after: list[Poll]) -> None:
    """No later poll changes confirmed, declined or expired."""
    decided = fold(*before)
    if decided.state is not OptInState.PENDING:
        assert fold(*after, start=decided) == decided


@given(POLLS)
def test_decisions_have_their_grounds(polls: list[Poll]) -> None:
    """Each final state needs the polls that prove it, whatever else was seen."""
    state = fold(*polls).state
    absences = [at for at, pending, subscribed in polls if at < 0 and not pending and not subscribed]
    if state is OptInState.CONFIRMED:
        assert any(subscribed for _, _, subscribed in polls)
    if state is OptInState.EXPIRED:
        assert any(at > 60 and not subscribed for at, _, subscribed in polls)
    if state is OptInState.DECLINED:
        assert max(absences) - min(absences) >= 30


@given(POLLS)
def test_everybody_is_decided_by_one_poll_after_the_last_minute(polls: list[Poll]) -> None:
    """The sensor ends: nobody stays pending beyond expiry, a minute and one poll."""
    assert fold(*polls, (61, True, False)).state is not OptInState.PENDING


@given(st.booleans(), st.booleans())
def test_seen_on_the_list_always_confirms(pending: bool, early: bool) -> None:
    """Consent that stands wins over every clock."""
    assert fold((-300, *ABSENT), (-100 if early else 100, pending, True)).state is OptInState.CONFIRMED


def test_times_without_zone_are_refused() -> None:
    """An hour off would expire people who still may answer."""
    with pytest.raises(ValueError, match="aware UTC"):
        OptIn(datetime(2026, 3, 1))
    with pytest.raises(ValueError, match="aware UTC"):
        after_poll(ASKED, at=datetime(2026, 3, 1), pending=True, subscribed=False)


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        *[(None, None), ("", None), ("None", None), (1, 1), ("1", 1), (" 250 ", 250)],
        *[(1.0, 1.0), ("1.0", 1.0), (0.8, 0.8), ("0.8", 0.8), (".5", 0.5)],
    ],
)
def test_enough_is_a_number_of_people_or_a_share_of_them(typed: object, means: object) -> None:
    """1 is one person, 1.0 is everybody."""
    found = read_min_confirmed(typed)
    assert (found, type(found)) == (means, type(means))


@pytest.mark.parametrize("typed", [0, -1, 0.0, 1.5, True, "0", "1.5", "80%", "nan.", "most", [1], 1e9])
def test_any_other_number_that_is_enough_is_refused(typed: object) -> None:
    """A wait that ends too early, or never early, would not be noticed."""
    with pytest.raises(InvalidInput, match="min_confirmed"):
        read_min_confirmed(typed)


@pytest.mark.parametrize(
    ("enough", "people", "needed"),
    [(None, 10, None), (3, 10, 3), (0.5, 10, 5), (0.5, 11, 6), (0.07, 100, 7), (1.0, 7, 7), (0.01, 1, 1)],
)
def test_a_share_is_rounded_up_to_people(enough: int | float | None, people: int, needed: int | None) -> None:
    """Half of eleven is six."""
    assert confirmations_needed(enough, people) == needed
