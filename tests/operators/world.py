"""A small world for the flow steps: a sandbox on a port, an Airflow home of its own, and a run to be in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from airflow.sdk import DAG

from airflow_sms_flow import storage
from airflow_sms_flow.core.backoff import Backoff
from airflow_sms_flow.core.rules import AudienceRules
from airflow_sms_flow.courier import Plan
from airflow_sms_flow.demo.local_airflow import connections
from airflow_sms_flow.operators import SendSmsMessageOperator
from tests.sandbox.sandbox_caller import Caller

ANN, BOB, CYD, DEE = "+12025550111", "+12025550112", "+12025550113", "+12025550114"
NEWS = "1201"
RECEIPTS = "1203"
MONDAY = datetime(2026, 3, 2, 16, tzinfo=UTC)
OUR_EVENT_TYPE = "sms_flow_1201"
OUR_TEMPLATE = "{{ ev.message_body }}"


@dataclass(frozen=True)
class Run:
    """Where a task runs: by default a scheduled run of one Monday."""

    run_type: str = "scheduled"
    run_id: str = "scheduled__monday"
    logical_date: datetime | None = MONDAY
    try_number: int = 1
    map_index: int = -1

    def again(self) -> Run:
        """The next try of the same run: a retry, or a cleared task."""
        return replace(self, try_number=self.try_number + 1)


@dataclass
class World:
    """What a test has to hand."""

    caller: Caller
    folder: Path
    pushed: dict[str, Any] = field(default_factory=dict)

    # -- people --------------------------------------------------------------------------------------------

    def join(self, *phones: str, list_id: str = NEWS) -> None:
        """These numbers are on the list."""
        self.caller.load(subscriptions=[{"phone": phone, "list_id": list_id} for phone in phones])

    def audience(self, *phones: str, name: str = "audience", **columns: Iterable[object]) -> str:
        """A prepared file: leads 1, 2, … with these numbers."""
        table = pa.table({"id": range(1, len(phones) + 1), "phone": list(phones), **columns})
        return self.file(table, name, {storage.PREPARED_KEY: AudienceRules().to_json()})

    def file(self, table: pa.Table, name: str = "audience", metadata: Mapping[str, str] | None = None) -> str:
        """Any table as a file."""
        path = str(self.folder / f"{name}.parquet")
        storage.write_parquet(path, [table], metadata=metadata)
        return path

    # -- runs ----------------------------------------------------------------------------------------------

    def run(self, operator: Any, run: Run | None = None, params: Mapping[str, Any] | None = None) -> Any:
        """Render and execute as Airflow would; what the operator returns. `pushed` holds the XComs."""
        run = run or Run()
        self.pushed = {}
        if not operator.has_dag():
            operator.dag = DAG("sms", schedule=None)
        ti = SimpleNamespace(
            dag_id=operator.dag_id,
            run_id=run.run_id,
            task_id=operator.task_id,
            map_index=run.map_index,
            try_number=run.try_number,
            xcom_push=lambda key, value: self.pushed.update({key: json.loads(json.dumps(value))}),
        )
        context: Any = {
            "ti": ti,
            "dag_run": SimpleNamespace(run_type=run.run_type, run_id=run.run_id, conf=dict(params or {})),
            "logical_date": run.logical_date,
            "run_id": run.run_id,
            "params": dict(params or {}),
        }
        operator.render_template_fields(context)
        report = operator.execute(context)
        return json.loads(json.dumps(report))

    def rows(self, key: str = "results") -> list[dict[str, Any]]:
        """The file behind a pushed reference, row by row."""
        return [row for batch in storage.read_batches(self.pushed[key]["path"]) for row in batch.to_pylist()]

    # -- what the vendor saw -------------------------------------------------------------------------------

    def texts(self, phone: str) -> list[str]:
        """The texts on a phone that are ours."""
        found = self.caller.panel("GET", "messages", params={"phone": phone})["phones"]
        return [text["text"] for one in found for text in one["texts"] if text["kind"] == "event"]

    def questions(self, phone: str) -> int:
        """How often Vibes asked this person to answer Y."""
        return sum(effect["phone"] == phone for effect in self.caller.effects("opt_in_asked"))

    def requests(self, method: str = "", path: str = "") -> list[dict[str, Any]]:
        """The vendors' log so far."""
        log = self.caller.panel("GET", "log")["requests"]
        return [one for one in log if method in ("", one["method"]) and path in one["path"]]

    def fault(self, kind: str, **rule: Any) -> None:
        """Something goes wrong from now on."""
        self.caller.panel("POST", "faults", json={"kind": kind, **rule})

    def all_well(self) -> None:
        """Nothing goes wrong any more."""
        self.caller.panel("DELETE", "faults")

    def campaigns(self) -> list[dict[str, Any]]:
        """The event-triggered campaigns of the account."""
        found: list[dict[str, Any]] = self.caller.panel("GET", "state")["event_triggered_messages"]
        return found

    def make_our_campaign(self) -> None:
        """As an earlier run left it, which spares a test the second in which Vibes starts a new one."""
        targeting = {
            "channel": "sms",
            "message_template": OUR_TEMPLATE,
            "sms": {"sourcecode": "52623", "country_code": "1", "sourcecode_type": "SC"},
            "filters": [{"name": "subscription", "selector": "any", "value": [int(NEWS)]}],
        }
        self.caller.create_campaign(event_type=OUR_EVENT_TYPE, targeting=targeting)


class QuickSend(SendSmsMessageOperator):
    """Gives up on a passing fault after two attempts instead of six, so that a test need not wait."""

    def plan(self, *args: Any) -> Plan:
        """See `FlowStepOperator.plan`."""
        return replace(super().plan(*args), backoff=Backoff(attempts=2, first_wait_seconds=0.01))


def send(**parameters: Any) -> SendSmsMessageOperator:
    """The operator with the usual parameters."""
    usual = {"task_id": "send", "list_id": NEWS, "message": "Sale!", "concurrency": 4}
    kind = parameters.pop("kind", SendSmsMessageOperator)
    made: SendSmsMessageOperator = kind(**(usual | parameters))
    return made


def adds_up(report: Mapping[str, Any]) -> bool:
    """Nobody is lost and nobody counted twice."""
    single = ("accepted", "already", "in_doubt", "failed")
    parts = sum(report[name] for name in single)
    return bool(report["rows"] == parts + sum(report["refused"].values()) + sum(report["skipped"].values()))


def airflow_connections(url: str, **extra: str | None) -> dict[str, str]:
    """AIRFLOW_CONN_… for the sandbox; an extra of None is left out of the Vibes connection."""
    made = connections(url)
    extras = made["vibes_default"]["extra"] | extra
    made["vibes_default"]["extra"] = {name: value for name, value in extras.items() if value is not None}
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(one) for name, one in made.items()}
