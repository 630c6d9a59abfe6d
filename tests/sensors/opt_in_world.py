"""A day in milliseconds: a sandbox, a sensor and its trigger that share one clock, moved by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG

from airflow_sms_flow import storage
from airflow_sms_flow.core.callbacks import dedupe_key
from airflow_sms_flow.core.rules import AudienceRules
from airflow_sms_flow.hooks.ledger import open_ledger
from airflow_sms_flow.ledger import RawCallback
from airflow_sms_flow.results import EXPIRE_DATE
from airflow_sms_flow.sensors import VibesOptInSensor
from airflow_sms_flow.triggers import VibesOptInTrigger
from tests.sandbox.sandbox_caller import Caller

ANN, BOB, CYD, DEE = "+12025550111", "+12025550112", "+12025550113", "+12025550114"
HOUR = 3600.0
DAY = 24 * HOUR
STATES = ("confirmed", "declined", "expired", "pending")


@dataclass
class Deferral:
    """What Airflow keeps of a deferred task."""

    kwargs: dict[str, Any]
    timeout: timedelta
    method_name: str


@dataclass
class World:
    """What a test has to hand. `ahead` is how far everybody's clock is ahead of real time."""

    caller: Caller
    folder: Path
    ahead: timedelta = timedelta()
    #: By how much our clock is wrong; Vibes' is right.
    skew: timedelta = timedelta()
    pushed: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    deferrals: list[Deferral] = field(default_factory=list)
    #: What happens when everybody's clock is so many seconds ahead.
    later: dict[float, Callable[[], object]] = field(default_factory=dict)

    # -- people and time -----------------------------------------------------------------------------------

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead + self.skew

    def advance(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)
        self.caller.advance(seconds)
        for moment in [one for one in self.later if one <= self.ahead.total_seconds()]:
            self.later.pop(moment)()

    def ask(self, **behaviours: str) -> str:
        """Vibes asks ann, bob, cyd or dee, who will behave so; the pending audience."""
        names = {"ann": ANN, "bob": BOB, "cyd": CYD, "dee": DEE}
        phones = [{"phone": names[name], "behaviour": what} for name, what in behaviours.items()]
        self.caller.load(phones=phones)
        answers = {one["phone"]: self.caller.ask(one["phone"]).json() for one in phones}
        return self.pending({phone: answer["expire_date"] for phone, answer in answers.items()})

    def pending(self, expire_dates: Mapping[str, str | None], name: str = "pending") -> str:
        """A pending audience of leads 1, 2, … with a column that only passes through."""
        times = [None if one is None else datetime.fromisoformat(one) for one in expire_dates.values()]
        table = pa.table(
            {
                "id": pa.array(range(1, len(times) + 1), pa.int64()),
                "phone": pa.array(expire_dates, pa.string()),
                "firstName": ["Zoë"] * len(times),
                "expire_date": pa.array(times, EXPIRE_DATE.type),
            }
        )
        return self.file(table, name)

    def asked_long_ago(self, people: int) -> dict[str, str]:
        """So many people who have another hour to answer, and their `expire_date`."""
        expire_at = (self.now() + timedelta(hours=1)).isoformat()
        return {f"+1202{5550100 + n}": expire_at for n in range(people)}

    def file(self, table: pa.Table, name: str) -> str:
        path = str(self.folder / f"{name}.parquet")
        storage.write_parquet(path, [table], metadata={storage.PREPARED_KEY: AudienceRules().to_json()})
        return path

    # -- what Vibes calls back -----------------------------------------------------------------------------

    def calls_back(self, phone: str, status: str, expire_at: str | None = None) -> None:
        """Vibes tells of a question (PENDING) or an answer (CONFIRMED, REJECTED); it lies in the inbox."""
        self.inbox([participation(phone, status, self.now(), expire_at)])

    def inbox(self, bodies: Iterable[bytes]) -> None:
        """Raw callbacks that nobody has heard yet."""
        at = datetime.now(UTC)
        rows = [RawCallback("acme", at, "192.0.2.1", {}, body, dedupe_key("acme", body)) for body in bodies]
        with closing(open_ledger()) as ledger:
            assert ledger.store_callbacks(rows) == len(rows)

    # -- the task ------------------------------------------------------------------------------------------

    def sensor(self, audience: Any, **parameters: Any) -> VibesOptInSensor:
        """A sensor on this world's clock."""
        usual = {"list_id": "1201", "acquisition_campaign_id": "NEWS1201", "poke_interval": 6 * HOUR}
        made = _Sensor(task_id="wait", audience=audience, **(usual | parameters))
        made.world = self
        made.dag = DAG("sms_opt_in", schedule=None)
        return made

    def context(self) -> Any:
        self.pushed = {}
        ti = SimpleNamespace(
            dag_id="sms_opt_in",
            run_id="r",
            task_id="wait",
            map_index=-1,
            xcom_push=lambda key, value: self.pushed.update({key: json.loads(json.dumps(value))}),
        )
        return {"ti": ti, "params": {}}

    def start(self, sensor: VibesOptInSensor) -> dict[str, int] | None:
        """`execute` as a worker calls it; None where it was deferred."""
        try:
            counts: dict[str, int] = sensor.execute(self.context())
        except TaskDeferred as deferred:
            return self._defer(deferred)
        return counts

    def resume(self, sensor: VibesOptInSensor, event: Any) -> dict[str, int] | None:
        """What a worker calls when the trigger has fired; None where it was deferred again."""
        try:
            counts: dict[str, int] = sensor.resume_execution("resume", {"event": event}, self.context())
        except TaskDeferred as deferred:
            return self._defer(deferred)
        return counts

    def fire(self) -> dict[str, Any]:
        """Run the trigger of the last deferral to its event."""
        trigger = _Trigger(**self.deferrals[-1].kwargs)
        trigger.world = self
        event = asyncio.run(anext(trigger.run()))
        self.events.append(json.loads(json.dumps(event.payload)))
        return self.events[-1]

    def wait(self, sensor: VibesOptInSensor, deferrals: int = 12) -> dict[str, int]:
        """The whole wait, from `execute` to the counts; a fresh sensor at each step, as workers have it."""
        counts = self.start(sensor)
        while counts is None:
            assert len(self.deferrals) <= deferrals, self.events
            counts = self.resume(sensor, self.fire())
        return counts

    def _defer(self, deferred: TaskDeferred) -> None:
        path, kwargs = deferred.trigger.serialize()
        assert path == "airflow_sms_flow.triggers.opt_in.VibesOptInTrigger"
        assert isinstance(deferred.timeout, timedelta)
        self.deferrals.append(
            Deferral(json.loads(json.dumps(kwargs)), deferred.timeout, deferred.method_name)
        )

    # -- what came of it -----------------------------------------------------------------------------------

    def people(self, state: str) -> list[str]:
        """The numbers of a pushed audience."""
        return [row["phone"] for row in self.rows(state)]

    def rows(self, state: str) -> list[dict[str, Any]]:
        batches = storage.read_batches(self.pushed[state]["path"])
        return [row for batch in batches for row in batch.to_pylist()]

    def lookups(self, phone: str = "") -> list[dict[str, Any]]:
        """Requests about people: who was looked up on the list, or among the pending."""
        log = self.caller.panel("GET", "log")["requests"]
        return [
            one
            for one in log
            if one["method"] == "GET" and "mdn=" in one["query"] and phone.removeprefix("+") in one["query"]
        ]

    def fault(self, kind: str, **rule: Any) -> None:
        self.caller.panel("POST", "faults", json={"kind": kind, **rule})

    def all_well(self) -> None:
        self.caller.panel("DELETE", "faults")


class _Sensor(VibesOptInSensor):
    world: World

    def now(self, ledger: object) -> datetime:
        return self.world.now()


class _Trigger(VibesOptInTrigger):
    world: World

    def now(self, ledger: object) -> datetime:
        return self.world.now()

    async def sleep(self, seconds: float) -> None:
        """Everybody's clock moves, the sandbox's too."""
        await asyncio.to_thread(self.world.advance, seconds)


def participation(phone: str, status: str, at: datetime, expire_at: str | None = None) -> bytes:
    """The vendor's callback, with its mislabelled type (facts B.3)."""
    told: dict[str, Any] = {
        "event_id": f"CB-{phone}-{status}-{at.isoformat()}",
        "callback_type": "ack_participant_added",
        "event_type": f"ack_participant_{'added' if status == 'PENDING' else 'changed'}",
        "event_date": at.isoformat(timespec="seconds"),
        "participant": {
            "person": {"id": "111", "external_id": "42", "mobile_phone": {"mdn": phone}},
            "acquisition_campaign": {"id": "C1", "url": "/companies/acme/campaigns/acquisition/NEWS1201"},
            "participation_date": at.isoformat(timespec="seconds"),
            "expire_date": expire_at,
            "status": status,
        },
    }
    return json.dumps(told).encode()


def look(world: World, sensor: VibesOptInSensor) -> dict[str, int] | None:
    """Wake the sensor as the trigger would, without a trigger."""
    deadline = world.deferrals[-1].kwargs["deadline"]
    return world.resume(sensor, {"status": "ready", "deadline": deadline, "open": 0})


def counts(**people: int) -> dict[str, int]:
    """What the sensor returns, states left out being zero."""
    return {"rows": sum(people.values()), **{state: people.get(state, 0) for state in STATES}}


def numbers_in(text: str, phones: Iterable[str] = (ANN, BOB, CYD, DEE)) -> list[str]:
    """Which of these numbers a text holds, in any spelling that ends the same."""
    return [phone for phone in phones if phone[2:] in text]
