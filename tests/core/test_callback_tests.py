"""Callbacks of test events are known by their marks, and by nothing that a person can write."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_sms_flow.core.callback_tests import TEST_MARK, TEST_PERSON_ID, is_test_callback


@pytest.mark.parametrize(
    "payload",
    [
        {"subscription": {"person": {"id": TEST_PERSON_ID}}},
        {"subscription": {"person": {"id": int(TEST_PERSON_ID)}}},
        {"participant": {"person": {"id": TEST_PERSON_ID}}},
        {"participant": {"id": TEST_PERSON_ID}},
        {"participant": {"acquisition_campaign": {"description": TEST_MARK}}},
        {"event_processed": {"event_id": TEST_MARK}},
    ],
)
def test_a_mark_is_seen_where_the_test_call_puts_it(payload: dict[str, Any]) -> None:
    """Each of them alone will do, for the vendor may not hand all of them on."""
    assert is_test_callback(payload)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"subscription": {"person": {"id": "111"}}},
        {"subscription": {"person": {"id": None}}},
        {"subscription": [TEST_MARK]},
        {"message": TEST_MARK, "participant": {"mdn": "+12025550132"}},
        {"event_processed": {"event_id": "0" * 32, "event_data": {"message_body": TEST_MARK}}},
        {"subscription": {"person": {"external_person_id": TEST_PERSON_ID}}},
    ],
)
def test_what_people_say_is_no_mark(payload: dict[str, Any]) -> None:
    """Nobody's answer is set aside because of its words."""
    assert not is_test_callback(payload)
