"""The step report adds up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.receipts import DeliveryReport
from airflow_sms_flow.core.report import StepReport, Tally

reasons = st.sampled_from([None, "not_subscribed", "bad_number", "recently_sent", "pending"])
people = st.lists(st.tuples(st.none() | st.sampled_from(DeliveryState), reasons, st.booleans()))


@given(people, st.integers(0, 10))
def test_every_person_is_counted_once(
    rows: list[tuple[DeliveryState | None, str | None, bool]], attempted: int
) -> None:
    """The rows = accepted + already + refused + skipped + in_doubt + failed, whatever the ledger holds."""
    tally = Tally()
    for state, reason, by_this_try in rows:
        tally.add(state, reason, by_this_try=by_this_try)
    report = tally.report("send", "summer", "1201", attempted=attempted).as_dict()
    parts = [report[name] for name in ("accepted", "already", "in_doubt", "failed")]
    reasoned = [*report["refused"].values(), *report["skipped"].values()]
    assert report["rows"] == len(rows) == sum(parts) + sum(reasoned)
    assert report["attempted"] == attempted
    assert json.loads(json.dumps(report)) == report


def test_where_each_state_is_counted() -> None:
    """`accepted` is this try's; a claim that nobody answered is a doubt; who was not reached has failed."""
    tally = Tally()
    for state, reason, mine in [
        (DeliveryState.ACCEPTED, None, True),
        (DeliveryState.ACCEPTED, None, False),
        (DeliveryState.ALREADY, "subscribed", True),
        (DeliveryState.REFUSED, "bad_number", True),
        (DeliveryState.REFUSED, None, True),
        (DeliveryState.SKIPPED, "recently_sent", True),
        (DeliveryState.IN_DOUBT, "no_answer", False),
        (DeliveryState.CLAIMED, None, True),
        (DeliveryState.OPEN, "rate_limited", True),
        (None, None, False),
    ]:
        tally.add(state, reason, by_this_try=mine)
    assert tally.report("send", "summer", "1201", attempted=7).as_dict() == {
        "step": "send",
        "campaign_key": "summer",
        "list_id": "1201",
        "rows": 10,
        "accepted": 1,
        "already": 2,
        "refused": {"bad_number": 1, "unknown": 1},
        "skipped": {"recently_sent": 1},
        "in_doubt": 2,
        "failed": 2,
        "attempted": 7,
    }


def test_a_report_that_loses_people_cannot_be_made() -> None:
    """A mistake of ours must not reach a reader as a number."""
    with pytest.raises(AssertionError, match="2 of 3 rows"):
        StepReport("send", "summer", "1201", rows=3, accepted=1, refused={"bad_number": 1})


def test_what_became_of_the_texts_stands_outside_the_sum() -> None:
    """Of a step that sends any; the log mentions it once something is known."""
    known = DeliveryReport(sent=9, delivered=6, on_handset=4, bounced_soft=2, bounced_hard=1)
    for delivery, lines in ((DeliveryReport(sent=1, unknown=1), 0), (known, 6)):
        report = Tally().report("send", "summer", "1201", attempted=0, delivery=delivery)
        assert report.as_dict()["delivery"] == delivery.as_dict()
        assert sum("so far" in line for line in report.lines()) == lines
    assert "  so far: delivered                    6    66.7%" in report.lines()
    assert "delivery" not in StepReport("subscribe", "summer", "1201").as_dict()


def test_the_lines_are_short_and_aligned() -> None:
    """As they stand in a task's log."""
    report = StepReport(
        "send", "summer", "1201", 1_500, 1_499, refused={"not_subscribed": 1}, attempted=1_499
    )
    lines = report.lines()
    assert lines[0] == "send on list 1201, campaign key 'summer'"
    assert "  refused: not_subscribed              1" in lines
    assert len({len(line) for line in lines[1:]}) == 1
