"""Hours in milliseconds: a ledger with texts in it, and a delivery sensor and its trigger on one clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG

from airflow_sms_flow.core.delivery import Campaign, DeliveryState, StepName
from airflow_sms_flow.core.report import StepReport
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.sensors import SmsDeliverySensor
from airflow_sms_flow.triggers import SmsDeliveryTrigger
from tests.ledger.callbacks import event, raw
from tests.ledger.moves import Sender, claim, settle

HOUR = 3600.0
SUMMER = Campaign("acme", "summer", StepName.SEND, "1201")
KEY = {"campaign_key": "summer", "list_id": "1201"}
PHONES = tuple(f"+120255501{n:02d}" for n in range(20))


@dataclass
class Deliveries:
    """What a test has to hand. `ahead` is how far sensor and trigger are ahead of real time."""

    ledger: Ledger
    ahead: timedelta = timedelta()
    deferrals: list[Any] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    #: What happens when the clock is so many seconds ahead.
    later: dict[float, Callable[[], object]] = field(default_factory=dict)

    # -- texts and what is told of them --------------------------------------------------------------------

    def accepted(self, *phones: str) -> dict[str, Any]:
        """Vibes took these; the step report of that Send."""
        self._settled(phones, DeliveryState.ACCEPTED)
        return self.report(accepted=len(phones))

    def in_doubt(self, *phones: str) -> None:
        self._settled(phones, DeliveryState.IN_DOUBT)

    def refused(self, *phones: str) -> None:
        self._settled(phones, DeliveryState.REFUSED, "bad_number")

    def _settled(self, phones: tuple[str, ...], to: DeliveryState, reason: str | None = None) -> None:
        sender = Sender(self.ledger, SUMMER)
        for phone in phones:
            sender.write(claim(phone, "1"), settle(phone, to, "1", reason))

    @staticmethod
    def report(**counts: Any) -> dict[str, Any]:
        """A step report as it comes out of an XCom."""
        rows = sum(sum(n.values()) if isinstance(n, dict) else n for n in counts.values())
        report = StepReport("send", "summer", "1201", rows, **counts).as_dict()
        found: dict[str, Any] = json.loads(json.dumps(report))
        return found

    def tell(self, action: tuple[str, str, str], *phones: str, minutes: float = 1) -> None:
        """Callbacks come in; nobody has heard them yet."""
        told = [raw(event(SUMMER.event_id(phone), action, minutes)) for phone in phones]
        self.ledger.store_callbacks(told)

    # -- the task ------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)
        for moment in [one for one in self.later if one <= self.ahead.total_seconds()]:
            self.later.pop(moment)()

    def sensor(self, **parameters: Any) -> SmsDeliverySensor:
        """A sensor on this world's clock."""
        made = _Sensor(task_id="delivered", **parameters)
        made.world = self
        made.dag = DAG("sms", schedule=None)
        return made

    def context(self) -> Any:
        ti = SimpleNamespace(dag_id="sms", run_id="r", task_id="delivered", map_index=-1)
        ti.get_first_reschedule_date = lambda _: None
        return {"ti": ti, "params": {}}

    def start(self, sensor: SmsDeliverySensor) -> dict[str, Any] | None:
        """`execute` as a worker calls it; None where it was deferred."""
        return self._or_deferred(lambda: sensor.execute(self.context()))

    def resume(self, sensor: SmsDeliverySensor, event: Any) -> dict[str, Any] | None:
        """What a worker calls when the trigger has fired; None where it was deferred again."""
        return self._or_deferred(lambda: sensor.resume_execution("resume", {"event": event}, self.context()))

    def fire(self) -> dict[str, Any]:
        """Run the trigger of the last deferral to its event."""
        event = asyncio.run(anext(self.trigger().run()))
        self.events.append(json.loads(json.dumps(event.payload)))
        return self.events[-1]

    def trigger(self) -> SmsDeliveryTrigger:
        """As Airflow builds it from the last deferral."""
        made = _Trigger(**self.deferrals[-1].kwargs)
        made.world = self
        return made

    def wait(self, **parameters: Any) -> dict[str, Any]:
        """The whole wait, from `execute` to the result; a fresh sensor at each step, as workers have it."""
        result = self.start(self.sensor(**parameters))
        while result is None:
            assert len(self.deferrals) < 10, self.events
            result = self.resume(self.sensor(**parameters), self.fire())
        return result

    def _or_deferred(self, call: Callable[[], Any]) -> dict[str, Any] | None:
        try:
            result: dict[str, Any] = json.loads(json.dumps(call()))
        except TaskDeferred as deferred:
            path, kwargs = deferred.trigger.serialize()
            assert path == "airflow_sms_flow.triggers.delivery.SmsDeliveryTrigger"
            kept = SimpleNamespace(kwargs=json.loads(json.dumps(kwargs)), timeout=deferred.timeout)
            self.deferrals.append(kept)
            return None
        return result


class _Sensor(SmsDeliverySensor):
    world: Deliveries

    def now(self, ledger: object) -> datetime:
        return self.world.now()


class _Trigger(SmsDeliveryTrigger):
    world: Deliveries

    def now(self, ledger: object) -> datetime:
        return self.world.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.to_thread(self.world.advance, seconds)
