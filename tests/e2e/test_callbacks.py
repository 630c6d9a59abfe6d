"""What comes back, through a real Airflow: answers arrive by callback, twice and shuffled, while the API
server is away for a while; then each person stands where they do at Vibes, and each Yes was welcomed once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import psutil
import pytest

from airflow_sms_flow import storage
from airflow_sms_flow.demo.local_airflow import CALLBACK_SECRET, running
from airflow_sms_flow.hooks.callbacks import CALLBACK_PATH
from airflow_sms_flow.sandbox.numbers import us_number
from tests.e2e.conftest import SETTINGS, WORLD
from tests.e2e.real_airflow import RealAirflow, real_airflow

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

PEOPLE = 500
DAG, LIST, CAMPAIGN = "sms_opt_in", "1201", "NEWS1201"
#: Of every twenty; the others say nothing.
YES, NO = 11, 4
WAYS_BACK = {
    # Nobody answers by themselves: the test says when, so that a slow machine hears the same story.
    "share_yes": 0.0,
    "share_no": 0.0,
    "opt_in_window_seconds": 100.0,
    "callback_reorder_seconds": 3.0,
    "share_callbacks_duplicated": 0.3,
    "callback_retry_seconds": 1.0,
    "callback_attempts": 1000,
    "callback_downed_seconds": 2.0,
}
#: With half of the answers coming in meanwhile.
AWAY_SECONDS = 12.0
#: Pending people would cost two calls each at every look. Whoever says No or nothing is looked up at the end.
MOST_CALLS = PEOPLE


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAirflow]:
    """Its polls as rare as in production: what is quick here comes by callback."""
    settings = SETTINGS | {"AIRFLOW__SMS_FLOW__OPT_IN_POLL_SECONDS": "60"}
    with real_airflow(tmp_path_factory.mktemp("callbacks"), settings) as made:
        made.panel.call("POST", "reset", WORLD | WAYS_BACK)
        yield made


def invite(airflow: RealAirflow) -> list[str]:
    """A smart list of people who are on no list yet; returns their numbers."""
    phones = [us_number(n) for n in range(PEOPLE)]
    leads = [{"id": n + 1, "mobilePhone": phone} for n, phone in enumerate(phones)]
    ids = [lead["id"] for lead in leads]
    airflow.panel.load(leads=leads, smart_lists=[{"id": 31, "name": "Invited", "lead_ids": ids}])
    return phones


def register(airflow: RealAirflow) -> None:
    """As the README says, with the test event that has to arrive."""
    words = ["callbacks", "register", "--list", LIST, "--campaign", CAMPAIGN]
    command = [sys.executable, "-m", "airflow_sms_flow", *words]
    done = subprocess.run(command, env=dict(airflow.environment), capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert CALLBACK_SECRET not in done.stdout + done.stderr


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} seconds: {what}"
        time.sleep(0.5)


def listening_on(port: int) -> set[int]:
    """The processes that do."""
    found = psutil.net_connections("tcp")
    return {one.pid for one in found if one.pid and one.status == "LISTEN" and one.laddr.port == port}


def answer(airflow: RealAirflow, phones: Sequence[str]) -> None:
    """These people text back, or don't."""
    for place, phone in enumerate(phones):
        turn = place % 20
        if turn < YES + NO:
            text = "Y" if turn < YES else "N"
            airflow.panel.call("POST", "reply", {"phone": phone, "text": text})


def api_server_is_away(airflow: RealAirflow, stack: ExitStack, meanwhile: Callable[[], None]) -> None:
    """Killed as a machine dies, and started again after a while."""
    port = int(airflow.rest.url.rpartition(":")[2])
    servers = listening_on(port)
    assert servers
    for pid in servers:
        os.kill(pid, signal.SIGKILL)
    meanwhile()
    time.sleep(AWAY_SECONDS)
    command = [sys.executable, "-m", "airflow", "api-server", "--port", str(port)]
    stack.enter_context(running(command, airflow.environment, airflow.home.parent / "api-server.log"))
    wait_until(airflow.rest.is_healthy, 120, "the API server is up again")


def phones_of(airflow: RealAirflow, run_id: str, key: str) -> set[str]:
    """The audience behind what the sensor pushed."""
    reference = airflow.rest.xcom(DAG, run_id, "wait", key)
    return {
        phone
        for batch in storage.read_batches(reference["path"], ["phone"])
        for phone in batch.column("phone").to_pylist()
    }


def truth(airflow: RealAirflow) -> dict[str, set[str]]:
    """What became of the questions, as Vibes has it."""
    said = {
        kind: {one["phone"] for one in airflow.panel.effects(kind)} for kind in ("subscribed", "declined")
    }
    asked = {one["phone"] for one in airflow.panel.effects("opt_in_asked")}
    return {
        "confirmed": said["subscribed"],
        "declined": said["declined"],
        "expired": asked - said["subscribed"] - said["declined"],
    }


def is_waiting(airflow: RealAirflow, run_id: str) -> bool:
    """Whether the sensor has gone to the triggerer."""
    states = airflow.rest.task_states(DAG, run_id)
    assert "failed" not in states.values(), states
    return states["wait"] == "deferred"


def looks_at_people(airflow: RealAirflow) -> int:
    """Reading calls to Vibes about single people so far."""
    counts = airflow.panel.call("GET", "stats")["requests"]
    about_people = ("/participants", "/subscribers")
    return sum(
        one["count"] for one in counts if one["method"] == "GET" and one["path"].endswith(about_people)
    )


def test_every_answer_is_heard_and_every_yes_welcomed_once(airflow: RealAirflow) -> None:
    """500 people, callbacks doubled and shuffled, the API server dead for a while: nobody is lost."""
    phones = invite(airflow)
    register(airflow)
    conf = {"smart_list": "Invited", "dry_run": False}
    run_id = airflow.rest.trigger(DAG, conf)
    wait_until(lambda: is_waiting(airflow, run_id), 240, "the sensor waits")
    answer(airflow, phones[: PEOPLE // 2])
    with ExitStack() as stack:
        api_server_is_away(airflow, stack, lambda: answer(airflow, phones[PEOPLE // 2 :]))
        assert airflow.wait(DAG, run_id, seconds=360) == "success"
        found = {key: phones_of(airflow, run_id, key) for key in ("confirmed", "declined", "expired")}
        at_vibes = truth(airflow)
        assert {key: len(people) for key, people in found.items()} == {
            key: len(people) for key, people in at_vibes.items()
        }
        assert found == at_vibes
        assert set().union(*found.values()) == set(phones)
        events = [one for one in airflow.panel.effects("text_delivered") if one["text_kind"] == "event"]
        assert Counter(one["phone"] for one in events) == Counter(at_vibes["confirmed"])
        # The welcome looks once at each person whom it texts.
        calls = looks_at_people(airflow) - len(events)
        assert 0 < calls <= MOST_CALLS
        counts = airflow.panel.call("GET", "callbacks")["counts"]
        assert sum(one["duplicated"] for one in counts.values()) > 0
        assert sum(one["retried"] for one in counts.values()) > 0
    said = airflow.output.read_text() + (airflow.home.parent / "api-server.log").read_text()
    assert CALLBACK_SECRET not in said
    assert f"{CALLBACK_PATH}/***" in said or f"{CALLBACK_PATH}/%2A%2A%2A" in said
