"""What subjects need, and how they are read."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.registrations import Subjects, needed


def test_everything_that_subjects_need_is_needed_once() -> None:
    """Two types of each list and campaign, one of each event type (case does not matter) and code."""
    subjects = Subjects(("12",), ("ACQ1",), ("Offer", "offer"), ("52623",))
    assert [str(need) for need in needed(subjects, {"52623": "1"})] == [
        "ack_participant_added of ACQ1",
        "ack_participant_changed of ACQ1",
        "subscription_added of 12",
        "subscription_removed of 12",
        "event_processed of offer",
        "unmatched_message_received of 52623",
    ]
    assert needed(subjects, {"52623": "1"})[-1].country_code == "1"


def test_subjects_are_read_as_people_type_them() -> None:
    """A list, one id, or text with commas, as a trigger form makes it."""
    read = Subjects.read([1201, "1202", 1201], "ACQ1", "offer, promo", 52623)
    assert read == Subjects(("1201", "1202"), ("ACQ1",), ("offer", "promo"), ("52623",))


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (((), "", None, ()), "at least one"),
        (([""], (), (), ()), "lists"),
        ((([1],), (), (), ()), "lists"),
        (((), {}, (), True), "acquisition_campaigns"),
        (((), (), "no spaces", ()), "event_types='no spaces'"),
    ],
)
def test_subjects_that_cannot_be_meant_are_refused(typed: tuple[Any, ...], words: str) -> None:
    """By the name of the field."""
    with pytest.raises(InvalidInput, match=words):
        Subjects.read(*typed)
