"""The states, the moves between them, and the name of a delivery."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.delivery import (
    MOVES,
    OUR_REASONS,
    Campaign,
    DeliveryState,
    StepName,
    check_campaign_key,
    is_settled,
    may_move,
)
from airflow_sms_flow.core.errors import InvalidInput

campaigns = st.builds(Campaign, st.text(), st.text(), st.sampled_from(StepName), st.text())


def test_nothing_is_accepted_that_was_not_claimed_or_in_doubt() -> None:
    """A request leaves only under a claim. A person's "not sent" may still be corrected by a late answer, a
    refusal by the carrier's receipt."""
    sources = {before for before in MOVES if may_move(before, DeliveryState.ACCEPTED)}
    corrected = {DeliveryState.OPEN, DeliveryState.REFUSED}
    assert sources == {DeliveryState.CLAIMED, DeliveryState.IN_DOUBT, *corrected}


def test_a_doubt_arises_from_a_claim_only() -> None:
    """What never left cannot have arrived."""
    assert {before for before in MOVES if may_move(before, DeliveryState.IN_DOUBT)} == {DeliveryState.CLAIMED}


def test_what_was_accepted_is_never_open_again() -> None:
    """Open means "known not to have happened"."""
    for done in (DeliveryState.ACCEPTED, DeliveryState.ALREADY):
        assert not may_move(done, DeliveryState.OPEN)
        assert not may_move(done, DeliveryState.IN_DOUBT)


def test_every_state_can_be_reached_and_left() -> None:
    """No dead end, no state without a way in."""
    assert set(MOVES) == {None, *DeliveryState}
    assert {after for moves in MOVES.values() for after in moves} == set(DeliveryState)
    assert all(MOVES.values())


def test_what_is_done_is_left_alone_and_our_own_refusals_are_not() -> None:
    """People join lists, so a later try looks again; a vendor's refusal stands."""
    assert is_settled(DeliveryState.ACCEPTED, None)
    assert is_settled(DeliveryState.ALREADY, "subscribed")
    assert is_settled(DeliveryState.REFUSED, "bad_number")
    assert not any(is_settled(DeliveryState.REFUSED, reason) for reason in OUR_REASONS)
    unsettled = (DeliveryState.OPEN, DeliveryState.SKIPPED, DeliveryState.CLAIMED, DeliveryState.IN_DOUBT)
    assert not any(is_settled(state, None) for state in unsettled)


@given(campaigns, campaigns, st.text(), st.text())
def test_two_deliveries_share_an_event_id_only_if_they_are_the_same(
    one: Campaign, other: Campaign, phone: str, other_phone: str
) -> None:
    """Also where the parts run together to the same text."""
    assert (one.event_id(phone) == other.event_id(other_phone)) == ((one, phone) == (other, other_phone))


def test_an_event_id_never_changes() -> None:
    """A ledger outlives releases of this package: the same send must keep its id."""
    campaign = Campaign("acme", "once:welcome", StepName.SEND, "1201")
    assert campaign.event_id("+12025550132") == "c596362de1c32767efd0cf0662901fe8"
    assert Campaign("a", "bc", StepName.SEND, "1").event_id("+1") != Campaign(
        "ab", "c", StepName.SEND, "1"
    ).event_id("+1")


@pytest.mark.parametrize(
    "key",
    [
        "summer",
        "once:welcome",
        "once:NONE",
        "None of these",
        "dag/task/2026-07-01T00:00:00+00:00",
        "x" * 200,
        "é ü",
    ],
)
def test_a_good_campaign_key_stays_as_it_is(key: str) -> None:
    """It is compared to the letter."""
    assert check_campaign_key(key) == key


@pytest.mark.parametrize("key", [None, 7, "", "  ", " summer", "summer\n", "x" * 201, "once:", "sum\tmer"])
def test_a_campaign_key_that_would_surprise_is_refused(key: object) -> None:
    """A blank too many would be another campaign, and everybody reached again."""
    with pytest.raises(InvalidInput, match="campaign_key"):
        check_campaign_key(key)


@pytest.mark.parametrize("key", ["None", "none", " NONE ", "once:None", "once: None ", "once:", "once: "])
def test_a_key_that_jinja_made_of_an_empty_param_is_refused_with_the_way_out(key: str) -> None:
    """All runs of all such DAGs would share it, and the second campaign would reach nobody."""
    with pytest.raises(InvalidInput, match=r'leave campaign_key out.*dag\.param\("campaign"\)'):
        check_campaign_key(key)
