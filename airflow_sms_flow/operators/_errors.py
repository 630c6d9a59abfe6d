"""Which errors end a task for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_sms_flow.core.errors import BugError, ConfigError, InvalidInput


@contextmanager
def translated_errors() -> Iterator[None]:
    """`InvalidInput`, `ConfigError` and `BugError` fail the task without using its retries.

    They become `AirflowFailException` with the same text and without the chain: what lies beneath may quote
    a request. Everything else is left to Airflow's retries.
    """
    try:
        yield
    except (InvalidInput, ConfigError, BugError) as error:
        from airflow.providers.common.compat.sdk import AirflowFailException

        raise AirflowFailException(str(error)) from None
