"""What people ask of the ledger: what is in doubt, settling it, the past, forgetting it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update
from sqlalchemy.engine import Engine

from airflow_sms_flow.core.delivery import DeliveryState, StepName
from airflow_sms_flow.core.opt_in import OptIn, OptInState
from airflow_sms_flow.ledger import Lease, Ledger
from airflow_sms_flow.ledger.schema import deliveries, history
from tests.ledger.callbacks import hear, joined
from tests.ledger.moves import CAMPAIGN, A, B, C, Sender, claim, path_of, settle

OPEN, CLAIMED, IN_DOUBT = DeliveryState.OPEN, DeliveryState.CLAIMED, DeliveryState.IN_DOUBT
ACCEPTED, REFUSED = DeliveryState.ACCEPTED, DeliveryState.REFUSED


def _in_doubt(sender: Sender, *phones: str) -> None:
    for phone in phones:
        sender.write(claim(phone, f"claim {phone}"), settle(phone, IN_DOUBT, f"claim {phone}", "no_answer"))


def test_rows_in_doubt_are_counted_by_campaign(ledger: Ledger) -> None:
    """Where somebody has to look; a try that was killed counts without anybody having started a retry."""
    first = Sender(ledger)
    other = Sender(ledger, replace(CAMPAIGN, campaign_key="autumn"), lease=Lease(0.05, 0.05))
    _in_doubt(first, A, B)
    first.write(claim(C, "living"))
    other.write(claim(A, "killed"))
    time.sleep(0.2)
    assert ledger.in_doubt_counts() == {CAMPAIGN: 2, other.campaign: 1}


def test_a_person_may_settle_a_whole_key_or_one_number(ledger: Ledger) -> None:
    """It stands in the history with who said so; what was not sent is open for the next try."""
    sender = Sender(ledger)
    _in_doubt(sender, A, B, C)
    assert ledger.settle_in_doubt("summer", sent=True, by="kim", phone=A) == 1
    assert ledger.settle_in_doubt("summer", sent=False, by="kim") == 2
    assert ledger.settle_in_doubt("summer", sent=True, by="kim") == 0
    assert ledger.settle_in_doubt("unknown", sent=True, by="kim") == 0
    assert [sender.state(phone) for phone in (A, B, C)] == [ACCEPTED, OPEN, OPEN]
    last = ledger.history(A)[-1]
    assert (last.why, last.reason, last.owner) == ("settled as sent by kim", "by_hand", None)
    assert sender.write(claim(B, "again", OPEN))[0].moved


@pytest.mark.parametrize(
    ("step", "reason", "hours"),
    [
        (StepName.SEND, "by_hand", None),
        (StepName.SUBSCRIBE, "pending", 24),
        (StepName.UNSUBSCRIBE, "by_hand", None),
    ],
)
def test_what_was_sent_stands_as_its_step_would_have_it(
    ledger: Ledger, step: StepName, reason: str, hours: int | None
) -> None:
    """A question waits for its answer, a day from now at the latest; a text, or having left, is done."""
    sender = Sender(ledger, replace(CAMPAIGN, step=step))
    _in_doubt(sender, A)
    assert ledger.settle_in_doubt("summer", sent=True, by="kim") == 1
    row = ledger.rows(sender.dispatch_id, [A])[A]
    assert (row.state, row.reason) == (ACCEPTED, reason)
    assert row.expire_at == (row.updated_at + timedelta(hours=hours) if hours else None)
    assert ledger.history(A)[-1].why == "settled as sent by kim"


def test_settling_leaves_alone_what_somebody_still_waits_for(ledger: Ledger) -> None:
    """A claim of a living try is not in doubt."""
    sender = Sender(ledger)
    sender.write(claim(A, "mine"))
    assert ledger.settle_in_doubt("summer", sent=False, by="kim") == 0
    ledger.end_claimer(sender.id)
    assert ledger.settle_in_doubt("summer", sent=False, by="kim") == 1


def test_an_answer_that_comes_after_all_knows_better_than_a_person(ledger: Ledger) -> None:
    """Somebody said "not sent", and then the vendor's yes arrives: the next try must not send again."""
    sender = Sender(ledger)
    _in_doubt(sender, A)
    ledger.settle_in_doubt("summer", sent=False, by="kim")
    assert sender.write(settle(A, ACCEPTED, f"claim {A}"))[0].moved
    assert path_of(ledger, A) == [CLAIMED, IN_DOUBT, OPEN, ACCEPTED]


def _age(engine: Engine, days: float) -> None:
    then = datetime.now(UTC) - timedelta(days=days)
    with engine.begin() as connection:
        connection.execute(update(deliveries).values(updated_at=then))
        connection.execute(update(history).values(at=then))


def test_what_was_begun_under_a_key_is_found(ledger: Ledger) -> None:
    """Each step and list by itself; a key that nobody used has none."""
    other = replace(CAMPAIGN, list_id="1202")
    for campaign in (CAMPAIGN, other, replace(CAMPAIGN, campaign_key="autumn")):
        ledger.dispatch_id(campaign)
    assert ledger.campaigns("summer") == [CAMPAIGN, other]
    assert ledger.campaigns("Summer") == []


def test_old_rows_and_old_history_are_forgotten(ledger: Ledger, engine: Engine) -> None:
    """Each after its own time; what is young stays."""
    sender = Sender(ledger)
    sender.write(claim(A, "1"), settle(A, ACCEPTED, "1"))
    _age(engine, 100)
    sender.write(claim(B, "2"), settle(B, ACCEPTED, "2"))
    assert ledger.prune(history_days=200, rows_days=None) == (0, 0)
    assert ledger.prune(history_days=90, rows_days=200) == (2, 0)
    assert (ledger.history(A), sender.state(A)) == ([], ACCEPTED)
    assert ledger.prune(history_days=90, rows_days=90) == (0, 1)
    assert (sender.state(A), sender.state(B), len(ledger.history(B))) == (None, ACCEPTED, 2)


def test_once_means_ever(ledger: Ledger, engine: Engine) -> None:
    """Rows of `once:` keys are never forgotten; a key that only looks alike is."""
    ever, not_ever = (
        Sender(ledger, replace(CAMPAIGN, campaign_key=key)) for key in ("once:welcome", "Once welcome")
    )
    for sender in (ever, not_ever):
        sender.write(claim(A, "1"), settle(A, ACCEPTED, "1"))
    _age(engine, 10_000)
    assert ledger.prune(history_days=1, rows_days=1) == (4, 1)
    assert (ever.state(A), not_ever.state(A)) == (ACCEPTED, None)


def test_whom_we_took_off_a_list_is_not_forgotten(ledger: Ledger, engine: Engine) -> None:
    """No callback may ever have told it: forgotten, they would be on the mirror again."""
    hear(ledger, joined(A, 1))
    sender = Sender(ledger, replace(CAMPAIGN, campaign_key="goodbye", step=StepName.UNSUBSCRIBE))
    sender.write(claim(A, "1"), settle(A, ACCEPTED, "1"))
    assert ledger.prune(history_days=1, rows_days=-1)[1] == 0
    assert len(ledger.subscribers(CAMPAIGN.company_key, CAMPAIGN.list_id)) == 0


def test_what_is_in_doubt_is_not_forgotten(ledger: Ledger, engine: Engine) -> None:
    """Forgotten, it would be sent again; it waits for somebody who knows."""
    sender = Sender(ledger)
    _in_doubt(sender, A)
    sender.write(claim(B, "1"))
    _age(engine, 10_000)
    assert ledger.prune(history_days=1, rows_days=1)[1] == 0
    assert (sender.state(A), sender.state(B)) == (IN_DOUBT, CLAIMED)


def test_the_creation_of_a_campaign_is_claimed_by_one(ledger: Ledger) -> None:
    """Until it is given back. The claimer may claim again; another list or company is another claim."""
    assert ledger.claim_event_campaign("acme", "1201", "sms_flow_1201", "first")
    assert not ledger.claim_event_campaign("acme", "1201", "sms_flow_1201", "second")
    assert ledger.claim_event_campaign("acme", "1201", "sms_flow_1201", "first")
    assert ledger.claim_event_campaign("acme", "1202", "sms_flow_1202", "second")
    assert ledger.claim_event_campaign("globex", "1201", "sms_flow_1201", "second")
    ledger.release_event_campaign("acme", "1201", "second")
    assert not ledger.claim_event_campaign("acme", "1201", "sms_flow_1201", "second")
    ledger.release_event_campaign("acme", "1201", "first")
    assert ledger.claim_event_campaign("acme", "1201", "sms_flow_1201", "second")


def test_a_claim_of_somebody_who_died_runs_out(ledger: Ledger, engine: Engine) -> None:
    """After two minutes somebody else may look, and create."""
    ledger.claim_event_campaign("acme", "1201", "sms_flow_1201", "dead")
    with engine.begin() as connection:
        past = {"past": datetime.now(UTC) - timedelta(seconds=1)}
        statement = text("UPDATE sms_flow_event_campaigns SET claimed_until = :past")
        connection.execute(
            statement, past if engine.name != "sqlite" else {"past": "2020-01-01 00:00:00.000000"}
        )
    assert ledger.claim_event_campaign("acme", "1201", "sms_flow_1201", "next")


def test_opt_ins_come_back_as_they_were_stored(ledger: Ledger) -> None:
    """Aware UTC datetimes on both databases; a second poll overwrites the first."""
    expire = datetime(2026, 7, 1, 12, 30, tzinfo=UTC)
    first = {A: OptIn(expire), B: OptIn(expire)}
    ledger.store_opt_ins("acme", "NEWS", "1201", first)
    ledger.store_opt_ins("acme", "NEWS", "1201", {A: OptIn(expire, OptInState.CONFIRMED)})
    ledger.store_opt_ins("acme", "NEWS", "1201", {})
    found = ledger.opt_ins("acme", "NEWS", [A, B, C])
    assert found == {A: OptIn(expire, OptInState.CONFIRMED), B: OptIn(expire)}
    assert ledger.opt_ins("acme", "OTHER", [A]) == {}


def test_more_numbers_than_a_query_may_hold(ledger: Ledger) -> None:
    """Asked for in parts."""
    sender = Sender(ledger)
    sender.write(claim(A, "1"))
    crowd = [f"+1202{n:07}" for n in range(2_500)]
    assert ledger.rows(sender.dispatch_id, [*crowd, A]).keys() == {A}
