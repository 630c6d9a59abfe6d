"""One row for each lead, one lead for each number, whatever stands beside them."""

import numpy as np
import pyarrow as pa
import pytest

from airflow_sms_flow.core.contest import Ranks, losers, rank, repeated
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.rules import AudienceRules


def numbers(*values: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array(values, dtype=np.int64)


def test_what_stands_twice_is_found_at_all_its_places() -> None:
    """Also three times, and nowhere in nothing."""
    assert repeated(numbers(5, 3, 5, 4, 3, 5)).tolist() == [True, True, True, False, True, True]
    assert repeated(numbers()).tolist() == []
    assert repeated(numbers(1)).tolist() == [False]


def test_a_row_that_stands_for_no_lead_takes_nobodys_number() -> None:
    """Lead 1 has two rows; the one that gives way must not beat lead 2 on its number."""
    lost = losers(numbers(1, 1, 2), numbers(100, 200, 200), Ranks.equal(3))
    assert lost.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("cells", "best_first"),
    [
        (["10", "9.5", "-1", "high", "High", "", None], [0, 1, 2, 3, 4, 5, 6]),
        (["1e3", "inf", "10"], [1, 0, 2]),
        (["high", "low", "9"], [2, 1, 0]),
        (["10", "10.0", "1e1"], [0, 1, 2]),
        ([True, False, None], [0, 1, 2]),
        ([3, None, 20], [2, 0, 1]),
    ],
)
def test_numbers_win_over_texts_and_both_over_nothing(cells: list[object], best_first: list[int]) -> None:
    """The highest wins; all is compared as what it says, and not as it is stored."""
    rows = pa.record_batch({"id": list(range(len(cells))), "score": cells})
    ranks = rank(rows, AudienceRules(suppress=(), keep="score"), content=False)
    ids = numbers(*range(len(cells)))
    left = list(ids)
    for winner in best_first:
        some = numbers(*left)
        part = Ranks(ranks.number[some], ranks.text.take(pa.array(some)), ranks.content[some])
        lost = losers(some, np.full(len(some), 7), part)
        assert some[~lost].tolist() == [winner]
        left.remove(winner)


def test_moments_are_compared_in_their_zones() -> None:
    """Without a zone it is UTC; what is missing comes last. Warehouses write "never" as the year 9999."""
    cells = [
        "9999-12-31T00:00:00Z",
        "2026-01-01T23:00:00-08:00",
        "2026-01-02T06:59:59.5Z",
        "2026-01-02 06:00",
        "2026-01-02",
        " ",
        None,
    ]
    rows = pa.record_batch({"updatedAt": cells})
    found = rank(rows, AudienceRules(suppress=(), keep="newest_updated"), content=False).number
    assert found[:5].tolist() == sorted(found[:5].tolist(), reverse=True)
    assert np.isnan(found[5:]).all()


@pytest.mark.parametrize("odd", ["soon", "01/08/2026 10:00", "8 Jan 2026", "2026-01-08T00:00:00Z+0000"])
def test_what_is_no_moment_is_never_taken_for_the_oldest(odd: str) -> None:
    """Then the lowest id would win without a word. The error shows no cell."""
    rows = pa.record_batch({"updatedAt": ["2026-01-02", odd, None]})
    with pytest.raises(InvalidInput, match="keep='newest_updated': 1 leads") as error:
        rank(rows, AudienceRules(suppress=(), keep="newest_updated"), content=False)
    assert odd not in str(error.value)


def test_equal_rows_have_equal_contents_and_others_do_not() -> None:
    """Whatever type the cells have, lists among them."""
    rows = pa.record_batch({"a": ["x", "x", "y", None], "b": [1, 1, 1, None], "c": [[1], [1], [1], None]})
    first, same, other, nothing = rank(rows, AudienceRules(suppress=()), content=True).content.tolist()
    assert first == same
    assert len({first, other, nothing}) == 3


def test_which_of_two_rows_of_a_lead_stays_does_not_hang_on_their_order() -> None:
    """One number, one rank, another name: the cells decide."""
    rows = pa.record_batch({"id": [1, 1], "name": ["Ann", "Bo"]})
    stays = []
    for order in ([0, 1], [1, 0]):
        some = rows.take(pa.array(order))
        ranks = rank(some, AudienceRules(suppress=()), content=True)
        lost = losers(numbers(1, 1), numbers(100, 100), ranks)
        stays.append(some.filter(pa.array(~lost))["name"].to_pylist())
    assert stays[0] == stays[1]
    assert len(stays[0]) == 1
