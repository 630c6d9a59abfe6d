"""One Send task in a process of its own, as Airflow's task runner would execute it.

    python -m tests.benchmarks.one_task AUDIENCE CAMPAIGN_KEY instant|real

Airflow's settings come from the environment. "instant" answers every send by itself, "real" asks Vibes. Tells
in JSON what it reported, how long it took, and its resident memory before and at its highest.
"""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace
from typing import Any

import airflow.sdk.execution_time.task_runner  # Airflow's own share of a task's memory

from airflow_sms_flow import SmsMessage
from airflow_sms_flow.operators import SendSmsMessageOperator
from airflow_sms_flow.sandbox import accounts
from tests.benchmarks.measuring import peak_mb

MESSAGE = SmsMessage("{{lead.First Name:default=there}}, 20 % off until Sunday. Reply STOP to leave.")
LIST_ID = accounts.LISTS[0].list_id


class InstantSend(SendSmsMessageOperator):
    """Everything but the vendor."""

    def make_step(self, client: Any, path: str, ledger: Any) -> Any:
        """Binds the message as ever, and sends nothing."""
        from airflow_sms_flow.steps.membership import TrustCampaign
        from airflow_sms_flow.steps.send import SendStep
        from tests.benchmarks.audiences import InstantStep

        message = self._bound_message(path)
        step = InstantStep()
        rendering = SendStep(client, TrustCampaign(), "none", message)
        step.decide = rendering.decide  # type: ignore[method-assign]  # its texts are made as ever
        step.message = message  # type: ignore[attr-defined]  # for the fingerprint
        return step


def main() -> None:
    audience, campaign_key, kind = sys.argv[1:]
    before = peak_mb()
    operator = (InstantSend if kind == "instant" else SendSmsMessageOperator)(
        task_id="send",
        audience=audience,
        list_id=LIST_ID,
        message=MESSAGE,
        membership="campaign",
        campaign_key=campaign_key,
    )
    operator.dag = airflow.sdk.DAG("memory", schedule=None)
    ti = SimpleNamespace(
        dag_id="memory", run_id="run", task_id="send", map_index=-1, try_number=1, xcom_push=lambda **_: None
    )
    context: Any = {
        "ti": ti,
        "dag_run": SimpleNamespace(run_type="scheduled", run_id="run", conf={}),
        "logical_date": None,
        "run_id": "run",
        "params": {},
    }
    began = time.monotonic()
    report = operator.execute(context)
    told = {"seconds": time.monotonic() - began, "before_mb": before, "peak_mb": peak_mb()}
    print(json.dumps(told | {"report": report}), flush=True)


if __name__ == "__main__":
    main()
