"""A million numbers in eight megabytes, without mixing any two up."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.errors import BugError
from airflow_sms_flow.core.phone_set import PhoneSet, as_numbers, as_phones, numbers_or_zero

PHONES = st.from_regex(r"\+[1-9][0-9]{4,14}", fullmatch=True)


@given(st.sets(PHONES, max_size=30), st.sets(PHONES, max_size=30))
def test_it_answers_as_pythons_own_set_does(these: set[str], others: set[str]) -> None:
    """Membership, size, difference and the texts that come back."""
    ours, theirs = PhoneSet.of(these), PhoneSet.of(others)
    assert len(ours) == len(these)
    assert all((phone in ours) == (phone in these) for phone in these | others)
    assert set(ours.minus(theirs)) == these - others


@given(st.text(alphabet="+0123456789 -lead:٣x", max_size=25))
def test_only_the_very_text_is_in_it(text: str) -> None:
    """No blank, leading zero, foreign digit or missing plus makes one number another."""
    everybody = PhoneSet.of(["+12025550132", "+441632960961", text])
    twin = text[1:] if text.startswith("+") else f"+{text}"
    assert (text in everybody) == (as_numbers(pa.array([text])).size == 1)
    assert twin not in everybody or as_numbers(pa.array([twin])).size == 1
    assert f" {text}" not in everybody
    assert text.replace("+", "+0") not in everybody


def test_an_empty_set_holds_nobody() -> None:
    """Nobody, not everybody."""
    assert "+12025550132" not in PhoneSet()
    assert list(PhoneSet.of([])) == []


@given(st.lists(st.none() | PHONES), st.sets(PHONES, max_size=5))
def test_whole_numbers_and_texts_are_two_ways_to_write_the_same(
    phones: list[str | None], some: set[str]
) -> None:
    """Row for row, with what is missing as 0."""
    numbers = numbers_or_zero(pa.array(phones, pa.string()))
    assert as_phones(numbers).to_pylist() == phones
    assert PhoneSet.of(some).has_each_number(numbers).tolist() == [phone in some for phone in phones]


def test_the_longest_number_fits_and_a_longer_one_is_told_without_showing_it() -> None:
    """Nineteen digits, as Indonesia has them; twenty would need another column."""
    longest = "+6280312345678901234"
    assert as_phones(numbers_or_zero(pa.array([longest]))).to_pylist() == [longest]
    assert numbers_or_zero(pa.array([], pa.string())).dtype == np.int64
    with pytest.raises(BugError, match="too long") as caught:
        numbers_or_zero(pa.array([f"{longest}0"]))
    assert "803" not in str(caught.value)
    assert caught.value.__cause__ is None
