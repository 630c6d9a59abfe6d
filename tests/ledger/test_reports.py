"""The report of a campaign, counted in two ways that must agree."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from airflow_sms_flow.core.delivery import Campaign, DeliveryState, StepName
from airflow_sms_flow.core.receipts import DeliveryReport
from airflow_sms_flow.ledger import Ledger
from tests.ledger.callbacks import (
    AT_CARRIER,
    DELIVERED,
    HARD_BOUNCE,
    NOT_SUBSCRIBED,
    ROUTED,
    SENT,
    SOFT_BOUNCE,
    event,
    hear,
)
from tests.ledger.moves import CAMPAIGN, Sender, claim, settle

STATES = (DeliveryState.ACCEPTED,) * 4 + (DeliveryState.REFUSED, DeliveryState.IN_DOUBT, DeliveryState.OPEN)
TOLD = (None, ROUTED, SENT, AT_CARRIER, DELIVERED, SOFT_BOUNCE, HARD_BOUNCE, NOT_SUBSCRIBED)
OTHER = Campaign("acme", "autumn", StepName.SEND, "1201")
PHONES = [f"+1202555{n:04d}" for n in range(100, 180)]


def fill(ledger: Ledger, campaign: Campaign, chance: random.Random) -> None:
    """Any state, any receipt, also those that do not fit together; a claim that lives is among them."""
    sender = Sender(ledger, campaign)
    told = []
    for number, phone in enumerate(PHONES):
        claim_id = f"{campaign.campaign_key}{number}"
        sender.write(claim(phone, claim_id))
        if number % 9:
            sender.write(settle(phone, chance.choice(STATES), claim_id, "bad_number"))
        action = chance.choice(TOLD)
        if action is not None:
            told.append(event(campaign.event_id(phone), action, chance.randint(1, 9)))
    hear(ledger, *told)


@pytest.mark.parametrize("seed", range(4))
def test_the_whole_is_the_sum_of_its_times(ledger: Ledger, seed: int) -> None:
    """Whatever receipts the other deliveries have, and other campaigns."""
    chance = random.Random(seed)
    fill(ledger, CAMPAIGN, chance)
    fill(ledger, OTHER, chance)
    for campaign in (CAMPAIGN, OTHER):
        whole = ledger.delivery_report(campaign)
        [(start, at_once)] = ledger.delivery_report_over_time(campaign, timedelta(days=100_000))
        assert whole == at_once
        assert whole.sent > whole.delivered > 0
        assert whole.refused_late > 0
        assert start == datetime(1970, 1, 1, tzinfo=UTC)


def test_buckets_begin_at_whole_multiples(ledger: Ledger) -> None:
    """On both databases alike; of an unknown campaign there are none."""
    fill(ledger, CAMPAIGN, random.Random(1))
    for start, report in ledger.delivery_report_over_time(CAMPAIGN, timedelta(minutes=15)):
        assert (start.minute % 15, start.second, start.microsecond) == (0, 0, 0)
        assert datetime.now(UTC) - start < timedelta(minutes=20)
        assert report.sent + report.refused_late > 0
    assert ledger.delivery_report_over_time(OTHER, timedelta(hours=1)) == []
    assert ledger.delivery_report(OTHER) == DeliveryReport()
