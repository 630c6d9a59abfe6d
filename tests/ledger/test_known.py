"""The one bulk read before a dispatch begins."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import InvalidInput, LedgerError
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.ledger.deliveries import Move
from airflow_sms_flow.ledger.known import FirstSeen, recipient_key, recipient_keys
from tests.ledger.moves import TEXT, A, B, C, Sender, claim, settle

ACCEPTED, REFUSED = DeliveryState.ACCEPTED, DeliveryState.REFUSED


def test_it_tells_of_each_number_where_it_stands_and_whether_it_is_done(ledger: Ledger) -> None:
    """Leads without a number included; a number without a row is told apart from all others."""
    sender = Sender(ledger)
    sender.write(claim(A, "1"), settle(A, ACCEPTED, "1"), Move(B, REFUSED, "looked", "not_subscribed"))
    sender.write(Move("lead:7", REFUSED, "asked", "unknown_person"))
    known = ledger.known(sender.dispatch_id, TEXT)
    assert known.look_up([C, "lead:7", B, A]) == [
        (None, False),
        (REFUSED, True),
        (REFUSED, False),
        (ACCEPTED, True),
    ]
    assert len(known) == 3
    assert known.settled([C, "lead:7", B, A]).tolist() == [False, True, False, True]


def test_an_unknown_dispatch_knows_nobody(ledger: Ledger) -> None:
    """The first try of a campaign."""
    known = ledger.known(Sender(ledger).dispatch_id, TEXT)
    assert known.look_up([A, B]) == [(None, False)] * 2
    assert known.settled([A, B]).tolist() == [False, False]


def test_rows_with_another_text_are_counted(ledger: Ledger) -> None:
    """They count as done, and somebody is warned."""
    Sender(ledger).write(claim(A, "1"), settle(A, ACCEPTED, "1"))
    other = Sender(ledger, fingerprint="e" * 64)
    known = ledger.known(other.dispatch_id, other.fingerprint)
    assert (known.other_fingerprints, known.look_up([A])) == (1, [(ACCEPTED, True)])


@pytest.mark.filterwarnings("ignore:string or file could not be read")
def test_a_row_that_is_no_number_stops_everything(ledger: Ledger) -> None:
    """To guess at who was reached would be to reach somebody twice."""
    sender = Sender(ledger)
    sender.write(Move("+1202x", REFUSED, "by hand"), Move(A, REFUSED, "asked", "unknown_person"))
    with pytest.raises(LedgerError, match="neither a number nor a lead"):
        ledger.known(sender.dispatch_id, TEXT)


def test_those_asked_long_ago_may_be_asked_again(ledger: Ledger) -> None:
    """`ask_again_after` reopens who was asked; never who was refused for good, and nobody too early."""
    sender = Sender(ledger)
    sender.write(claim(A, "1"), settle(A, ACCEPTED, "1"), Move(B, REFUSED, "asked", "confirmation_block"))
    time.sleep(0.02)
    later = ledger.known(sender.dispatch_id, TEXT, ask_again_after=timedelta(milliseconds=10))
    assert later.look_up([A, B]) == [(ACCEPTED, False), (REFUSED, True)]
    early = ledger.known(sender.dispatch_id, TEXT, ask_again_after=timedelta(hours=1))
    assert early.look_up([A, B]) == [(ACCEPTED, True), (REFUSED, True)]


@given(st.sets(st.integers(1, 10**15 - 1)), st.sets(st.integers(1, 2**31 - 1)))
def test_no_two_people_share_a_key(numbers: set[int], leads: set[int]) -> None:
    """Numbers and leads without a number live in one space of integers."""
    recipients = [f"+{n}" for n in numbers] + [f"lead:{n}" for n in leads]
    assert len({recipient_key(one) for one in recipients}) == len(recipients)
    assert recipient_keys(recipients).tolist() == [recipient_key(one) for one in recipients]


@pytest.mark.parametrize("phone", ["(202) 555-0132", "lead:+1 202 555 0132", "", "+" + "2025550132" * 3])
def test_what_is_neither_a_number_nor_a_lead_is_refused_without_being_repeated(phone: str) -> None:
    """Python's own words for it would put the number into the task's log."""
    for phones in ([phone], [A, phone], ["lead:7", phone]):
        with pytest.raises(InvalidInput, match=r"neither a number in E\.164 nor a lead") as caught:
            recipient_keys(phones)
        assert "555" not in str(caught.value)
        assert caught.value.__suppress_context__


@given(
    st.lists(
        st.lists(st.sampled_from(["+15", "+16", "+7", "+8", "lead:0", "lead:7"]), max_size=6), max_size=6
    )
)
def test_of_batches_each_number_is_new_once(batches: list[list[str]]) -> None:
    """The first row with a number stands for all with it, in whichever batch they are."""
    first_seen, seen = FirstSeen(), set[str]()
    for batch in batches:
        expected = []
        for phone in batch:
            expected.append(phone not in seen)
            seen.add(phone)
        assert first_seen(batch).tolist() == expected
