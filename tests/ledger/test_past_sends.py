"""Our texts of the past, as a file of messages finds them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_sms_flow.core.delivery import Campaign, DeliveryState, StepName
from airflow_sms_flow.ledger import Ledger
from tests.ledger.callbacks import AT_CARRIER, COMPANY, NOT_SUBSCRIBED, SENT, event, hear
from tests.ledger.moves import CAMPAIGN, A, B, C, Sender, claim, settle

ACCEPTED, REFUSED, OPEN = DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.OPEN


def test_ids_of_texts_of_this_company_are_ours(ledger: Ledger) -> None:
    """Nobody else's, and no other step's."""
    Sender(ledger).write(claim(A, "1"), settle(A, ACCEPTED, "1"))
    asked = Campaign(COMPANY, "once:ACQ1", StepName.SUBSCRIBE, "1201")
    Sender(ledger, asked).write(claim(B, "2"), settle(B, ACCEPTED, "2"))
    ids = [CAMPAIGN.event_id(A), asked.event_id(B), "f" * 32]
    assert ledger.events_of(COMPANY, ids) == {CAMPAIGN.event_id(A)}
    assert ledger.events_of("globex", ids) == set()
    assert ledger.events_of(COMPANY, []) == set()


def test_when_requests_for_a_text_left(ledger: Ledger) -> None:
    """Each of them; a settled answer says nothing of that."""
    sender = Sender(ledger)
    sender.write(claim(A, "1"), settle(A, OPEN, "1"), claim(A, "2", OPEN), settle(A, ACCEPTED, "2"))
    [found] = ledger.sends_to(COMPANY, [A, B])[A]
    assert found.event_id == CAMPAIGN.event_id(A)
    assert len(found.requested_at) == 2
    assert all(datetime.now(UTC) - one < timedelta(minutes=5) for one in found.requested_at)
    assert not found.is_final


@pytest.mark.parametrize(
    ("state", "reason", "may_have_left"),
    [
        (DeliveryState.ACCEPTED, None, True),
        (DeliveryState.IN_DOUBT, "no_answer", True),
        (DeliveryState.CLAIMED, None, True),
        (DeliveryState.REFUSED, "bad_number", False),
        (DeliveryState.OPEN, "rate_limited", False),
    ],
)
def test_only_what_may_have_left_counts(
    ledger: Ledger, state: DeliveryState, reason: str | None, may_have_left: bool
) -> None:
    """What was refused or is open reached nobody."""
    sender = Sender(ledger)
    sender.write(claim(A, "1"))
    if state is not DeliveryState.CLAIMED:
        sender.write(settle(A, state, "1", reason))
    assert (A in ledger.sends_to(COMPANY, [A])) is may_have_left


def test_a_text_is_final_once_its_receipt_is(ledger: Ledger) -> None:
    """The carrier's word, a bounce, a late refusal."""
    sender = Sender(ledger)
    for number, phone in enumerate((A, B, C)):
        sender.write(claim(phone, str(number)), settle(phone, ACCEPTED, str(number)))
    told = {A: SENT, B: AT_CARRIER, C: NOT_SUBSCRIBED}
    hear(ledger, *(event(CAMPAIGN.event_id(phone), action, 1) for phone, action in told.items()))
    found = ledger.sends_to(COMPANY, [A, B, C])
    assert {phone: found[phone][0].is_final for phone in told} == {A: False, B: True, C: True}


def test_a_text_whose_history_was_forgotten_left_when_it_was_settled(ledger: Ledger) -> None:
    """Moves go sooner than rows."""
    Sender(ledger).write(claim(A, "1"), settle(A, ACCEPTED, "1"))
    ledger.prune(history_days=-1, rows_days=None)
    [found] = ledger.sends_to(COMPANY, [A])[A]
    assert len(found.requested_at) == 1
