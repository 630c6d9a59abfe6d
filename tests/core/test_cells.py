"""Cells of any source become ids, booleans or text, as somebody would have typed them."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_sms_flow.core.cells import as_cells, as_ids, as_text, count_repeats
from airflow_sms_flow.core.errors import InvalidInput


@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        (pa.array(["12", " +7 ", "-3", "007", "12.0", "1e3", "12a", "", None, "9" * 19]), [12, 7, -3, 7]),
        (pa.array([12.0, 12.5, float("nan"), float("inf"), 1e17, None]), [12]),
        (pa.array([12.0, 4155550132.0], pa.float32()), [12]),
        (pa.array([Decimal("12.00"), Decimal("12.50"), None]), [12]),
        (pa.array([10**20, 12, None], pa.decimal128(38)), [12]),
        (pa.array([12, 2**63, None], pa.uint64()), [12]),
        (pa.array([12, None], pa.int16()), [12]),
        (pa.array(["12", "x"]).dictionary_encode(), [12]),
        (pa.array(["12", None], pa.large_string()), [12]),
        (pa.nulls(2), []),
        (pa.array([True]), []),
        (pa.array([date(2026, 1, 2)]), []),
    ],
)
def test_an_id_is_a_whole_number_and_anything_else_is_missing(cells: Any, ids: list[int]) -> None:
    """For the caller to count; 12.0 is what pandas and warehouses make of 12."""
    found = as_ids(cells)
    assert found.type == pa.int64()
    assert found.drop_null().to_pylist() == ids
    assert len(found) == len(cells)


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        (pa.array([" a\r\n", "null", "N/A", "", None]), [" a\r\n", "null", "N/A", None, None]),
        (pa.array([2025550132, None]), ["2025550132", None]),
        (pa.array([2025550132.0, 1.5, 0.1, float("nan"), None]), ["2025550132", "1.5", "0.1", None, None]),
        (pa.array([12.0, float("inf")], pa.float32()), ["12", "inf"]),
        (pa.array([Decimal("12.50"), Decimal("4155550132.00"), None]), ["12.50", "4155550132", None]),
        (pa.array([date(2026, 1, 2)]), ["2026-01-02"]),
        (pa.array([datetime(2026, 1, 2, 3, 4, 5)]), ["2026-01-02T03:04:05.000000"]),
        (pa.array([datetime(2026, 1, 2, 3, tzinfo=UTC)]), ["2026-01-02T03:00:00.000000Z"]),
        (
            pa.array([datetime(2026, 1, 2, 3, tzinfo=UTC)]).cast(pa.timestamp("ns", "America/New_York")),
            ["2026-01-02T03:00:00.000000Z"],
        ),
        (pa.array([True, None]), ["true", None]),
        (pa.array(["US", "US"]).dictionary_encode(), ["US", "US"]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_whatever_is_no_boolean_becomes_text(cells: Any, texts: list[str | None]) -> None:
    """Text to the letter; a phone that a float held without the ".0" that would be one more digit."""
    assert as_text(cells, "x").to_pylist() == texts
    assert as_text(cells, "x").type == pa.string()


@pytest.mark.parametrize("kind", [pa.float32(), pa.float16()])
def test_a_phone_in_a_short_float_is_refused(kind: pa.DataType) -> None:
    """4155550132 has become 4155550208, somebody else's number."""
    phone = 4155550132.0 if kind == pa.float32() else 4156.0
    with pytest.raises(InvalidInput, match="digits are lost"):
        as_text(pa.array(np.array([phone], kind.to_pandas_dtype())), "mobile")


def test_booleans_stay_booleans() -> None:
    """So that a suppress column needs no words."""
    assert as_cells(pa.array([True, None]), "x").type == pa.bool_()


@pytest.mark.parametrize("cells", [pa.array([["a"]]), pa.array([b"a"]), pa.array([{"a": 1}])])
def test_what_is_no_text_is_refused_by_the_name_of_its_column(cells: Any) -> None:
    """Column and type, no cell."""
    with pytest.raises(InvalidInput, match="columns='tags'"):
        as_cells(cells, "tags")


def test_repeats_are_counted_over_all_pieces() -> None:
    """Wherever the twin stands."""
    assert count_repeats([np.array([1, 2, 2]), np.array([1, 3])]) == 2
    assert count_repeats([]) == 0
