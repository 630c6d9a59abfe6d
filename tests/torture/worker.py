"""One try of one step in a bare process, put together as the operators do it.

    python -m tests.torture.worker '{"ledger": …, "sandbox_url": …, "step": …, "audience": …, "results": …}'

Prints one line of JSON: `{"error": null or its kind, "said": its text, "report": {…}}`. SIGTERM stops it.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_sms_flow.clients.vibes import VibesClient, VibesRings
from airflow_sms_flow.core.delivery import Campaign, StepName
from airflow_sms_flow.core.errors import SmsFlowError
from airflow_sms_flow.core.report import StepReport, Tally
from airflow_sms_flow.courier import Plan
from airflow_sms_flow.dispatch import Dispatcher, Result
from airflow_sms_flow.ledger import Ledger, TaskTry
from airflow_sms_flow.results import RESULTS_SCHEMA, Outcomes, read_outcomes, result_batches
from airflow_sms_flow.rings import shared_rings
from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.steps.event_campaign import OurCampaign
from airflow_sms_flow.steps.membership import LookUp
from airflow_sms_flow.steps.send import SendStep
from airflow_sms_flow.steps.step import Recipient, Step
from airflow_sms_flow.steps.subscribe import SubscribeStep, check_acquisition_campaign
from airflow_sms_flow.steps.unsubscribe import UnsubscribeStep
from tests.torture import crowd


@dataclass(frozen=True)
class Order:
    """What a try is told."""

    ledger: str
    sandbox_url: str
    step: str
    audience: str
    results: str
    number: int = 1
    #: On top of the short waits, where nobody is killed: a busy machine must not make it look like a death.
    patience_seconds: float = 0.0

    @property
    def campaign(self) -> Campaign:
        """Whose deliveries these are."""
        return Campaign(accounts.COMPANY_KEY, crowd.CAMPAIGN_KEY, StepName(self.step), crowd.LIST_ID)


def run(order: Order, stop: threading.Event) -> StepReport:
    """One try, as `operators/_flow_step.py` goes about it."""
    ledger = Ledger.open(order.ledger, busy_seconds=crowd.BUSY_SECONDS + order.patience_seconds)
    rings = VibesRings()
    shared = {"events": rings.events, "calls": rings.calls}
    account = f"vibes:{accounts.COMPANY_KEY}"
    with closing(ledger):
        with (
            closing(_client(order, rings, stop)) as client,
            shared_rings(ledger, account, shared, crowd.SHARING),
        ):
            step, fingerprint = _step(order, client, ledger, stop)
            plan = Plan(
                order.campaign,
                fingerprint,
                TaskTry("torture/worker", "by hand", order.number),
                crowd.CONCURRENCY,
                replace(crowd.LEASE, seconds=crowd.LEASE.seconds + order.patience_seconds),
                crowd.BACKOFF,
            )
            result = Dispatcher(ledger, step, plan, stop).run(_recipients(order))
        return _report(order, ledger, result)


def _client(order: Order, rings: VibesRings, stop: threading.Event) -> VibesClient:
    return VibesClient(
        host=order.sandbox_url,
        company_key=accounts.COMPANY_KEY,
        username=accounts.VIBES_LOGIN,
        password=accounts.VIBES_PASSWORD,
        timeout=crowd.TIMEOUT,
        rings=rings,
        pool_maxsize=crowd.CONCURRENCY,
        stop=stop.is_set,
        patience=crowd.CLIENT_PATIENCE,
    )


def _step(order: Order, client: VibesClient, ledger: Ledger, stop: threading.Event) -> tuple[Step, str]:
    match StepName(order.step):
        case StepName.SEND:
            client.get_subscription_list(crowd.LIST_ID)
            ours = OurCampaign(
                client,
                ledger,
                accounts.COMPANY_KEY,
                crowd.LIST_ID,
                accounts.SOURCE_CODE,
                stop.is_set,
                look_for_seconds=2.0,
                look_every_seconds=0.1,
            )
            message = crowd.MESSAGE.bind(pq.read_schema(order.audience).names)
            return SendStep(
                client, LookUp(client, crowd.LIST_ID), ours.ensure(), message
            ), message.fingerprint
        case StepName.SUBSCRIBE:
            check_acquisition_campaign(client, crowd.LIST_ID, crowd.ACQUISITION_ID)
            # The sandbox is never later than its answer.
            return SubscribeStep(client, crowd.LIST_ID, crowd.ACQUISITION_ID, late_effect_seconds=0.2), ""
        case StepName.UNSUBSCRIBE:
            client.get_subscription_list(crowd.LIST_ID)
            return UnsubscribeStep(client, crowd.LIST_ID), ""


def _batches(order: Order) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(order.audience) as file:
        yield from file.iter_batches(500)


def _recipients(order: Order) -> Iterator[Recipient]:
    for batch in _batches(order):
        for row in batch.to_pylist():
            yield Recipient(row["id"], row["phone"], row)


def _report(order: Order, ledger: Ledger, result: Result) -> StepReport:
    def outcomes() -> Iterator[Outcomes]:
        pairs = (
            (batch, [str(phone) for phone in batch.column("phone").to_pylist()]) for batch in _batches(order)
        )
        return read_outcomes(ledger, result.dispatch_id, pairs)

    tally = Tally()
    with pq.ParquetWriter(order.results, RESULTS_SCHEMA) as writer:
        for batch in result_batches(outcomes(), tally, result.claimer_id):
            writer.write_batch(batch)
    campaign = order.campaign
    return tally.report(campaign.step, campaign.campaign_key, campaign.list_id, attempted=result.attempted)


def main(order: str) -> int:
    """One try; 1 where it could not go on to its end."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    told: dict[str, Any] = {"error": None, "said": "", "report": None}
    try:
        told["report"] = run(Order(**json.loads(order)), stop).as_dict()
    except SmsFlowError as error:
        told |= {"error": type(error).__name__, "said": str(error)}
    sys.stdout.write(json.dumps(told) + "\n")
    return 0 if told["error"] is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
