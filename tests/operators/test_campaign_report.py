"""The last task of a campaign in shards: it tells of everybody, then fails if somebody is left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_sms_flow.core.errors import Unfinished
from airflow_sms_flow.operators import CampaignReportOperator
from airflow_sms_flow.sensors import SmsDeliverySensor
from tests.operators.world import ANN, BOB, CYD, DEE, QuickSend, Run, World, adds_up, send

FUNNEL = {"extracted": 5, "kept": 4, "suppressed": 1}


def reduce(world: World, audience: Any, reports: Any, **parameters: Any) -> Any:
    """Run the operator."""
    task = CampaignReportOperator(task_id="report", audience=audience, reports=reports, **parameters)
    return world.run(task)


def shards_of(world: World) -> list[dict[str, Any]]:
    """Four people, two by two."""
    return [
        {"path": world.audience(ANN, BOB, name="one"), "rows": 2},
        {"path": world.audience(CYD, DEE, name="two"), "rows": 2},
    ]


def send_shard(world: World, shards: list[dict[str, Any]], index: int, **parameters: Any) -> Any:
    """A task that Airflow mapped over the shards."""
    return world.run(send(audience=shards[index], **parameters), Run(map_index=index))


def test_the_shards_of_a_step_are_one_campaign(world: World) -> None:
    """One key, one event per number, also when a shard runs again under another index."""
    world.join(ANN, BOB, CYD, DEE)
    shards = shards_of(world)
    reports = [send_shard(world, shards, index) for index in range(2)]
    assert len({report["campaign_key"] for report in reports}) == 1
    total = reduce(world, shards, reports, funnel=FUNNEL)
    assert (total["accepted"], total["unreported"], total["delivery"]["sent"]) == (4, 0, 4)
    assert total["funnel"]["suppressed"] == 1
    again = [world.run(send(audience=shard), Run(map_index=7 + n)) for n, shard in enumerate(shards)]
    assert [report["already"] for report in again] == [2, 2]
    assert [len(world.texts(phone)) for phone in (ANN, BOB, CYD, DEE)] == [1, 1, 1, 1]


def test_a_try_that_fails_tells_how_far_it_came(world: World) -> None:
    """Airflow keeps nothing of it by itself; the sum has everybody in the right place."""
    world.join(ANN, BOB, CYD, DEE)
    shards = shards_of(world)
    first = send_shard(world, shards, 0)
    world.fault("status", status=429, method="POST", path="*/events", body="vendor")
    with pytest.raises(Unfinished):
        send_shard(world, shards, 1, kind=QuickSend)
    second = world.pushed["return_value"]
    assert adds_up(second)
    assert second["failed"] == 2
    with pytest.raises(AirflowFailException, match=r"2 people could not be reached.*Clear the failed tasks"):
        reduce(world, shards, [first, second], funnel=FUNNEL)
    total = world.pushed["return_value"]
    assert (total["accepted"], total["failed"], total["unreported"]) == (2, 2, 0)


def test_a_shard_without_a_report_leaves_the_run_red_and_the_sum_whole(world: World) -> None:
    """A killed task tells nothing; its people are unreported, not forgotten."""
    world.join(ANN, BOB)
    shards = shards_of(world)
    with pytest.raises(AirflowFailException, match=r"1 of 2 shards ended without a report \(2 people\)"):
        reduce(world, shards, [send_shard(world, shards, 0)], funnel=FUNNEL)
    total = world.pushed["return_value"]
    assert (total["accepted"], total["unreported"], total["shards_unreported"]) == (2, 2, 1)


def test_a_step_without_shards_is_reported_alike(world: World) -> None:
    """The funnel stands in the reference then."""
    audience = {"path": world.audience(ANN), "rows": 1, "funnel": {"extracted": 1, "kept": 1}}
    total = reduce(world, audience, world.run(send(audience=audience)))
    assert total["refused"] == {"not_subscribed": 1}


@pytest.mark.parametrize(
    ("audience", "reports", "funnel", "words"),
    [
        (None, [], None, "preparation gave nothing"),
        ([], [], FUNNEL, "preparation gave nothing"),
        ([{"path": "a", "rows": 4}], [], None, "funnel"),
        ("a.parquet", [], FUNNEL, "output of a task"),
        ([{"path": "a", "rows": 4}], ["accepted"], FUNNEL, "send.output"),
    ],
)
def test_what_cannot_be_added_up_is_refused(
    world: World, audience: Any, reports: Any, funnel: Any, words: str
) -> None:
    """By the parameter's name, above all where the preparation failed."""
    with pytest.raises(AirflowFailException, match=words):
        reduce(world, audience, reports, funnel=funnel)


def test_several_files_are_never_sent_as_one(world: World) -> None:
    """Who forgets `.expand` texts nobody, rather than the first shard."""
    with pytest.raises(AirflowFailException, match="expand"):
        world.run(send(audience=shards_of(world)))
    assert world.requests("POST", "events") == []


def test_mapping_over_one_file_says_that_shards_are_missing(world: World) -> None:
    """Airflow makes pairs of it."""
    for pair in {"path": world.audience(ANN), "rows": 1}.items():
        with pytest.raises(AirflowFailException, match="PrepareAudienceOperator"):
            world.run(send(audience=pair))


def test_shards_that_begin_at_once_share_one_campaign(empty_world: World) -> None:
    """Mapped tasks start together, also in an account that has no campaign of ours yet."""
    world = empty_world
    world.join(ANN, BOB, CYD, DEE)
    shards = shards_of(world)

    def work(index: int) -> Any:
        return send_shard(World(world.caller, world.folder), shards, index)

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(work, range(2)))
    assert reduce(world, shards, reports, funnel=FUNNEL)["accepted"] == 4
    assert [len(world.texts(phone)) for phone in (ANN, BOB, CYD, DEE)] == [1, 1, 1, 1]
    assert len(world.campaigns()) == 1


def test_the_delivery_sensor_takes_the_report_of_all_shards(world: World) -> None:
    """It has a step report's names: campaign key, list, and who was reached."""
    shards = shards_of(world)
    reports = [send_shard(world, shards, index, dry_run=True) for index in range(2)]
    total = reduce(world, shards, reports, funnel=FUNNEL)
    assert total["skipped"] == {"dry_run": 4}
    assert world.run(SmsDeliverySensor(task_id="wait", report=total))["complete"] is True
