"""Send SMS Message with the short waits of these tests, for a real Airflow to run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow_sms_flow.operators import SendSmsMessageOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sms_flow.courier import Plan


class ImpatientSend(SendSmsMessageOperator):
    """Differs from its parent in nothing else: a killed try is over in seconds instead of a minute."""

    def run(self, context: Context) -> dict[str, Any]:
        """See `FlowStepOperator.run`."""
        from airflow_sms_flow import rings
        from tests.torture.crowd import SHARING

        with patch.object(rings, "SharingTimes", lambda: SHARING):
            return super().run(context)

    def plan(self, *args: Any) -> Plan:
        """See `FlowStepOperator.plan`."""
        from tests.torture.crowd import BACKOFF, LEASE

        return replace(super().plan(*args), lease=LEASE, backoff=BACKOFF)
