"""The Airflow plugin. Every component of Airflow imports it at its start, so it imports next to nothing."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class SmsFlowPlugin(AirflowPlugin):
    """Registered through the entry point `airflow.plugins`."""

    name = "sms_flow"
