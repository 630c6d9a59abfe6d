"""Who lives, who is gone, and what becomes of the claims of the latter."""

from __future__ import annotations

import time

from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.ledger import Lease, Ledger
from tests.ledger.moves import A, B, Sender, claim, path_of, settle

CLAIMED, IN_DOUBT, ACCEPTED = DeliveryState.CLAIMED, DeliveryState.IN_DOUBT, DeliveryState.ACCEPTED
#: Ran out as it began, so that no test depends on how soon it gets a turn.
ANSWERS_MAY_COME = Lease(seconds=0.0, answer_seconds=600.0)
ANSWERS_COME_SOON = Lease(seconds=0.0, answer_seconds=0.1)


def test_a_claim_of_somebody_alive_is_left_alone(ledger: Ledger) -> None:
    """Airflow may start a retry while the old process still waits for answers."""
    sender = Sender(ledger)
    sender.write(claim(A, "mine"))
    assert sender.known(A) is CLAIMED


def test_a_claim_is_not_in_doubt_while_its_answer_may_come(ledger: Ledger) -> None:
    """The lease running out is not enough."""
    sender = Sender(ledger, lease=ANSWERS_MAY_COME)
    sender.write(claim(A, "mine"))
    assert not ledger.renew_lease(sender.id, Lease())
    assert sender.known(A) is CLAIMED


def test_a_claim_is_in_doubt_after_lease_and_answer_time(ledger: Ledger) -> None:
    """Nobody lives who could settle it; what was settled before stays as it is."""
    sender = Sender(ledger, lease=ANSWERS_COME_SOON)
    sender.write(claim(A, "mine"), claim(B, "other"), settle(B, ACCEPTED, "other"))
    time.sleep(0.15)
    assert (sender.known(A), sender.known(B)) == (IN_DOUBT, ACCEPTED)
    assert path_of(ledger, A) == [CLAIMED, IN_DOUBT]
    assert ledger.history(A)[-1].reason == "no_answer"


def test_renewals_keep_a_claim_alive(ledger: Ledger) -> None:
    """As long as they come in time, for however long the sending takes: here for longer than one lease."""
    lease = Lease(seconds=2.0, answer_seconds=0.0)
    sender = Sender(ledger, lease=lease)
    sender.write(claim(A, "mine"))
    for _ in range(4):
        time.sleep(0.6)
        assert ledger.renew_lease(sender.id, lease)
    assert sender.known(A) is CLAIMED


def test_a_lease_that_ran_out_cannot_be_renewed(ledger: Ledger) -> None:
    """Others may have acted on its end already."""
    sender = Sender(ledger, lease=Lease(seconds=0.1))
    time.sleep(0.15)
    assert not ledger.renew_lease(sender.id, Lease(seconds=0.1))
    assert not ledger.renew_lease(sender.id, Lease())


def test_an_ended_claimer_leaves_its_claims_in_doubt_at_once(ledger: Ledger) -> None:
    """It said itself that nothing is under way any more."""
    sender = Sender(ledger)
    sender.write(claim(A, "mine"))
    ledger.end_claimer(sender.id)
    assert not ledger.renew_lease(sender.id, Lease())
    assert sender.known(A) is IN_DOUBT


def test_only_the_claims_of_the_dead_are_in_doubt(ledger: Ledger) -> None:
    """Two tries side by side: the end of one says nothing about the other's claims."""
    dead, alive = Sender(ledger), Sender(ledger)
    dead.write(claim(A, "dead"))
    alive.write(claim(B, "alive"))
    ledger.end_claimer(dead.id)
    assert (alive.known(A), alive.known(B)) == (IN_DOUBT, CLAIMED)
    assert alive.write(settle(B, ACCEPTED, "alive"))[0].moved


def test_somebody_who_waits_sees_an_abandoned_claim_turn(ledger: Ledger) -> None:
    """`rows_after_claims` is how a second try waits for a first one."""
    sender = Sender(ledger, lease=Lease(seconds=0.0, answer_seconds=2.0))
    sender.write(claim(A, "mine"))
    assert ledger.rows_after_claims(sender.dispatch_id, [A])[A].state is CLAIMED
    time.sleep(2.1)
    assert ledger.rows_after_claims(sender.dispatch_id, [A, B]).keys() == {A}
    assert sender.state(A) is IN_DOUBT
