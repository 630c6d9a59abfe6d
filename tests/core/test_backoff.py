"""How long a passing fault is met with patience."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.backoff import Backoff


@given(st.integers(1, 2_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_negative_nor_longer_than_the_longest(attempt: int, chance: float) -> None:
    """However many attempts there were."""
    assert 0 <= Backoff().wait_seconds(attempt, chance) <= Backoff().longest_wait_seconds


def test_waits_double_and_are_spread() -> None:
    """Full jitter: tasks that were refused together do not come back together."""
    backoff = Backoff(first_wait_seconds=0.5, longest_wait_seconds=30)
    longest = [backoff.wait_seconds(attempt, 0.999999) for attempt in range(1, 8)]
    assert [round(seconds) for seconds in longest] == [1, 2, 4, 8, 16, 30, 30]
    assert backoff.wait_seconds(3, 0.0) == 0
