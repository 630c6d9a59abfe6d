"""Entries of a list that hold nobody, and those that may hold more than was read."""

import pandas as pd
import pytest

from airflow_sms_flow.core.number_entries import holding_another, surely_nobodys
from airflow_sms_flow.core.phone import normalise_phones


@pytest.mark.parametrize(
    ("entry", "sure"),
    [
        ("+1 202 155 0132", True),
        (" +1 (202) 155-0132 ", True),
        ("+1 202 555 013", True),
        ("+999", True),
        ("+1 202 555 0132 7", False),
        ("+12025550132/33", False),
        ("+1 202 155 0132 Ann", False),
        ("+1.20216E+10", False),
        ("+0 202 155 0132", False),
        ("+1 202 155 0132 +1 202 155 0133", False),
        ("+1 202 155 0132 202 155 0133", False),
        ("2021550132", False),
        ("+", False),
    ],
)
def test_only_one_number_that_can_be_nobodys_is_sure(entry: str, sure: bool) -> None:
    """With its country, nothing beside it, and no valid number at its head."""
    assert normalise_phones(pd.Series([entry])).isna().all()
    assert surely_nobodys(pd.Series([entry])).tolist() == [sure]
    assert surely_nobodys(pd.Series([], dtype=object)).tolist() == []


@pytest.mark.parametrize(
    ("entry", "another"),
    [
        ("+12025550132", False),
        ("011 44 (0) 20 7946 0000", False),
        ("202-555-0132 ext. 123456", False),
        ("1-800-FLOWERS", False),
        ("2025550132;2026", False),
        ("2025550132;2025550133", True),
        ("2025550132,,2025550133", True),
        ("+1 202 555 0132 / x2025550133", True),
        ("no number", False),
    ],
)
def test_an_extension_as_long_as_a_number_may_be_one(entry: str, another: bool) -> None:
    """The library drops it; whoever it belongs to must not be dropped."""
    entries = pd.Series([entry])
    assert holding_another(entries, normalise_phones(entries)).tolist() == [another]


@pytest.mark.parametrize(
    ("region", "entry", "another"),
    [
        ("SG", "81234567;91234567", True),
        ("NO", "40612345,40612346", True),
        ("PT", "912345678;913345678", True),
        ("CZ", "601123456;602123456", True),
        ("HK", "51234567 x 61234567", True),
        ("FO", "211234;211235", True),
        ("SG", "8123 4567", False),
        ("SG", "+65 8123 4567", False),
        ("SG", "+65 8123 4567 ext 1234", False),
        ("PT", "+351 912 345 678 x 12345", False),
        ("FO", "+298 211234", False),
        ("FO", "211234 x 123", False),
    ],
)
def test_numbers_may_be_short_where_the_list_comes_from(region: str, entry: str, another: bool) -> None:
    """And are written without the code of their country, which must not hide as many digits of the next."""
    entries = pd.Series([entry])
    phones = normalise_phones(entries, region)
    assert phones.notna().all()
    assert holding_another(entries, phones).tolist() == [another]
