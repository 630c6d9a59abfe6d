"""The Airflow plugin. Every component of Airflow imports it at its start, so it imports next to nothing."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin


class SmsFlowPlugin(AirflowPlugin):
    """Registered through the entry point `airflow.plugins`."""

    name = "sms_flow"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # Airflow's is a plain list
        """The receiver of callbacks. Only the API server asks, so only the API server imports it."""
        from airflow_sms_flow.hooks.callbacks import CALLBACK_PATH
        from airflow_sms_flow.plugin.app import CallbackApp

        return [{"name": "sms_flow_callbacks", "app": CallbackApp(), "url_prefix": CALLBACK_PATH}]

    @cached_property
    def fastapi_root_middlewares(self) -> list[dict[str, Any]]:  # type: ignore[override]  # as above
        """What keeps the secret out of the access log."""
        from airflow_sms_flow.plugin.hiding import HidingMiddleware

        return [{"name": "sms_flow_callbacks", "middleware": HidingMiddleware}]
