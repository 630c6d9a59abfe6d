"""Each rule over single rows: strict about kinds, and the same whatever rows stand beside."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.conditions import read_conditions
from airflow_sms_flow.core.errors import BugError, InvalidInput
from airflow_sms_flow.core.filters import NumberLists, denied, filtered, held_out, not_allowed
from airflow_sms_flow.core.phone_set import PhoneSet
from airflow_sms_flow.core.rules import AudienceRules, NumberFile

ROWS = pa.record_batch(
    {
        "country": ["US", "CA", "", None],
        "score": ["9", " 50", "100.5", None],
        "points": [9, 50, 100, None],
        "price": [Decimal("9.50"), Decimal("50.00"), Decimal("100.10"), None],
        "vip": [True, False, True, None],
        "nothing": pa.nulls(4),
    }
)


def kept(where: list[Any], rows: Any = ROWS) -> list[int]:
    """The rows that meet all conditions."""
    return [int(place) for place in np.flatnonzero(~filtered(rows, read_conditions(where)))]


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ([], [0, 1, 2, 3]),
        ([("country", "=", "US")], [0]),
        ([("country", "!=", "US")], [1]),
        ([("country", "in", ["US", "CA", "FR"])], [0, 1]),
        ([("country", "not in", ["US"])], [1]),
        ([("country", "is missing")], [2, 3]),
        ([("country", "is not missing")], [0, 1]),
        ([("country", "contains", "A")], [1]),
        ([("country", ">", "CA")], [0]),
        ([("score", ">=", 50)], [1, 2]),
        ([("points", ">=", 50)], [1, 2]),
        ([("points", "<", 50.5)], [0, 1]),
        ([("points", "not in", [9, 50])], [2]),
        ([("points", "=", 50)], [1]),
        ([("price", ">", 9.5)], [1, 2]),
        ([("price", "=", 50)], [1]),
        ([("vip", "=", True)], [0, 2]),
        ([("vip", "!=", True)], [1]),
        ([("nothing", "=", "x")], []),
        ([("nothing", "is missing")], [0, 1, 2, 3]),
        ([("points", ">", 9), ("vip", "=", True)], [2]),
    ],
)
def test_a_condition_keeps_the_rows_that_meet_it(where: list[Any], rows: list[int]) -> None:
    """All of them must hold; what is missing meets nothing but "is missing". Batch, table, frame: alike."""
    assert kept(where) == rows
    assert kept(where, pa.Table.from_batches([ROWS, ROWS.slice(0, 0)])) == rows
    assert kept(where, ROWS.to_pandas(types_mapper=pd.ArrowDtype)) == rows


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ([("country", "=", 1)], "holds text and is compared with a number"),
        ([("country", "=", True)], "2 rows hold a text that is neither true nor false"),
        ([("country", ">", 1)], "2 rows hold a text that is no number"),
        ([("points", "=", "50")], "holds a number and is compared with text"),
        ([("points", "=", True)], "holds a number and is compared with true or false"),
        ([("points", "contains", "5")], "holds a number"),
        ([("vip", "=", "true")], "holds true or false and is compared with text"),
        ([("vip", "in", [1, 0])], "holds true or false and is compared with a number"),
        ([("contry", "=", "US")], "no such column"),
    ],
)
def test_a_value_of_another_kind_is_an_error_and_no_guess(where: list[Any], words: str) -> None:
    """Field, value, remedy, and no cell."""
    with pytest.raises(InvalidInput, match=words) as caught:
        kept(where)
    assert caught.value.field == "where"
    assert "US" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ([("vip", "=", True)], [0, 3]),
        ([("vip", "!=", True)], [1]),
        ([("vip", "in", [True, False])], [0, 1, 3]),
    ],
)
def test_true_and_false_may_be_words(where: list[Any], rows: list[int]) -> None:
    """A file has no other, and whether a query's column is boolean must not hang on the order of its rows."""
    words = pa.record_batch({"vip": ["true", "NO", None, " 1 "]})
    assert kept(where, words) == rows
    assert kept(where, pa.record_batch({"vip": [True, False, None, True]})) == rows


def test_a_frame_of_mixed_values_is_refused_without_showing_one() -> None:
    """Pyarrow's own error would."""
    frame = pd.DataFrame({"x": pd.Series(["Ann", 5], dtype=object)})
    with pytest.raises(InvalidInput, match="several kinds") as caught:
        kept([("x", "=", "Ann")], frame)
    assert "Ann" not in str(caught.value)


@pytest.mark.parametrize("value", [0.5, 2**70])
def test_a_number_that_cannot_be_compared_is_named_and_not_shown(value: float) -> None:
    """Arrow's own error shows the cell."""
    rows = pa.record_batch({"id": [9007199254740993]})
    with pytest.raises(InvalidInput, match="too large") as refused:
        kept([("id", ">", value)], rows)
    assert "9007199254740993" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_the_lists_of_numbers_allow_and_deny() -> None:
    """A missing number is neither denied nor allowed; without a list everybody passes."""
    numbers = np.array([12025550111, 12025550112, 0])
    some = PhoneSet.of(["+12025550111"])
    assert denied(numbers, NumberLists(deny=some)).tolist() == [True, False, False]
    assert not_allowed(numbers, NumberLists(allow=some)).tolist() == [False, True, True]
    assert not (denied(numbers, NumberLists()) | not_allowed(numbers, NumberLists())).any()
    assert denied(numbers, NumberLists(deny=PhoneSet())).tolist() == [False] * 3


def test_a_list_that_nobody_read_is_never_an_empty_one() -> None:
    """A forgotten deny list would text those on it."""
    with pytest.raises(BugError, match="deny_list"):
        NumberLists().check(AudienceRules(deny_list=NumberFile("dnc.txt")))
    NumberLists(deny=PhoneSet()).check(AudienceRules(deny_list=NumberFile("dnc.txt")))


def test_a_holdout_holds_out_its_share() -> None:
    """Near enough for a hundred thousand, also where ids follow one another."""
    for share in (0.01, 0.1, 0.5):
        assert abs(held_out(np.arange(100_000), share, "x").mean() - share) < 0.005
    assert not held_out(np.arange(1000), 0.0, "x").any()


def test_a_holdout_is_the_same_people_in_each_run_and_release() -> None:
    """Pinned: an upgrade must not text those who were held out for months."""
    assert np.flatnonzero(held_out(np.arange(1, 101), 0.1, "spring")).tolist() == [
        16, 20, 21, 43, 45, 57, 61, 71, 77, 85, 88, 89, 98,
    ]  # fmt: skip
    assert held_out([-1, 2**63 - 1], 0.5, "").tolist() == [False, False]


def test_another_name_holds_out_others_and_a_larger_share_more() -> None:
    """Independent between campaigns; whoever was held out stays so when the share grows."""
    ids = np.arange(50_000)
    one, other = held_out(ids, 0.2, "one"), held_out(ids, 0.2, "other")
    assert abs((one & other).mean() - 0.04) < 0.005
    assert not (one & ~held_out(ids, 0.3, "one")).any()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20), st.integers(0, 20))
def test_a_verdict_depends_on_the_lead_alone(ids: list[int], cut: int) -> None:
    """In whatever pieces the leads come."""
    whole = held_out(np.array(ids, dtype=np.int64), 0.5, "x").tolist()
    parts = [held_out(np.array(part, dtype=np.int64), 0.5, "x").tolist() for part in (ids[:cut], ids[cut:])]
    assert parts[0] + parts[1] == whole
