"""Everybody who was prepared is in the sum, also those of shards that told nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sms_flow.core.campaign_report import add_up
from airflow_sms_flow.core.delivery import DeliveryState
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.report import Tally
from airflow_sms_flow.core.rules import Funnel

OUTCOMES = [
    (DeliveryState.ACCEPTED, None),
    (DeliveryState.ALREADY, None),
    (DeliveryState.REFUSED, "not_subscribed"),
    (DeliveryState.REFUSED, "opted_out"),
    (DeliveryState.SKIPPED, "dry_run"),
    (DeliveryState.IN_DOUBT, None),
    (DeliveryState.OPEN, None),
    (None, None),
]
SHARDS = st.lists(st.tuples(st.lists(st.sampled_from(OUTCOMES), max_size=8), st.booleans()), min_size=1)


def report(*outcomes: tuple[DeliveryState | None, str | None], key: str = "spring") -> dict[str, Any]:
    """What a step says of one shard."""
    tally = Tally()
    for state, reason in outcomes:
        tally.add(state, reason, by_this_try=True)
    return tally.report("send", key, "1201", attempted=len(outcomes)).as_dict()


def funnel(kept: int) -> Funnel:
    return Funnel(kept + 3, kept, {"suppressed": 2, "duplicate": 1})


@given(SHARDS, st.randoms())
def test_the_sums_hold_whichever_shards_told_something(shards: list[Any], random: Any) -> None:
    """In any order; who is in no report is unreported."""
    rows = [len(outcomes) for outcomes, _ in shards]
    told = [report(*outcomes) for outcomes, ended_well in shards if ended_well]
    random.shuffle(told)
    total = add_up(funnel(sum(rows)), rows, told).as_dict()
    counts = sum(total[name] for name in ("accepted", "already", "in_doubt", "failed", "unreported"))
    counts += sum(total["refused"].values()) + sum(total["skipped"].values())
    assert counts == total["rows"] == sum(rows)
    silent = [len(outcomes) for outcomes, ended_well in shards if not ended_well]
    assert (total["unreported"], total["shards_unreported"]) == (sum(silent), len(silent))


def test_a_whole_report_has_every_shard_and_nobody_failed() -> None:
    """Only then is there nothing left to do; whoever is in doubt waits for a callback or a person."""
    sent, doubt, failed = (DeliveryState.ACCEPTED, None), (DeliveryState.IN_DOUBT, None), (None, None)
    assert add_up(funnel(2), [1, 1], [report(sent), report(doubt)]).is_whole
    assert not add_up(funnel(2), [1, 1], [report(sent), report(failed)]).is_whole
    assert not add_up(funnel(1), [1, 0], [report(sent)]).is_whole


def test_what_is_known_of_deliveries_is_taken_once() -> None:
    """Each shard tells of the whole campaign as it stood when that shard ended."""
    early, late = {"sent": 2, "refused_late": 0}, {"sent": 3, "refused_late": 1}
    reports = [report() | {"delivery": late}, report() | {"delivery": early}]
    assert add_up(funnel(0), [0, 0], reports).as_dict()["delivery"] == late


def test_a_campaign_without_any_report_has_a_funnel_all_the_same() -> None:
    """Nothing is known of it but who was meant."""
    total = add_up(funnel(5), [2, 3], [])
    assert (total.unreported, total.as_dict()["funnel"]["kept"]) == (5, 5)
    assert total.lines()[-1].split() == ["-", "unreported", "5"]


@pytest.mark.parametrize(
    ("shards", "rows", "keys", "words"),
    [
        ([1, 1], [1, 1], ["spring", "summer"], "campaign keys"),
        ([2, 2], [1], ["spring"], "belong to none"),
        ([1], [1, 1], ["spring", "spring"], "belong to none"),
    ],
)
def test_reports_of_something_else_are_refused(
    shards: list[int], rows: list[int], keys: list[str], words: str
) -> None:
    """Of another campaign, or of another audience."""
    sent = (DeliveryState.ACCEPTED, None)
    reports = [report(*[sent] * count, key=key) for count, key in zip(rows, keys, strict=True)]
    with pytest.raises(InvalidInput, match=words):
        add_up(funnel(sum(shards)), shards, reports)


def test_shards_and_funnel_must_be_of_one_preparation() -> None:
    """Else somebody is counted who was never prepared."""
    with pytest.raises(InvalidInput, match="of one preparation"):
        add_up(funnel(3), [1, 1], [])
