"""What is the name of a column, and what is somebody's."""

import pytest

from airflow_sms_flow.core.column_names import are_data, shown
from tests.first_rows import FIRST_ROWS


@pytest.mark.parametrize("row", FIRST_ROWS)
def test_a_row_with_somebodys_number_or_address_is_data(row: str) -> None:
    """However it is written; and no error shows it."""
    assert are_data(row.split(","))
    assert "555" not in shown(row.split(","))


@pytest.mark.parametrize(
    "name",
    ["id", "phone2", "sales_2026_2027", "Q1 2026", "address 1/2 (2026)", "revenue 2024-01-01", "7", ""],
)
def test_a_name_may_hold_digits(name: str) -> None:
    """Fewer than a number has, or with letters or underscores between them."""
    assert not are_data(["id", name])
    assert shown(["id", name]) == f"id, {name}"
