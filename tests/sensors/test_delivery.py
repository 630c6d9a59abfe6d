"""The wait for delivery receipts: what ends it, what it returns, and what it refuses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.exceptions import AirflowException
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.sensors import SmsDeliverySensor
from tests.ledger.callbacks import AT_CARRIER, DELIVERED, HARD_BOUNCE, NOT_SUBSCRIBED, SENT, SOFT_BOUNCE
from tests.operators.world import airflow_connections
from tests.sensors.delivery_world import HOUR, KEY, PHONES, Deliveries


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deliveries]:
    """An empty ledger; Vibes is out of reach, and nobody needs it."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    for name, connection in airflow_connections("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, connection)
    # Hours pass in a second here.
    monkeypatch.setattr("airflow_sms_flow.triggers._shared._HEAR_EVERY_SECONDS", 0.0)
    with closing(open_ledger()) as ledger:
        yield Deliveries(ledger)


def test_the_wait_ends_when_enough_messages_have_their_final_state(world: Deliveries) -> None:
    """A receipt of the carrier is final, a bounce and a late refusal, too; what was sent is not."""
    report = world.accepted(*PHONES)
    world.tell(DELIVERED, *PHONES[:12])
    world.tell(AT_CARRIER, *PHONES[12:15])
    world.tell(SENT, *PHONES[15:])
    world.later = {
        600: lambda: world.tell(SOFT_BOUNCE, *PHONES[15:17]),
        1200: lambda: world.tell(HARD_BOUNCE, PHONES[17]),
        1800: lambda: world.tell(NOT_SUBSCRIBED, PHONES[18]),
    }
    assert world.wait(report=report) == {
        "sent": 19,
        "delivered": 15,
        "on_handset": 12,
        "bounced_soft": 2,
        "bounced_hard": 1,
        "unknown": 1,
        "refused_late": 1,
        "delivery_rate": pytest.approx(15 / 19, abs=1e-4),
        "bounce_rate": pytest.approx(3 / 19, abs=1e-4),
        "soft_bounce_rate": pytest.approx(2 / 19, abs=1e-4),
        "hard_bounce_rate": pytest.approx(1 / 19, abs=1e-4),
        "complete": True,
    }
    assert 1800 <= world.ahead.total_seconds() <= 1800 + 300
    assert len(world.deferrals) == 1


def test_what_is_known_already_ends_it_at_once(world: Deliveries) -> None:
    """Also where nobody has heard the callbacks yet; nothing is deferred."""
    world.accepted(*PHONES[:3])
    world.tell(DELIVERED, *PHONES[:3])
    result = world.start(world.sensor(**KEY, min_final=1))
    assert result is not None
    assert (result["delivered"], result["complete"]) == (3, True)


def test_receipts_that_never_come_do_not_fail_the_run(world: Deliveries) -> None:
    """After `wait_at_most` it goes on with what is known."""
    world.accepted(*PHONES[:4])
    world.tell(DELIVERED, PHONES[0])
    result = world.wait(**KEY, wait_at_most=timedelta(hours=2))
    assert (result["sent"], result["delivered"], result["unknown"], result["complete"]) == (4, 1, 3, False)
    assert world.ahead.total_seconds() == pytest.approx(2 * HOUR, abs=20)


def test_only_accepted_messages_are_waited_for(world: Deliveries) -> None:
    """Who is in doubt may never be known, who was refused got nothing."""
    world.accepted(PHONES[0])
    world.in_doubt(PHONES[1])
    world.refused(PHONES[2])
    world.tell(DELIVERED, PHONES[0])
    result = world.start(world.sensor(**KEY, min_final=1.0))
    assert result is not None
    assert (result["sent"], result["complete"]) == (1, True)


@pytest.mark.parametrize(
    "report",
    [
        Deliveries.report(),
        Deliveries.report(skipped={"dry_run": 3}),
        Deliveries.report(skipped={"backfill": 3}),
        Deliveries.report(refused={"not_subscribed": 2}, skipped={"recently_sent": 1}),
        Deliveries.report(in_doubt=2),
    ],
    ids=["empty", "dry run", "backfill", "refused", "in doubt"],
)
def test_where_there_is_nothing_to_wait_for_it_succeeds_at_once(
    world: Deliveries, report: dict[str, Any]
) -> None:
    """And says that nothing was sent."""
    result = world.start(world.sensor(report=report))
    assert result is not None
    assert (result["sent"], result["complete"]) == (0, True)


def test_a_dry_run_does_not_wait_for_an_earlier_run_of_its_key(world: Deliveries) -> None:
    """It sent nothing."""
    world.accepted(*PHONES)
    result = world.start(world.sensor(report=Deliveries.report(skipped={"dry_run": 20})))
    assert result is not None
    assert result["sent"] == 0


def test_an_unknown_key_is_an_empty_campaign_with_a_warning(
    world: Deliveries, capfd: pytest.CaptureFixture[str]
) -> None:
    """A dry run leaves no trace in the ledger; a slip of the pen should be seen."""
    assert world.start(world.sensor(campaign_key="autumn", list_id="1201")) is not None
    assert "no message under the key 'autumn'" in capfd.readouterr().out


def test_another_ledger_than_sends_is_no_empty_campaign(world: Deliveries) -> None:
    """The report tells of messages that this ledger does not know."""
    with pytest.raises(AirflowFailException, match="ledger_conn_id"):
        world.start(world.sensor(report=Deliveries.report(already=2)))


# -- Airflow's time-outs and modes ---------------------------------------------------------------------------


def test_airflows_timeout_keeps_its_meaning(world: Deliveries) -> None:
    """Over all deferrals; it fails, or skips with soft_fail."""
    world.accepted(*PHONES)
    with pytest.raises(AirflowSensorTimeout):
        world.wait(**KEY, timeout=HOUR)
    assert world.ahead.total_seconds() == pytest.approx(HOUR, abs=20)
    with pytest.raises(AirflowSkipException):
        world.wait(**KEY, timeout=HOUR, soft_fail=True)
    with pytest.raises(AirflowSensorTimeout):
        world.sensor(**KEY).resume_execution("__fail__", {"error": "Trigger timeout"}, world.context())


def test_every_deferral_gets_what_is_left_of_the_whole(world: Deliveries) -> None:
    """Both ends stand; a wait that outlived its triggerer still ends in success."""
    world.accepted(*PHONES)
    parameters: dict[str, Any] = {**KEY, "wait_at_most": 2 * HOUR, "timeout": 3 * HOUR}
    assert world.start(world.sensor(**parameters)) is None
    times = {name: world.deferrals[0].kwargs[name] for name in ("until", "deadline")}
    world.advance(HOUR)
    assert world.resume(world.sensor(**parameters), {"status": "ready", **times}) is None
    assert {name: world.deferrals[1].kwargs[name] for name in times} == times
    assert world.deferrals[1].timeout == pytest.approx(timedelta(hours=2), abs=timedelta(seconds=30))
    world.advance(4 * HOUR)
    result = world.resume(world.sensor(**parameters), {"status": "ready", **times})
    assert result is not None
    assert not result["complete"]


@pytest.mark.parametrize(
    "event", [None, {}, {"status": "ready"}, {"status": "ready", "until": "soon", "deadline": "later"}]
)
def test_an_event_that_is_not_the_triggers_is_no_success(world: Deliveries, event: Any) -> None:
    """Also where all is known."""
    with pytest.raises(AirflowException, match="same version"):
        world.resume(world.sensor(**KEY), event)


def test_without_deferring_the_sensor_pokes(world: Deliveries) -> None:
    """In the worker, or giving it free between two pokes; `wait_at_most` counts from the first."""
    world.accepted(*PHONES[:2])
    parameters: dict[str, Any] = {**KEY, "deferrable": False, "poke_interval": 60}
    context = world.context()
    with pytest.raises(AirflowRescheduleException):
        world.sensor(**parameters, mode="reschedule").execute(context)
    began = world.now() - timedelta(hours=7)
    context["ti"].get_first_reschedule_date = lambda _: began
    assert world.sensor(**parameters, mode="reschedule").execute(context)["complete"] is False
    world.tell(DELIVERED, *PHONES[:2])
    assert world.sensor(**parameters).execute(context)["complete"] is True


# -- wrong input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "report=None: say which campaign"),
        ({"campaign_key": "summer"}, "list_id=None"),
        ({"list_id": "1201"}, "campaign_key=None"),
        ({"campaign_key": " summer", "list_id": "1201"}, "campaign_key=' summer'"),
        ({"report": Deliveries.report(), "list_id": "1201"}, "list_id='1201': the report names"),
        ({"report": {"step": "subscribe", "rows": 1, "skipped": {}}}, "step report of a Send"),
        ({"report": "send"}, "report='str'"),
        ({"report": [Deliveries.report()]}, r"expand\(report=send.output\)"),
        ({**KEY, "min_final": 95}, "min_final=95: .*0.95"),
        ({**KEY, "min_final": -0.1}, "min_final"),
        ({**KEY, "min_final": "most"}, "min_final"),
        ({**KEY, "min_final": True}, "min_final"),
        ({**KEY, "min_final": float("nan")}, "min_final"),
        ({**KEY, "min_final": None}, "min_final"),
        ({**KEY, "wait_at_most": 0}, "wait_at_most"),
        ({**KEY, "wait_at_most": timedelta(hours=-1)}, "wait_at_most"),
        ({**KEY, "wait_at_most": "soon"}, "wait_at_most"),
        ({**KEY, "wait_at_most": float("inf")}, "wait_at_most"),
        ({**KEY, "wait_at_most": None}, "wait_at_most"),
        ({**KEY, "deferrable": "maybe"}, "deferrable"),
    ],
)
def test_wrong_parameters_are_refused_while_the_dag_is_parsed(parameters: dict[str, Any], text: str) -> None:
    """With field, value and remedy."""
    with pytest.raises(InvalidInput, match=text):
        SmsDeliverySensor(task_id="delivered", **parameters)


def test_what_templates_give_is_checked_when_the_task_starts(world: Deliveries) -> None:
    """A form's empty field is as wrong as a missing parameter."""
    templates = {"min_final": "{{ params.least }}", "wait_at_most": "{{ params.seconds }}"}
    world.accepted(PHONES[0])
    for least, seconds, field in [("95", 60, "min_final"), ("0.95", "", "wait_at_most")]:
        sensor = world.sensor(**KEY, **templates)
        sensor.render_template_fields({"params": {"least": least, "seconds": seconds}})  # type: ignore[typeddict-item]  # all that templates ask for
        with pytest.raises(AirflowFailException, match=field):
            world.start(sensor)
    sensor = world.sensor(**KEY, **templates)
    sensor.render_template_fields({"params": {"least": 1, "seconds": 60}})  # type: ignore[typeddict-item]  # as above
    assert world.start(sensor) is None


# -- what leaks ----------------------------------------------------------------------------------------------


def test_no_number_in_logs_events_arguments_or_results(
    world: Deliveries, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Counts, keys and times."""
    caplog.set_level(logging.DEBUG)
    report = world.accepted(*PHONES)
    world.tell(HARD_BOUNCE, *PHONES[:5])
    result = world.wait(report=report, wait_at_most=HOUR)
    log = caplog.text + capfd.readouterr().out
    kept = [log, result, world.events, [one.kwargs for one in world.deferrals]]
    assert "bounced, hard" in log
    assert not [phone for phone in PHONES if phone[2:] in str(kept)]
