"""Who is on a list, from facts in any order."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.facts import Joined, Left
from airflow_sms_flow.core.membership import Membership

T = datetime(2026, 5, 1, 12, tzinfo=UTC)
TIMES = st.integers(0, 4).map(lambda n: T + timedelta(seconds=n))
FACTS = st.one_of(
    st.builds(Joined, st.just("12"), st.just("+12025550132"), TIMES),
    st.builds(
        Left,
        st.just("12"),
        st.just("+12025550132"),
        TIMES,
        st.sampled_from([None, "user_opt_out", "declined"]),
    ),
)


def _fold(facts: list[Joined | Left]) -> Membership:
    found = Membership()
    for fact in facts:
        found = found.after(fact)
    return found


@given(st.lists(FACTS, min_size=1, max_size=7), st.integers(0, 1000))
def test_the_order_of_arrival_does_not_matter(facts: list[Joined | Left], seed: int) -> None:
    """Nor do repeats."""
    shuffled = [*facts, *facts]
    random.Random(seed).shuffle(shuffled)
    assert _fold(facts) == _fold(shuffled)


@given(st.lists(FACTS, min_size=1, max_size=7))
def test_the_newest_opt_out_beats_every_older_or_equally_old_opt_in(facts: list[Joined | Left]) -> None:
    """On the list only with an opt-in newer than all opt-outs."""
    joined = [fact.at for fact in facts if isinstance(fact, Joined)]
    left = [fact.at for fact in facts if isinstance(fact, Left)]
    assert _fold(facts).subscribed is (bool(joined) and (not left or max(joined) > max(left)))


def test_what_adds_nothing_changes_nothing() -> None:
    """The same object comes back: nothing is written for it."""
    known = Membership().after(Joined("12", "+12025550132", T))
    assert known.after(Joined("12", "+12025550132", T)) is known
    assert known.after(Joined("12", "+12025550132", T - timedelta(days=1))) is known


def test_nothing_known_has_no_time() -> None:
    """Such a membership is never stored."""
    with pytest.raises(ValueError, match="nothing is known"):
        _ = Membership().since
