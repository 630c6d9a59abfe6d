"""Duplicates must meet: a number's shard is a matter of the number alone, to-day and in ten years."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.shards import shard_numbers

E164 = st.integers(min_value=10**6, max_value=10**15 - 1)


def test_the_shard_of_a_number_never_changes() -> None:
    """Pieces that two releases prepared may be merged; these values stand for ever."""
    numbers = np.array([12025550111, 12025550112, 442079460000, 999999999999999], dtype=np.int64)
    assert shard_numbers(numbers, 4).tolist() == [0, 1, 3, 3]
    assert shard_numbers(numbers, 100).tolist() == [40, 93, 11, 79]


@given(st.lists(E164, max_size=50), st.integers(min_value=1, max_value=100))
def test_each_number_is_in_one_shard_whoever_else_is_there(numbers: list[int], shards: int) -> None:
    """Alone or among others, as signed or unsigned: the same shard, and one that exists."""
    together = shard_numbers(np.array(numbers, dtype=np.int64), shards)
    assert all(0 <= shard < shards for shard in together)
    for number, shard in zip(numbers, together, strict=True):
        assert shard_numbers(np.array([number], dtype=np.uint64), shards).tolist() == [shard]


@pytest.mark.parametrize("shards", [2, 3, 4, 7, 8, 10, 16, 32, 64, 100])
@pytest.mark.parametrize(
    "numbers",
    [
        np.arange(12025550000, 12025650000),  # one block after the other, as they are handed out
        np.arange(13105550000, 13105550000 + 100 * 100_000, 100),  # a company that owns every hundredth
        np.arange(442070000000, 442070000000 + 1000 * 100_000, 1000),
        np.concatenate(
            [np.arange(area * 10**7 + 15551000, area * 10**7 + 15552000) for area in range(200, 300)]
        ),
    ],
)
def test_real_ranges_of_numbers_spread_evenly(numbers: np.ndarray, shards: int) -> None:
    """As evenly as dice do: by the chi-square of the counts, within five of its standard deviations."""
    counts = np.bincount(shard_numbers(numbers.astype(np.int64), shards), minlength=shards)
    expected = len(numbers) / shards
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = shards - 1
    assert len(counts) == shards
    assert abs(chi_square - freedom) < 5 * (2 * freedom) ** 0.5 + 5


def test_nobody_is_in_no_shard() -> None:
    """An empty piece is a piece."""
    assert shard_numbers(np.empty(0, dtype=np.int64), 4).tolist() == []
