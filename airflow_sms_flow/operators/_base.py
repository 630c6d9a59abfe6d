"""What all our operators share: which errors end a task for good, and where its files lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_sms_flow.operators._errors import translated_errors

if TYPE_CHECKING:
    from airflow.sdk import Context


class SmsFlowOperator(BaseOperator):
    """Runs `run`; what a repeat cannot mend fails the task without using its retries.

    `InvalidInput`, `ConfigError` and `BugError` become `AirflowFailException` with the same text.
    Everything else is left to Airflow's retries; on Airflow 3.3 and later a used-up daily quota is retried
    when the vendor counts anew (a `retry_policy` of one's own replaces that).
    """

    def __init__(self, *, retry_policy: Any = None, **kwargs: Any) -> None:
        policy = retry_policy or _quota_policy()
        if policy is not None:
            kwargs["retry_policy"] = policy
        super().__init__(**kwargs)

    def execute(self, context: Context) -> Any:
        """Called by Airflow."""
        with translated_errors():
            return self.run(context)

    def run(self, context: Context) -> Any:
        """The operator's own work."""
        raise NotImplementedError

    def folder(self, context: Context) -> str:
        """Where this task of this run keeps its files; the same in every try."""
        from airflow_sms_flow.settings import storage_root
        from airflow_sms_flow.storage import task_folder

        ti = context["ti"]
        return task_folder(
            storage_root(), ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index
        )


def is_literal(value: object) -> bool:
    """Whether a parameter is known while the DAG is parsed: no Jinja, and no other task's output."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, tuple | list):
        return all(is_literal(one) for one in value)
    if isinstance(value, dict):
        return all(is_literal(one) for pair in value.items() for one in pair)
    return value is None or isinstance(value, int | float)


def _quota_policy() -> Any:
    try:
        from airflow_sms_flow.operators._retry import QuotaRetryPolicy
    except ImportError:  # before Airflow 3.3
        return None
    return QuotaRetryPolicy()
