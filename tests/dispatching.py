"""One way to run a dispatch in a test, and to see who stands where after it."""

from __future__ import annotations

from collections import Counter

from airflow_sms_flow.core.backoff import Backoff
from airflow_sms_flow.core.delivery import Campaign, StepName
from airflow_sms_flow.courier import Plan
from airflow_sms_flow.dispatch import Dispatcher, Result
from airflow_sms_flow.ledger import Lease, Ledger
from airflow_sms_flow.steps.step import Recipient
from tests.scripted_step import ScriptedStep

CAMPAIGN = Campaign("acme", "summer", StepName.SEND, "1201")
PLAN = Plan(CAMPAIGN, "f" * 64, concurrency=4, backoff=Backoff(3, 0.001, 0.002), finish_seconds=0.5)
SHORT = Lease(seconds=0.4, answer_seconds=0.4)


def run(ledger: Ledger, step: ScriptedStep, who: list[Recipient], plan: Plan = PLAN) -> Result:
    """One try."""
    return Dispatcher(ledger, step, plan).run(who, len(who))


def states(ledger: Ledger, who: list[Recipient], campaign: Campaign = CAMPAIGN) -> Counter[str]:
    """How many stand where; "none" without a row."""
    rows = ledger.rows(ledger.dispatch_id(campaign), [one.phone for one in who])
    return Counter(rows[one.phone].state.value if one.phone in rows else "none" for one in who)
