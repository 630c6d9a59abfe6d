"""What a piece of the leads says by itself. What they say together: see test_audience."""

from __future__ import annotations

import pyarrow as pa
import pytest

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.leads import Look, first_valid_phones, look, needed_columns
from airflow_sms_flow.core.rules import AudienceRules

RULES = AudienceRules(phone_fields=("mobilePhone", "phone"), suppress=("blackListed",), keep="score")
ROWS = pa.record_batch(
    {
        "id": [1, 2, 3],
        "mobilePhone": ["202-555-0101", " ", "ask Ann"],
        "phone": ["202-555-0102", "202-555-0103", None],
        "country": ["US", None, "Narnia"],
        "blackListed": ["no", "yes", "perhaps"],
        "score": ["1", "2", "3"],
    }
)


def test_only_the_columns_that_decide_are_read() -> None:
    """What `keep` compares is read later, of those who compete; a country only where there is one."""
    columns = ROWS.schema.names
    assert needed_columns(columns, RULES) == ["id", "mobilePhone", "phone", "blackListed", "country"]
    assert "country" not in needed_columns([name for name in columns if name != "country"], RULES)
    with pytest.raises(InvalidInput, match="keep='score'"):
        needed_columns([name for name in columns if name != "score"], RULES)


def test_each_row_is_seen_as_it_is() -> None:
    """Numbers of all phone columns, since those of suppressed leads are all taboo."""
    seen = look(ROWS, RULES)
    assert [column.tolist() for column in seen.numbers] == [
        [12025550101, 0, 0],
        [12025550102, 12025550103, 0],
    ]
    assert seen.blank.tolist() == [False, False, False]
    assert seen.flagged.tolist() == [False, True, False]
    assert seen.odd.tolist() == [1]


def test_nobody_is_seen_without_any_piece() -> None:
    """An export may be empty."""
    whole = Look.together([], RULES)
    assert (len(whole.ids), len(whole.numbers)) == (0, 2)


def test_the_step_that_spares_nobody_gets_each_number_or_none() -> None:
    """Whatever else is to be said of the lead."""
    assert first_valid_phones(ROWS, RULES) == ["+12025550101", "+12025550103", None]
    with pytest.raises(InvalidInput, match="default_region"):
        AudienceRules(default_region="XX")
