"""How a wait for delivery receipts goes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_sms_flow.core.delivery_wait import next_pause, read_min_final, read_wait_at_most


def pauses(first: float, look_took: float = 0.0) -> list[float]:
    """The first twenty."""
    found: list[float] = []
    for _ in range(20):
        found.append(next_pause(found[-1] if found else None, first, look_took))
    return found


def test_looks_grow_apart_up_to_five_minutes() -> None:
    """Receipts come in the first minutes, or in hours."""
    found = pauses(10)
    assert found[:4] == [10, 15, 22.5, 33.75]
    assert found[-1] == 300
    assert sum(found[:9]) < 900


def test_whoever_wants_rare_looks_gets_them() -> None:
    """And never more than one a second."""
    assert set(pauses(3600)) == {3600}
    assert pauses(0)[0] == 1


def test_looks_that_take_long_are_rare() -> None:
    """A campaign of a million texts takes seconds to count: a twentieth of the time at most."""
    assert pauses(10, look_took=4)[0] == 80


@pytest.mark.parametrize(("value", "share"), [(0, 0), (1, 1), (0.95, 0.95), ("0.5", 0.5), (" 1 ", 1)])
def test_a_share_may_come_as_text(value: object, share: float) -> None:
    """Jinja makes text of a Param."""
    assert read_min_final(value) == share


@pytest.mark.parametrize("value", [timedelta(hours=1), 3600, 3600.0, "3600"])
def test_a_time_may_come_as_seconds(value: object) -> None:
    """As Airflow's own intervals do."""
    assert read_wait_at_most(value) == timedelta(hours=1)
