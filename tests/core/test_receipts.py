"""How far a text has come: the vendor's words, and which of two receipts counts."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.delivery import DeliveryState, is_settled
from airflow_sms_flow.core.receipts import (
    Action,
    Bounce,
    DeliveryReport,
    Receipt,
    Stage,
    later,
    make_report,
    read_action,
    read_message_status,
)

T = datetime(2026, 5, 1, 12, tzinfo=UTC)

RECEIPTS = st.builds(
    Receipt,
    st.sampled_from(Stage),
    st.integers(0, 3).map(lambda n: T + timedelta(seconds=n)),
    st.sampled_from([None, *Bounce]),
    st.sampled_from([None, "a", "b"]),
)


@pytest.mark.parametrize(
    ("action", "found"),
    [
        (
            ("routing", "processing", "accepted_by_event_triggered_message"),
            Action(Stage.ROUTED, reason="accepted_by_event_triggered_message"),
        ),
        (("routing", "failed", "no_route_rules"), Action(Stage.REFUSED, reason="late_no_route_rules")),
        (
            ("routing", "failed", "person_not_in_subscription_list"),
            Action(Stage.REFUSED, reason="late_not_subscribed"),
        ),
        (("Routing", "FAILED", "Person Not Found"), Action(Stage.REFUSED, reason="late_unknown_person")),
        (("routing", "failed", "carrier_not_supported"), Action(Stage.REFUSED, reason="late_carrier")),
        (
            ("processing", "failed", "no_incentive_codes"),
            Action(Stage.REFUSED, reason="late_no_incentive_codes"),
        ),
        (
            ("processing", "failed", "unexpected_error"),
            Action(Stage.REFUSED, reason="late_unexpected_error"),
        ),
        (("processing", "failed", None), Action(Stage.REFUSED, reason="late_unexpected_error")),
        (("processing", "success", "queued"), Action(Stage.SENT, reason="queued")),
        (("carrier_dlr", "success", None), Action(Stage.AT_CARRIER)),
        (("handset_dlr", "success", "delivered"), Action(Stage.DELIVERED, reason="delivered")),
        (("carrier_dlr", "failed", "queue full"), Action(Stage.BOUNCED, Bounce.SOFT, "queue_full")),
        (
            ("handset_dlr", "failed", "Unknown Subscriber"),
            Action(Stage.BOUNCED, Bounce.HARD, "unknown_subscriber"),
        ),
        (
            ("carrier_dlr", "undeliverable", "number on block list"),
            Action(Stage.BOUNCED, Bounce.HARD, "number_on_block_list"),
        ),
        (("push", "success", None), None),
        (("carrier_dlr", None, None), None),
        (("routing", 7, []), None),
        ((None, None, None), None),
    ],
)
def test_the_vendors_words_are_understood(
    action: tuple[object, object, object], found: Action | None
) -> None:
    """The published ones to the letter, the others by what they contain; strange ones are unknown."""
    assert read_action(*action) == found


@given(st.lists(RECEIPTS, min_size=1, max_size=6))
def test_the_order_of_arrival_does_not_matter(found: list[Receipt]) -> None:
    """Nor does hearing one twice."""

    def fold(order: list[Receipt]) -> Receipt | None:
        counts: Receipt | None = None
        for one in order:
            counts = later(counts, one)
        return counts

    assert fold(found) == fold(found[::-1]) == fold(found + found) == fold(sorted(found, key=repr))


def test_a_later_stage_wins_and_then_the_newer_one() -> None:
    """A handset's receipt is not undone by the carrier's that comes late. A refusal beats what Vibes alone
    told; what has left it cannot have been refused, but for a copy of it."""
    order = [Stage.ROUTED, Stage.SENT, Stage.REFUSED, Stage.AT_CARRIER, Stage.DELIVERED]
    for low, high in itertools.combinations(order, 2):
        assert later(Receipt(high, T), Receipt(low, T + timedelta(days=1))).stage is high
    delivered, bounced = Receipt(Stage.DELIVERED, T), Receipt(Stage.BOUNCED, T + timedelta(seconds=1))
    assert later(delivered, bounced) is bounced
    assert later(bounced, Receipt(Stage.REFUSED, T + timedelta(days=1))) is bounced


def test_a_late_refusal_is_final() -> None:
    """Never a second event under its key."""
    for why in ("no_route_rules", "person_not_in_subscription_list", "what", ""):
        action = read_action("routing", "failed", why)
        assert action is not None
        assert is_settled(DeliveryState.REFUSED, action.reason)


def test_a_report_adds_up() -> None:
    """What the carrier has counts as delivered; what nothing was heard of is unknown."""
    counts = {
        (None, None): 1,
        (Stage.ROUTED, None): 2,
        (Stage.SENT, None): 3,
        (Stage.AT_CARRIER, None): 10,
        (Stage.DELIVERED, None): 20,
        (Stage.BOUNCED, Bounce.SOFT): 3,
        (Stage.BOUNCED, Bounce.HARD): 1,
    }
    report = make_report(counts, refused_late=5)
    assert report == DeliveryReport(40, 30, 20, 3, 1, 6, 5)
    assert (report.final, report.delivery_rate, report.bounce_rate) == (39, 0.75, 0.1)
    assert report.final_share == pytest.approx(39 / 45)
    assert report.as_dict()["bounce_rate"] == 0.1


def test_an_empty_report_divides_by_nothing() -> None:
    """A campaign without messages has nothing to wait for."""
    empty = make_report({}, 0)
    assert (empty.final_share, empty.delivery_rate, empty.bounce_rate) == (1.0, 0.0, 0.0)


def test_a_report_that_loses_messages_cannot_be_made() -> None:
    """The sum is held wherever a report is made."""
    with pytest.raises(AssertionError, match="loses messages"):
        DeliveryReport(sent=2, delivered=1)


@pytest.mark.parametrize(
    ("status", "action"),
    [
        ("SUCCESS", Action(Stage.SENT, reason="success")),
        ("Route Not Found", Action(Stage.REFUSED, reason="late_no_route_rules")),
        ("Mdn on blocked list", Action(Stage.REFUSED, reason="late_blocked")),
        ("Capped Message", Action(Stage.REFUSED, reason="late_capped")),
        ("Carrier Not Supported", Action(Stage.REFUSED, reason="late_carrier")),
        ("Subscription Not Found", Action(Stage.REFUSED, reason="late_not_subscribed")),
        ("Unexpected Error", Action(Stage.REFUSED, reason="late_unexpected_error")),
        ("Number Disconnected", Action(Stage.BOUNCED, Bounce.HARD, "number_disconnected")),
        ("Unknown Subscriber", Action(Stage.BOUNCED, Bounce.HARD, "unknown_subscriber")),
        ("Handset Unreachable", Action(Stage.BOUNCED, Bounce.SOFT, "handset_unreachable")),
        (
            "Carrier Temporarily Unavailable",
            Action(Stage.BOUNCED, Bounce.SOFT, "carrier_temporarily_unavailable"),
        ),
        ("Something New", Action(Stage.BOUNCED, Bounce.SOFT, "something_new")),
        ("", None),
        (None, None),
    ],
)
def test_what_the_message_extract_says(status: object, action: Action | None) -> None:
    """Success promises no delivery; what is neither success nor Vibes' own refusal is a bounce."""
    assert read_message_status(status) == action


def test_a_delivery_report_as_a_person_reads_it() -> None:
    """Aligned, with shares of what was sent."""
    lines = DeliveryReport(1000, 950, 900, 20, 10, 20, 3).lines()
    assert [line.split() for line in lines] == [
        ["sent", "1,000"],
        ["delivered", "950", "95.0%"],
        ["bounced,", "soft", "20", "2.0%"],
        ["bounced,", "hard", "10", "1.0%"],
        ["not", "known", "yet", "20", "2.0%"],
        ["refused", "late", "3"],
    ]
    assert len({len(line) for line in lines}) == 2  # with a share, and without
