"""Who may be texted, without a call per person: a list as it was, without those who left since."""

from __future__ import annotations

import threading

import pytest

from airflow_sms_flow.core.answers import AnswerClass
from airflow_sms_flow.core.errors import LedgerError
from airflow_sms_flow.core.phone_set import PhoneSet
from airflow_sms_flow.steps.membership import OptOuts, Snapshot, TrustCampaign

ANN, BOB, CYD = "+12025550111", "+12025550112", "+12025550113"


def snapshot(members: list[str], left: set[str]) -> Snapshot:
    """A list of these, of whom some have left since."""
    return Snapshot(PhoneSet.of(members), OptOuts(lambda: left), "extract of 2026-03-02")


def test_only_who_is_in_the_file_and_has_not_left_since_is_texted() -> None:
    """A file can only narrow, and the ledger's newer opt-out narrows it further."""
    members = snapshot([ANN, BOB], {BOB})
    assert members.refusal(ANN) is None
    for phone in (BOB, CYD):
        refusal = members.refusal(phone)
        assert refusal is not None
        assert (refusal.kind, refusal.reason) == (AnswerClass.REFUSED, "not_subscribed")
        assert phone not in refusal.detail


def test_an_empty_file_lets_nobody_through() -> None:
    """Nobody, rather than everybody."""
    assert snapshot([], set()).refusal(ANN) is not None


def test_the_campaigns_own_filter_decides_where_it_is_trusted() -> None:
    """Vibes looks at the list itself, when the event arrives."""
    assert TrustCampaign().refusal(ANN) is None


def test_somebody_who_leaves_during_the_send_is_held_back() -> None:
    """A million people take an hour: who has left is asked anew all the time."""
    left: set[str] = set()
    members = Snapshot(PhoneSet.of([ANN]), OptOuts(lambda: set(left), refresh_seconds=0.0), "extract")
    assert members.refusal(ANN) is None
    left.add(ANN)
    assert members.refusal(ANN) is not None


def test_many_threads_ask_the_ledger_once() -> None:
    """Thirty-two senders wait for one reading."""
    readings: list[int] = []

    def read() -> set[str]:
        readings.append(1)
        return {BOB}

    opt_outs = OptOuts(read)
    threads = [threading.Thread(target=opt_outs.now) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(readings) == 1
    assert opt_outs.now() == {BOB}


def test_a_ledger_that_does_not_answer_ends_the_sending() -> None:
    """Without it nobody knows who has left; old knowledge is not used in its place."""
    answers = iter([set[str]()])

    def read() -> set[str]:
        for answer in answers:
            return answer
        raise LedgerError("gone")

    members = Snapshot(PhoneSet.of([ANN]), OptOuts(read, refresh_seconds=0.0), "extract")
    assert members.refusal(ANN) is None
    with pytest.raises(LedgerError):
        members.refusal(ANN)
