"""Who is on a list: from callbacks, polls, extracts and our own steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_sms_flow.core.delivery import DeliveryState, StepName
from airflow_sms_flow.core.facts import ChangeKind, Joined, Left
from airflow_sms_flow.ledger import Ledger, Member, Sync
from tests.ledger.callbacks import COMPANY, LIST, at, hear, joined, left
from tests.ledger.moves import CAMPAIGN, A, B, C, Sender, claim, settle

UNSUBSCRIBE = replace(CAMPAIGN, campaign_key="goodbye", step=StepName.UNSUBSCRIBE)


def test_callbacks_tell_who_is_on_the_list(ledger: Ledger) -> None:
    """By event time, whatever came first; an opt-out beats an opt-in of the same instant."""
    hear(ledger, left(A, 5), joined(A, 4), joined(B, 5), left(B, 4), left(C, 5), joined(C, 5))
    found = ledger.members(COMPANY, LIST, [A, B, C, "+12025550199"])
    assert found == {
        A: Member(False, at(5), "user_opt_out", "callback"),
        B: Member(True, at(5), "user_opt_out", "callback"),
        C: Member(False, at(5), "user_opt_out", "callback"),
    }
    assert ledger.members(COMPANY, "other", [A]) == ledger.members("globex", LIST, [A]) == {}


def test_the_whole_list_is_read_at_once_or_in_batches(ledger: Ledger) -> None:
    """The same people either way."""
    hear(ledger, joined(A, 1), joined(B, 2), left(C, 3), joined(C, 1, list_id="other"))
    assert list(ledger.subscribers(COMPANY, LIST)) == [A, B]
    assert list(ledger.stream_members(COMPANY, LIST)) == [[(A, at(1)), (B, at(2))]]
    assert list(ledger.stream_members(COMPANY, LIST, subscribed=False)) == [[(C, at(3))]]
    assert len(ledger.subscribers("globex", LIST)) == 0


def test_opt_outs_newer_than_a_file_are_found(ledger: Ledger) -> None:
    """At its very moment, too: what is doubtful is not texted. Who came back is none."""
    hear(ledger, left(A, 10), left(B, 20), left(C, 20), joined(C, 21))
    assert list(ledger.opt_outs(COMPANY, LIST)) == [A, B]
    assert list(ledger.opt_outs(COMPANY, LIST, at(20))) == [B]
    assert list(ledger.opt_outs(COMPANY, LIST, at(21))) == []


def test_opt_outs_heard_since_a_moment_are_found_however_old_they_are(ledger: Ledger) -> None:
    """A copy of the list that was read then lacks them. What was heard before is in the copy."""
    hear(ledger, joined(A, 1), joined(B, 1), left(C, 5))
    moment = ledger.now()
    hear(ledger, left(A, 2), joined(B, 2))
    sender = Sender(ledger, UNSUBSCRIBE)
    sender.write(claim(B, "1"), settle(B, DeliveryState.ACCEPTED, "1"))
    assert list(ledger.opt_outs_noted_since(COMPANY, LIST, moment)) == [A, B]
    assert list(ledger.opt_outs_noted_since(COMPANY, LIST, ledger.now())) == []
    assert len(ledger.opt_outs_noted_since(COMPANY, "other", moment)) == 0


def test_our_own_unsubscribe_counts_as_an_opt_out(ledger: Ledger) -> None:
    """At once: its callback may be lost. Who joins again after it is back."""
    hear(ledger, joined(A, 1), joined(B, 1))
    before = datetime.now(UTC) - timedelta(seconds=5)
    sender = Sender(ledger, UNSUBSCRIBE)
    for phone in (A, C):
        sender.write(claim(phone, phone), settle(phone, DeliveryState.ACCEPTED, phone))
    found = ledger.members(COMPANY, LIST, [A, B, C])
    assert {phone: one.subscribed for phone, one in found.items()} == {A: False, B: True, C: False}
    assert found[A].source == "unsubscribe"
    assert list(ledger.subscribers(COMPANY, LIST)) == [B]
    assert [phone for batch in ledger.stream_members(COMPANY, LIST) for phone, _ in batch] == [B]
    assert list(ledger.opt_outs(COMPANY, LIST, before)) == [A, C]
    later = datetime.now(UTC) + timedelta(seconds=2)
    ledger.note_membership(COMPANY, LIST, [Joined(LIST, A, later)], "poll")
    assert list(ledger.opt_outs(COMPANY, LIST, before)) == [C]
    assert ledger.members(COMPANY, LIST, [A])[A].subscribed


def test_an_unsubscribe_that_was_refused_is_no_opt_out(ledger: Ledger) -> None:
    """Nothing happened."""
    hear(ledger, joined(A, 1))
    sender = Sender(ledger, UNSUBSCRIBE)
    sender.write(claim(A, "1"), settle(A, DeliveryState.REFUSED, "1", "unknown"))
    assert ledger.members(COMPANY, LIST, [A])[A].subscribed
    assert len(ledger.opt_outs(COMPANY, LIST)) == 0


def test_a_baseline_is_not_announced(ledger: Ledger) -> None:
    """The first extract of a list starts no campaign; what differs from it later may."""
    baseline = [Joined(LIST, phone, at(1)) for phone in (A, B)]
    assert ledger.note_membership(COMPANY, LIST, baseline, "extract", announce=False) == 2
    assert ledger.latest_change(COMPANY, ChangeKind.SUBSCRIBED, LIST) == 0
    second = [Joined(LIST, A, at(9)), Left(LIST, B, at(9), "extract"), Joined(LIST, C, at(9))]
    assert ledger.note_membership(COMPANY, LIST, second, "extract") == 2
    assert ledger.latest_change(COMPANY, ChangeKind.SUBSCRIBED, LIST) > 0
    assert ledger.latest_change(COMPANY, ChangeKind.UNSUBSCRIBED, LIST) > 0
    assert ledger.members(COMPANY, LIST, [B])[B] == Member(False, at(9), "extract", "extract")


def test_a_join_heard_late_does_not_bring_back_whom_a_newer_extract_lacks(ledger: Ledger) -> None:
    """The callback of their leaving was lost. It is no news for campaigns, either; a join after the extract,
    or an extract that has them, is."""
    ledger.record_sync(COMPANY, LIST, at(10), 0)
    hear(ledger, joined(A, 9), joined(B, 11), joined(C, 9, list_id="other"))
    assert ledger.members(COMPANY, LIST, [A])[A] == Member(False, at(10), "not_in_extract", "callback")
    assert list(ledger.subscribers(COMPANY, LIST)) == [B]
    assert list(ledger.subscribers(COMPANY, "other")) == [C]
    heard = ledger.latest_change(COMPANY, ChangeKind.SUBSCRIBED, LIST)
    assert (heard > 0, ledger.latest_change(COMPANY, ChangeKind.UNSUBSCRIBED, LIST)) == (True, 0)
    ledger.note_membership(COMPANY, LIST, [Joined(LIST, A, at(20))], "extract")
    assert list(ledger.subscribers(COMPANY, LIST)) == [A, B]
    assert ledger.latest_change(COMPANY, ChangeKind.SUBSCRIBED, LIST) > heard


def test_who_stays_on_the_list_may_be_told_of_an_older_join(ledger: Ledger) -> None:
    """The extract had them."""
    ledger.note_membership(COMPANY, LIST, [Joined(LIST, A, at(10))], "extract")
    ledger.record_sync(COMPANY, LIST, at(10), 1)
    hear(ledger, joined(A, 9))
    assert list(ledger.subscribers(COMPANY, LIST)) == [A]


def test_facts_of_another_list_are_a_mistake(ledger: Ledger) -> None:
    """Nothing is written."""
    with pytest.raises(ValueError, match="another list"):
        ledger.note_membership(COMPANY, LIST, [Joined("other", A, at(1))], "poll")


def test_the_last_correction_is_remembered(ledger: Ledger) -> None:
    """An older file than the one before does not turn the clock back."""
    assert ledger.last_sync(COMPANY, LIST) is None
    ledger.record_sync(COMPANY, LIST, at(10), 3)
    ledger.record_sync(COMPANY, LIST, at(5), 2)
    found = ledger.last_sync(COMPANY, LIST)
    assert found is not None
    assert (found.as_of, found.rows) == (at(10), 3)
    ledger.record_sync(COMPANY, LIST, at(20), 4)
    assert isinstance(again := ledger.last_sync(COMPANY, LIST), Sync)
    assert (again.as_of, again.rows) == (at(20), 4)
