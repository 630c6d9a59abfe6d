"""Send SMS Message: what a vendor that fails, a kill and a lost answer leave behind."""

from __future__ import annotations

import json
import re
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_sms_flow import SmsMessage
from airflow_sms_flow.core.errors import Stopped, Unfinished
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.hooks.vibes import VibesHook
from airflow_sms_flow.ledger import RawCallback
from tests.ledger.callbacks import ROUTED, event
from tests.operators.world import ANN, BOB, CYD, QuickSend, Run, World, adds_up, send


def test_wrong_credentials_fail_at_once(world: World) -> None:
    """401 is about the account: no retry, one sentence about what to change, nobody refused for it."""
    world.join(ANN)
    world.fault("status", vendor="vibes", status=401)
    with pytest.raises(AirflowFailException, match="check login, password"):
        world.run(send(audience=world.audience(ANN)))


def test_credentials_that_end_amid_the_sends_leave_everybody_open(world: World) -> None:
    """401 to an event ends the task; once mended, the next try texts everybody, once."""
    world.join(ANN, BOB, CYD)
    audience = world.audience(ANN, BOB, CYD)
    world.fault("status", path="*/events", status=401)
    with pytest.raises(AirflowFailException, match="check login, password"):
        world.run(send(audience=audience, concurrency=1))
    assert world.caller.effects("event_accepted") == []
    world.all_well()
    assert world.run(send(audience=audience), Run().again())["accepted"] == 3


@pytest.mark.parametrize(
    "fault", [{"kind": "reset_after"}, {"kind": "garbage"}, {"kind": "status", "status": 500}]
)
def test_a_lost_answer_is_held_listed_and_never_repeated_by_itself(
    world: World, fault: dict[str, Any]
) -> None:
    """The text may have been sent: the task succeeds, the row waits for somebody to settle it."""
    world.join(ANN, BOB)
    audience = world.audience(ANN, BOB)
    world.fault(**fault, path="*/events", count=1)
    report = world.run(send(audience=audience, concurrency=1))
    assert (report["in_doubt"], report["accepted"], report["failed"]) == (1, 1, 0)
    assert [row["state"] for row in world.rows()] == ["in_doubt", "accepted"]
    report = world.run(send(audience=audience), Run().again())
    assert (report["in_doubt"], report["already"], report["attempted"]) == (1, 1, 0)
    assert len(world.texts(ANN)) <= 1


def test_a_doubt_that_vibes_has_told_about_is_settled_by_the_next_try(world: World) -> None:
    """The callback lies in the inbox, unheard: the text has left, and is not in doubt any more."""
    world.join(ANN)
    audience = world.audience(ANN)
    world.fault("reset_after", path="*/events", count=1)
    assert world.run(send(audience=audience))["in_doubt"] == 1
    (row,) = world.rows()
    body = json.dumps(event(row["event_id"], ROUTED, 0)).encode()
    with closing(open_ledger()) as ledger:
        ledger.store_callbacks([RawCallback("acme", datetime.now(UTC), "", {}, body, "key")])
    report = world.run(send(audience=audience), Run().again())
    assert (report["in_doubt"], report["already"], report["attempted"]) == (0, 1, 0)


def test_one_word_settles_the_doubts_of_all_shards(world: World) -> None:
    """The tasks of a mapped send share one campaign key: what a person found out holds for all of them, and
    each shard's next try texts its own people, once."""
    world.join(ANN, BOB, CYD)
    shards = [world.audience(ANN, BOB, name="audience-00"), world.audience(CYD, name="audience-01")]

    def send_all(run: Run) -> list[dict[str, Any]]:
        mapped = enumerate(shards)
        return [world.run(send(audience=path), replace(run, map_index=index)) for index, path in mapped]

    world.fault("reset_before", path="*/events")
    assert [report["in_doubt"] for report in send_all(Run())] == [2, 1]
    world.all_well()
    (key,) = {report["campaign_key"] for report in send_all(Run().again())}
    assert world.caller.effects("event_accepted") == []
    with closing(open_ledger()) as ledger:
        assert ledger.settle_in_doubt(key, sent=False, by="ann") == 3
    assert [report["accepted"] for report in send_all(Run().again().again())] == [2, 1]
    assert [len(world.texts(phone)) for phone in (ANN, BOB, CYD)] == [1, 1, 1]


def test_an_event_without_an_answer_in_time_is_in_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a time-out after the request left."""
    world.join(ANN)
    client = VibesHook.client
    monkeypatch.setattr(VibesHook, "client", lambda hook, **more: client(hook, timeout=(1.0, 0.3), **more))
    world.fault("timeout_after", path="*/events", count=1, seconds=1)
    report = world.run(send(audience=world.audience(ANN)))
    assert report["in_doubt"] == 1
    assert world.texts(ANN) == ["Sale!"]


def test_resend_repeats_what_is_in_doubt_with_the_same_event_id(world: World) -> None:
    """For those who would rather be read twice than not at all; Vibes may tell by the id."""
    world.join(ANN)
    audience = world.audience(ANN)
    world.fault("reset_after", path="*/events", count=1)
    report = world.run(send(audience=audience, on_in_doubt="resend", kind=QuickSend))
    assert (report["accepted"], report["in_doubt"]) == (1, 0)
    ids = [one["event_id"] for one in world.caller.effects("event_accepted")]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_resend_in_a_later_try_takes_what_was_held(world: World) -> None:
    """The author may change their mind after the fact."""
    world.join(ANN)
    audience = world.audience(ANN)
    world.fault("reset_after", path="*/events", count=1)
    assert world.run(send(audience=audience))["in_doubt"] == 1
    assert world.run(send(audience=audience, on_in_doubt="resend"), Run().again())["accepted"] == 1


def test_a_storm_leaves_people_open_and_the_next_try_completes(world: World) -> None:
    """503 in the vendor's envelope did not happen: the task fails for Airflow to retry, nobody is lost."""
    world.join(ANN, BOB, CYD)
    audience = world.audience(ANN, BOB, CYD)
    world.fault("status", path="*/events", status=503)
    with pytest.raises(Unfinished, match="3 of 3"):
        world.run(send(audience=audience, kind=QuickSend))
    assert [row["state"] for row in world.rows()] == ["open"] * 3
    assert world.caller.effects("event_accepted") == []
    world.all_well()
    report = world.run(send(audience=audience), Run().again())
    assert (report["accepted"], report["failed"]) == (3, 0)
    assert [world.texts(phone) for phone in (ANN, BOB, CYD)] == [["Sale!"]] * 3


def test_a_storm_of_lookups_texts_nobody_unseen(world: World) -> None:
    """Who cannot be looked up is not texted: the row stays open."""
    world.join(ANN)
    world.fault("status", path="*/subscribers", status=500)
    with pytest.raises(Unfinished):
        world.run(send(audience=world.audience(ANN), kind=QuickSend))
    assert world.caller.effects("event_accepted") == []


def test_somebody_refused_before_who_cannot_be_looked_up_now_fails_the_task(world: World) -> None:
    """They may have joined since: a success would tell Airflow that nobody has to look again."""
    audience = world.audience(ANN)
    assert world.run(send(audience=audience))["refused"] == {"not_subscribed": 1}
    world.join(ANN)
    world.fault("status", path="*/subscribers", status=500)
    with pytest.raises(Unfinished, match="1 of 1"):
        world.run(send(audience=audience, kind=QuickSend), Run().again())
    report = world.pushed["return_value"]
    assert (report["refused"], report["failed"], adds_up(report)) == ({"not_subscribed": 1}, 0, True)
    world.all_well()
    assert world.run(send(audience=audience), Run().again().again())["accepted"] == 1


def test_somebody_the_vendor_refuses_does_not_fail_the_task(world: World) -> None:
    """422 is about that person, unless the first twenty answers all say so."""
    world.join(ANN, BOB)
    world.fault("status", path="*/events", status=422, count=1, body="echo")
    report = world.run(send(audience=world.audience(ANN, BOB), concurrency=1))
    assert (report["refused"], report["accepted"]) == ({"unprocessable": 1}, 1)


def test_when_everybody_is_refused_it_is_our_request_that_is_wrong(world: World) -> None:
    """The first twenty answers all 422: a bug, told as such, and nobody counts as refused."""
    phones = [f"+120255501{n:02d}" for n in range(25)]
    world.join(*phones)
    audience = world.audience(*phones)
    world.fault("status", path="*/events", status=422)
    with pytest.raises(AirflowFailException, match="our request is wrong"):
        world.run(send(audience=audience, concurrency=1))
    world.all_well()
    assert world.run(send(audience=audience), Run().again())["accepted"] == 25


def test_a_killed_task_stops_soon_and_loses_nobody(world: World) -> None:
    """`on_kill` comes from another thread: what is under way is settled, the rest stays for the next try."""
    phones = [f"+120255501{n:02d}" for n in range(100)]
    world.join(*phones)
    audience = world.audience(*phones)
    world.fault("slow", path="*/events", seconds=0.05)
    operator = send(audience=audience, concurrency=2)
    killer = threading.Timer(0.7, operator.on_kill)
    killer.start()
    began = datetime.now(UTC)
    with pytest.raises(Stopped):
        world.run(operator)
    assert datetime.now(UTC) - began < timedelta(seconds=5)
    sent = len(world.caller.effects("event_accepted"))
    assert 0 < sent < 100
    world.all_well()
    report = world.run(send(audience=audience), Run().again())
    assert (report["accepted"], report["already"], report["in_doubt"]) == (100 - sent, sent, 0)
    assert all(len(world.texts(phone)) == 1 for phone in phones)


def test_no_number_no_name_and_no_text_is_logged(
    world: World, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG, with resets, echoes of the request, storms: numbers are masked, the rest is not there."""
    # Too few to make it an outage, which would be waited out.
    phones = [f"+120255501{n:02d}" for n in range(8)]
    world.join(*phones)
    for rule in (
        {"kind": "reset_after", "path": "*/events", "share": 0.3},
        {"kind": "status", "path": "*/events", "status": 422, "share": 0.2, "body": "echo"},
        {"kind": "status", "path": "*/events", "status": 503, "share": 0.9, "body": "echo"},
    ):
        world.fault(**rule)
    message = SmsMessage("Secret offer for {{lead.firstName}}")
    with caplog.at_level("DEBUG"), pytest.raises(Unfinished):
        world.run(
            send(
                audience=world.audience(*phones, firstName=["Wilhelmina"] * 8),
                message=message,
                kind=QuickSend,
            )
        )
    said = caplog.text + "".join(capfd.readouterr())
    assert "*01" in said
    assert not re.search(r"20255501\d\d|Wilhelmina|Secret offer|sandbox-password", said)
