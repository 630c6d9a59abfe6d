"""Test events come back, and are never taken for real ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_sms_flow.core.callback_tests import TEST_PERSON_ID
from airflow_sms_flow.core.callbacks import dedupe_key
from airflow_sms_flow.core.facts import ChangeKind
from airflow_sms_flow.ledger import Arrival, Ledger, RawCallback

DUMMY = "+12025550199"


def keep(ledger: Ledger, person_id: str, event_id: str = "cb-1", company_key: str = "acme") -> None:
    """Vibes says that a made-up person has joined list 1201."""
    said: dict[str, Any] = {
        "event_id": event_id,
        "callback_type": "subscription_added",
        "event_type": "subscription_added",
        "event_date": datetime.now(UTC).isoformat(),
        "subscription": {
            "person": {"id": person_id, "mobile_phone": {"mdn": DUMMY}},
            "subscription_list": {"id": "1201"},
        },
    }
    body = json.dumps(said).encode()
    now = datetime.now(UTC)
    ledger.store_callbacks([RawCallback(company_key, now, "", {}, body, dedupe_key(company_key, body))])


def look(ledger: Ledger, event_id: str = "cb-1", ago: timedelta = timedelta(minutes=5)) -> Arrival:
    return ledger.note_test_callback("acme", event_id, datetime.now(UTC) - ago)


def nobody_joined(ledger: Ledger) -> bool:
    ledger.hear_all()
    on_the_list = ledger.members("acme", "1201", [DUMMY])
    return not on_the_list and not ledger.latest_change("acme", ChangeKind.SUBSCRIBED, "1201")


def test_a_marked_one_is_never_applied_whoever_comes_first(ledger: Ledger) -> None:
    """However early it is heard: the mark in its payload is enough."""
    keep(ledger, TEST_PERSON_ID)
    assert nobody_joined(ledger)
    assert look(ledger) is Arrival.KEPT


def test_one_whose_mark_the_vendor_left_out_is_marked_by_its_id(ledger: Ledger) -> None:
    """As long as nobody has heard it yet."""
    assert look(ledger) is Arrival.ABSENT
    keep(ledger, "111")
    assert look(ledger) is Arrival.KEPT
    assert nobody_joined(ledger)
    assert look(ledger) is Arrival.KEPT


def test_one_that_was_taken_for_a_real_one_is_told(ledger: Ledger) -> None:
    """Without its mark, and heard before its id was known."""
    keep(ledger, "111")
    assert not nobody_joined(ledger)
    assert look(ledger) is Arrival.APPLIED


@pytest.mark.parametrize(
    ("event_id", "company_key"), [("cb-2", "acme"), ("cb-1x", "acme"), ("cb-1", "globex")]
)
def test_other_callbacks_are_left_alone(ledger: Ledger, event_id: str, company_key: str) -> None:
    """Another id, and another company's callback with the same one."""
    keep(ledger, "111", event_id, company_key)
    assert look(ledger) is Arrival.ABSENT
    assert ledger.hear_all().applied == 1


def test_wildcards_in_an_id_are_letters(ledger: Ledger) -> None:
    """The vendor chooses the ids."""
    keep(ledger, "111")
    assert look(ledger, "cb_1") is Arrival.ABSENT
    assert look(ledger, "%") is Arrival.ABSENT


def test_what_came_in_long_before_is_not_looked_at(ledger: Ledger) -> None:
    """Which keeps the search short."""
    keep(ledger, "111")
    assert look(ledger, ago=timedelta(minutes=-5)) is Arrival.ABSENT
