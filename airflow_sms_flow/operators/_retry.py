"""When to try again after a daily quota is used up. Only on Airflow 3.3 and later can this be imported."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk import RetryDecision, RetryPolicy

from airflow_sms_flow.core.errors import QuotaExhausted

if TYPE_CHECKING:
    from airflow.sdk import Context


class QuotaRetryPolicy(RetryPolicy):
    """Waits for the moment that the vendor named; leaves every other failure to the task's own settings."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """See Airflow's RetryPolicy. The number of `retries` stays what it is."""
        if not isinstance(exception, QuotaExhausted):
            return RetryDecision.default()
        wait = max(exception.retry_at - datetime.now(UTC), timedelta(0))
        return RetryDecision.retry(delay=wait, reason=str(exception))
