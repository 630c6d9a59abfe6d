"""What a round of looks leaves in the ledger."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import Mock

import pytest

from airflow_sms_flow.core.facts import ChangeKind
from airflow_sms_flow.core.opt_in import OptIn, OptInState
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.waiting.looking import Question
from tests.ledger.callbacks import CAMPAIGN_ID, COMPANY, LIST, at, hear, left
from tests.ledger.moves import A, B

QUESTION = Question(COMPANY, LIST, CAMPAIGN_ID)


def test_a_join_that_a_look_found_does_not_beat_a_stop_by_our_clock(ledger: Ledger) -> None:
    """The look was made before the STOP, by a clock that is minutes fast. A STOP that is older by more than
    clocks are apart is beaten."""
    found = OptIn(at(0) + timedelta(days=1), OptInState.CONFIRMED)
    QUESTION.store(ledger, {A: found, B: found}, at(34))
    hear(ledger, left(A, 30), left(B, 28))
    members = ledger.members(COMPANY, LIST, [A, B])
    assert (members[A].subscribed, members[B].subscribed) == (False, True)


def test_a_yes_that_a_look_found_is_stored_with_the_joining_or_not_at_all(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks again at who is decided: a process that dies in between would keep it to itself."""
    found = {A: OptIn(at(0) + timedelta(days=1), OptInState.CONFIRMED)}
    with monkeypatch.context() as dying:
        dying.setattr("airflow_sms_flow.ledger.members.note", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            QUESTION.store(ledger, found, at(34))
    assert ledger.opt_ins(COMPANY, CAMPAIGN_ID, [A]) == ledger.members(COMPANY, LIST, [A]) == {}
    QUESTION.store(ledger, found, at(34))
    assert ledger.opt_ins(COMPANY, CAMPAIGN_ID, [A])[A].state is OptInState.CONFIRMED
    assert ledger.latest_change(COMPANY, ChangeKind.SUBSCRIBED, LIST) > 0
